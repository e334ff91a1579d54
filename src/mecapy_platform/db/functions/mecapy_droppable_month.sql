-- The partition of a month that may be dropped: the oldest one of a partitioned table, once it is over.
CREATE OR REPLACE FUNCTION mecapy_droppable_month(parent text, month date) RETURNS text LANGUAGE plpgsql
    SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    part CONSTANT text := parent || to_char(month, '_YYYY_MM');
    oldest text;
BEGIN
    SELECT min(c.relname) INTO oldest FROM pg_inherits i
        JOIN pg_class p ON p.oid = i.inhparent AND p.relkind = 'p' AND p.relnamespace = 'public'::regnamespace AND p.relname = parent
        JOIN pg_class c ON c.oid = i.inhrelid AND c.relname ~ '_[0-9]{4}_[0-9]{2}$';
    IF oldest IS NULL OR part <> oldest OR month + interval '1 month' > now() AT TIME ZONE 'UTC' THEN
        RAISE EXCEPTION '% is not the oldest month of a partitioned table, or is not over: the oldest one is %', part, oldest;
    END IF;
    RETURN part;
END
$$;

REVOKE ALL ON FUNCTION mecapy_droppable_month FROM PUBLIC;
