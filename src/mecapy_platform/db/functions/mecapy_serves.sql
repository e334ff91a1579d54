-- Whether the program at the other end of the connection is served: it says at connecting for which interface of the database (the
-- functions here, and the columns that its own statements name) it was written, see db/interface.py. Programs of before 0004 say nothing.
-- Who changes the interface so that programs of the version before could do harm, or nothing, raises the number here and there; as long
-- as their statements still hold, the range keeps them in. `mecapy_take` and `mecapy_submit` ask, so nobody else is handed anything.
CREATE OR REPLACE FUNCTION mecapy_serves() RETURNS boolean LANGUAGE sql STABLE
    RETURN coalesce(nullif(current_setting('mecapy.interface', true), ''), '0')::int BETWEEN 4 AND 4;

REVOKE ALL ON FUNCTION mecapy_serves FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mecapy_serves TO mecapy_app, mecapy_worker;
