-- Deletes up to `most` of the oldest numbered events, as far as they are older than `kept`. What has no number yet stays.
CREATE OR REPLACE FUNCTION mecapy_purge_events(kept interval, most int) RETURNS int LANGUAGE plpgsql SET search_path = pg_catalog, public AS $$
DECLARE
    purged int;
BEGIN
    WITH oldest AS (
        SELECT e.number, e.created_at FROM events e WHERE e.number IS NOT NULL ORDER BY e.number LIMIT most
    )
    DELETE FROM events e USING oldest WHERE e.number = oldest.number AND e.number IS NOT NULL AND oldest.created_at < now() - kept;
    GET DIAGNOSTICS purged = ROW_COUNT;
    RETURN purged;
END
$$;

REVOKE ALL ON FUNCTION mecapy_purge_events FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mecapy_purge_events TO mecapy_worker;
