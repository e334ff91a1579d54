-- The newest of the partitions of what is kept: its range ends where the oldest month begins.
CREATE OR REPLACE FUNCTION mecapy_last_kept(parent text) RETURNS text LANGUAGE sql STABLE SET search_path = pg_catalog, public AS $$
    SELECT max(c.relname) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = to_regclass('public.' || quote_ident(parent)) AND c.relname ~ '_kept(_[0-9]{6})?$'
$$;

REVOKE ALL ON FUNCTION mecapy_last_kept FROM PUBLIC;
