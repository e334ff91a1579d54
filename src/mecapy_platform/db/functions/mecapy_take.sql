-- The one take: chosen tasks become attempts of a worker, each under its own token, with their events. A task that is not claimable any
-- more is passed over; a worker that this database does not serve is refused. What comes back, in the order asked for, is what differs
-- from task to task; what it runs is in runnable_functions.
-- Of a task that carries calls, those that have not ended come along, in their order.
-- A plan is kept for long, and made while tables are small: it is told to find rows by index, however few there are then.
CREATE OR REPLACE FUNCTION mecapy_take(
    ids uuid[], tokens uuid[], node_ text, worker_ text, backend_ text, lease_seconds float8
) RETURNS TABLE (
    task_id uuid, organization_id uuid, number int, token uuid, lane text, cpu int, memory_mb int, timeout_seconds float8, inputs json,
    inputs_key text, inputs_size_bytes bigint, inputs_sha256 text, files json, limits json, function_id uuid, run_id uuid, study_id uuid, calls json
) LANGUAGE plpgsql SET search_path = pg_catalog, public SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off AS $$
#variable_conflict use_column
BEGIN
    IF NOT mecapy_serves() THEN
        RAISE EXCEPTION USING ERRCODE = 'MC001', MESSAGE = 'this database serves programs of another version',
            DETAIL = format('worker %s takes nothing', worker_);
    END IF;
    RETURN QUERY WITH claimed AS (
        UPDATE tasks t SET state = 'running', claimable = false, hold_reason = NULL, not_before = NULL, attempts = t.attempts + 1,
            attempt_token = tokens[w.place], node = node_, started_at = coalesce(t.started_at, clock_timestamp()), progress = NULL
        FROM unnest(ids) WITH ORDINALITY AS w (id, place) WHERE t.id = w.id AND t.claimable AND t.state = 'queued'
        RETURNING t.*, w.place
    ), attempt AS (
        INSERT INTO attempts (organization_id, task_id, number, token, node, worker, backend, cpu, memory_mb, lane, lease_until)
        SELECT c.organization_id, c.id, c.attempts, c.attempt_token, node_, worker_, backend_, c.cpu, c.memory_mb, c.lane,
            clock_timestamp() + make_interval(secs => lease_seconds)
        FROM claimed c
    ), noted AS (
        INSERT INTO events (organization_id, task_id, kind, data)
        SELECT c.organization_id, c.id, 'TaskStarted', json_build_object('attempt', c.attempts, 'node', node_) FROM claimed c
    )
    SELECT c.id, c.organization_id, c.attempts, c.attempt_token, c.lane, c.cpu, c.memory_mb, c.timeout_seconds, c.inputs,
        i.key, i.size_bytes, i.sha256, c.files, o.limits, c.function_id, c.run_id, c.study_id,
        CASE WHEN c.calls_count > 0 THEN (
            SELECT coalesce(json_agg(json_build_object(
                'id', k.id, 'position', k.position, 'function_id', k.function_id, 'inputs', k.inputs, 'inputs_key', v.key,
                'inputs_size_bytes', v.size_bytes, 'inputs_sha256', v.sha256, 'files', k.files, 'bindings', k.bindings)
                ORDER BY k.position), '[]')
            FROM calls k LEFT JOIN stored_values v ON v.id = k.inputs_ref AND v.organization_id = k.organization_id
            WHERE k.task_id = c.id AND k.state = 'running') END
    FROM claimed c JOIN organizations o ON o.id = c.organization_id LEFT JOIN stored_values i ON i.id = c.inputs_ref AND i.organization_id = c.organization_id
    ORDER BY c.place;
END
$$;

REVOKE ALL ON FUNCTION mecapy_take FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mecapy_take TO mecapy_worker;
