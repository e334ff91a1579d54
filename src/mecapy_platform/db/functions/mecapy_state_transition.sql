-- A run, a node, a call or a study begins and goes on only as core says; the table state_transitions is generated from there at each
-- migration. The trigger's argument names the kind. Tasks have a table and a function of their own (mecapy_task_transition).
CREATE OR REPLACE FUNCTION mecapy_state_transition() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NOT EXISTS (SELECT FROM state_transitions s WHERE s.kind = TG_ARGV[0] AND s.before = '' AND s.after = NEW.state) THEN
            RAISE EXCEPTION 'a % cannot begin in state %', TG_ARGV[0], NEW.state;
        END IF;
    ELSIF NOT EXISTS (
        SELECT FROM state_transitions s WHERE s.kind = TG_ARGV[0] AND s.before = OLD.state AND s.after = NEW.state
    ) THEN
        RAISE EXCEPTION '% % cannot go from % to %', TG_ARGV[0], NEW.id, OLD.state, NEW.state;
    END IF;
    RETURN NEW;
END
$$;

REVOKE ALL ON FUNCTION mecapy_state_transition FROM PUBLIC;

CREATE OR REPLACE TRIGGER transition BEFORE UPDATE OF state ON runs FOR EACH ROW
    WHEN (OLD.state IS DISTINCT FROM NEW.state) EXECUTE FUNCTION mecapy_state_transition('run');
CREATE OR REPLACE TRIGGER transition BEFORE UPDATE OF state ON run_nodes FOR EACH ROW
    WHEN (OLD.state IS DISTINCT FROM NEW.state) EXECUTE FUNCTION mecapy_state_transition('node');
CREATE OR REPLACE TRIGGER transition BEFORE UPDATE OF state ON calls FOR EACH ROW
    WHEN (OLD.state IS DISTINCT FROM NEW.state) EXECUTE FUNCTION mecapy_state_transition('call');
CREATE OR REPLACE TRIGGER transition BEFORE UPDATE OF state ON studies FOR EACH ROW
    WHEN (OLD.state IS DISTINCT FROM NEW.state) EXECUTE FUNCTION mecapy_state_transition('study');
CREATE OR REPLACE TRIGGER beginning BEFORE INSERT ON runs FOR EACH ROW
    WHEN (NEW.state IS DISTINCT FROM 'pending') EXECUTE FUNCTION mecapy_state_transition('run');
CREATE OR REPLACE TRIGGER beginning BEFORE INSERT ON run_nodes FOR EACH ROW
    WHEN (NEW.state IS DISTINCT FROM 'pending') EXECUTE FUNCTION mecapy_state_transition('node');
CREATE OR REPLACE TRIGGER beginning BEFORE INSERT ON calls FOR EACH ROW
    WHEN (NEW.state IS DISTINCT FROM 'waiting') EXECUTE FUNCTION mecapy_state_transition('call');
CREATE OR REPLACE TRIGGER beginning BEFORE INSERT ON studies FOR EACH ROW
    WHEN (NEW.state IS DISTINCT FROM 'pending') EXECUTE FUNCTION mecapy_state_transition('study');
