-- Makes the partitions of this month and of `ahead` more, for each partitioned table, and of the months since the last one made. Rows of
-- such a month that came before its partition lie in the one for what lies in no month; they move. Returns how many were made.
-- Only the table that is attached and the one for the rest are locked for long enough to notice; who waits for them gives up soon and
-- is called again. Runs as the owner of the tables, which alone may make any; what it makes, no caller chooses.
CREATE OR REPLACE FUNCTION mecapy_make_partitions(ahead int) RETURNS int LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp SET lock_timeout = '500ms' AS $$
DECLARE
    this_month CONSTANT timestamp := date_trunc('month', now() AT TIME ZONE 'UTC');
    made int := 0;
    parent text;
    rest text;
    part text;
    month timestamp;
    low uuid;
    high uuid;
BEGIN
    IF ahead NOT BETWEEN 0 AND 24 THEN
        RAISE EXCEPTION 'partitions are made for 0 to 24 months ahead, not for %', ahead;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('mecapy-partitions', 0));
    FOR parent, month IN
        SELECT p.relname, max(to_date(right(c.relname, 7), 'YYYY_MM')) + interval '1 month'
        FROM pg_inherits i JOIN pg_class p ON p.oid = i.inhparent AND p.relkind = 'p' AND p.relnamespace = 'public'::regnamespace
        JOIN pg_class c ON c.oid = i.inhrelid AND c.relname ~ '_[0-9]{4}_[0-9]{2}$' GROUP BY p.relname ORDER BY p.relname
    LOOP
        rest := parent || '_other';
        WHILE month <= this_month + make_interval(months => ahead) LOOP
            part := parent || to_char(month, '_YYYY_MM');
            low := mecapy_lowest_id(month);
            high := mecapy_lowest_id(month + interval '1 month');
            EXECUTE format('CREATE TABLE public.%I (LIKE %I INCLUDING DEFAULTS) WITH (autovacuum_vacuum_scale_factor = 0.02, '
                'autovacuum_vacuum_insert_scale_factor = 0.05)', part, parent);
            EXECUTE format('ALTER TABLE %I NO FORCE ROW LEVEL SECURITY', rest);
            EXECUTE format('WITH moved AS (DELETE FROM %I WHERE task_id >= $1 AND task_id < $2 RETURNING *) '
                'INSERT INTO %I SELECT * FROM moved', rest, part) USING low, high;
            EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', rest);
            EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', part);
            EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', part);
            EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', parent, part, low, high);
            made := made + 1;
            month := month + interval '1 month';
        END LOOP;
    END LOOP;
    RETURN made;
END
$$;

REVOKE ALL ON FUNCTION mecapy_make_partitions FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mecapy_make_partitions TO mecapy_worker;
