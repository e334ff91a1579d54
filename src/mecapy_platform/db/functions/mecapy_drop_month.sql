-- Drops the oldest month of a partitioned table, once it is over. What stays moves to the partition of what is kept, whose range then
-- ends where the month ended: rows of the tasks `staying`; of events also what has no number yet and what is younger than `kept`.
-- Returns how many rows stayed. The table is locked meanwhile; who cannot have that lock soon gives up and is called again.
-- Runs as the owner of the tables, which alone may drop any.
CREATE OR REPLACE FUNCTION mecapy_drop_month(parent text, month date, kept interval, staying uuid[]) RETURNS bigint LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp SET lock_timeout = '500ms' AS $$
DECLARE
    part CONSTANT text := parent || to_char(month, '_YYYY_MM');
    keeping CONSTANT text := parent || '_kept';
    high CONSTANT uuid := mecapy_lowest_id(month + interval '1 month');
    oldest text;
    stayed bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('mecapy-partitions', 0));
    SELECT min(c.relname) INTO oldest FROM pg_inherits i
        JOIN pg_class p ON p.oid = i.inhparent AND p.relkind = 'p' AND p.relnamespace = 'public'::regnamespace AND p.relname = parent
        JOIN pg_class c ON c.oid = i.inhrelid AND c.relname ~ '_[0-9]{4}_[0-9]{2}$';
    IF oldest IS NULL OR part <> oldest OR month + interval '1 month' > now() AT TIME ZONE 'UTC' THEN
        RAISE EXCEPTION '% is not the oldest month of a partitioned table, or is not over: the oldest one is %', part, oldest;
    END IF;
    EXECUTE format('ALTER TABLE %I DETACH PARTITION %I', parent, part);
    EXECUTE format('ALTER TABLE %I DETACH PARTITION %I', parent, keeping);
    EXECUTE format('ALTER TABLE %I NO FORCE ROW LEVEL SECURITY', part);
    EXECUTE format('ALTER TABLE %I NO FORCE ROW LEVEL SECURITY', keeping);
    EXECUTE format('INSERT INTO %I SELECT * FROM %I WHERE task_id = ANY ($1)%s', keeping, part,
        CASE WHEN parent = 'events' THEN ' OR number IS NULL OR created_at >= now() - $2' ELSE '' END) USING staying, kept;
    GET DIAGNOSTICS stayed = ROW_COUNT;
    EXECUTE format('DROP TABLE public.%I', part);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', keeping);
    EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (MINVALUE) TO (%L)', parent, keeping, high);
    RETURN stayed;
END
$$;

REVOKE ALL ON FUNCTION mecapy_drop_month FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mecapy_drop_month TO mecapy_worker;
