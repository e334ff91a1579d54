-- Completed attempts, each fenced by its token and by the task's state, and in the same transaction a claim of up to `slots_` tasks for
-- the places that become free (0: none). A row that somebody else holds at this moment is passed over, so that batches never wait for
-- each other; who is not in `ended` was not ended. `lanes`: where something still waits. `claims`: as mecapy_fast_claim's, which see.
-- Who waits for a task is woken with its end, where that is small; a first attempt's alone, as earlier ones would have to be read.
CREATE OR REPLACE FUNCTION mecapy_finish(
    ends json, lane_ text, slots_ int, tokens_ uuid[], node_ text, worker_ text, backend_ text, lease_seconds_ float8,
    kept_mb_ int, is_short_ boolean, organization_max_ int
) RETURNS TABLE (ended text, lanes text, claims json)
    LANGUAGE plpgsql SET search_path = pg_catalog, public SET timezone = 'UTC' AS $$
#variable_conflict use_column
DECLARE
    notice_bytes CONSTANT int := 7900; -- of the 8,000 that a NOTIFY holds
    told text;
BEGIN
    WITH given AS (
        SELECT * FROM json_to_recordset(ends) AS g (
            token uuid, result json, result_key text, wall_seconds float8, cpu_seconds float8, peak_memory_mb float8, lines json)
    ), live AS (
        SELECT a.id AS attempt_id, a.number, a.task_id, a.node, a.backend, a.started_at AS attempt_started_at, t.organization_id,
            t.started_at, t.progress, t.cancel_requested_at, clock_timestamp() AS at, g.*
        FROM given g JOIN attempts a ON a.token = g.token AND a.ended_at IS NULL
        JOIN tasks t ON t.id = a.task_id AND t.attempt_token = g.token AND t.state = 'running'
        FOR UPDATE OF a, t SKIP LOCKED
    ), closed AS (
        UPDATE attempts a SET ended_at = live.at, state = 'completed', wall_seconds = live.wall_seconds,
            cpu_seconds = live.cpu_seconds, peak_memory_mb = live.peak_memory_mb, leftovers_removed = true
        FROM live WHERE a.id = live.attempt_id
    ), finished AS (
        UPDATE tasks t SET state = 'completed', attempt_token = NULL, result = live.result, result_s3_key = live.result_key,
            error_code = NULL, error_message = NULL, completed_at = live.at, runtime_seconds = live.wall_seconds,
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
    ), notice AS (
        SELECT token, 'task:' || task_id AS key, CASE
            WHEN number = 1 AND result_key IS NULL AND octet_length(result::text) < notice_bytes THEN ' ' || json_build_object(
                'started_at', started_at, 'completed_at', at, 'cancel_requested_at', cancel_requested_at, 'progress', progress,
                'wall_seconds', wall_seconds, 'cpu_seconds', cpu_seconds, 'peak_memory_mb', peak_memory_mb,
                'result', result, 'attempts', json_build_array(json_build_object(
                    'number', number, 'state', 'completed', 'node', node, 'backend', backend, 'started_at', attempt_started_at,
                    'ended_at', at, 'error_code', NULL, 'error_message', NULL, 'wall_seconds', wall_seconds,
                    'cpu_seconds', cpu_seconds, 'peak_memory_mb', peak_memory_mb)))
            END AS rest
        FROM live
    )
    SELECT string_agg(token::text, ','), string_agg(
            pg_notify('mecapy_ended', CASE WHEN octet_length(key || rest) < notice_bytes THEN key || rest ELSE key END)::text, '')
        INTO ended, told FROM notice;
    IF slots_ > 0 THEN
        SELECT c.claims INTO claims FROM mecapy_fast_claim(
            lane_, slots_, tokens_, node_, worker_, backend_, lease_seconds_, kept_mb_, is_short_, organization_max_) c;
    END IF;
    SELECT string_agg(lane, ',') INTO lanes FROM unnest(ARRAY['high_priority', 'default', 'long_running']) AS lane
        WHERE EXISTS (SELECT FROM tasks t WHERE t.claimable AND t.lane = lane.lane);
    RETURN NEXT;
END
$$;

REVOKE ALL ON FUNCTION mecapy_finish FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mecapy_finish TO mecapy_worker;
