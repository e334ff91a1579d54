"""The statements of the queue, as SQL: what may be claimed, what is claimed, whose lease has run out."""

from sqlalchemy import text

# Whose turn: the lane's virtual time is the row of the nil organization; locking it makes claims of one lane follow
# each other.
LOCK_LANE = text(
    "SELECT stride_pass FROM lane_shares "
    "WHERE lane = :lane AND organization_id = '00000000-0000-0000-0000-000000000000' FOR UPDATE"
)

ADD_LANE = text(
    "INSERT INTO lane_shares (lane, organization_id) VALUES (:lane, '00000000-0000-0000-0000-000000000000') ON "
    "CONFLICT DO NOTHING"
)

# Claims of one node follow each other. A statement of its own: the next one then sees what the claim before it has
# committed, while a statement that waits for a lock goes on with the picture it took before waiting.
LOCK_NODE = text("SELECT FROM nodes WHERE name = :node FOR UPDATE")

NODE_ROOM = text("""
SELECT n.name, n.cpu - coalesce(sum(a.cpu), 0) AS cpu,
       n.memory_mb - coalesce(sum(a.memory_mb), 0) - mecapy_building_mb(n.name) AS memory_mb,
       n.accepts_work, n.cpu AS all_cpu, n.memory_mb AS all_memory_mb, count(a.id) = 0 AS is_idle
FROM nodes n LEFT JOIN attempts a ON a.node = n.name AND a.ended_at IS NULL
WHERE n.name = :node
GROUP BY n.name
""")

# What runs, by organization; a task that has outlived its lane counts as one of the longer lane.
RUNNING = text("""
SELECT organization_id, count(*) AS running,
       count(*) FILTER (
           WHERE lane = 'long_running' OR started_at < now() - make_interval(secs => :default_limit)
       ) AS long_running
FROM attempts WHERE ended_at IS NULL GROUP BY organization_id
""")

# The first tasks of each organization that has any: a skip scan over organizations, then the head of each queue. What
# this worker can never run, and what has no version that is ready, is passed over.
CANDIDATES = text("""
WITH RECURSIVE organization AS (
    (SELECT organization_id FROM tasks WHERE claimable AND lane = :lane ORDER BY organization_id LIMIT 1)
    UNION ALL
    SELECT (SELECT t.organization_id FROM tasks t
            WHERE t.claimable AND t.lane = :lane AND t.organization_id > organization.organization_id
            ORDER BY t.organization_id LIMIT 1)
    FROM organization WHERE organization.organization_id IS NOT NULL
), turn AS (
    SELECT o.id, o.weight, o.limits, greatest(coalesce(s.stride_pass, 0), :virtual_time) AS stride_pass
    FROM organization JOIN organizations o ON o.id = organization.organization_id
    LEFT JOIN lane_shares s ON s.lane = :lane AND s.organization_id = o.id
)
SELECT turn.id AS organization_id, turn.weight, turn.limits, turn.stride_pass, head.*
FROM turn JOIN nodes node ON node.name = :node CROSS JOIN LATERAL (
    SELECT t.id AS task_id, t.cpu, t.memory_mb, extract(epoch FROM now() - t.created_at)::float8 AS waited_seconds,
        t.rank, t.sequence, t.share_cost, t.calls_count > 0 AS is_pack
    FROM (VALUES (0, cast(:depth AS int)), (1, CASE WHEN :packs > 0 THEN :depth ELSE 0 END)) AS kind (is_pack, most)
    CROSS JOIN LATERAL (
    SELECT t.* FROM tasks t WHERE t.claimable AND t.lane = :lane AND t.organization_id = turn.id
        AND least(t.calls_count, 1) = kind.is_pack
        AND t.cpu <= node.cpu AND t.memory_mb <= node.memory_mb
        AND (cast(:abilities AS text[]) IS NULL OR t.needs <@ cast(:abilities AS text[]))
        AND EXISTS (SELECT FROM package_versions v WHERE v.id = t.package_version_id AND v.status = 'ready')
    ORDER BY t.rank, t.sequence LIMIT kind.most
    ) t ORDER BY t.rank, t.sequence LIMIT :depth
) head
ORDER BY turn.stride_pass, turn.id, head.rank, head.sequence
""")

# Take what was chosen: see db/functions/mecapy_take and runnable_functions, which have the columns of a claim. Of a
# function that is gone these are empty: who has taken such a task ends it.
TAKE = text("""
SELECT * FROM mecapy_take(
    cast(:task_ids AS uuid[]), cast(:tokens AS uuid[]), :node, :worker, :backend, :lease_seconds
) WITH ORDINALITY LEFT JOIN runnable_functions USING (function_id) ORDER BY ordinality
""")

INSERT_TASKS = text("SELECT task_id FROM mecapy_insert_tasks(cast(:submitted AS json))")

# Ends of attempts and of tasks that wait; the answer names those that were ended.
END = text("SELECT mecapy_end(cast(:ends AS json))")

RECORD_CALLS = text("SELECT mecapy_record_calls(:token, cast(:calls AS json))")

TAKE_TURN = text("""
INSERT INTO lane_shares (lane, organization_id, stride_pass) VALUES (:lane, :organization_id, :stride_pass)
ON CONFLICT (lane, organization_id) DO UPDATE SET stride_pass = excluded.stride_pass
""")

# Renew what is still ours. What does not come back was taken from us: its sandbox must die.
RENEW = text("""
UPDATE attempts SET lease_until = clock_timestamp() + make_interval(secs => :lease_seconds)
WHERE token = ANY (cast(:tokens AS uuid[])) AND ended_at IS NULL RETURNING token
""")

CANCELLED = text(
    "SELECT attempt_token FROM tasks WHERE id = ANY (cast(:task_ids AS uuid[])) AND cancel_requested_at IS NOT NULL "
    "AND state = 'running'"
)

CANCELLED_CALLS = text(
    "SELECT id, task_id FROM calls WHERE task_id = ANY (cast(:task_ids AS uuid[])) AND cancel_requested_at IS NOT NULL "
    "AND state = 'running'"
)

# After a restart of PostgreSQL nobody could renew for a while: wait one lease before anyone is called lost. A run with
# a durable name goes on without its worker: its node gets time to come back.
LOST = text("""
SELECT token FROM attempts
WHERE ended_at IS NULL
  AND lease_until
      < clock_timestamp() - make_interval(secs => CASE WHEN reference IS NULL THEN 0 ELSE :absence_seconds END)
  AND pg_postmaster_start_time() < clock_timestamp() - make_interval(secs => :lease_seconds)
ORDER BY lease_until LIMIT 500
""")

IS_LOST = text("""
SELECT lease_until
       < clock_timestamp() - make_interval(secs => CASE WHEN reference IS NULL THEN 0 ELSE :absence_seconds END)
FROM attempts WHERE id = :id
""")

APPEND_LOGS = text("""
INSERT INTO task_logs (task_id, index, organization_id, attempt, kind, text)
SELECT t.id, l.index, t.organization_id, t.attempts, l.kind, l.text
FROM tasks t, unnest(cast(:indexes AS int[]), cast(:kinds AS text[]), cast(:texts AS text[])) AS l (index, kind, text)
WHERE t.id = :task_id AND t.attempt_token = :token
ON CONFLICT (task_id, index) DO NOTHING
""")

DUE = text("""
UPDATE tasks SET claimable = true, hold_reason = NULL, not_before = NULL
WHERE not_before <= clock_timestamp() AND state = 'queued' AND hold_reason = 'backoff'
""")

LANES_WITH_WORK = text("""
SELECT lane FROM unnest(ARRAY['high_priority', 'default', 'long_running']) AS lane
WHERE EXISTS (SELECT FROM tasks t WHERE t.claimable AND t.lane = lane.lane)
""")

COUNT_QUEUED = text("""
INSERT INTO lane_shares (lane, organization_id, queued)
SELECT lane, organization_id, count(*) FROM tasks WHERE claimable GROUP BY lane, organization_id
ON CONFLICT (lane, organization_id) DO UPDATE SET queued = excluded.queued WHERE lane_shares.queued <> excluded.queued
""")

COUNT_NONE_QUEUED = text("""
UPDATE lane_shares s SET queued = 0 WHERE queued <> 0
AND NOT EXISTS (SELECT FROM tasks t WHERE t.claimable AND t.lane = s.lane AND t.organization_id = s.organization_id)
""")

# The 95th percentile over the last hundred completed runs of each function that was used lately.
LEARN_DURATIONS = text("""
UPDATE functions f SET completed_runs = h.runs, p95_seconds = h.p95
FROM (SELECT DISTINCT function_id FROM tasks WHERE created_at > now() - interval '2 minutes') used
CROSS JOIN LATERAL (
    SELECT count(*) AS runs, percentile_cont(0.95) WITHIN GROUP (ORDER BY r.runtime_seconds) AS p95
    FROM (SELECT runtime_seconds FROM tasks t WHERE t.function_id = used.function_id AND t.state = 'completed'
          ORDER BY t.created_at DESC LIMIT 100) r
) h
WHERE f.id = used.function_id AND h.runs > 0
""")

FACTS = text("SELECT row_to_json(f) FROM runnable_functions f WHERE f.function_id = :function_id")

# Claims of builds follow each other, so that each sees whose builds the one before it has begun.
LOCK_BUILDS = text("SELECT pg_advisory_xact_lock(hashtextextended('mecapy-build', 0))")

# The oldest version of the organization whose turn it is: the one with the fewest builds under way, then the one whose
# last build ended longest ago. An organization at its limit waits, however many builders are idle.
CLAIM_BUILD = text("""
UPDATE package_versions SET build_token = :token, build_attempts = build_attempts + 1,
    build_node = NULL, build_memory_mb = 0, build_reserved_at = NULL,
    build_lease_until = clock_timestamp() + make_interval(secs => :lease_seconds)
WHERE id = (
    SELECT waiting.id
    FROM package_versions waiting CROSS JOIN LATERAL (
        SELECT count(*) FILTER (WHERE v.status = 'building' AND v.build_lease_until >= clock_timestamp()) AS under_way,
            max(v.built_at) AS last_built_at
        FROM package_versions v WHERE v.organization_id = waiting.organization_id
    ) organization
    WHERE waiting.status = 'building'
        AND (waiting.build_lease_until IS NULL OR waiting.build_lease_until < clock_timestamp())
        AND NOT EXISTS (
            SELECT FROM package_versions older
            WHERE older.organization_id = waiting.organization_id AND older.status = 'building'
                AND (older.build_lease_until IS NULL OR older.build_lease_until < clock_timestamp())
                AND (older.created_at, older.id) < (waiting.created_at, waiting.id)
        )
        AND organization.under_way < :organization_max
    ORDER BY organization.under_way, organization.last_built_at NULLS FIRST, waiting.created_at
    FOR UPDATE OF waiting LIMIT 1
)
RETURNING id
""")

# Whoever waits for the version reads in its log why it is tried again.
GIVE_BUILD_BACK = text("""
UPDATE package_versions SET build_token = NULL, build_attempts = greatest(0, build_attempts - 1 + :counted),
    build_node = NULL, build_memory_mb = 0, build_reserved_at = NULL,
    build_lease_until = clock_timestamp() + make_interval(secs => :delay_seconds),
    build_log = coalesce(cast(:log AS text), build_log)
WHERE build_token = :token AND status = 'building' RETURNING id
""")

# Said before it is there: no task is claimed into it meanwhile, so that a build starts as soon as enough has ended.
RESERVE_FOR_BUILD = text("""
UPDATE package_versions v SET build_node = n.name, build_memory_mb = least(:memory_mb, n.memory_mb),
    build_reserved_at = clock_timestamp()
FROM nodes n WHERE n.name = :node AND v.build_token = :token AND v.status = 'building'
""")

# Whether what a build has reserved is free of tasks and of builds that reserved before it; so is nothing. No row: the
# token no longer counts.
BUILD_HAS_ROOM = text("""
SELECT n.memory_mb IS NULL OR n.memory_mb
    >= coalesce((SELECT sum(a.memory_mb) FROM attempts a WHERE a.node = n.name AND a.ended_at IS NULL), 0)
    + coalesce((SELECT sum(b.build_memory_mb) FROM package_versions b
                WHERE b.build_node = n.name AND b.build_token IS NOT NULL AND b.status = 'building'
                    AND b.build_lease_until >= clock_timestamp()
                    AND (b.build_reserved_at, b.id) <= (v.build_reserved_at, v.id)), 0)
FROM package_versions v LEFT JOIN nodes n ON n.name = v.build_node
WHERE v.build_token = :token AND v.status = 'building'
""")

RENEW_BUILD = text("""
UPDATE package_versions SET build_lease_until = clock_timestamp() + make_interval(secs => :lease_seconds)
WHERE build_token = :token AND status = 'building' RETURNING id
""")

BUILD_WAITING = text("""
SELECT EXISTS (SELECT FROM package_versions
               WHERE status = 'building' AND (build_lease_until IS NULL OR build_lease_until < clock_timestamp()))
""")

SEE_NODE = text("""
INSERT INTO nodes (name, cpu, memory_mb, disk_free_bytes, accepts_work, refusal, tools)
VALUES (:name, :cpu, :memory_mb, :disk_free_bytes, :accepts_work, :refusal, cast(:tools AS json))
ON CONFLICT (name) DO UPDATE SET cpu = excluded.cpu, memory_mb = excluded.memory_mb,
    disk_free_bytes = excluded.disk_free_bytes,
    accepts_work = excluded.accepts_work, refusal = excluded.refusal, tools = excluded.tools, seen_at = now()
""").bindparams(tools="[]")

# A process of the node, apart from what the node has.
SEE_WORKER = text("""
INSERT INTO workers (name, node, lane, backend, abilities, away, accepts_work, refusal_code, refusal, software_version)
VALUES (:name, :node, :lane, :backend, :abilities, :away, :accepts_work, :refusal_code, :refusal, :software_version)
ON CONFLICT (name) DO UPDATE SET node = excluded.node, lane = excluded.lane, backend = excluded.backend,
    abilities = excluded.abilities, away = excluded.away, accepts_work = excluded.accepts_work,
    refusal_code = excluded.refusal_code, refusal = excluded.refusal,
    software_version = excluded.software_version, seen_at = now()
""")

# One that has ended, and those of the node that ended without a word.
FORGET_WORKERS = text("""
DELETE FROM workers WHERE name = :name OR (node = :node AND seen_at < now() - interval '10 minutes')
""")

# The task for which a node keeps what is free, none: it keeps nothing.
KEEP_ROOM = text("""
UPDATE nodes SET kept_for = cast(:task AS uuid), kept_until = clock_timestamp() + make_interval(secs => :seconds)
WHERE name = :node AND (kept_for IS NOT NULL OR cast(:task AS uuid) IS NOT NULL)
""")

KEPT_ELSEWHERE = text("""
SELECT kept_for FROM nodes WHERE name <> :node AND kept_for IS NOT NULL AND kept_until > clock_timestamp()
""")

NOTIFY = text("SELECT pg_notify('mecapy_ended', :key)")
