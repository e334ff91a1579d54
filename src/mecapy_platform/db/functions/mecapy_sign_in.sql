-- Who has just shown a valid token: their row, their personal organization, and memberships as the issuer says.
CREATE OR REPLACE FUNCTION mecapy_sign_in(
    issuer_ text, subject_ text, username_ text, email_ text, organizations_ text[], role_ text
) RETURNS uuid LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    user_ uuid;
    organization_ uuid;
    slug_ text;
    made_ boolean;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('mecapy-sign-in', 0));
    SELECT id INTO user_ FROM users WHERE issuer = issuer_ AND subject = subject_;
    IF user_ IS NULL THEN
        IF EXISTS (SELECT FROM users WHERE username = username_) THEN
            username_ := username_ || '-' || left(md5(issuer_ || ' ' || subject_), 8);
        END IF;
        INSERT INTO organizations (slug, display_name, is_personal)
            VALUES ('user:' || username_, username_, true) RETURNING id INTO organization_;
        INSERT INTO users (issuer, subject, username, email, personal_organization_id)
            VALUES (issuer_, subject_, username_, email_, organization_) RETURNING id INTO user_;
        INSERT INTO memberships (organization_id, user_id, role) VALUES (organization_, user_, 'admin');
    ELSE
        UPDATE users SET email = email_ WHERE id = user_ AND email IS DISTINCT FROM email_;
    END IF;
    IF organizations_ IS NULL THEN
        RETURN user_;
    END IF;
    FOREACH slug_ IN ARRAY organizations_ LOOP
        made_ := false;
        SELECT id INTO organization_ FROM organizations WHERE slug = slug_ AND source = 'issuer';
        IF organization_ IS NULL AND NOT EXISTS (SELECT FROM organizations WHERE slug = slug_) THEN
            INSERT INTO organizations (slug, display_name, source) VALUES (slug_, slug_,
                'issuer') RETURNING id INTO organization_;
            made_ := true;
        END IF;
        CONTINUE WHEN organization_ IS NULL;
        INSERT INTO memberships (organization_id, user_id, role)
            VALUES (organization_, user_, CASE WHEN made_ AND role_ = 'user' THEN 'admin' ELSE role_ END)
            ON CONFLICT (organization_id, user_id) DO UPDATE SET role = excluded.role
            WHERE memberships.role IS DISTINCT FROM excluded.role AND role_ <> 'user';
    END LOOP;
    DELETE FROM memberships m USING organizations o
        WHERE m.user_id = user_ AND o.id = m.organization_id AND o.source = 'issuer'
            AND NOT (o.slug = ANY (organizations_));
    RETURN user_;
END
$$;

REVOKE ALL ON FUNCTION mecapy_sign_in FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mecapy_sign_in TO mecapy_app;
