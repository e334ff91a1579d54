-- Claims the next tasks of a lane when core/quotas.pick would take just these: the first of all organizations' queues, merged by their
-- passes, as long as all of them fit together and no quota stands against one. `verdict` says what came of it: none (nothing waits),
-- all (claimed), pick (something does not fit, so somebody must choose). Of tasks that carry calls at most `packs_` are taken, none for
-- workers that do not say how many.
CREATE OR REPLACE FUNCTION mecapy_fast_claim(
    lane_ text, slots_ int, tokens_ uuid[], node_ text, worker_ text, backend_ text, lease_seconds_ float8,
    kept_mb_ int, is_short_ boolean, organization_max_ int, packs_ int DEFAULT 0
) RETURNS TABLE (verdict text, claims json) LANGUAGE plpgsql SET search_path = pg_catalog, public AS $$
#variable_conflict use_column
DECLARE
    nobody CONSTANT uuid := '00000000-0000-0000-0000-000000000000';
    lane_passed float8;
    room record;
    wanted record;
    place record; -- what this worker can ever run is all that it looks at, see core/placement
BEGIN
    IF NOT EXISTS (SELECT FROM tasks t WHERE t.claimable AND t.lane = lane_) THEN
        RETURN QUERY SELECT 'none', NULL::json;
        RETURN;
    END IF;
    SELECT stride_pass INTO lane_passed FROM lane_shares s WHERE s.lane = lane_ AND s.organization_id = nobody FOR UPDATE;
    SELECT n.cpu, n.memory_mb, w.abilities INTO place
        FROM nodes n LEFT JOIN workers w ON w.name = worker_ WHERE n.name = node_ FOR UPDATE OF n;
    WITH RECURSIVE organization AS (
        (SELECT t.organization_id AS id FROM tasks t WHERE t.claimable AND t.lane = lane_ ORDER BY t.organization_id LIMIT 1)
        UNION ALL
        SELECT (SELECT t.organization_id FROM tasks t
                WHERE t.claimable AND t.lane = lane_ AND t.organization_id > organization.id ORDER BY t.organization_id LIMIT 1)
        FROM organization WHERE organization.id IS NOT NULL
    ), turn AS (
        SELECT o.id, o.weight, o.limits, greatest(coalesce(s.stride_pass, 0), lane_passed) AS passed
        FROM organization JOIN organizations o ON o.id = organization.id
        LEFT JOIN lane_shares s ON s.lane = lane_ AND s.organization_id = o.id
    ), ordered AS (
        SELECT head.id, turn.id AS organization_id, turn.weight, turn.limits, head.cpu, head.memory_mb, head.share_cost, head.is_pack,
            turn.passed + head.cost_before / turn.weight AS passed
        FROM turn CROSS JOIN LATERAL (
            SELECT h.*, sum(h.share_cost) OVER (ORDER BY h.rank, h.sequence ROWS UNBOUNDED PRECEDING) - h.share_cost AS cost_before
            FROM (
            (SELECT t.id, t.cpu, t.memory_mb, t.share_cost, t.rank, t.sequence, false AS is_pack
            FROM tasks t WHERE t.claimable AND t.lane = lane_ AND t.organization_id = turn.id AND least(t.calls_count, 1) = 0
                AND t.cpu <= place.cpu AND t.memory_mb <= place.memory_mb
                AND (place.abilities IS NULL OR t.needs <@ place.abilities)
                AND EXISTS (SELECT FROM package_versions v WHERE v.id = t.package_version_id AND v.status = 'ready')
            ORDER BY t.rank, t.sequence LIMIT slots_)
            UNION ALL
            (SELECT t.id, t.cpu, t.memory_mb, t.share_cost, t.rank, t.sequence, true
            FROM tasks t WHERE t.claimable AND t.lane = lane_ AND t.organization_id = turn.id AND least(t.calls_count, 1) = 1
                AND t.cpu <= place.cpu AND t.memory_mb <= place.memory_mb
                AND (place.abilities IS NULL OR t.needs <@ place.abilities)
                AND EXISTS (SELECT FROM package_versions v WHERE v.id = t.package_version_id AND v.status = 'ready')
            ORDER BY t.rank, t.sequence LIMIT packs_)
            ) h ORDER BY h.rank, h.sequence LIMIT slots_
        ) head
        ORDER BY 9, 2 LIMIT slots_
    ), chosen AS (
        SELECT organization_id, max(passed + share_cost / weight) AS passed,
            count(*) > coalesce((min(limits::text)::json ->> 'max_running')::int, organization_max_)
                - (SELECT count(*) FROM attempts a WHERE a.ended_at IS NULL AND a.organization_id = ordered.organization_id) AS blocked
        FROM ordered GROUP BY organization_id
    )
    SELECT count(*) AS tasks, sum(cpu) AS cpu, sum(memory_mb) AS memory_mb, max(passed) AS passed, array_agg(id ORDER BY passed, organization_id)
        AS ids, (SELECT bool_or(blocked) FROM chosen) OR count(*) FILTER (WHERE is_pack) > packs_ AS blocked, (SELECT array_agg(organization_id) FROM chosen) AS organizations,
        (SELECT array_agg(passed) FROM chosen) AS passes
        INTO wanted FROM ordered;
    IF wanted.tasks = 0 AND lane_passed IS NOT NULL THEN
        RETURN QUERY SELECT 'none', NULL::json;
        RETURN;
    END IF;
    SELECT n.cpu - coalesce(sum(a.cpu), 0) AS cpu, n.accepts_work,
        n.memory_mb - coalesce(sum(a.memory_mb), 0) - mecapy_building_mb(n.name) AS memory_mb,
        least(kept_mb_, n.memory_mb / 8) AS kept_mb INTO room
        FROM nodes n LEFT JOIN attempts a ON a.node = n.name AND a.ended_at IS NULL WHERE n.name = node_ GROUP BY n.name;
    IF lane_passed IS NULL OR room IS NULL OR NOT room.accepts_work OR wanted.blocked OR (wanted.cpu > room.cpu AND NOT is_short_)
        OR wanted.memory_mb > room.memory_mb - (CASE WHEN is_short_ THEN 0 ELSE room.kept_mb END)
    THEN
        RETURN QUERY SELECT 'pick', NULL::json;
        RETURN;
    END IF;
    INSERT INTO lane_shares (lane, organization_id, stride_pass)
        SELECT lane_, p.organization_id, p.passed FROM unnest(wanted.organizations, wanted.passes) AS p (organization_id, passed)
        UNION ALL SELECT lane_, nobody, wanted.passed WHERE wanted.passed > lane_passed
        ON CONFLICT (lane, organization_id) DO UPDATE SET stride_pass = excluded.stride_pass;
    RETURN QUERY SELECT 'all', json_agg(row_to_json(taken)) FROM mecapy_take(
        wanted.ids, tokens_, node_, worker_, backend_, lease_seconds_) AS taken;
END
$$;

REVOKE ALL ON FUNCTION mecapy_fast_claim FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mecapy_fast_claim TO mecapy_worker;
