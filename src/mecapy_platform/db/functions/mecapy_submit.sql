-- Tasks of several callers in one statement. Each group is inserted in the scope of its own caller, so row-level security judges it.
-- What does not come back was not accepted: its names mean something else by now, the queue is full, or no worker is large enough.
CREATE OR REPLACE FUNCTION mecapy_submit(batch json, max_queued bigint) RETURNS TABLE (task_id uuid, created timestamptz)
    LANGUAGE plpgsql SET search_path = pg_catalog, public AS $$
#variable_conflict use_column
DECLARE
    g record;
BEGIN
    FOR g IN SELECT * FROM json_to_recordset(batch) AS g (
        scope text, visible uuid[], catalog bigint, organization_id uuid, user_id uuid, function_id uuid, package_version_id uuid,
        cpu int, memory_mb int, needs text[], retries json, package_digest text, environment_digest text, interpreter text, tasks json)
    LOOP
        PERFORM set_config('mecapy.organizations', g.scope, true), set_config('mecapy.user_id', g.user_id::text, true);
        CONTINUE WHEN g.catalog IS DISTINCT FROM (SELECT sum(o.catalog_revision) FROM organizations o WHERE o.id = ANY (g.visible));
        CONTINUE WHEN max_queued <= (
            SELECT coalesce(sum(s.queued), 0) FROM lane_shares s
            WHERE s.lane IN ('high_priority', 'default', 'long_running') AND s.organization_id = g.organization_id);
        CONTINUE WHEN NOT EXISTS (
            SELECT FROM nodes n WHERE n.seen_at > now() - interval '60 seconds' AND g.cpu <= n.cpu AND g.memory_mb <= n.memory_mb
        ) AND EXISTS (SELECT FROM nodes n WHERE n.seen_at > now() - interval '60 seconds');
        RETURN QUERY WITH made AS (
            INSERT INTO tasks (id, organization_id, user_id, function_id, package_version_id, name, state, lane, priority, rank, claimable,
                inputs, files, inputs_digest, cpu, memory_mb, needs, timeout_seconds, retries, package_digest, environment_digest, interpreter)
            SELECT t.id, g.organization_id, g.user_id, g.function_id, g.package_version_id, t.name, 'queued', t.lane, t.priority, t.rank,
                true, t.inputs, '{}', t.inputs_digest, g.cpu, g.memory_mb, coalesce(g.needs, '{}'), t.timeout_seconds, g.retries, g.package_digest,
                g.environment_digest, g.interpreter
            FROM json_to_recordset(g.tasks) AS t (
                id uuid, name text, lane text, priority smallint, rank smallint, inputs json, inputs_digest text, timeout_seconds float8)
            RETURNING id, lane, created_at
        ), noted AS (
            INSERT INTO events (organization_id, task_id, kind, data)
            SELECT g.organization_id, made.id, 'TaskQueued', json_build_object('lane', made.lane) FROM made
        )
        SELECT made.id, made.created_at FROM made;
    END LOOP;
END
$$;

REVOKE ALL ON FUNCTION mecapy_submit FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mecapy_submit TO mecapy_app, mecapy_worker;
