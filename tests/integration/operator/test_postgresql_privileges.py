"""What the issued login must not be able to do on PostgreSQL: each thing is tried."""

import psycopg
import pytest
from psycopg import errors as pg
from psycopg import sql

from tests.integration.operator.stores import Store, connect_as_agent
from tests.servers.postgresql import SUPERUSER, Database

FORBIDDEN = [
    "CREATE TABLE {schema}.intruder ()",
    "CREATE TABLE public.intruder ()",
    "CREATE VIEW {schema}.intruder AS SELECT 1",
    "CREATE FUNCTION {schema}.intruder() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE SCHEMA intruder",
    "DROP EXTENSION plpgsql",
    "CREATE INDEX ON {schema}.locus_threads (namespace)",
    "CREATE TRIGGER t BEFORE INSERT ON {schema}.locus_threads EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "ALTER TABLE {schema}.locus_threads ADD intruder int",
    "ALTER SCHEMA {schema} RENAME TO intruder",
    "DROP TABLE {schema}.locus_search",
    "DROP SCHEMA {schema} CASCADE",
    "TRUNCATE {schema}.locus_checkpoints",
    "UPDATE {schema}.locus_schema SET version = 2",
    "DELETE FROM {schema}.locus_schema",
    "COMMENT ON SCHEMA {schema} IS 'mine'",
    "COMMENT ON ROLE {app} IS 'mine'",
    "SELECT * FROM {other}.locus_threads",
    "INSERT INTO {other}.locus_threads (thread_id, namespace, last_sequence, latest_checkpoint) VALUES ('', '', 0, '')",
    "SELECT * FROM pg_authid",
    "SELECT pg_read_file('/etc/passwd')",
    "COPY (SELECT 1) TO PROGRAM 'true'",
    "COPY {schema}.locus_threads FROM '/etc/passwd'",
    "SET ROLE {owner}",
    "SET ROLE {other_login}",
    "SET SESSION AUTHORIZATION {owner}",
    "CREATE ROLE intruder",
    "CREATE DATABASE intruder",
    "ALTER ROLE {a} CREATEROLE",
    "ALTER ROLE {b} LOGIN",
    "ALTER ROLE {b} PASSWORD 'x'",
    "GRANT {owner} TO {a}",
    "ALTER SYSTEM SET work_mem = '1GB'",
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'postgres'",
]


@pytest.mark.parametrize("admin", ["postgresql_store", "superuser_store"])
async def test_the_issued_login_is_refused_everything_else(
    admin: str, database: Database, request: pytest.FixtureRequest
) -> None:
    store: Store = request.getfixturevalue(admin)
    other = store.sibling()
    await store.reconcile()
    await other.reconcile()
    names = {
        "schema": store.names.base,
        "owner": store.names.owner,
        "app": store.names.app,
        "a": store.names.logins[0],
        "b": store.names.logins[1],
        "other": other.names.base,
        "other_login": other.names.logins[0],
    }
    allowed = []
    with connect_as_agent(database, store) as connection, psycopg.connect(database.dsn(SUPERUSER)):
        for text in FORBIDDEN:
            parts = {key: sql.Identifier(name) for key, name in names.items()}
            try:
                connection.execute(sql.SQL(text).format(**parts))
            except pg.InsufficientPrivilege:
                continue
            allowed.append(text)
        assert connection.execute("SHOW search_path").fetchone() == (store.names.base,)
        visible = connection.execute(
            "SELECT DISTINCT table_schema FROM information_schema.tables WHERE table_schema LIKE 'locus%'"
        ).fetchall()
    assert allowed == []
    assert visible == [(store.names.base,)]


async def test_the_idle_login_and_the_roles_cannot_log_in(postgresql_store: Store, database: Database) -> None:
    await postgresql_store.reconcile()
    names = postgresql_store.names
    can_login = sql.SQL("SELECT rolname FROM pg_roles WHERE rolcanlogin AND starts_with(rolname, {})")
    assert database.execute(can_login.format(names.base)) == [(names.logins[0],)]


async def test_a_released_login_is_thrown_out(postgresql_store: Store, database: Database) -> None:
    await postgresql_store.reconcile()
    with connect_as_agent(database, postgresql_store) as connection:
        await postgresql_store.release()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
