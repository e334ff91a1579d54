-- The one end: of attempts, each fenced by its token and by the task's state, or of tasks that end while they wait, which have none.
-- The caller has decided what comes of the task: `state` is a final one, or `queued` for another attempt after `delay_seconds`. A row
-- that somebody else holds at this moment is passed over, so that batches never wait for each other; the answer names the tokens, or
-- the tasks, that were ended. Who waits for a task is woken with its end, where the caller lets the end be told and it is small; a first
-- attempt's alone, as earlier ones would have to be read. What is left out stays as it is, or empty.
-- Attempts and logs are written in a statement of their own: who may end only tasks that wait has no right to either.
-- The end of a task that belongs to a run or a study is marked for who advances that (ADR 18); of one that carries calls by
-- mecapy_end_calls, which writes their ends.
-- A plan is kept for long, and made while tables are small: it is told to find rows by index, however few there are then.
CREATE OR REPLACE FUNCTION mecapy_end(ends json) RETURNS text
    LANGUAGE plpgsql SET search_path = pg_catalog, public SET timezone = 'UTC' SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    notice_bytes CONSTANT int := 7900; -- of the 8,000 that a NOTIFY holds
    attempts_ended json := '[]';
    ended text;
    carriers json;
    told text;
BEGIN
    IF ends -> 0 ->> 'token' IS NOT NULL THEN
        WITH given AS (
            SELECT * FROM json_to_recordset(ends) AS g (
                token uuid, attempt_state text, code text, message text, leftovers_removed boolean,
                wall_seconds float8, cpu_seconds float8, peak_memory_mb float8, lines json)
        ), live AS (
            SELECT a.id, a.number, a.task_id, a.organization_id, a.node, a.backend, a.started_at, clock_timestamp() AS at, g.*
            FROM given g JOIN attempts a ON a.token = g.token AND a.ended_at IS NULL
            JOIN tasks t ON t.id = a.task_id AND t.attempt_token = g.token AND t.state = 'running'
            FOR UPDATE OF a, t SKIP LOCKED
        ), closed AS (
            UPDATE attempts a SET ended_at = live.at, state = live.attempt_state, error_code = live.code, error_message = live.message,
                wall_seconds = live.wall_seconds, cpu_seconds = live.cpu_seconds, peak_memory_mb = live.peak_memory_mb,
                leftovers_removed = live.leftovers_removed
            FROM live WHERE a.id = live.id
        ), logged AS (
            INSERT INTO task_logs (task_id, index, organization_id, attempt, kind, text)
            SELECT live.task_id, l.index, live.organization_id, live.number, l.kind, l.text
            FROM live, json_to_recordset(live.lines) AS l (index int, kind text, text text) WHERE live.lines IS NOT NULL
            ON CONFLICT (task_id, index) DO NOTHING
        )
        SELECT coalesce(json_agg(json_build_object('token', live.token, 'task_id', live.task_id, 'number', live.number,
                'node', live.node, 'backend', live.backend, 'began_at', live.started_at, 'at', live.at)), '[]')
            INTO attempts_ended FROM live;
    END IF;
    WITH given AS (
        SELECT coalesce(a.task_id, g.task_id) AS id, a.number, a.node AS ran_on, a.backend, a.began_at, coalesce(a.at, clock_timestamp()) AS at,
            CASE WHEN g.token IS NULL THEN 'queued' ELSE 'running' END AS before, g.state = 'queued' AS is_again,
            g.token, g.state, g.code, coalesce(g.task_message, g.message) AS message, g.parked, g.delay_seconds, g.machine_failures,
            g.own_failures, g.outages, g.is_told, g.result, g.result_key, g.result_ref, g.wall_seconds, g.cpu_seconds, g.peak_memory_mb,
            g.calls
        FROM json_to_recordset(ends) AS g (
            token uuid, task_id uuid, state text, code text, message text, task_message text, parked boolean, delay_seconds float8,
            machine_failures int, own_failures int, outages int, is_told boolean, result json, result_key text, result_ref uuid,
            wall_seconds float8, cpu_seconds float8, peak_memory_mb float8, calls json)
        LEFT JOIN json_to_recordset(attempts_ended) AS a (
            token uuid, task_id uuid, number int, node text, backend text, began_at timestamptz, at timestamptz) ON a.token = g.token
        WHERE g.token IS NULL OR a.token IS NOT NULL
    ), settled AS (
        UPDATE tasks t SET state = g.state, attempt_token = NULL, claimable = (g.is_again AND g.delay_seconds <= 0),
            hold_reason = CASE WHEN g.is_again AND g.delay_seconds > 0 THEN 'backoff' END,
            not_before = CASE WHEN g.is_again AND g.delay_seconds > 0 THEN g.at + make_interval(secs => g.delay_seconds) END,
            node = CASE WHEN NOT g.is_again THEN t.node END, error_code = g.code, error_message = g.message,
            parked = coalesce(g.parked, t.parked), machine_failures = coalesce(g.machine_failures, t.machine_failures),
            own_failures = coalesce(g.own_failures, t.own_failures), outages = coalesce(g.outages, t.outages),
            result = g.result, result_ref = g.result_ref, result_s3_key = g.result_key, -- the last of workers of 0003 alone
            completed_at = CASE WHEN NOT g.is_again THEN g.at END,
            runtime_seconds = CASE WHEN NOT g.is_again THEN g.wall_seconds END,
            cpu_seconds = CASE WHEN NOT g.is_again THEN g.cpu_seconds END,
            peak_memory_mb = CASE WHEN NOT g.is_again THEN g.peak_memory_mb END
        FROM given g WHERE t.id = g.id AND t.state = g.before
        RETURNING g.*, t.organization_id, t.attempts, t.started_at, t.progress, t.cancel_requested_at, t.run_id, t.study_id, t.calls_count
    ), marked AS (
        INSERT INTO due_marks (run_id, study_id, task_id)
        SELECT s.run_id, s.study_id, s.id FROM settled s
        WHERE NOT s.is_again AND s.calls_count = 0 AND (s.run_id IS NOT NULL OR s.study_id IS NOT NULL)
    ), noted AS (
        INSERT INTO events (organization_id, task_id, kind, data)
        SELECT s.organization_id, s.id, CASE WHEN s.is_again THEN 'TaskRetried' ELSE 'TaskFinished' END, CASE
            WHEN s.is_again THEN json_build_object('code', s.code, 'delay_seconds', s.delay_seconds)
            ELSE json_build_object('state', s.state, 'code', s.code, 'attempt', s.attempts, 'wall_seconds', s.wall_seconds,
                'cpu_seconds', s.cpu_seconds, 'peak_memory_mb', s.peak_memory_mb) END
        FROM settled s
    ), notice AS (
        SELECT coalesce(s.token, s.id) AS name, CASE WHEN NOT s.is_again THEN 'task:' || s.id END AS key, CASE
            WHEN s.is_told AND s.state = 'completed' AND s.number = 1 AND octet_length(s.result::text) < notice_bytes
            THEN ' ' || json_build_object(
                'started_at', s.started_at, 'completed_at', s.at, 'cancel_requested_at', s.cancel_requested_at, 'progress', s.progress,
                'wall_seconds', s.wall_seconds, 'cpu_seconds', s.cpu_seconds, 'peak_memory_mb', s.peak_memory_mb,
                'result', s.result, 'attempts', json_build_array(json_build_object(
                    'number', s.number, 'state', 'completed', 'node', s.ran_on, 'backend', s.backend, 'started_at', s.began_at,
                    'ended_at', s.at, 'error_code', NULL, 'error_message', NULL, 'wall_seconds', s.wall_seconds,
                    'cpu_seconds', s.cpu_seconds, 'peak_memory_mb', s.peak_memory_mb)))
            END AS rest
        FROM settled s
    )
    SELECT string_agg(name::text, ','), string_agg(CASE WHEN key IS NOT NULL THEN
            pg_notify('mecapy_ended', CASE WHEN octet_length(key || rest) < notice_bytes THEN key || rest ELSE key END)::text END, ''), (
            SELECT json_agg(json_build_object(
                'id', s.id, 'is_again', s.is_again, 'run_id', s.run_id, 'study_id', s.study_id, 'calls', s.calls))
            FROM settled s WHERE s.calls_count > 0)
        INTO ended, told, carriers FROM notice;
    IF carriers IS NOT NULL THEN
        PERFORM mecapy_end_calls(carriers);
    END IF;
    RETURN ended;
END
$$;

REVOKE ALL ON FUNCTION mecapy_end FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mecapy_end TO mecapy_app, mecapy_worker;
