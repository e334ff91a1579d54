"""Statements for runs that outlive their worker.

Who takes them over, how much of their output is kept, which still count.
"""

from sqlalchemy import text

# A durable name of the run. No row: the attempt no longer counts.
NOTE_REFERENCE = text("""
UPDATE attempts SET reference = :reference, backend = :backend WHERE token = :token AND ended_at IS NULL RETURNING id
""")

# Another process of this node may go on at once.
LET_GO = text(
    "UPDATE attempts SET lease_until = clock_timestamp() WHERE token = :token AND ended_at IS NULL AND reference IS "
    "NOT NULL"
)

OTHER_WORKERS = text("""
SELECT DISTINCT worker FROM attempts WHERE node = :node AND ended_at IS NULL AND reference IS NOT NULL
    AND worker <> :worker
""")

# The runs of this node whose worker is gone get a new token: from here on a late old worker changes nothing. One whose
# function is gone is left to the end of its lease, which nobody renews.
TAKE_OVER = text("""
WITH left_alone AS (
    SELECT a.id FROM attempts a JOIN tasks t ON t.id = a.task_id AND t.attempt_token = a.token AND t.state = 'running'
    WHERE a.node = :node AND a.reference IS NOT NULL AND a.ended_at IS NULL AND a.lane = ANY (cast(:lanes AS text[]))
      AND (a.lease_until < clock_timestamp() OR a.worker = ANY (cast(:dead AS text[])))
      AND EXISTS (SELECT FROM runnable_functions runnable WHERE runnable.function_id = t.function_id)
    FOR UPDATE OF a, t SKIP LOCKED
), taken AS (
    UPDATE attempts a SET token = gen_random_uuid(), worker = :worker,
        lease_until = clock_timestamp() + make_interval(secs => :lease_seconds)
    FROM left_alone WHERE a.id = left_alone.id
    RETURNING a.*
), told AS (
    UPDATE tasks t SET attempt_token = taken.token FROM taken WHERE t.id = taken.task_id RETURNING t.*
)
SELECT taken.reference, told.id AS task_id, told.organization_id, taken.number, taken.token, told.lane, told.cpu,
    told.memory_mb, told.timeout_seconds, told.inputs, i.key AS inputs_key, i.size_bytes AS inputs_size_bytes,
    i.sha256 AS inputs_sha256, told.files, o.limits, told.run_id, told.study_id,
    NULL::json AS calls, runnable.*
FROM taken JOIN told ON told.id = taken.task_id JOIN organizations o ON o.id = told.organization_id
JOIN runnable_functions runnable ON runnable.function_id = told.function_id
LEFT JOIN stored_values i ON i.id = told.inputs_ref AND i.organization_id = told.organization_id
""")

SEEN = text("""
SELECT coalesce(sum(length(text)) FILTER (WHERE kind = 'stdout'), 0) AS stdout_characters,
       coalesce(sum(length(text)) FILTER (WHERE kind = 'stderr'), 0) AS stderr_characters,
       count(*) FILTER (WHERE kind = 'progress') AS progress_lines,
       count(*) FILTER (WHERE kind = 'platform') AS platform_pieces
FROM task_logs WHERE task_id = :task_id AND attempt = :number
""")

STILL_COUNT = text(
    "SELECT task_id, number FROM attempts WHERE task_id = ANY (cast(:task_ids AS uuid[])) AND ended_at IS NULL"
)
