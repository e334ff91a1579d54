"""The prepared statements of the fast path: claim what fits at once, end many attempts at once.

Parameters and answers are text.
"""

FAST_CLAIM = "SELECT verdict, claims FROM mecapy_fast_claim($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"
FAST_FINISH = "SELECT ended, lanes, claims FROM mecapy_finish($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)"
FINISH_MOST = 100

WORKER_STATEMENTS = {"fast_claim": FAST_CLAIM, "fast_finish": FAST_FINISH}

# In the role of the tenants: both functions set the scope of each caller before they touch a row.
APP_STATEMENTS = {
    "submit": "SELECT task_id, created FROM mecapy_submit($1, $2)",
    "tasks": "SELECT place, task FROM mecapy_tasks($1)",
}
