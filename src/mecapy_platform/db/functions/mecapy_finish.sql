-- Ends attempts (see mecapy_end), and in the same transaction claims up to `slots_` tasks for the places that become free (0: none).
-- `lanes`: where something still waits. `claims`: as mecapy_fast_claim's, which see.
-- A worker that this database does not serve ends here what it began, and is given nothing more. One of before 0004 brings completed
-- attempts alone and does not say so.
CREATE OR REPLACE FUNCTION mecapy_finish(
    ends json, lane_ text, slots_ int, tokens_ uuid[], node_ text, worker_ text, backend_ text, lease_seconds_ float8,
    kept_mb_ int, is_short_ boolean, organization_max_ int, packs_ int DEFAULT 0
) RETURNS TABLE (ended text, lanes text, claims json)
    LANGUAGE plpgsql SET search_path = pg_catalog, public AS $$
#variable_conflict use_column
BEGIN
    IF NOT mecapy_serves() THEN
        slots_ := 0;
        SELECT json_agg(CASE WHEN e ->> 'state' IS NULL THEN json_build_object(
                'token', e -> 'token', 'state', 'completed', 'attempt_state', 'completed', 'leftovers_removed', true,
                'is_told', e ->> 'result_key' IS NULL, 'result', e -> 'result', 'result_key', e -> 'result_key',
                'wall_seconds', e -> 'wall_seconds', 'cpu_seconds', e -> 'cpu_seconds', 'peak_memory_mb', e -> 'peak_memory_mb',
                'lines', e -> 'lines') ELSE e END)
            INTO ends FROM json_array_elements(ends) AS e;
    END IF;
    ended := mecapy_end(ends);
    IF slots_ > 0 THEN
        SELECT c.claims INTO claims FROM mecapy_fast_claim(
            lane_, slots_, tokens_, node_, worker_, backend_, lease_seconds_, kept_mb_, is_short_, organization_max_, packs_) c;
    END IF;
    SELECT string_agg(lane, ',') INTO lanes FROM unnest(ARRAY['high_priority', 'default', 'long_running']) AS lane
        WHERE EXISTS (SELECT FROM tasks t WHERE t.claimable AND t.lane = lane.lane);
    RETURN NEXT;
END
$$;

REVOKE ALL ON FUNCTION mecapy_finish FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mecapy_finish TO mecapy_worker;
