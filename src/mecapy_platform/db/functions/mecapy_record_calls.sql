-- Writes ends of calls while their task goes on, so that a worker that dies leaves to the next only what it had not told. Fenced as the
-- end of the attempt is. Gives how many calls ended, NULL where the token no longer counts: then nothing is changed.
CREATE OR REPLACE FUNCTION mecapy_record_calls(token_ uuid, calls_ json) RETURNS int
    LANGUAGE plpgsql SET search_path = pg_catalog, public AS $$
DECLARE
    carrier record;
BEGIN
    SELECT t.id, t.run_id, t.study_id INTO carrier
    FROM attempts a JOIN tasks t ON t.id = a.task_id AND t.attempt_token = a.token AND t.state = 'running'
    WHERE a.token = token_ AND a.ended_at IS NULL FOR UPDATE OF a;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    RETURN mecapy_end_calls(json_build_array(json_build_object(
        'id', carrier.id, 'is_again', true, 'run_id', carrier.run_id, 'study_id', carrier.study_id, 'calls', calls_)));
END
$$;

REVOKE ALL ON FUNCTION mecapy_record_calls FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mecapy_record_calls TO mecapy_worker;
