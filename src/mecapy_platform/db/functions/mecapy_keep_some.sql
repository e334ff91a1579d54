-- Copies the next rows of a month that stay: those of whole tasks, some `most`, with no lock that keeps anybody from reading or writing.
-- Returns how many; none is left when it is 0, and what mecapy_drop_month relies on is checked by then.
CREATE OR REPLACE FUNCTION mecapy_keep_some(parent text, month date, kept interval, staying uuid[], most int) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    target CONSTANT text := parent || to_char(month, '_"kept"_YYYYMM');
    copied bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('mecapy-partitions', 0));
    EXECUTE format('INSERT INTO public.%1$I SELECT * FROM %2$I WHERE %3$s '
        'AND task_id > coalesce((SELECT task_id FROM %1$I ORDER BY task_id DESC LIMIT 1), %4$L) ORDER BY task_id FETCH FIRST %5$s ROWS WITH TIES',
        target, mecapy_droppable_month(parent, month), mecapy_stays(parent), '00000000-0000-0000-0000-000000000000', most)
        USING staying, kept;
    GET DIAGNOSTICS copied = ROW_COUNT;
    IF copied = 0 THEN
        EXECUTE format('ALTER TABLE %I VALIDATE CONSTRAINT below', mecapy_last_kept(parent));
    END IF;
    RETURN copied;
END
$$;

REVOKE ALL ON FUNCTION mecapy_keep_some FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mecapy_keep_some TO mecapy_worker;
