-- What workers of before 0004 call to claim. It is there so that they can still prepare their statements, and end by mecapy_finish what
-- they began; to a claim they are told in their log what is wrong, and nothing changes.
CREATE OR REPLACE FUNCTION mecapy_claim_all(
    lane_ text, slots_ int, tokens_ uuid[], node_ text, worker_ text, backend_ text, lease_seconds_ float8,
    kept_mb_ int, is_short_ boolean, organization_max_ int
) RETURNS TABLE (verdict text, claims json) LANGUAGE plpgsql SET search_path = pg_catalog, public AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'MC001', MESSAGE = 'this database serves workers of a later version: start this one again with it';
END
$$;

REVOKE ALL ON FUNCTION mecapy_claim_all FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mecapy_claim_all TO mecapy_worker;
