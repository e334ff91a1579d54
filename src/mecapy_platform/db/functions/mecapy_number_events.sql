-- Gives the next numbers to up to `most` events that are committed and have none. Under a lock, so that two relays give no number
-- twice; the counter is a row of the same transaction, so that a failure leaves no gap. What commits later gets a later number.
CREATE OR REPLACE FUNCTION mecapy_number_events(most int) RETURNS int LANGUAGE plpgsql SET search_path = pg_catalog, public AS $$
DECLARE
    first_number bigint;
    numbered int;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('mecapy-events', 0));
    SELECT last_number INTO first_number FROM event_counter FOR UPDATE;
    WITH fresh AS (
        SELECT e.id, row_number() OVER (ORDER BY e.id) AS place
        FROM (SELECT id FROM events WHERE number IS NULL ORDER BY id LIMIT most) e
    )
    UPDATE events e SET number = first_number + fresh.place FROM fresh WHERE e.id = fresh.id AND e.number IS NULL;
    GET DIAGNOSTICS numbered = ROW_COUNT;
    IF numbered > 0 THEN
        UPDATE event_counter SET last_number = first_number + numbered;
    END IF;
    RETURN numbered;
END
$$;

REVOKE ALL ON FUNCTION mecapy_number_events FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mecapy_number_events TO mecapy_worker;
