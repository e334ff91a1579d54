-- Which rows of a month stay when it is dropped, as a condition over the tasks ($1) and how long rows are kept ($2).
CREATE OR REPLACE FUNCTION mecapy_stays(parent text) RETURNS text LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, public AS $$
    SELECT '(task_id = ANY ($1)' || CASE WHEN parent = 'events' THEN ' OR number IS NULL OR created_at >= now() - $2' ELSE '' END || ')'
$$;

REVOKE ALL ON FUNCTION mecapy_stays FROM PUBLIC;
