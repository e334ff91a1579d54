"""Row-level security by itself, as role mecapy_app in plain SQL: no query of ours helps it."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Connection, Engine, create_engine, text

from mecapy_platform.db.errors import DatabaseError, translated
from mecapy_platform.db.session import Database, make_engine, widen_scope
from mecapy_platform.db.workflow_tables import Workflow
from support.platform.api_platform import ApiPlatform, api_platform
from support.platform.services import fresh_database
from support.tenancy import world as tenancy_world

OWNED = sorted(name for name, table in Workflow.metadata.tables.items() if "organization_id" in table.columns)
TENANT = [name for name in OWNED if name != "memberships"]
READ_ONLY = {"lane_shares", "attempts", "task_logs", "artifacts", "schedule_firings"}  # written by workers alone
SHARED = {
    *("nodes", "workers", "alembic_version", "installed_functions", "event_counter"),
    *("task_transitions", "state_transitions", "due_marks"),
}
OPEN = {
    "mecapy_sign_in",
    "mecapy_insert_tasks",
    "mecapy_submit",
    "mecapy_tasks",
    "mecapy_end",
    "mecapy_end_calls",
    "mecapy_serves",
}
RAISED = {
    "mecapy_sign_in",
    "mecapy_make_partitions",
    "mecapy_keep_begin",
    "mecapy_keep_some",
    "mecapy_drop_month",
}
EVERYTHING = frozenset({"INSERT", "UPDATE", "DELETE"})
WRITES = {
    **dict.fromkeys((*OWNED, "organizations"), EVERYTHING),
    **dict.fromkeys((*READ_ONLY, *SHARED, "users"), frozenset[str]()),
    "events": frozenset({"INSERT"}),
    "stored_values": frozenset({"INSERT"}),
    "due_marks": frozenset({"INSERT"}),  # who ends something says so; nobody reads what is due to others
    **dict.fromkeys(("workflow_versions", "workflow_version_uses"), frozenset({"INSERT"})),  # they never change
}
BEGINNINGS = {  # where rows may begin: the policy is asked, not the trigger
    **dict.fromkeys(("runs", "run_nodes", "studies"), "pending"),
    "tasks": "queued",
    "calls": "waiting",
}
TABLES = (
    "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'public' "
    "AND c.relkind IN ('r', 'p') AND NOT c.relispartition"
)
WITH_ORGANIZATION = (
    "SELECT table_name FROM information_schema.columns JOIN information_schema.tables USING (table_schema, table_name) "
    "WHERE table_schema = 'public' AND table_type = 'BASE TABLE' AND column_name = 'organization_id' "
    "AND table_name !~ '_(kept|other|[0-9]{4}_[0-9]{2})$'"
)
POLICIES = "SELECT tablename, roles::text[], cmd, qual, with_check FROM pg_policies WHERE schemaname = 'public'"
POWERS = "SELECT rolsuper, rolbypassrls, rolcreaterole, rolcreatedb FROM pg_roles WHERE rolname = 'mecapy_app'"


@contextmanager
def refused(words: str = r"row-level security policy|permission denied") -> Iterator[None]:
    """The block is refused by PostgreSQL in these words."""
    with pytest.raises(DatabaseError) as error:
        yield
    assert re.search(words, error.value.detail)


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiPlatform]:
    with fresh_database() as server, api_platform(server, tmp_path_factory.mktemp("security")) as running:
        yield running


@pytest.fixture(scope="module")
def worlds(platform: ApiPlatform) -> tuple[tenancy_world.World, tenancy_world.World]:
    return tenancy_world.make(platform), tenancy_world.make(platform)


@pytest.fixture(scope="module")
def app(platform: ApiPlatform) -> Iterator[Database]:
    """One connection, used again and again: what one transaction leaves behind, the next would see."""
    database = Database(make_engine(platform.postgres.app_url, pool_size=1))
    yield database
    database.dispose()


@pytest.fixture(scope="module")
def owner(platform: ApiPlatform) -> Iterator[Engine]:
    engine = create_engine(platform.postgres.owner_url)
    yield engine
    engine.dispose()


def organizations_in(connection: Connection, table: str) -> set[UUID]:
    return set(connection.scalars(text(f"SELECT organization_id FROM {table}")))


def a_row_of(platform: ApiPlatform, table: str, organization_id: UUID) -> str:
    with platform.worker_database.transaction() as session:
        found = session.scalar(
            text(f"SELECT row_to_json(t)::text FROM {table} t WHERE organization_id = :id LIMIT 1"),
            {"id": organization_id},
        )
    assert found is not None, f"the world has nothing in {table}: nothing would be shown"
    return str(found)


@pytest.mark.parametrize("table", OWNED)
def test_without_a_scope_no_row_is_there(app: Database, worlds: tuple[tenancy_world.World, ...], table: str) -> None:
    with app.transaction() as session:
        assert organizations_in(session.connection(), table) == set()


@pytest.mark.parametrize("table", OWNED)
def test_a_scope_shows_its_own_rows_and_no_others(
    app: Database, worlds: tuple[tenancy_world.World, ...], table: str
) -> None:
    for world in worlds:
        with app.scoped([world.organization_id], world.user_id) as session:
            seen = organizations_in(session.connection(), table)
        expected = {world.organization_id, world.personal_id} if table == "memberships" else {world.organization_id}
        assert seen == expected


@pytest.mark.parametrize("table", sorted(WRITES))
def test_the_application_has_the_rights_that_the_api_needs_and_no_more(owner: Engine, table: str) -> None:
    rights = text("SELECT has_table_privilege('mecapy_app', :table, :right)")
    with owner.connect() as connection:
        given = {
            right
            for right in ("INSERT", "UPDATE", "DELETE")
            if connection.scalar(rights, {"table": table, "right": right})
        }
    assert given == WRITES[table]


@pytest.mark.parametrize("table", TENANT)
def test_no_row_of_another_is_changed_or_deleted(
    app: Database, worlds: tuple[tenancy_world.World, ...], table: str
) -> None:
    mine, other = worlds
    if "UPDATE" not in WRITES[table]:
        for statement in (f"UPDATE {table} SET organization_id = organization_id", f"DELETE FROM {table}"):
            with refused(), app.scoped([mine.organization_id], mine.user_id) as session:
                session.execute(text(statement))
        return
    with app.scoped([mine.organization_id], mine.user_id) as session:
        connection = session.connection()
        values = {"id": other.organization_id}
        assert (
            connection.execute(
                text(f"UPDATE {table} SET organization_id = organization_id WHERE organization_id = :id"), values
            ).rowcount
            == 0
        )
        assert connection.execute(text(f"DELETE FROM {table} WHERE organization_id = :id"), values).rowcount == 0
        with refused(), translated():
            connection.execute(text(f"UPDATE {table} SET organization_id = :id"), values)
        session.rollback()


@pytest.mark.parametrize("table", OWNED)
@pytest.mark.parametrize("has_scope", [True, False], ids=["in a scope", "without a scope"])
def test_no_row_is_written_for_another(
    platform: ApiPlatform, app: Database, worlds: tuple[tenancy_world.World, ...], table: str, has_scope: bool
) -> None:
    mine, other = worlds
    row = json.loads(a_row_of(platform, table, other.organization_id))
    scope = [mine.organization_id] if has_scope else []
    if table in BEGINNINGS:
        row["state"] = BEGINNINGS[table]
    assert row["organization_id" if "organization_id" in row else "id"]
    with refused(), app.scoped(scope, mine.user_id) as session:
        copy = (
            f"INSERT INTO {table} OVERRIDING SYSTEM VALUE SELECT * FROM json_populate_record(null::{table}, "
            f"cast(:row AS json))"
        )
        session.execute(text(copy), {"row": json.dumps(row)})


@pytest.mark.parametrize("table", [table for table in TENANT if "UPDATE" in WRITES[table]])
def test_one_s_own_row_can_be_written(
    platform: ApiPlatform, app: Database, worlds: tuple[tenancy_world.World, ...], table: str
) -> None:
    """The twin: the refusals above are the policies', not a mistake in the statement."""
    mine, _ = worlds
    with app.scoped([mine.organization_id], mine.user_id) as session:
        changed = session.connection().execute(
            text(f"UPDATE {table} SET organization_id = :id"), {"id": mine.organization_id}
        )
        assert changed.rowcount > 0
        session.rollback()


def test_organizations_and_users_are_seen_by_their_members_alone(
    app: Database, worlds: tuple[tenancy_world.World, ...]
) -> None:
    mine, other = worlds
    with app.scoped([mine.organization_id], mine.user_id) as session:
        assert set(session.scalars(text("SELECT id FROM organizations"))) == {mine.organization_id}
        users = set(session.scalars(text("SELECT id FROM users")))
        assert {mine.user_id, mine.colleague_id} <= users
        assert other.user_id not in users
        for statement in (
            "UPDATE organizations SET slug = slug WHERE id = :id",
            "DELETE FROM organizations WHERE id = :id",
        ):
            assert session.connection().execute(text(statement), {"id": other.organization_id}).rowcount == 0
    with app.scoped([], uuid4()) as session:
        assert session.scalars(text("SELECT id FROM organizations UNION ALL SELECT id FROM users")).all() == []
    with refused(), app.scoped([mine.organization_id], mine.user_id) as session:
        session.execute(text("INSERT INTO memberships (organization_id, user_id, role) VALUES (:o, :u, 'admin')"),
                        {"o": other.organization_id, "u": mine.user_id})  # fmt: skip


def test_nothing_of_a_scope_survives_its_transaction(app: Database, worlds: tuple[tenancy_world.World, ...]) -> None:
    mine, _ = worlds
    scope = text(
        "SELECT concat(current_setting('mecapy.organizations', true), current_setting('mecapy.user_id', true))"
    )
    pid = text("SELECT pg_backend_pid()")
    with app.scoped([mine.organization_id], mine.user_id) as session:
        widen_scope(session, uuid4())
        assert str(mine.organization_id) in session.execute(scope).scalar_one()
        first = session.execute(pid).scalar_one()
    with app.transaction() as session:
        assert (session.execute(scope).scalar_one(), session.execute(pid).scalar_one()) == ("", first)
    with pytest.raises(ZeroDivisionError), app.scoped([mine.organization_id], mine.user_id):
        raise ZeroDivisionError
    with app.transaction() as session:
        assert (session.execute(scope).scalar_one(), session.execute(pid).scalar_one()) == ("", first)
        assert organizations_in(session.connection(), "tasks") == set()


def test_a_malformed_scope_shows_nothing(app: Database, worlds: tuple[tenancy_world.World, ...]) -> None:
    with app.transaction() as session:
        session.execute(text("SELECT set_config('mecapy.organizations', ',', true)"))
        with pytest.raises(Exception, match="invalid input syntax"):
            session.execute(text("SELECT count(*) FROM tasks"))
        session.rollback()


def test_every_table_of_a_tenant_is_behind_forced_row_level_security(owner: Engine) -> None:
    """A new table with the column, without a policy, is named here."""
    with owner.connect() as connection:
        tables = set(connection.scalars(text(TABLES)))
        forced = set(connection.scalars(text(f"{TABLES} AND c.relrowsecurity AND c.relforcerowsecurity")))
        owned = set(connection.scalars(text(WITH_ORGANIZATION)))
        policies = connection.execute(text(POLICIES)).all()
    assert owned == set(OWNED)
    assert tables - SHARED <= forced
    for_app = {item.tablename: item for item in policies if item.roles == ["mecapy_app"]}
    for table in sorted(tables - SHARED):
        policy = for_app[table]
        assert "mecapy.organizations" in policy.qual, table
        assert policy.cmd == "SELECT" or "mecapy.organizations" in policy.with_check, table
    assert {frozenset(item.roles) for item in policies} == {frozenset({"mecapy_app"}), frozenset({"mecapy_worker"})}
    assert len([item for item in policies if item.roles == ["mecapy_app"]]) == len(for_app), (
        "two policies on a table would add up"
    )


def test_the_application_s_role_owns_nothing_and_can_become_nobody_else(owner: Engine, app: Database) -> None:
    with owner.connect() as connection:
        role = connection.execute(text(POWERS)).one()
        assert not any(role)
        assert connection.scalar(text("SELECT count(*) FROM pg_auth_members WHERE member = 'mecapy_app'::regrole")) == 0
        assert (
            connection.scalar(
                text("SELECT count(*) FROM pg_shdepend WHERE refobjid = 'mecapy_app'::regrole AND deptype = 'o'")
            )
            == 0
        )
        for table in connection.scalars(text(TABLES)).all():
            for right in ("TRUNCATE", "REFERENCES", "TRIGGER", "MAINTAIN"):
                assert not connection.scalar(
                    text("SELECT has_table_privilege('mecapy_app', :table, :right)"), {"table": table, "right": right}
                )
        assert not connection.scalar(text("SELECT has_schema_privilege('mecapy_app', 'public', 'CREATE')"))
    for statement in (
        "SET ROLE mecapy_worker",
        "SET ROLE mecapy_owner",
        "ALTER TABLE tasks DISABLE ROW LEVEL SECURITY",
        "ALTER TABLE tasks NO FORCE ROW LEVEL SECURITY",
        "CREATE POLICY mine ON tasks USING (true)",
        "CREATE TABLE mine (id int)",
        "TRUNCATE tasks CASCADE",
        "SELECT * FROM alembic_version",
    ):
        with refused(r"permission denied|must be owner"), app.transaction() as session:
            session.execute(text(statement))


def test_reviewed_functions_alone_run_with_another_s_rights(owner: Engine) -> None:
    """mecapy_sign_in, the trigger that counts a catalog's changes, and what makes and drops months are reviewed.

    Another one, or a view, would be a way around.
    """
    functions = (
        "SELECT proname, prosecdef, prorettype = 'trigger'::regtype AS fires, "
        "has_function_privilege('mecapy_app', p.oid, 'EXECUTE') AS open "
        "FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = 'public'"
    )
    views = (
        "SELECT relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'public' "
        "AND relkind IN ('v', 'm') AND NOT coalesce('security_invoker=true' = ANY (reloptions), false)"
    )
    with owner.connect() as connection:
        found = connection.execute(text(functions)).all()
        assert {item.proname for item in found if item.prosecdef} == RAISED | {
            "mecapy_catalog_changed",
            "mecapy_note_change",
        }
        assert {item.proname for item in found if item.prosecdef and not item.fires} == RAISED
        assert {item.proname for item in found if item.open} == OPEN
        assert connection.scalars(text(views)).all() == []


def a_group(world: tenancy_world.World, scope: UUID, catalog: int) -> dict[str, object]:
    """What the short submit is handed for one task of a world's function, in a scope."""
    ids = {
        "user_id": world.user_id,
        "function_id": world.package.functions["size"],
        "package_version_id": world.package.version_id,
    }
    task = {
        "id": str(uuid4()), "name": "n", "lane": "default", "priority": 5, "rank": 4, "inputs": {},
        "inputs_digest": "d",
        "timeout_seconds": 60,
    }  # fmt: skip
    return {
        "scope": str(scope), "visible": [str(world.organization_id)], "catalog": catalog,
        "organization_id": str(world.organization_id),
        **{name: str(item) for name, item in ids.items()}, "cpu": 1, "memory_mb": 512, "retries": {}, "tasks": [task],
    }  # fmt: skip


def submitted(app: Database, groups: list[dict[str, object]]) -> int:
    with app.transaction() as session:
        return len(
            session.execute(
                text("SELECT * FROM mecapy_submit(cast(:batch AS json), 1000)"), {"batch": json.dumps(groups)}
            ).all()
        )


def test_the_short_submit_is_judged_by_the_policies_in_each_caller_s_scope(
    app: Database, platform: ApiPlatform, worlds: tuple[tenancy_world.World, ...]
) -> None:
    mine, other = worlds
    with platform.worker_database.transaction() as session:
        read = text("SELECT catalog_revision FROM organizations WHERE id = :id")
        catalogs = [session.scalar(read, {"id": world.organization_id}) for world in worlds]
    numbers = {world.slug: int(catalog or 0) for world, catalog in zip(worlds, catalogs, strict=True)}

    def group(world: tenancy_world.World, **changes: object) -> dict[str, object]:
        return {**a_group(world, world.organization_id, numbers[world.slug]), **changes}

    assert submitted(app, [group(mine), group(other)]) == 2
    assert submitted(app, [group(other, scope=str(mine.organization_id))]) == 0, (
        "its catalog is not to be seen in another's scope"
    )
    shared = {"visible": [str(mine.organization_id)], "catalog": numbers[mine.slug], "scope": str(mine.organization_id)}
    with refused():
        submitted(app, [group(mine), group(other, **shared)])


def test_the_short_look_shows_nothing_outside_of_its_scope(
    app: Database, worlds: tuple[tenancy_world.World, ...]
) -> None:
    mine, other = worlds
    both = [str(mine.organization_id), str(other.organization_id)]
    questions = [
        {
            "place": place,
            "scope": str(mine.organization_id),
            "visible": both,
            "user_id": str(mine.user_id),
            "id": world.ended,
        }
        for place, world in enumerate((mine, other))
    ]
    with app.transaction() as session:
        found = session.execute(
            text("SELECT place FROM mecapy_tasks(cast(:batch AS json))"), {"batch": json.dumps(questions)}
        ).all()
    assert [item.place for item in found] == [0]
