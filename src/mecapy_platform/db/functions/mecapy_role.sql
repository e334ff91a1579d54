-- The role of a user in an organization, for the rights of a run's user when somebody else's act lets it go on: of the organizations
-- in scope, or of any to the platform itself.
CREATE OR REPLACE FUNCTION mecapy_role(organization_ uuid, user_ uuid) RETURNS text
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT m.role FROM memberships m WHERE m.organization_id = organization_ AND m.user_id = user_ AND (
        session_user = 'mecapy_worker'
        OR m.organization_id = ANY (string_to_array(nullif(current_setting('mecapy.organizations', true), ''), ',')::uuid[]))
$$;

REVOKE ALL ON FUNCTION mecapy_role FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mecapy_role TO mecapy_app, mecapy_worker;
