-- The one insert of tasks, with their events: those of one submit, which share all but what stands in `tasks`, in that order. A task
-- whose group names a reason to hold it waits for that; any other can be claimed. Whoever calls has checked that they may be.
-- Tasks that carry calls take them from those that wait: all that are named, or nothing is inserted.
CREATE OR REPLACE FUNCTION mecapy_insert_tasks(submitted json) RETURNS TABLE (task_id uuid, created timestamptz)
    LANGUAGE plpgsql SET search_path = pg_catalog, public AS $$
#variable_conflict use_column
DECLARE
    named int;
    carried int;
BEGIN
    RETURN QUERY WITH made AS (
        INSERT INTO tasks (id, organization_id, user_id, function_id, package_version_id, name, state, lane, priority, rank, claimable,
            hold_reason, inputs, inputs_ref, files, inputs_digest, cpu, memory_mb, needs, timeout_seconds, retries, retry_of,
            run_id, node_id, study_id, point, batch_id, package_digest, environment_digest, interpreter, calls_count, share_cost)
        SELECT t.id, g.organization_id, g.user_id, g.function_id, g.package_version_id, t.name, 'queued', t.lane, t.priority, t.rank,
            g.hold_reason IS NULL, g.hold_reason, t.inputs, t.inputs_ref, coalesce(t.files, '{}'), t.inputs_digest, g.cpu, g.memory_mb,
            coalesce(g.needs, '{}'), t.timeout_seconds, coalesce(g.retries, '{}'), t.retry_of,
            g.run_id, t.node_id, g.study_id, t.point, g.batch_id, g.package_digest, g.environment_digest, g.interpreter,
            coalesce(t.calls_count, 0), coalesce(t.share_cost, 1)
        FROM json_to_record(submitted) AS g (
            organization_id uuid, user_id uuid, function_id uuid, package_version_id uuid, hold_reason text, cpu int, memory_mb int,
            needs text[], retries json, run_id uuid, study_id uuid, batch_id uuid, package_digest text, environment_digest text,
            interpreter text, tasks json),
        json_to_recordset(g.tasks) AS t (
            id uuid, name text, lane text, priority smallint, rank smallint, inputs json, inputs_ref uuid, files json, inputs_digest text,
            timeout_seconds float8, retry_of uuid, node_id uuid, point bigint, calls_count int, share_cost float8)
        RETURNING id, organization_id, lane, created_at
    ), noted AS (
        INSERT INTO events (organization_id, task_id, kind, data)
        SELECT made.organization_id, made.id, 'TaskQueued', json_build_object('lane', made.lane) FROM made
    )
    SELECT made.id, made.created_at FROM made;
    IF (submitted ->> 'carries')::boolean THEN
        UPDATE calls c SET state = 'running', task_id = carrier.id, position = carrier.place - 1
        FROM (
            SELECT p.id, k.id AS call_id, k.place FROM json_to_recordset(submitted -> 'tasks') AS p (id uuid, calls uuid[]),
                unnest(p.calls) WITH ORDINALITY AS k (id, place)
        ) AS carrier
        WHERE c.id = carrier.call_id AND c.state = 'waiting' AND c.task_id IS NULL;
        GET DIAGNOSTICS carried = ROW_COUNT;
        SELECT sum(p.calls_count) INTO named FROM json_to_recordset(submitted -> 'tasks') AS p (calls_count int);
        IF carried IS DISTINCT FROM named THEN
            RAISE EXCEPTION USING ERRCODE = 'integrity_constraint_violation',
                MESSAGE = format('%s of %s calls can be carried: the others do not wait', carried, named);
        END IF;
    END IF;
END
$$;

REVOKE ALL ON FUNCTION mecapy_insert_tasks FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mecapy_insert_tasks TO mecapy_app, mecapy_worker;
