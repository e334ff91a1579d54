"""Statements for values of tasks: where they lie, what a row holds of them, which of those in storage nobody needs."""

from sqlalchemy import text

# A value is handed out with this where it is small; of a larger one that an earlier version left in the row, its size.
# Whoever asks has looked at the rights.
OF_TASK = text("""
SELECT octet_length(t.inputs::text) AS inputs_bytes, i.key AS inputs_key,
       CASE WHEN octet_length(t.inputs::text) <= :most THEN t.inputs::text END AS inputs_text,
       octet_length(t.result::text) AS result_bytes, coalesce(r.key, t.result_s3_key) AS result_key,
       CASE WHEN octet_length(t.result::text) <= :most THEN t.result::text END AS result_text
FROM tasks t LEFT JOIN stored_values i ON i.id = t.inputs_ref LEFT JOIN stored_values r ON r.id = t.result_ref
WHERE t.id = :task_id
""")

# Some characters of a value that lies in its row, whatever its size.
PIECES = {
    "inputs": text("SELECT substr(inputs::text, :first, :most) FROM tasks WHERE id = :task_id"),
    "result": text("SELECT substr(result::text, :first, :most) FROM tasks WHERE id = :task_id"),
}

# Between rows, without passing through whoever asks.
COPY_INPUTS = text("""
UPDATE tasks SET inputs = (SELECT s.inputs FROM tasks s WHERE s.id = :source) WHERE id = :task_id
""")

# A new row of `tasks`, `calls`, `runs`, `run_nodes` names a value of the last minutes, or one that another names:
# see services/values.
UNNEEDED = text("""
SELECT v.id, v.key FROM stored_values v
WHERE v.created_at < now() - cast(:kept AS interval)
    AND NOT EXISTS (SELECT FROM tasks t WHERE t.inputs_ref = v.id)
    AND NOT EXISTS (SELECT FROM tasks t WHERE t.result_ref = v.id)
    AND NOT EXISTS (SELECT FROM runs r WHERE r.inputs_ref = v.id)
    AND NOT EXISTS (SELECT FROM runs r WHERE r.outputs_ref = v.id)
    AND NOT EXISTS (SELECT FROM run_nodes n WHERE n.outputs_ref = v.id)
    AND NOT EXISTS (SELECT FROM calls c WHERE c.inputs_ref = v.id)
    AND NOT EXISTS (SELECT FROM calls c WHERE c.result_ref = v.id)
LIMIT :most
""")

FORGET = text("DELETE FROM stored_values WHERE id = ANY (cast(:ids AS uuid[]))")
