-- Drops the oldest month of a partitioned table, once it is over. What stays was copied by mecapy_keep_begin and mecapy_keep_some: rows of
-- the tasks `staying`; of events also what has no number yet and what is younger than `kept`. Under the lock of the table only what has
-- changed since is copied again. A few rows go to the newest partition of what is kept, whose range then ends where the month ended; many
-- stay together, as a partition of their own in the month's place. Returns how many stayed.
-- Who cannot have the lock soon gives up and is called again. Runs as the owner of the tables, which alone may drop any.
-- An earlier version asks for this alone, perhaps after a try that was left half done: then all is copied here, before the table is locked.
CREATE OR REPLACE FUNCTION mecapy_drop_month(parent text, month date, kept interval, staying uuid[]) RETURNS bigint LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp SET lock_timeout = '500ms' AS $$
DECLARE
    few CONSTANT int := 1000;
    target CONSTANT text := parent || to_char(month, '_"kept"_YYYYMM');
    low CONSTANT uuid := mecapy_lowest_id(month);
    high CONSTANT uuid := mecapy_lowest_id(month + interval '1 month');
    part text;
    keeping text;
    changed uuid[];
    stayed bigint;
    moved bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('mecapy-partitions', 0));
    part := mecapy_droppable_month(parent, month);
    keeping := mecapy_last_kept(parent);
    IF to_regclass('public.' || quote_ident(target)) IS NULL OR NOT EXISTS (SELECT FROM pg_constraint
        WHERE conrelid = to_regclass('public.' || quote_ident(keeping)) AND conname = 'below' AND convalidated) -- all is copied when it is checked
    THEN
        PERFORM mecapy_keep_begin(parent, month);
        WHILE mecapy_keep_some(parent, month, kept, staying, 10000) > 0 LOOP END LOOP;
    END IF;
    EXECUTE format('SELECT count(*) FROM %I', target) INTO stayed;
    EXECUTE format('ALTER TABLE %I DETACH PARTITION %I', parent, part);
    EXECUTE format('SELECT array_agg(DISTINCT task_id) FROM %I', part || '_changed') INTO changed;
    IF changed IS NOT NULL THEN
        EXECUTE format('DELETE FROM %I WHERE task_id = ANY ($1)', target) USING changed;
        GET DIAGNOSTICS moved = ROW_COUNT;
        stayed := stayed - moved;
        EXECUTE format('INSERT INTO %I SELECT * FROM %I WHERE task_id = ANY ($3) AND %s', target, part, mecapy_stays(parent))
            USING staying, kept, changed;
        GET DIAGNOSTICS moved = ROW_COUNT;
        stayed := stayed + moved;
    END IF;
    IF stayed <= few THEN
        EXECUTE format('ALTER TABLE %I DETACH PARTITION %I', parent, keeping);
        EXECUTE format('ALTER TABLE %I NO FORCE ROW LEVEL SECURITY', keeping);
        EXECUTE format('INSERT INTO %I SELECT * FROM %I', keeping, target);
        EXECUTE format('DROP TABLE public.%I', target);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', keeping);
        EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%L)', parent, keeping, CASE
            WHEN keeping ~ '_[0-9]{6}$' THEN quote_literal(mecapy_lowest_id(to_date(right(keeping, 6), 'YYYYMM'))) ELSE 'MINVALUE' END, high);
    ELSE
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', target);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', target);
        EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', parent, target, low, high);
        EXECUTE format('ALTER TABLE %I DROP CONSTRAINT in_range', target);
    END IF;
    EXECUTE format('ALTER TABLE %I DROP CONSTRAINT below', keeping);
    EXECUTE format('DROP TABLE public.%I, public.%I', part, part || '_changed');
    RETURN stayed;
END
$$;

REVOKE ALL ON FUNCTION mecapy_drop_month FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mecapy_drop_month TO mecapy_worker;
