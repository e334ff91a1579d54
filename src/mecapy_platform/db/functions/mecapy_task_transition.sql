-- A task begins in an initial state and goes on only as core/states allows; the table task_transitions is generated from there at
-- each migration, with a row of `before` empty for each state in which a task may begin.
CREATE OR REPLACE FUNCTION mecapy_task_transition() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public AS $$
BEGIN
    IF TG_OP = 'INSERT' AND NOT EXISTS (SELECT FROM task_transitions s WHERE s.before = '' AND s.after = NEW.state) THEN
        RAISE EXCEPTION 'a task cannot begin in state %', NEW.state;
    ELSIF TG_OP = 'UPDATE' AND NOT EXISTS (
        SELECT FROM task_transitions s WHERE s.before = OLD.state AND s.after = NEW.state
    ) THEN
        RAISE EXCEPTION 'task % cannot go from % to %', NEW.id, OLD.state, NEW.state;
    END IF;
    RETURN NEW;
END
$$;

REVOKE ALL ON FUNCTION mecapy_task_transition FROM PUBLIC;

CREATE OR REPLACE TRIGGER transition BEFORE UPDATE OF state ON tasks FOR EACH ROW
    WHEN (OLD.state IS DISTINCT FROM NEW.state) EXECUTE FUNCTION mecapy_task_transition();
CREATE OR REPLACE TRIGGER beginning BEFORE INSERT ON tasks FOR EACH ROW
    WHEN (NEW.state IS DISTINCT FROM 'queued') EXECUTE FUNCTION mecapy_task_transition();
