-- A task as its callers are told it: every field of an answer stands here. Times and usage as they are stored; `owner` is a slug.
DROP VIEW IF EXISTS task_answers;

CREATE VIEW task_answers WITH (security_invoker = true) AS
SELECT t.id, t.organization_id, t.name, t.state, t.lane, t.priority,
    json_build_object('id', p.id, 'name', p.name, 'version', v.version, 'owner', o.slug) AS package,
    f.name AS function, t.package_version_id AS version_id, t.function_id, t.inputs, t.files, t.created_at, t.started_at, t.completed_at,
    t.cancel_requested_at, t.progress, t.error_code, t.error_message, t.runtime_seconds AS wall_seconds, t.cpu_seconds, t.peak_memory_mb,
    t.result, t.cpu, t.memory_mb, t.timeout_seconds, t.retry_of, t.parked, t.package_digest, t.environment_digest, t.interpreter,
    t.inputs_digest, t.user_id, (
        SELECT json_agg(json_build_object(
            'number', a.number, 'state', coalesce(a.state, 'running'), 'node', a.node, 'backend', a.backend,
            'started_at', a.started_at, 'ended_at', a.ended_at, 'error_code', a.error_code, 'error_message', a.error_message,
            'wall_seconds', a.wall_seconds, 'cpu_seconds', a.cpu_seconds, 'peak_memory_mb', a.peak_memory_mb
        ) ORDER BY a.number)
        FROM attempts a WHERE a.task_id = t.id AND a.organization_id = t.organization_id
    ) AS attempts
FROM tasks t JOIN functions f ON f.id = t.function_id JOIN package_versions v ON v.id = t.package_version_id
JOIN packages p ON p.id = v.package_id JOIN organizations o ON o.id = p.organization_id;

GRANT SELECT ON task_answers TO mecapy_app, mecapy_worker;
