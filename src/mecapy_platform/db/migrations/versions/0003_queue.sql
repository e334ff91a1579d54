-- The short ways of the queue: submit and read in the scope of a tenant, and the claim in which everything that waits fits.
-- One function ends at each line that is "$$;" alone.

-- Counts what a name may mean in an organization: who looked something up knows by it whether that still holds.
CREATE FUNCTION mecapy_catalog_changed() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
BEGIN
    UPDATE organizations SET catalog = catalog + 1
        WHERE id = CASE WHEN TG_OP = 'DELETE' THEN OLD.organization_id ELSE NEW.organization_id END;
    RETURN NULL;
END
$$;

-- Tasks of several callers in one statement. Each group is inserted in the scope of its own caller, so row-level security judges it.
-- What does not come back was not accepted: its names mean something else by now, the queue is full, or no worker is large enough.
CREATE FUNCTION mecapy_submit(batch json, max_queued bigint) RETURNS TABLE (task_id uuid, created timestamptz)
    LANGUAGE plpgsql SET search_path = pg_catalog, public AS $$
#variable_conflict use_column
DECLARE
    g record;
BEGIN
    FOR g IN SELECT * FROM json_to_recordset(batch) AS g (
        scope text, visible uuid[], catalog bigint, organization_id uuid, user_id uuid, function_id uuid, package_version_id uuid,
        cpu int, memory_mb int, retries json, package_digest text, environment_digest text, interpreter text, tasks json)
    LOOP
        PERFORM set_config('mecapy.organizations', g.scope, true), set_config('mecapy.user_id', g.user_id::text, true);
        CONTINUE WHEN g.catalog IS DISTINCT FROM (SELECT sum(o.catalog) FROM organizations o WHERE o.id = ANY (g.visible));
        CONTINUE WHEN max_queued <= (
            SELECT coalesce(sum(s.queued), 0) FROM lane_shares s
            WHERE s.lane IN ('high_priority', 'default', 'long_running') AND s.organization_id = g.organization_id);
        CONTINUE WHEN NOT EXISTS (
            SELECT FROM nodes n WHERE n.seen_at > now() - interval '60 seconds' AND g.cpu <= n.cpu AND g.memory_mb <= n.memory_mb
        ) AND EXISTS (SELECT FROM nodes n WHERE n.seen_at > now() - interval '60 seconds');
        RETURN QUERY WITH made AS (
            INSERT INTO tasks (id, organization_id, user_id, function_id, package_version_id, name, state, lane, priority, rank, claimable,
                inputs, files, inputs_digest, cpu, memory_mb, timeout_seconds, retries, package_digest, environment_digest, interpreter)
            SELECT t.id, g.organization_id, g.user_id, g.function_id, g.package_version_id, t.name, 'queued', t.lane, t.priority, t.rank,
                true, t.inputs, '{}', t.inputs_digest, g.cpu, g.memory_mb, t.timeout_seconds, g.retries, g.package_digest,
                g.environment_digest, g.interpreter
            FROM json_to_recordset(g.tasks) AS t (
                id uuid, name text, lane text, priority smallint, rank smallint, inputs json, inputs_digest text, timeout_seconds float8)
            RETURNING id, lane, created_at
        ), noted AS (
            INSERT INTO events (organization_id, task_id, kind, data)
            SELECT g.organization_id, made.id, 'TaskQueued', json_build_object('lane', made.lane) FROM made
        )
        SELECT made.id, made.created_at FROM made;
    END LOOP;
END
$$;

-- Tasks as their callers may see them; each question is asked in the scope of its caller.
CREATE FUNCTION mecapy_tasks(batch json) RETURNS TABLE (place int, task json)
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

-- Claims the next tasks of a lane when core/quotas.pick would take just these: the first of all organizations' queues, merged by their
-- passes, as long as all of them fit together and no quota stands against one. `verdict` says what came of it: none (nothing waits),
-- all (claimed), pick (something does not fit, so somebody must choose).
CREATE FUNCTION mecapy_claim_all(
    lane_ text, slots_ int, tokens_ uuid[], node_ text, worker_ text, backend_ text, lease_seconds_ float8,
    kept_mb_ int, is_short_ boolean, organization_max_ int
) RETURNS TABLE (verdict text, claims json) LANGUAGE plpgsql SET search_path = pg_catalog, public AS $$
#variable_conflict use_column
DECLARE
    nobody CONSTANT uuid := '00000000-0000-0000-0000-000000000000';
    lane_passed float8;
    room record;
    wanted record;
BEGIN
    IF NOT EXISTS (SELECT FROM tasks t WHERE t.claimable AND t.lane = lane_) THEN
        RETURN QUERY SELECT 'none', NULL::json;
        RETURN;
    END IF;
    SELECT passed INTO lane_passed FROM lane_shares s WHERE s.lane = lane_ AND s.organization_id = nobody FOR UPDATE;
    PERFORM FROM nodes n WHERE n.name = node_ FOR UPDATE;
    WITH RECURSIVE organization AS (
        (SELECT t.organization_id AS id FROM tasks t WHERE t.claimable AND t.lane = lane_ ORDER BY t.organization_id LIMIT 1)
        UNION ALL
        SELECT (SELECT t.organization_id FROM tasks t
                WHERE t.claimable AND t.lane = lane_ AND t.organization_id > organization.id ORDER BY t.organization_id LIMIT 1)
        FROM organization WHERE organization.id IS NOT NULL
    ), turn AS (
        SELECT o.id, o.weight, o.limits, greatest(coalesce(s.passed, 0), lane_passed) AS passed
        FROM organization JOIN organizations o ON o.id = organization.id
        LEFT JOIN lane_shares s ON s.lane = lane_ AND s.organization_id = o.id
        ORDER BY passed, o.id LIMIT 64
    ), ordered AS (
        SELECT head.id, turn.id AS organization_id, turn.weight, turn.limits, head.cpu, head.memory_mb,
            turn.passed + (head.number - 1) / turn.weight AS passed
        FROM turn CROSS JOIN LATERAL (
            SELECT t.id, t.cpu, t.memory_mb, row_number() OVER (ORDER BY t.rank, t.sequence) AS number
            FROM tasks t WHERE t.claimable AND t.lane = lane_ AND t.organization_id = turn.id ORDER BY t.rank, t.sequence LIMIT slots_
        ) head
        ORDER BY 7, 2 LIMIT slots_
    ), chosen AS (
        SELECT organization_id, max(passed + 1 / weight) AS passed,
            count(*) > coalesce((min(limits::text)::json ->> 'max_running')::int, organization_max_)
                - (SELECT count(*) FROM attempts a WHERE a.ended_at IS NULL AND a.organization_id = ordered.organization_id) AS blocked
        FROM ordered GROUP BY organization_id
    )
    SELECT count(*) AS tasks, sum(cpu) AS cpu, sum(memory_mb) AS memory_mb, max(passed) AS passed, array_agg(id ORDER BY passed, organization_id)
        AS ids, (SELECT bool_or(blocked) FROM chosen) AS blocked, (SELECT array_agg(organization_id) FROM chosen) AS organizations,
        (SELECT array_agg(passed) FROM chosen) AS passes
        INTO wanted FROM ordered;
    IF wanted.tasks = 0 AND lane_passed IS NOT NULL THEN
        RETURN QUERY SELECT 'none', NULL::json;
        RETURN;
    END IF;
    SELECT n.cpu - coalesce(sum(a.cpu), 0) AS cpu, n.memory_mb - coalesce(sum(a.memory_mb), 0) AS memory_mb, n.accepts_work,
        least(kept_mb_, n.memory_mb / 8) AS kept_mb INTO room
        FROM nodes n LEFT JOIN attempts a ON a.node = n.name AND a.ended_at IS NULL WHERE n.name = node_ GROUP BY n.name;
    IF lane_passed IS NULL OR room IS NULL OR NOT room.accepts_work OR wanted.blocked OR (wanted.cpu > room.cpu AND NOT is_short_)
        OR wanted.memory_mb > room.memory_mb - (CASE WHEN is_short_ THEN 0 ELSE room.kept_mb END)
    THEN
        RETURN QUERY SELECT 'pick', NULL::json;
        RETURN;
    END IF;
    RETURN QUERY WITH passes AS (
        INSERT INTO lane_shares (lane, organization_id, passed)
        SELECT lane_, p.organization_id, p.passed FROM unnest(wanted.organizations, wanted.passes) AS p (organization_id, passed)
        UNION ALL SELECT lane_, nobody, wanted.passed WHERE wanted.passed > lane_passed
        ON CONFLICT (lane, organization_id) DO UPDATE SET passed = excluded.passed
    ), claimed AS (
        UPDATE tasks t SET state = 'running', claimable = false, held = NULL, not_before = NULL, attempts = t.attempts + 1,
            attempt_token = tokens_[w.place], node = node_, started_at = coalesce(t.started_at, clock_timestamp()), progress = NULL
        FROM unnest(wanted.ids) WITH ORDINALITY AS w (id, place) WHERE t.id = w.id AND t.claimable AND t.state = 'queued'
        RETURNING t.*, w.place
    ), attempt AS (
        INSERT INTO attempts (organization_id, task_id, number, token, node, worker, backend, cpu, memory_mb, lane, lease_until)
        SELECT organization_id, id, attempts, attempt_token, node_, worker_, backend_, cpu, memory_mb, lane,
            clock_timestamp() + make_interval(secs => lease_seconds_)
        FROM claimed
    ), started AS (
        INSERT INTO events (organization_id, task_id, kind, data)
        SELECT organization_id, id, 'TaskStarted', json_build_object('attempt', attempts, 'node', node_) FROM claimed
    )
    SELECT 'all', json_agg(json_build_object(
        'task_id', c.id, 'organization_id', c.organization_id, 'number', c.attempts, 'token', c.attempt_token, 'lane', c.lane,
        'cpu', c.cpu, 'memory_mb', c.memory_mb, 'timeout_seconds', c.timeout_seconds, 'inputs', c.inputs, 'files', c.files,
        'limits', o.limits, 'function_id', c.function_id) ORDER BY c.place)
    FROM claimed c JOIN organizations o ON o.id = c.organization_id;
END
$$;

-- Completed attempts, each fenced by its token and by the task's state, and in the same transaction a claim of up to `slots_` tasks for
-- the places that become free (0: none). A row that somebody else holds at this moment is passed over, so that batches never wait for
-- each other; who is not in `ended` was not ended. `lanes`: where something still waits. `claims`: as mecapy_claim_all's, which see.
-- Who waits for a task is woken with its end, where that is small; a first attempt's alone, as earlier ones would have to be read.
CREATE FUNCTION mecapy_finish(
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
            cpu_seconds = live.cpu_seconds, peak_memory_mb = live.peak_memory_mb, is_swept = true
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
        SELECT c.claims INTO claims FROM mecapy_claim_all(
            lane_, slots_, tokens_, node_, worker_, backend_, lease_seconds_, kept_mb_, is_short_, organization_max_) c;
    END IF;
    SELECT string_agg(lane, ',') INTO lanes FROM unnest(ARRAY['high_priority', 'default', 'long_running']) AS lane
        WHERE EXISTS (SELECT FROM tasks t WHERE t.claimable AND t.lane = lane.lane);
    RETURN NEXT;
END
$$;
