"""What `locus-memory doctor` says about a PostgreSQL store; reads catalogues only, so any login may run it."""

from __future__ import annotations

from typing import Any, Final

from pydantic import JsonValue

from locus_memory.backends.postgresql_pool import InterruptibleConnection
from locus_memory.backends.postgresql_schema import VERSION_TABLE, ddl, privileges
from locus_memory.connection import PostgreSQLConnection
from locus_memory.diagnosis import Diagnosis, Finding, Level

_SERVER: Final = """SELECT current_setting('server_version'), current_user::text, pg_is_in_recovery(),
    current_setting('transaction_read_only')::bool, current_setting('synchronous_commit'),
    current_setting('fsync')::bool, current_setting('full_page_writes')::bool,
    coalesce((SELECT rolsuper FROM pg_roles WHERE rolname = current_user), false),
    (SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid() AND ssl)"""

_SCHEMA: Final = """SELECT has_schema_privilege(oid, 'USAGE'), has_schema_privilege(oid, 'CREATE')
    FROM pg_namespace WHERE nspname = %s"""

_PRIVILEGES: Final = """SELECT c.relname, p.privilege
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS p (privilege)
    WHERE n.nspname = %s AND c.relname = ANY(%s) AND NOT has_table_privilege(c.oid, p.privilege)"""

_TABLES: Final = """SELECT c.relname, pg_total_relation_size(c.oid)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = %s AND c.relname = ANY(%s)"""

_VERIFYING: Final = ("verify-ca", "verify-full")


async def diagnose(connection: InterruptibleConnection, document: PostgreSQLConnection) -> Diagnosis:
    """Ask the server about itself, the login and the tables."""
    server = await _row(connection, _SERVER)
    assert server is not None  # noqa: S101 - a SELECT without FROM has one row
    version, login, standby, read_only, synchronous, fsync, full_pages, superuser, tls = server
    names = [item.name for item in ddl(document.schema_name) if item.kind == "table"]
    cursor = await connection.execute(_TABLES, (document.schema_name, names))
    sizes = dict(await cursor.fetchall())
    missing = [name for name in names if name not in sizes]
    facts: dict[str, JsonValue] = {
        "server": f"PostgreSQL {version}",
        "login": login,
        "TLS": tls or "no",
        "schema": document.schema_name,
        "tables": _described(missing, len(names)),
        "managed by": "the operator" if document.tables == "provisioned" else "this library, on first use",
        "size": f"{sum(sizes.values()) / 2**20:,.1f} MiB",
        "synchronous_commit": synchronous,
    }
    findings = [
        *_server_findings(standby=standby, read_only=read_only, durable=fsync and full_pages, synchronous=synchronous),
        *_login_findings(login, superuser=superuser),
        *_tls_findings(document, tls),
        *_table_findings(document, missing, await _row(connection, _SCHEMA, document.schema_name)),
    ]
    if sizes:
        cursor = await connection.execute(_PRIVILEGES, (document.schema_name, list(sizes)))
        findings += _privilege_findings(login, await cursor.fetchall())
    return Diagnosis(facts, tuple(findings))


async def _row(connection: InterruptibleConnection, statement: str, *parameters: str) -> tuple[Any, ...] | None:
    row: tuple[Any, ...] | None = await (await connection.execute(statement, parameters)).fetchone()
    return row


def _described(missing: list[str], count: int) -> str:
    if len(missing) == count:
        return "none yet"
    return f"without {', '.join(missing)}" if missing else "complete"


def _server_findings(*, standby: bool, read_only: bool, durable: bool, synchronous: str) -> list[Finding]:
    findings = []
    if standby:
        message = "the server is a standby, which takes no writes"
        advice = "bind the primary, or list all servers and set the parameter target_session_attrs to read-write"
        findings.append(Finding(Level.ERROR, "postgresql-standby", message, advice))
    elif read_only:
        message = "transactions of this login are read-only"
        advice = "ALTER ROLE or ALTER DATABASE … RESET default_transaction_read_only; a full disk may be why it was set"
        findings.append(Finding(Level.ERROR, "postgresql-read-only", message, advice))
    if not durable:
        message = "fsync or full_page_writes is off: a crash of the machine can destroy the whole database"
        findings.append(Finding(Level.WARNING, "postgresql-not-crash-safe", message, "turn both on"))
    if synchronous == "off":
        message = "synchronous_commit is off: a crash of the server loses the last saves, though they had returned"
        findings.append(Finding(Level.WARNING, "postgresql-asynchronous", message, "turn it on for this login"))
    return findings


def _login_findings(login: str, *, superuser: bool) -> list[Finding]:
    if not superuser:
        return []
    message = f"the login {login!r} is a superuser, and needs to read and write five tables"
    return [Finding(Level.WARNING, "postgresql-superuser", message, "let the operator issue a login, or create one")]


def _tls_findings(document: PostgreSQLConnection, tls: str | None) -> list[Finding]:
    if document.host.startswith(("/", "127.")) or document.host in ("localhost", "::1"):
        return []
    if tls is None:
        message = f"the connection to {document.host} is not encrypted: passwords' proofs and conversations can be read"
        return [Finding(Level.WARNING, "postgresql-no-tls", message, "set ssl_mode to verify-full, with the ca")]
    if document.ssl_mode not in _VERIFYING:
        message = (
            f"ssl_mode is {document.ssl_mode}, which does not check the certificate: anyone may pose as {document.host}"
        )
        return [
            Finding(Level.WARNING, "postgresql-tls-unverified", message, "set ssl_mode to verify-full, with the ca")
        ]
    return []


def _table_findings(
    document: PostgreSQLConnection, missing: list[str], schema: tuple[Any, ...] | None
) -> list[Finding]:
    if not missing:
        return []
    name = document.schema_name
    if document.tables == "provisioned":
        message = f"the binding says that tables are provisioned, and schema {name!r} lacks {', '.join(missing)}"
        return [
            Finding(
                Level.ERROR,
                "postgresql-no-tables",
                message,
                "wait for the operator's next sweep, or save once with tables: auto",
            )
        ]
    usable, creatable = schema or (None, None)
    if schema is not None and not (usable and creatable):
        message = f"tables of schema {name!r} are missing, and the login may not create them"
        return [
            Finding(
                Level.ERROR,
                "postgresql-no-tables",
                message,
                f'GRANT USAGE, CREATE ON SCHEMA "{name}", or create them with another login',
            )
        ]
    return [
        Finding(
            Level.INFO, "postgresql-tables-created", f"the tables of schema {name!r} are created with the first save"
        )
    ]


def _privilege_findings(login: str, lacking: list[tuple[str, str]]) -> list[Finding]:
    lacks: dict[str, list[str]] = {}
    for table, privilege in lacking:
        if privilege in privileges(table):
            lacks.setdefault(privilege, []).append(table)
    if not lacks:
        return []
    described = "; ".join(f"{privilege} on {', '.join(sorted(tables))}" for privilege, tables in lacks.items())
    message = f"the login {login!r} lacks {described}"
    advice = f"GRANT SELECT, INSERT, UPDATE, DELETE on the tables (SELECT alone on {VERSION_TABLE})"
    return [Finding(Level.ERROR, "postgresql-privileges", message, advice)]
