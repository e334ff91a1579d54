-- Counts what a name may mean in an organization: who looked something up knows by it whether that still holds.
CREATE OR REPLACE FUNCTION mecapy_catalog_changed() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    UPDATE organizations SET catalog_revision = catalog_revision + 1
        WHERE id = CASE WHEN TG_OP = 'DELETE' THEN OLD.organization_id ELSE NEW.organization_id END;
    RETURN NULL;
END
$$;

REVOKE ALL ON FUNCTION mecapy_catalog_changed FROM PUBLIC;
