-- Writes the ends of calls that tasks carry, and marks them for the run or the study. `carriers`: the tasks, each with the ends that its
-- attempt brought; the caller has fenced the attempt. A call that has ended already keeps its first end. Of a task that will not be
-- tried again, the calls without an end wait for a later task. Gives how many ended.
CREATE OR REPLACE FUNCTION mecapy_end_calls(carriers json) RETURNS int
    LANGUAGE plpgsql SET search_path = pg_catalog, public SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    counts json;
    returns json;
BEGIN
    WITH recorded AS (
        UPDATE calls k SET state = c.state, result = c.result, result_ref = c.result_ref, error_code = c.error_code,
            error_message = c.error_message, log = c.log, wall_seconds = c.wall_seconds, cpu_seconds = c.cpu_seconds,
            peak_memory_mb = c.peak_memory_mb, completed_at = clock_timestamp(),
            started_at = clock_timestamp() - make_interval(secs => coalesce(c.wall_seconds, 0))
        FROM json_to_recordset(carriers) AS carrier (id uuid, calls json),
            json_to_recordset(coalesce(carrier.calls, '[]')) AS c (
                id uuid, state text, result json, result_ref uuid, error_code text, error_message text, log text,
                wall_seconds float8, cpu_seconds float8, peak_memory_mb float8)
        WHERE k.id = c.id AND k.task_id = carrier.id AND k.state = 'running'
        RETURNING k.task_id, k.state, k.cpu_seconds
    )
    SELECT coalesce(json_agg(n), '[]') INTO counts FROM (
        SELECT task_id, count(*) FILTER (WHERE state = 'completed') AS completed, count(*) FILTER (WHERE state = 'failed') AS failed,
            count(*) FILTER (WHERE state = 'cancelled') AS cancelled, coalesce(sum(cpu_seconds), 0) AS cpu_seconds
        FROM recorded GROUP BY task_id) n;
    WITH returned AS (
        UPDATE calls k SET state = 'waiting', task_id = NULL, position = NULL, tries = k.tries + 1
        FROM json_to_recordset(carriers) AS carrier (id uuid, is_again boolean)
        WHERE NOT carrier.is_again AND k.task_id = carrier.id AND k.state = 'running'
        RETURNING carrier.id AS task_id
    )
    SELECT coalesce(json_agg(n), '[]') INTO returns FROM (SELECT task_id, count(*) AS returned FROM returned GROUP BY task_id) n;
    INSERT INTO due_marks (run_id, study_id, task_id, completed, failed, cancelled, cpu_seconds, returned)
    SELECT carrier.run_id, carrier.study_id, carrier.id, coalesce(c.completed, 0), coalesce(c.failed, 0), coalesce(c.cancelled, 0),
        coalesce(c.cpu_seconds, 0),
        coalesce(r.returned, 0)
    FROM json_to_recordset(carriers) AS carrier (id uuid, is_again boolean, run_id uuid, study_id uuid)
    LEFT JOIN json_to_recordset(counts) AS c (task_id uuid, completed int, failed int, cancelled int, cpu_seconds float8) ON c.task_id = carrier.id
    LEFT JOIN json_to_recordset(returns) AS r (task_id uuid, returned int) ON r.task_id = carrier.id
    WHERE (carrier.run_id IS NOT NULL OR carrier.study_id IS NOT NULL) AND (NOT carrier.is_again OR c.task_id IS NOT NULL);
    RETURN (SELECT coalesce(sum(c.completed + c.failed + c.cancelled), 0)
        FROM json_to_recordset(counts) AS c (completed int, failed int, cancelled int));
END
$$;

REVOKE ALL ON FUNCTION mecapy_end_calls FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mecapy_end_calls TO mecapy_app, mecapy_worker;
