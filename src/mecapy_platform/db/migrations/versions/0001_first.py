"""The first schema: tables (0001_first.sql), indexes, row-level security.

Revision ID: 0001
"""

from pathlib import Path

from alembic import op

revision = "0001"
down_revision = None

TENANT_TABLES = (
    "packages",
    "package_versions",
    "functions",
    "tasks",
    "attempts",
    "task_logs",
    "events",
    "uploads",
    "artifacts",
    "idempotency_keys",
)
PLATFORM_TABLES = ("nodes", "lane_shares")
ORGANIZATIONS = "ANY (string_to_array(nullif(current_setting('mecapy.organizations', true), ''), ',')::uuid[])"
USER = "nullif(current_setting('mecapy.user_id', true), '')::uuid"

INDEXES = (
    "CREATE UNIQUE INDEX organizations_slug ON organizations (slug)",
    "CREATE UNIQUE INDEX users_subject ON users (issuer, subject)",
    "CREATE UNIQUE INDEX users_username ON users (username)",
    "CREATE INDEX memberships_user ON memberships (user_id)",
    "CREATE UNIQUE INDEX packages_name ON packages (organization_id, name)",
    "CREATE UNIQUE INDEX package_versions_version ON package_versions (package_id, version)",
    "CREATE INDEX package_versions_building ON package_versions (created_at) WHERE status = 'building'",
    "CREATE UNIQUE INDEX functions_name ON functions (package_version_id, name)",
    "CREATE INDEX tasks_claim ON tasks (lane, organization_id, rank, sequence) WHERE claimable",
    "CREATE INDEX tasks_list ON tasks (organization_id, created_at DESC, id DESC)",
    "CREATE INDEX tasks_of_function ON tasks (function_id, created_at DESC)",
    "CREATE INDEX tasks_created ON tasks (created_at)",
    "CREATE INDEX tasks_of_user ON tasks (user_id, created_at DESC, id DESC)",
    "CREATE INDEX tasks_not_before ON tasks (not_before) WHERE not_before IS NOT NULL",
    "CREATE INDEX tasks_of_version ON tasks (package_version_id) WHERE held = 'building'",
    "CREATE UNIQUE INDEX attempts_number ON attempts (task_id, number)",
    "CREATE UNIQUE INDEX attempts_token ON attempts (token)",
    "CREATE INDEX attempts_running ON attempts (node, lane) WHERE ended_at IS NULL",
    "CREATE INDEX attempts_unswept ON attempts (ended_at) WHERE ended_at IS NOT NULL AND NOT is_swept",
    "CREATE INDEX events_unrelayed ON events (id) WHERE relayed_at IS NULL",
    "CREATE INDEX events_of_task ON events (task_id)",
    "CREATE UNIQUE INDEX events_one_end ON events (task_id) WHERE kind = 'TaskFinished'",
    "CREATE INDEX artifacts_of_task ON artifacts (task_id)",
    "CREATE UNIQUE INDEX artifacts_name ON artifacts (task_id, attempt, kind, name)",
    "CREATE INDEX uploads_age ON uploads (created_at)",
)

SIGN_IN = """
CREATE FUNCTION mecapy_sign_in(
    issuer_ text, subject_ text, username_ text, email_ text, organizations_ text[], role_ text
) RETURNS uuid LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
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
END $$
"""


def upgrade() -> None:
    for statement in Path(__file__).with_suffix(".sql").read_text("utf-8").split(";\n"):
        if statement.strip():
            op.execute(statement)
    for statement in INDEXES:
        op.execute(statement)
    for role in ("mecapy_app", "mecapy_worker"):
        op.execute(f"GRANT USAGE ON SCHEMA public TO {role}")
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}")
    op.execute("REVOKE ALL ON nodes, lane_shares, alembic_version FROM mecapy_app")
    op.execute("GRANT SELECT ON nodes, lane_shares TO mecapy_app")
    op.execute(
        "REVOKE INSERT, UPDATE, DELETE ON users, attempts, task_logs, artifacts FROM mecapy_app"
    )  # written by workers and sign-in
    op.execute("REVOKE UPDATE, DELETE ON events FROM mecapy_app")
    for table in TENANT_TABLES:
        inside = f"(organization_id = {ORGANIZATIONS})"
        op.execute(f"CREATE POLICY tenant ON {table} TO mecapy_app USING {inside} WITH CHECK {inside}")
    op.execute(
        f"CREATE POLICY tenant ON organizations TO mecapy_app USING (id = {ORGANIZATIONS}) WITH CHECK (id = "
        f"{ORGANIZATIONS})"
    )
    op.execute(
        f"CREATE POLICY tenant ON memberships TO mecapy_app USING (organization_id = {ORGANIZATIONS} OR user_id = "
        f"{USER}) "
        f"WITH CHECK (organization_id = {ORGANIZATIONS})"
    )
    op.execute(
        "CREATE POLICY tenant ON users FOR SELECT TO mecapy_app "
        f"USING (id = {USER} OR id IN (SELECT user_id FROM memberships WHERE organization_id = {ORGANIZATIONS}))"
    )
    op.execute(
        f"CREATE POLICY tenant ON lane_shares FOR SELECT TO mecapy_app USING (organization_id = {ORGANIZATIONS})"
    )
    op.execute("CREATE POLICY reading ON nodes FOR SELECT TO mecapy_app USING (true)")
    for table in (*TENANT_TABLES, *PLATFORM_TABLES, "organizations", "memberships", "users"):
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY platform ON {table} TO mecapy_worker USING (true) WITH CHECK (true)")
    op.execute(
        "ALTER TABLE tasks SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.05, "
        "fillfactor = 85)"
    )
    op.execute("ALTER TABLE attempts SET (autovacuum_vacuum_scale_factor = 0.02, fillfactor = 85)")
    op.execute(SIGN_IN)
    op.execute("GRANT CREATE ON SCHEMA public TO mecapy_worker")  # PostgreSQL asks it of a function's new owner
    op.execute("ALTER FUNCTION mecapy_sign_in OWNER TO mecapy_worker")
    op.execute("REVOKE CREATE ON SCHEMA public FROM mecapy_worker")
    op.execute("REVOKE ALL ON FUNCTION mecapy_sign_in FROM PUBLIC")
    op.execute("GRANT EXECUTE ON FUNCTION mecapy_sign_in TO mecapy_app")
