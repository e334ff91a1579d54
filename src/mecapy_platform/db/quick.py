"""The prepared statements of the short ways: claim what fits at once, end many attempts at once. Parameters and answers are text."""

CLAIM_ALL = "SELECT verdict, claims FROM mecapy_claim_all($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"

# What a worker must know of a function to run it, beyond the task. A version that can be claimed does not change any more.
FACTS = """
SELECT json_build_object('function', f.name, 'handler', f.handler, 'entrypoint', f.entrypoint, 'input_ports', f.inputs,
    'output_ports', f.outputs, 'options', f.options, 'version_id', v.id, 'archive_key', v.archive_key, 'archive_sha256', v.archive_sha256,
    'environment_digest', v.environment_digest, 'requirements_lock', v.requirements_lock, 'interpreter', v.interpreter,
    'runtime', v.runtime)
FROM functions f JOIN package_versions v ON v.id = f.package_version_id WHERE f.id = $1
"""

# Completed attempts, each fenced by its token and by the task's state. A row that somebody else holds at this moment is passed over,
# so that batches never wait for each other; who is not in the answer was not ended.
FINISH_MANY = """
WITH given AS (
    SELECT * FROM json_to_recordset($1::json) AS g (
        token uuid, result json, result_key text, wall_seconds float8, cpu_seconds float8, peak_memory_mb float8, lines json)
), live AS (
    SELECT a.id AS attempt_id, a.number, a.task_id, t.organization_id, g.*
    FROM given g JOIN attempts a ON a.token = g.token AND a.ended_at IS NULL
    JOIN tasks t ON t.id = a.task_id AND t.attempt_token = g.token AND t.state = 'running'
    FOR UPDATE OF a, t SKIP LOCKED
), ended AS (
    UPDATE attempts a SET ended_at = clock_timestamp(), state = 'completed', wall_seconds = live.wall_seconds,
        cpu_seconds = live.cpu_seconds, peak_memory_mb = live.peak_memory_mb, is_swept = true
    FROM live WHERE a.id = live.attempt_id
), finished AS (
    UPDATE tasks t SET state = 'completed', attempt_token = NULL, result = live.result, result_s3_key = live.result_key,
        error_code = NULL, error_message = NULL, completed_at = clock_timestamp(), runtime_seconds = live.wall_seconds,
        cpu_seconds = live.cpu_seconds, peak_memory_mb = live.peak_memory_mb
    FROM live WHERE t.id = live.task_id
), noted AS (
    INSERT INTO events (organization_id, task_id, kind, data)
    SELECT organization_id, task_id, 'TaskFinished', json_build_object('state', 'completed', 'code', NULL, 'attempt', number,
        'wall_seconds', wall_seconds, 'cpu_seconds', cpu_seconds, 'peak_memory_mb', peak_memory_mb) FROM live
), logged AS (
    INSERT INTO task_logs (task_id, index, organization_id, attempt, kind, text)
    SELECT live.task_id, l.index, live.organization_id, live.number, l.kind, l.text
    FROM live, json_to_recordset(live.lines) AS l (index int, kind text, text text) WHERE live.lines IS NOT NULL
    ON CONFLICT (task_id, index) DO NOTHING
)
SELECT string_agg(live.token::text, ','), pg_notify('mecapy_ended', string_agg('task:' || live.task_id, ',')),
    (SELECT string_agg(lane, ',') FROM unnest(ARRAY['high_priority', 'default', 'long_running']) AS lane
     WHERE EXISTS (SELECT FROM tasks t WHERE t.claimable AND t.lane = lane.lane))
FROM live HAVING count(*) > 0
"""
FINISH_MOST = 100  # a NOTIFY holds 8,000 bytes

WORKER_STATEMENTS = {"claim_all": CLAIM_ALL, "facts": FACTS, "finish_many": FINISH_MANY}

# In the role of the tenants: both functions set the scope of each caller before they touch a row.
APP_STATEMENTS = {
    "submit": "SELECT task_id, created FROM mecapy_submit($1, $2)",
    "tasks": "SELECT place, task FROM mecapy_tasks($1)",
}
