"""Statements of studies: their points are calls."""

from sqlalchemy import text

INSERT_POINTS = text("""
INSERT INTO calls (organization_id, study_id, index, function_id, inputs)
SELECT :organization_id, :study_id, :first + p.place - 1, :function_id, p.value
FROM json_array_elements(cast(:points AS json)) WITH ORDINALITY AS p (value, place)
""")

COPY_POINTS = text("""
INSERT INTO calls (organization_id, study_id, index, function_id, inputs)
SELECT organization_id, :study_id, index, function_id, inputs FROM calls
WHERE study_id = :source AND index < :most ORDER BY index
""")

TAKE_MARKS = text("""
DELETE FROM due_marks WHERE study_id = :study_id RETURNING task_id, completed, failed, cancelled, returned, cpu_seconds
""")

MARK = text("INSERT INTO due_marks (study_id) VALUES (:study_id)")

TO_DRIVE = text("""
SELECT id FROM studies WHERE wake_at <= clock_timestamp() AND state IN ('pending', 'running') ORDER BY wake_at LIMIT 50
""")

DUE = text("SELECT DISTINCT study_id FROM due_marks WHERE study_id IS NOT NULL LIMIT 200")

# Calls end with the task that carries them alone. A task of several calls has ended its own.
END_CALLS = text("""
WITH ended AS (
    UPDATE calls c SET completed_at = t.completed_at, started_at = t.started_at, error_code = t.error_code,
        error_message = t.error_message,
        state = CASE t.state WHEN 'completed' THEN 'completed' WHEN 'cancelled' THEN 'cancelled' ELSE 'failed' END
    FROM tasks t WHERE t.id = ANY (cast(:task_ids AS uuid[])) AND c.task_id = t.id AND c.study_id = :study_id
        AND c.state = 'running' AND t.state NOT IN ('queued', 'running')
    RETURNING c.state, t.cpu_seconds
)
SELECT count(*) FILTER (WHERE state = 'completed') AS completed, count(*) FILTER (WHERE state = 'failed') AS failed,
    count(*) FILTER (WHERE state = 'cancelled') AS cancelled, coalesce(sum(cpu_seconds), 0) AS cpu_seconds
FROM ended
""")

NEXT = text("""
SELECT id, index, inputs FROM calls WHERE study_id = :study_id AND state = 'waiting' ORDER BY index LIMIT :most
""")

NEXT_LEAN = text("""
SELECT id, tries FROM calls WHERE study_id = :study_id AND state = 'waiting' ORDER BY index LIMIT :most
""")

# How long a point takes, by those that ended before the first that waits.
SECONDS_EACH = text("""
SELECT avg(seconds) FROM (
    SELECT coalesce(c.wall_seconds, t.runtime_seconds) AS seconds FROM calls c LEFT JOIN tasks t ON t.id = c.task_id
    WHERE c.study_id = :study_id AND c.state = 'completed' AND c.index < coalesce((
        SELECT min(w.index) FROM calls w WHERE w.study_id = :study_id AND w.state = 'waiting'), 0)
    ORDER BY c.index DESC LIMIT 50
) lately
""")

WAITING = text("""
SELECT id, index, inputs FROM calls WHERE id = ANY (cast(:call_ids AS uuid[])) AND state = 'waiting' ORDER BY index
""")

CARRY = text("""
UPDATE calls c SET state = 'running', task_id = w.task_id, position = 0
FROM unnest(cast(:call_ids AS uuid[]), cast(:task_ids AS uuid[])) AS w (call_id, task_id)
WHERE c.id = w.call_id AND c.state = 'waiting'
""")

COUNTS = text("SELECT state, count(*) AS calls FROM calls WHERE study_id = :study_id GROUP BY state")

CANCEL_WAITING = text("""
UPDATE calls SET state = 'cancelled', completed_at = clock_timestamp(), error_code = 'cancelled',
    error_message = 'The study was cancelled before it started.'
WHERE study_id = :study_id AND state = 'waiting'
""")

ASK_RUNNING_TO_END = text("""
UPDATE tasks SET cancel_requested_at = coalesce(cancel_requested_at, clock_timestamp())
WHERE id IN (SELECT task_id FROM calls WHERE study_id = :study_id AND state = 'running')
    AND state IN ('queued', 'running')
RETURNING id, state
""")

AGAIN = text("""
UPDATE calls SET state = 'waiting', task_id = NULL, position = NULL, completed_at = NULL, started_at = NULL,
    error_code = NULL, error_message = NULL, tries = 0
WHERE study_id = :study_id AND state IN ('failed', 'cancelled')
""")

# A point with what its task or itself holds of its end.
POINTS = text("""
SELECT * FROM (
SELECT c.index, c.id, c.state, c.tries, c.task_id, c.inputs, coalesce(c.result, t.result) AS result,
    coalesce(c.result_ref, t.result_ref) AS result_ref, c.error_code, c.error_message, c.started_at, c.completed_at,
    coalesce(c.wall_seconds, t.runtime_seconds) AS wall_seconds, coalesce(c.cpu_seconds, t.cpu_seconds) AS cpu_seconds,
    coalesce(c.peak_memory_mb, t.peak_memory_mb) AS peak_memory_mb,
    count(*) OVER () AS listed, min(c.index) OVER () AS first,
    sum(coalesce(octet_length(c.inputs::text), 0) + coalesce(octet_length(coalesce(c.result, t.result)::text), 0))
        OVER (ORDER BY c.index) AS bytes
FROM calls c LEFT JOIN tasks t ON t.id = c.task_id AND c.state = 'completed'
WHERE c.study_id = :study_id AND c.organization_id = ANY (cast(:organizations AS uuid[])) AND c.index > :after
    AND (cast(:state AS text) IS NULL OR c.state = :state)
ORDER BY c.index LIMIT :most
) page WHERE bytes <= :bytes OR index = first ORDER BY index
""")

# Points as lines of JSON, for who calculates with them.
ROWS = text("""
SELECT string_agg(line, E'\\n' ORDER BY index) AS rows, max(index) AS last FROM (
    SELECT c.index, json_build_object('index', c.index, 'state', c.state, 'inputs', c.inputs,
        'outputs', coalesce(c.result, t.result))::text AS line
    FROM calls c LEFT JOIN tasks t ON t.id = c.task_id AND c.state = 'completed'
    WHERE c.study_id = :study_id AND c.index > :after ORDER BY c.index LIMIT :most
) page
""")

FAILURES = text("""
SELECT error_code AS code, left(error_message, 300) AS message, count(*) AS points, min(index) AS first
FROM calls WHERE study_id = :study_id AND state = 'failed'
GROUP BY 1, 2 ORDER BY points DESC LIMIT 20
""")
