"""The statements of runs: lock, look, settle, start, end. Each serves all nodes or calls of an advance at once."""

from sqlalchemy import JSON, bindparam, text

LOCK = text("""
SELECT id, organization_id, user_id, workflow_id, workflow_version_id, state, inputs, inputs_ref, options,
    parent_call_id, root_run_id, depth, deadline_at, cancel_requested_at, held_reason, first_failed_node_key, wake_at,
    visibility_snapshot, clock_timestamp() AS now,
    (SELECT m.role FROM memberships m WHERE m.organization_id = r.organization_id AND m.user_id = r.user_id) AS role,
    (SELECT coalesce(sum(s.queued), 0) FROM lane_shares s WHERE s.organization_id = r.organization_id) AS queued
FROM runs r WHERE id = :run_id FOR UPDATE
""")

# The marks that led here go with the commit; one that comes meanwhile stays, and leads here again.
_TAKEN = "WITH taken AS (DELETE FROM due_marks WHERE run_id = :run_id)"
LOCK_MARKED = text(_TAKEN + LOCK.text)

LOCK_FREE = text("SELECT id FROM runs WHERE id = :run_id FOR UPDATE SKIP LOCKED")

MARK_RUN = text("INSERT INTO due_marks (run_id) VALUES (:run_id)")

MARK_RUNS = text("INSERT INTO due_marks (run_id) SELECT r.id FROM unnest(cast(:run_ids AS uuid[])) AS r (id)")
MARK_UNMARKED = text(MARK_RUNS.text + " WHERE NOT EXISTS (SELECT FROM due_marks m WHERE m.run_id = r.id)")

MARK_PARENT = text("""
INSERT INTO due_marks (run_id, study_id, child_run_id)
SELECT c.run_id, c.study_id, :run_id FROM calls c WHERE c.id = :call_id
""")

PARENT_RUN = text("SELECT run_id FROM calls WHERE id = :call_id")

INSERT_NODES = text("""
INSERT INTO run_nodes (organization_id, run_id, place, key, kind)
SELECT :organization_id, :run_id, place - 1, key, kind
FROM unnest(cast(:keys AS text[]), cast(:kinds AS text[])) WITH ORDINALITY AS n (key, kind, place)
""")

# The states of all nodes in the order of their places, and more of those that run or wait.
NODES = text("""
SELECT array_agg(state ORDER BY place) AS states, json_agg(json_build_object(
    'id', id, 'place', place, 'state', state, 'not_before', not_before, 'branch', branch, 'items', items,
    'decision', decision, 'started_at', started_at) ORDER BY place)
        FILTER (WHERE state IN ('running', 'waiting')) AS live
FROM run_nodes WHERE run_id = :run_id
""")

IDS = text("SELECT place, id, branch, items, tries FROM run_nodes WHERE run_id = :run_id AND place = ANY (:places)")

# Of a task with one call the end is the call's; of one with several, each call has its own, and what was not reached
# waits again. A run that was made for a call ends it.
SETTLE = text("""
WITH carried AS (
    SELECT c.id, c.position, t.state, t.error_code, t.error_message, t.completed_at
    FROM calls c JOIN tasks t ON t.id = c.task_id
    WHERE c.node_id = ANY (cast(:node_ids AS uuid[])) AND c.state = 'running' AND t.state NOT IN ('queued', 'running')
    UNION ALL
    SELECT c.id, NULL, r.state, r.error_code, r.error_message, r.completed_at
    FROM calls c JOIN runs r ON r.id = c.child_run_id
    WHERE c.node_id = ANY (cast(:node_ids AS uuid[])) AND c.state = 'running'
        AND r.state IN ('completed', 'failed', 'cancelled', 'timeout')
)
UPDATE calls c SET state = CASE
        WHEN e.position IS NOT NULL THEN 'waiting'
        WHEN e.state IN ('completed', 'cancelled') THEN e.state ELSE 'failed' END,
    task_id = CASE WHEN e.position IS NULL THEN c.task_id END,
    position = NULL,
    error_code = CASE WHEN e.position IS NULL THEN e.error_code END,
    error_message = CASE WHEN e.position IS NULL THEN e.error_message END,
    completed_at = CASE WHEN e.position IS NULL THEN e.completed_at END
FROM carried e WHERE c.id = e.id
""")

# How many calls are open, up to a number that is enough to decide by; and the first that failed, with what carried it.
COUNTS = text("""
SELECT n.id AS node_id, w.waiting, r.running, d.completed, d.tries,
    f.state AS failed_state, f.index AS failed_index, f.error_code, f.error_message, f.carrier_state
FROM unnest(cast(:node_ids AS uuid[]), cast(:kinds AS text[])) AS n (id, kind)
CROSS JOIN LATERAL (SELECT count(*) AS waiting FROM (
    SELECT FROM calls c WHERE c.node_id = n.id AND c.state = 'waiting' AND c.state <> 'completed' LIMIT 1000) o) w
CROSS JOIN LATERAL (
    SELECT count(*) AS running FROM calls c WHERE c.node_id = n.id AND c.state = 'running' AND c.state <> 'completed') r
LEFT JOIN LATERAL (
    SELECT count(*) FILTER (WHERE c.state = 'completed') AS completed, max(c.tries) AS tries
    FROM calls c WHERE n.kind <> 'map' AND c.node_id = n.id) d ON true
LEFT JOIN LATERAL (
    SELECT c.state, c.index, c.error_code, c.error_message, coalesce(t.state, x.state, c.state) AS carrier_state
    FROM calls c LEFT JOIN tasks t ON t.id = c.task_id AND c.position IS NULL LEFT JOIN runs x ON x.id = c.child_run_id
    WHERE c.node_id = n.id AND c.state IN ('failed', 'cancelled') AND c.state <> 'completed'
    ORDER BY c.index LIMIT 1) f ON true
""")

INSERT_CALLS = text("""
INSERT INTO calls (organization_id, run_id, node_id, index, function_id, workflow_version_id, inputs, inputs_ref)
SELECT :organization_id, :run_id, g.node_id, g.index, g.function_id, g.workflow_version_id, g.inputs, g.inputs_ref
FROM json_to_recordset(cast(:calls AS json)) AS g (
    node_id uuid, index bigint, function_id uuid, workflow_version_id uuid, inputs json, inputs_ref uuid)
ON CONFLICT (node_id, index) WHERE node_id IS NOT NULL DO NOTHING
""")

WAITING = text("""
SELECT c.id, c.node_id, c.index, c.tries, c.function_id, c.workflow_version_id, c.inputs, c.inputs_ref
FROM unnest(cast(:node_ids AS uuid[]), cast(:counts AS int[])) AS n (id, most) CROSS JOIN LATERAL (
    SELECT * FROM calls c WHERE c.node_id = n.id AND c.state = 'waiting' AND c.state <> 'completed'
    ORDER BY c.index LIMIT n.most) c
ORDER BY c.node_id, c.index
""")

CARRIED = text("""
UPDATE calls c SET state = 'running', task_id = g.task_id, child_run_id = g.child_run_id, position = g.position,
    tries = c.tries + 1, started_at = clock_timestamp(), error_code = NULL, error_message = NULL, completed_at = NULL
FROM json_to_recordset(cast(:calls AS json)) AS g (id uuid, task_id uuid, child_run_id uuid, position int)
WHERE c.id = g.id
""")

# A call that could not even be carried: what it was to get does not fit.
REFUSED = text("""
UPDATE calls c SET state = 'running', tries = c.tries + 1, started_at = clock_timestamp()
FROM json_to_recordset(cast(:calls AS json)) AS g (id uuid) WHERE c.id = g.id
""")
REFUSED_END = text("""
UPDATE calls c SET state = 'failed', error_code = g.code, error_message = g.message, completed_at = clock_timestamp()
FROM json_to_recordset(cast(:calls AS json)) AS g (id uuid, code text, message text) WHERE c.id = g.id
""")

DROP_WAITING = text("""
UPDATE calls SET state = 'cancelled', completed_at = clock_timestamp()
WHERE node_id = ANY (cast(:node_ids AS uuid[])) AND state = 'waiting' AND state <> 'completed'
""")

CARRIERS = text("""
SELECT DISTINCT task_id, child_run_id FROM calls
WHERE node_id = ANY (cast(:node_ids AS uuid[])) AND state = 'running' AND state <> 'completed'
""")

STOP_TASKS = text("""
UPDATE tasks t SET cancel_requested_at = coalesce(t.cancel_requested_at, now())
FROM (SELECT id FROM tasks WHERE id = ANY (cast(:task_ids AS uuid[])) AND state IN ('queued', 'running')
    ORDER BY id FOR UPDATE) asked
WHERE t.id = asked.id RETURNING t.id, t.state
""")

TRY_AGAIN = text("""
UPDATE calls SET state = 'waiting', task_id = NULL, child_run_id = NULL, position = NULL
WHERE node_id = ANY (cast(:node_ids AS uuid[])) AND state IN ('failed', 'cancelled') AND state <> 'completed'
""")

# What a look has changed of nodes, all in one statement; a field that is left out stays as it is.
UPDATE_NODES = text("""
UPDATE run_nodes n SET state = g.state,
    tries = coalesce(g.tries, n.tries), branch = coalesce(g.branch, n.branch), items = coalesce(g.items, n.items),
    outputs = coalesce(g.outputs, n.outputs), outputs_ref = coalesce(g.outputs_ref, n.outputs_ref),
    inputs_digest = coalesce(g.inputs_digest, n.inputs_digest), not_before = g.not_before,
    error_code = g.code, error_message = g.message,
    started_at = CASE WHEN g.is_begun THEN coalesce(n.started_at, clock_timestamp()) ELSE n.started_at END,
    completed_at = CASE WHEN g.state IN ('completed', 'failed', 'cancelled', 'skipped') THEN clock_timestamp() END
FROM json_to_recordset(cast(:nodes AS json)) AS g (
    place int, state text, tries int, branch int, items int, outputs json, outputs_ref uuid, inputs_digest text,
    not_before timestamptz, code text, message text, is_begun boolean)
WHERE n.run_id = :run_id AND n.place = g.place
""")

UPDATE_RUN = text("""
UPDATE runs SET state = :state, wake_at = :wake_at, change = change + :changed, held_reason = :held_reason,
    first_failed_node_key = coalesce(first_failed_node_key, :failed),
    error_code = coalesce(:code, error_code), error_message = coalesce(:message, error_message),
    started_at = CASE WHEN :state <> 'pending' THEN coalesce(started_at, clock_timestamp()) END,
    completed_at = CASE WHEN :is_final THEN clock_timestamp() END
WHERE id = :run_id RETURNING pg_notify('mecapy_ended', 'run:' || id)
""")

# What nodes have given: their own outputs, or those of their only or last call, wherever these lie.
OUTPUTS = text("""
SELECT n.place, n.state, n.branch, n.items, n.outputs, n.outputs_ref, c.task_id,
    coalesce(c.result, t.result, x.outputs) AS result,
    coalesce(c.result_ref, t.result_ref, x.outputs_ref) AS result_ref,
    coalesce(t.organization_id, n.organization_id) AS result_organization_id
FROM run_nodes n LEFT JOIN LATERAL (
    SELECT c.* FROM calls c WHERE n.outputs IS NULL AND n.outputs_ref IS NULL AND c.node_id = n.id
    ORDER BY c.index DESC LIMIT 1) c ON true
LEFT JOIN tasks t ON t.id = c.task_id LEFT JOIN runs x ON x.id = c.child_run_id
WHERE n.run_id = :run_id AND n.place = ANY (cast(:places AS int[]))
""")

ITEMS = text("""
SELECT c.index, c.state, c.task_id, coalesce(c.result, t.result, x.outputs) AS result,
    coalesce(c.result_ref, t.result_ref, x.outputs_ref) AS result_ref,
    coalesce(t.organization_id, c.organization_id) AS result_organization_id
FROM calls c LEFT JOIN tasks t ON t.id = c.task_id LEFT JOIN runs x ON x.id = c.child_run_id
WHERE c.node_id = :node_id ORDER BY c.index
""")

# How much ITEMS would read.
ITEMS_BYTES = text("""
SELECT coalesce(sum(coalesce(v.size_bytes, octet_length(coalesce(c.result, t.result, x.outputs)::text))), 0)
FROM calls c LEFT JOIN tasks t ON t.id = c.task_id LEFT JOIN runs x ON x.id = c.child_run_id
LEFT JOIN stored_values v ON v.id = coalesce(c.result_ref, t.result_ref, x.outputs_ref)
WHERE c.node_id = :node_id
""")

FILES = text("""
SELECT task_id, name, filename, key, size_bytes, sha256 FROM artifacts
WHERE task_id = ANY (cast(:task_ids AS uuid[])) AND kind = 'file'
""")

ROLE = text("SELECT role FROM memberships WHERE organization_id = :organization_id AND user_id = :user_id")

DUE_RUNS = text("""
SELECT run_id FROM due_marks WHERE run_id IS NOT NULL AND created_at < clock_timestamp() - make_interval(secs => :older)
    AND run_id <> ALL (cast(:paused AS uuid[]))
GROUP BY run_id ORDER BY min(id) LIMIT :most
""")

AWAKE_RUNS = text("""
SELECT id FROM runs WHERE wake_at <= clock_timestamp() AND id <> ALL (cast(:paused AS uuid[]))
ORDER BY wake_at LIMIT :most
""")

ROWS = text("SELECT count(*) FROM calls WHERE run_id = :run_id")

NODE_ERROR = text("SELECT error_code, error_message FROM run_nodes WHERE run_id = :run_id AND place = :place")

KEEP_OUTPUTS = text("""
UPDATE runs SET outputs = cast(:outputs AS json), outputs_ref = :outputs_ref WHERE id = :run_id
""").bindparams(bindparam("outputs", type_=JSON(none_as_null=True)))

CANCEL_RUNS = text("""
UPDATE runs SET cancel_requested_at = coalesce(cancel_requested_at, clock_timestamp())
WHERE id = ANY (cast(:run_ids AS uuid[])) AND state IN ('pending', 'running', 'paused')
""")

# What may change of functions; the rest of their rows is read once.
FUNCTIONS = text("""
SELECT f.id, v.status, v.environment_digest, v.interpreter, p.visibility, p.owner_id, p.archived_at, f.completed_runs,
    f.p95_seconds, f.inputs IS NULL
FROM functions f JOIN package_versions v ON v.id = f.package_version_id JOIN packages p ON p.id = v.package_id
WHERE f.id = ANY (cast(:ids AS uuid[]))
""")
