-- The one end: of attempts, each fenced by its token and by the task's state, and of tasks that end while they wait (without a token).
-- The caller has decided what comes of the task: `state` is a final one, or `queued` for another attempt after `delay_seconds`. A row
-- that somebody else holds at this moment is passed over, so that batches never wait for each other; the answer names the tokens and
-- tasks that were ended. Who waits for a task is woken with its end, where the caller lets the end be told and it is small; a first
-- attempt's alone, as earlier ones would have to be read. Fields that are left out stay as they are, or empty.
CREATE OR REPLACE FUNCTION mecapy_end(ends json) RETURNS text
    LANGUAGE plpgsql SET search_path = pg_catalog, public SET timezone = 'UTC' AS $$
#variable_conflict use_column
DECLARE
    notice_bytes CONSTANT int := 7900; -- of the 8,000 that a NOTIFY holds
    ended text;
    told text;
BEGIN
    WITH given AS (
        SELECT * FROM json_to_recordset(ends) AS g (
            token uuid, task_id uuid, state text, attempt_state text, code text, message text, task_message text, parked boolean, delay_seconds float8,
            machine_failures int, own_failures int, outages int, leftovers_removed boolean, is_told boolean,
            result json, result_key text, result_ref uuid, wall_seconds float8, cpu_seconds float8, peak_memory_mb float8, lines json)
    ), live AS (
        SELECT a.id AS attempt_id, a.number, t.id AS id, a.node, a.backend, a.started_at AS attempt_started_at, t.organization_id,
            t.started_at, t.progress, t.cancel_requested_at, clock_timestamp() AS at, g.*
        FROM given g JOIN attempts a ON a.token = g.token AND a.ended_at IS NULL
        JOIN tasks t ON t.id = a.task_id AND t.attempt_token = g.token AND t.state = 'running'
        FOR UPDATE OF a, t SKIP LOCKED
    ), waiting AS (
        SELECT NULL::uuid, t.attempts, t.id, NULL::text, NULL::text, NULL::timestamptz, t.organization_id,
            t.started_at, t.progress, t.cancel_requested_at, clock_timestamp(), g.*
        FROM given g JOIN tasks t ON t.id = g.task_id AND g.token IS NULL AND t.state = 'queued' FOR UPDATE OF t SKIP LOCKED
    ), ending AS (
        SELECT * FROM live UNION ALL SELECT * FROM waiting
    ), closed AS (
        UPDATE attempts a SET ended_at = e.at, state = e.attempt_state, error_code = e.code, error_message = e.message,
            wall_seconds = e.wall_seconds, cpu_seconds = e.cpu_seconds, peak_memory_mb = e.peak_memory_mb,
            leftovers_removed = e.leftovers_removed
        FROM ending e WHERE a.id = e.attempt_id
    ), settled AS (
        UPDATE tasks t SET state = e.state, attempt_token = NULL, claimable = (e.state = 'queued' AND e.delay_seconds <= 0),
            hold_reason = CASE WHEN e.state = 'queued' AND e.delay_seconds > 0 THEN 'backoff' END,
            not_before = CASE WHEN e.state = 'queued' AND e.delay_seconds > 0 THEN e.at + make_interval(secs => e.delay_seconds) END,
            node = CASE WHEN e.state = 'queued' THEN NULL ELSE t.node END,
            error_code = e.code, error_message = coalesce(e.task_message, e.message),
            parked = coalesce(e.parked, t.parked), machine_failures = coalesce(e.machine_failures, t.machine_failures),
            own_failures = coalesce(e.own_failures, t.own_failures), outages = coalesce(e.outages, t.outages),
            result = e.result, result_s3_key = e.result_key, result_ref = e.result_ref,
            completed_at = CASE WHEN e.state = 'queued' THEN NULL ELSE e.at END,
            runtime_seconds = CASE WHEN e.state = 'queued' THEN NULL ELSE e.wall_seconds END,
            cpu_seconds = CASE WHEN e.state = 'queued' THEN NULL ELSE e.cpu_seconds END,
            peak_memory_mb = CASE WHEN e.state = 'queued' THEN NULL ELSE e.peak_memory_mb END
        FROM ending e WHERE t.id = e.id
    ), noted AS (
        INSERT INTO events (organization_id, task_id, kind, data)
        SELECT e.organization_id, e.id, CASE WHEN e.state = 'queued' THEN 'TaskRetried' ELSE 'TaskFinished' END, CASE
            WHEN e.state = 'queued' THEN json_build_object('code', e.code, 'delay_seconds', e.delay_seconds)
            ELSE json_build_object('state', e.state, 'code', e.code, 'attempt', e.number, 'wall_seconds', e.wall_seconds,
                'cpu_seconds', e.cpu_seconds, 'peak_memory_mb', e.peak_memory_mb) END
        FROM ending e
    ), logged AS (
        INSERT INTO task_logs (task_id, index, organization_id, attempt, kind, text)
        SELECT e.id, l.index, e.organization_id, e.number, l.kind, l.text
        FROM ending e, json_to_recordset(e.lines) AS l (index int, kind text, text text) WHERE e.lines IS NOT NULL
        ON CONFLICT (task_id, index) DO NOTHING
    ), notice AS (
        SELECT coalesce(e.token, e.id) AS name, CASE WHEN e.state <> 'queued' THEN 'task:' || e.id END AS key, CASE
            WHEN e.is_told AND e.state = 'completed' AND e.number = 1 AND octet_length(e.result::text) < notice_bytes
            THEN ' ' || json_build_object(
                'started_at', e.started_at, 'completed_at', e.at, 'cancel_requested_at', e.cancel_requested_at, 'progress', e.progress,
                'wall_seconds', e.wall_seconds, 'cpu_seconds', e.cpu_seconds, 'peak_memory_mb', e.peak_memory_mb,
                'result', e.result, 'attempts', json_build_array(json_build_object(
                    'number', e.number, 'state', 'completed', 'node', e.node, 'backend', e.backend, 'started_at', e.attempt_started_at,
                    'ended_at', e.at, 'error_code', NULL, 'error_message', NULL, 'wall_seconds', e.wall_seconds,
                    'cpu_seconds', e.cpu_seconds, 'peak_memory_mb', e.peak_memory_mb)))
            END AS rest
        FROM ending e
    )
    SELECT string_agg(name::text, ','), string_agg(CASE WHEN key IS NOT NULL THEN
            pg_notify('mecapy_ended', CASE WHEN octet_length(key || rest) < notice_bytes THEN key || rest ELSE key END)::text END, '')
        INTO ended, told FROM notice;
    RETURN ended;
END
$$;

REVOKE ALL ON FUNCTION mecapy_end FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mecapy_end TO mecapy_app, mecapy_worker;
