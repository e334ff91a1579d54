"""The prepared statements of the short ways: claim what fits at once, end many attempts at once.

Parameters and answers are text.
"""

CLAIM_ALL = "SELECT verdict, claims FROM mecapy_fast_claim($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
FINISH_MANY = "SELECT ended, lanes, claims FROM mecapy_finish($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"
FINISH_MOST = 100

WORKER_STATEMENTS = {"fast_claim": CLAIM_ALL, "fast_finish": FINISH_MANY}

# In the role of the tenants: both functions set the scope of each caller before they touch a row.
APP_STATEMENTS = {
    "submit": "SELECT task_id, created FROM mecapy_submit($1, $2)",
    "tasks": "SELECT place, task FROM mecapy_tasks($1)",
}
