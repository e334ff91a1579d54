-- Tasks as their callers may see them; each question is asked in the scope of its caller.
CREATE OR REPLACE FUNCTION mecapy_tasks(batch json) RETURNS TABLE (place int, task json)
    LANGUAGE plpgsql SET search_path = pg_catalog, public SET timezone = 'UTC' AS $$
#variable_conflict use_column
DECLARE
    q record;
BEGIN
    FOR q IN SELECT * FROM json_to_recordset(batch) AS q (place int, scope text, visible uuid[], user_id text, id uuid)
    LOOP
        PERFORM set_config('mecapy.organizations', q.scope, true), set_config('mecapy.user_id', q.user_id, true);
        RETURN QUERY SELECT q.place, json_build_object(
            'id', t.id, 'name', t.name, 'state', t.state, 'lane', t.lane, 'priority', t.priority,
            'package', json_build_object('id', p.id, 'name', p.name, 'version', v.version, 'owner', o.slug),
            'function', f.name, 'version_id', t.package_version_id, 'function_id', t.function_id, 'inputs', t.inputs, 'files', t.files,
            'created_at', t.created_at, 'started_at', t.started_at, 'completed_at', t.completed_at,
            'cancel_requested_at', t.cancel_requested_at, 'progress', t.progress, 'error_code', t.error_code,
            'error_message', t.error_message, 'wall_seconds', t.runtime_seconds, 'cpu_seconds', t.cpu_seconds,
            'peak_memory_mb', t.peak_memory_mb, 'result', t.result, 'cpu', t.cpu, 'memory_mb', t.memory_mb,
            'timeout_seconds', t.timeout_seconds, 'retry_of', t.retry_of, 'parked', t.parked, 'package_digest', t.package_digest,
            'environment_digest', t.environment_digest, 'interpreter', t.interpreter, 'inputs_digest', t.inputs_digest,
            'user_id', t.user_id,
            'attempts', (
                SELECT json_agg(json_build_object(
                    'number', a.number, 'state', coalesce(a.state, 'running'), 'node', a.node, 'backend', a.backend,
                    'started_at', a.started_at, 'ended_at', a.ended_at, 'error_code', a.error_code, 'error_message', a.error_message,
                    'wall_seconds', a.wall_seconds, 'cpu_seconds', a.cpu_seconds, 'peak_memory_mb', a.peak_memory_mb
                ) ORDER BY a.number)
                FROM attempts a WHERE a.task_id = t.id AND a.organization_id = ANY (q.visible)))
            FROM tasks t JOIN functions f ON f.id = t.function_id JOIN package_versions v ON v.id = t.package_version_id
            JOIN packages p ON p.id = v.package_id JOIN organizations o ON o.id = p.organization_id
            WHERE t.id = q.id AND t.organization_id = ANY (q.visible)
                AND t.state NOT IN ('queued', 'running');
    END LOOP;
END
$$;

REVOKE ALL ON FUNCTION mecapy_tasks FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mecapy_tasks TO mecapy_app, mecapy_worker;
