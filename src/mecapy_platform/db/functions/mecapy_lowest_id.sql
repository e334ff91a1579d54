-- The uuidv7 before all of a moment (of UTC): where a month of a partitioned table begins.
CREATE OR REPLACE FUNCTION mecapy_lowest_id(at timestamp) RETURNS uuid LANGUAGE sql IMMUTABLE SET search_path = pg_catalog AS $$
    SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid
$$;

REVOKE ALL ON FUNCTION mecapy_lowest_id FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mecapy_lowest_id TO mecapy_worker;
