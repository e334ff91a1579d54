"""The statements that show runs: nodes and calls in pages, with what they gave as far as an answer holds it."""

from sqlalchemy import text

# Of a node that has several calls none is shown here: they are its items. Outputs come as text until `bytes` are
# reached, those of an approval while it is waiting too. What lies behind is not sent.
NODES = text("""
SELECT v.place, v.key, v.kind, v.state, v.tries, v.branch, v.items, v.not_before, v.decided_by, v.decision,
    v.error_code, v.error_message, v.started_at, v.completed_at, v.task_id, v.child_run_id, v.call_id, v.outputs_bytes,
    v.outputs_ref,
    CASE WHEN sum(v.outputs_bytes) OVER (ORDER BY v.place) <= :bytes THEN v.found::text END AS outputs_text FROM (
    SELECT n.place, n.key, n.kind, n.state, n.tries, n.branch, n.items, n.not_before, n.decided_by, n.decision,
        n.error_code, n.error_message, n.started_at, n.completed_at,
        CASE WHEN n.kind NOT IN ('map', 'loop') THEN c.task_id END AS task_id,
        CASE WHEN n.kind NOT IN ('map', 'loop') THEN c.child_run_id END AS child_run_id,
        CASE WHEN n.kind NOT IN ('map', 'loop') THEN c.id END AS call_id,
        f.found, coalesce(octet_length(f.found::text), 0) AS outputs_bytes, f.ref AS outputs_ref
    FROM run_nodes n
    LEFT JOIN LATERAL (SELECT * FROM calls c WHERE c.node_id = n.id ORDER BY c.index DESC LIMIT 1) c ON true
    LEFT JOIN tasks t ON t.id = c.task_id LEFT JOIN runs x ON x.id = c.child_run_id
    CROSS JOIN LATERAL (
        SELECT CASE WHEN n.outputs IS NOT NULL THEN n.outputs
                WHEN n.state = 'completed' THEN coalesce(c.result, t.result, x.outputs) END AS found,
            CASE WHEN n.state = 'completed' THEN
                coalesce(n.outputs_ref, c.result_ref, t.result_ref, x.outputs_ref) END AS ref) f
    WHERE n.run_id = :run_id AND n.place > :after ORDER BY n.place LIMIT :most
) v ORDER BY v.place
""")

ITEMS = text("""
SELECT c.id, c.index, c.state, c.tries, c.task_id, c.child_run_id, c.inputs, c.error_code, c.error_message,
    c.started_at, c.completed_at,
    CASE WHEN c.state = 'completed' THEN coalesce(c.result, t.result, x.outputs) END AS outputs,
    CASE WHEN c.state = 'completed' THEN coalesce(c.result_ref, t.result_ref, x.outputs_ref) END AS outputs_ref
FROM calls c LEFT JOIN tasks t ON t.id = c.task_id LEFT JOIN runs x ON x.id = c.child_run_id
WHERE c.node_id = :node_id AND c.index > :after ORDER BY c.index LIMIT :most
""")
