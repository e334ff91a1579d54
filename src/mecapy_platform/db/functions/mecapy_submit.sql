-- Tasks of several callers in one statement. Each group is inserted in the scope of its own caller, so row-level security judges it.
-- What does not come back was not accepted: its names mean something else by now, the queue is full, or no worker is large enough,
-- or this database does not serve the caller's version.
CREATE OR REPLACE FUNCTION mecapy_submit(batch json, max_queued bigint) RETURNS TABLE (task_id uuid, created timestamptz)
    LANGUAGE plpgsql SET search_path = pg_catalog, public AS $$
#variable_conflict use_column
DECLARE
    g record;
BEGIN
    FOR g IN SELECT submitted.value AS submitted, g.* FROM json_array_elements(batch) AS submitted, json_to_record(submitted.value) AS g (
        scope text, visible uuid[], catalog bigint, organization_id uuid, user_id uuid, cpu int, memory_mb int)
    LOOP
        CONTINUE WHEN NOT mecapy_serves();
        PERFORM set_config('mecapy.organizations', g.scope, true), set_config('mecapy.user_id', g.user_id::text, true);
        CONTINUE WHEN g.catalog IS DISTINCT FROM (SELECT sum(o.catalog_revision) FROM organizations o WHERE o.id = ANY (g.visible));
        CONTINUE WHEN max_queued <= (
            SELECT coalesce(sum(s.queued), 0) FROM lane_shares s
            WHERE s.lane IN ('high_priority', 'default', 'long_running') AND s.organization_id = g.organization_id);
        CONTINUE WHEN NOT EXISTS (
            SELECT FROM nodes n WHERE n.seen_at > now() - interval '60 seconds' AND g.cpu <= n.cpu AND g.memory_mb <= n.memory_mb
        ) AND EXISTS (SELECT FROM nodes n WHERE n.seen_at > now() - interval '60 seconds');
        RETURN QUERY SELECT i.task_id, i.created FROM mecapy_insert_tasks(g.submitted) AS i;
    END LOOP;
END
$$;

REVOKE ALL ON FUNCTION mecapy_submit FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mecapy_submit TO mecapy_app, mecapy_worker;
