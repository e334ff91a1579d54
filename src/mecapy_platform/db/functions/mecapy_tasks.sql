-- Tasks that have ended, as their callers may see them; each question is asked in the scope of its caller. What is
-- not small is read by who asks for it alone, so that many questions at once cost little.
CREATE OR REPLACE FUNCTION mecapy_tasks(batch json) RETURNS TABLE (place int, task json)
    LANGUAGE plpgsql SET search_path = pg_catalog, public SET timezone = 'UTC' AS $$
#variable_conflict use_column
DECLARE
    small_bytes CONSTANT int := 65536;
    q record;
BEGIN
    FOR q IN SELECT * FROM json_to_recordset(batch) AS q (place int, scope text, visible uuid[], user_id text, id uuid)
    LOOP
        PERFORM set_config('mecapy.organizations', q.scope, true), set_config('mecapy.user_id', q.user_id, true);
        RETURN QUERY SELECT q.place, row_to_json(answer) FROM task_answers answer
            WHERE answer.id = q.id AND answer.organization_id = ANY (q.visible) AND answer.state NOT IN ('queued', 'running')
                AND coalesce(octet_length(answer.inputs::text), 0) + coalesce(octet_length(answer.result::text), 0) <= small_bytes;
    END LOOP;
END
$$;

REVOKE ALL ON FUNCTION mecapy_tasks FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mecapy_tasks TO mecapy_app, mecapy_worker;
