-- The memory that is set aside on a node for the builds under way there. A builder that has gone holds nothing once its lease is over.
CREATE OR REPLACE FUNCTION mecapy_building_mb(node_ text) RETURNS bigint LANGUAGE sql STABLE SET search_path = pg_catalog, public AS $$
    SELECT coalesce(sum(v.build_memory_mb), 0) FROM package_versions v
    WHERE v.build_node = node_ AND v.build_token IS NOT NULL AND v.status = 'building' AND v.build_lease_until >= clock_timestamp()
$$;

REVOKE ALL ON FUNCTION mecapy_building_mb FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mecapy_building_mb TO mecapy_worker;
