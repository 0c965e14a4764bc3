"""Statements of the PostgreSQL provisioner: each function returns one action, which is one transaction.

A new object gets its claim in the transaction that creates it, so that an interrupted run never leaves something
behind that nobody has claimed.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from psycopg import sql

from locus_memory.backends.postgresql_objects import DatabaseObject
from locus_operator.backends.postgresql_observe import (
    ROLE_GRANT_OPTIONS,
    DefaultPrivilege,
    Membership,
    Observed,
)
from locus_operator.backends.postgresql_tables import Tables, privileges
from locus_operator.names import RoleNames
from locus_operator.provisioner import Action, Owner


@dataclass(frozen=True, slots=True)
class Statements(Action):
    """An action that runs these statements in one transaction.

    Attributes:
        login: Give the application's login this name its password afterwards, and try it.
        advice: What a person can do when rows violate a constraint that it adds.
    """

    statements: tuple[sql.Composed, ...] = field(default=(), repr=False)
    login: str | None = None
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Target:
    """What the statements are about.

    Attributes:
        version: Server version as a number.
        superuser: The administrator needs no memberships.
    """

    names: RoleNames
    schema: str
    database: str
    claim: Owner
    tables: Tables
    version: int
    superuser: bool

    @classmethod
    def of(
        cls, observed: Observed, names: RoleNames, schema: str, database: str, claim: Owner, tables: Tables
    ) -> Target:
        """Make it from what was observed of the server."""
        return cls(names, schema, database, claim, tables, observed.version, observed.admin.superuser)


def compose(text: str, **parts: str | sql.Composable) -> sql.Composed:
    """Compose a statement; strings are identifiers."""
    known = {key: sql.Identifier(part) if isinstance(part, str) else part for key, part in parts.items()}
    return sql.SQL(text).format(**known)  # texts of this module, never input


def as_owner(target: Target) -> sql.Composed:
    """Go on as the owner role, until the end of the transaction."""
    return compose("SET LOCAL ROLE {owner}", owner=target.names.owner)


def _comment(target: Target, kind: str, name: str) -> sql.Composed:
    claim = sql.Literal(target.claim.claim())
    return compose(f"COMMENT ON {kind} {{name}} IS {{claim}}", name=name, claim=claim)


def _assume(target: Target, role: str) -> tuple[sql.Composed, ...]:
    """Let the administrator act as a role of the store; a superuser may already."""
    if target.superuser:
        return ()
    options = " WITH INHERIT TRUE, SET TRUE" if target.version >= ROLE_GRANT_OPTIONS else ""
    return (compose(f"GRANT {{role}} TO CURRENT_USER{options}", role=role),)


def create_role(target: Target, role: str) -> Statements:
    """Create a role without login; logins become members of the application's role with their search_path."""
    statements = [compose("CREATE ROLE {role} NOLOGIN INHERIT", role=role), _comment(target, "ROLE", role)]
    if role == target.names.owner:
        statements += _assume(target, role)
    if role in target.names.logins:
        statements += [_member(target, role), _search_path(target, role)]
    return Statements("create", "role", role, "missing", statements=tuple(statements))


def claim_object(target: Target, kind: str, name: str, reason: str) -> Statements:
    """Write the claim on a role or schema that exists."""
    statements = (as_owner(target),) if kind == "schema" else ()
    return Statements("claim", kind, name, reason, statements=(*statements, _comment(target, kind.upper(), name)))


def alter_role(role: str, options: tuple[str, ...]) -> Statements:
    """Take away attributes that a role of the store must not have."""
    statement = compose("ALTER ROLE {role} " + " ".join(options), role=role)
    return Statements("alter", "role", role, f"differs: {', '.join(options)}", statements=(statement,))


def assume_owner(target: Target) -> Statements:
    """Let the administrator act as the owner role."""
    role = target.names.owner
    return Statements("grant", "role", role, "the operator cannot act as it", statements=_assume(target, role))


def set_search_path(target: Target, role: str) -> Statements:
    """Limit the search_path of a login to the schema."""
    return Statements("set", "search_path of", role, "differs", statements=(_search_path(target, role),))


def grant_membership(target: Target, login: str) -> Statements:
    """Make a login a member of the application's role."""
    app, options = target.names.app, " WITH INHERIT TRUE" if target.version >= ROLE_GRANT_OPTIONS else ""
    revoke = compose("REVOKE ADMIN OPTION FOR {app} FROM {login} CASCADE", app=app, login=login)
    grant = compose(f"GRANT {{app}} TO {{login}}{options}", app=app, login=login)
    return Statements("grant", "role", app, f"{login} is no plain member of it", statements=(revoke, grant))


def revoke_membership(target: Target, found: Membership) -> Statements:
    """End a membership that does not belong there."""
    statement = revocation(target.version, found)
    return Statements("revoke", "role", found.role, f"{found.member} is a member of it", statements=(statement,))


def revocation(version: int, found: Membership) -> sql.Composed:
    """Return the statement that ends a membership."""
    by = compose(" GRANTED BY {grantor}", grantor=found.grantor) if found.grantor else compose("")
    end = by if version >= ROLE_GRANT_OPTIONS else compose("")
    return compose("REVOKE {role} FROM {member}{by} CASCADE", role=found.role, member=found.member, by=end)


def create_schema(target: Target) -> Statements:
    """Create the schema, owned by the owner role and open to the application's role alone."""
    create = compose("CREATE SCHEMA {schema} AUTHORIZATION {owner}", schema=target.schema, owner=target.names.owner)
    statements = (create, as_owner(target), _comment(target, "SCHEMA", target.schema), _usage(target))
    return Statements("create", "schema", target.schema, "missing", statements=statements)


def change_owner(target: Target, kind: str, name: str, owner: str) -> Statements:
    """Give the schema or a table back to the owner role."""
    statement = hand_over(target, kind, name, target.names.owner)
    return Statements("alter", kind, name, f"differs: owned by {owner}", statements=(statement,))


def hand_over(target: Target, kind: str, name: str, owner: str) -> sql.Composed:
    """Return the statement that gives the schema or a table to an owner."""
    return compose(f"ALTER {kind.upper()} {{name}} OWNER TO {{owner}}", name=_name(target, kind, name), owner=owner)


def close_default(target: Target, found: DefaultPrivilege) -> Statements:
    """Take away what somebody gets on each new object of the owner."""
    where = compose(" IN SCHEMA {schema}", schema=found.schema) if found.schema else compose("")
    statement = compose(
        f"ALTER DEFAULT PRIVILEGES{{where}} REVOKE ALL ON {found.kind} FROM {{grantee}}",
        where=where,
        grantee=_grantee(found.grantee),
    )
    reason = f"new {found.kind.lower()} would be open to {found.grantee or 'PUBLIC'}"
    return Statements(
        "revoke", "default privileges of", target.names.owner, reason, statements=(as_owner(target), statement)
    )


def create_object(target: Target, item: DatabaseObject, reason: str, *, drop_first: bool = False) -> Statements:
    """Create a table or index of the library's DDL as the owner, tables with the application's privileges."""
    statements = [as_owner(target)]
    if drop_first:
        statements.append(compose("DROP TABLE {table}", table=sql.Identifier(target.schema, item.name)))
    statements += item.statements
    if item.kind == "table":
        statements += _table_grants(target, item.name)
    return Statements("create", item.kind, item.name, reason, statements=tuple(statements))


def drop_orphan(target: Target, table: str, parent: str, *, rows: bool) -> Statements:
    """Drop a table whose rows belong to a table that is gone."""
    statement = compose("DROP TABLE {table} CASCADE", table=sql.Identifier(target.schema, table))
    reason = f"{'its rows belong' if rows else 'it belongs'} to table {parent}, which is missing"
    return Statements("drop", "table", table, reason, destructive=rows, statements=(as_owner(target), statement))


def grant_schema(target: Target) -> Statements:
    """Give the application's role exactly USAGE on the schema."""
    revoke = compose("REVOKE ALL ON SCHEMA {s} FROM {app} CASCADE", s=target.schema, app=target.names.app)
    reason = f"privileges of {target.names.app} differ"
    return Statements("grant", "schema", target.schema, reason, statements=(as_owner(target), revoke, _usage(target)))


def grant_table(target: Target, table: str) -> Statements:
    """Give the application's role exactly the privileges that the library needs on a table."""
    reason = f"privileges of {target.names.app} differ"
    return Statements("grant", "table", table, reason, statements=(as_owner(target), *_table_grants(target, table)))


def restore_owner(target: Target, kind: str, name: str) -> Statements:
    """Give the owner role back the privileges on its own object."""
    statement = compose(f"GRANT ALL ON {kind.upper()} {{name}} TO {{owner}}", name=_name(target, kind, name),
                     owner=target.names.owner)  # fmt: skip
    reason = f"privileges of {target.names.owner} differ"
    return Statements("grant", kind, name, reason, statements=(as_owner(target), statement))


def revoke_all(target: Target, kind: str, name: str, grantee: str | None) -> Statements:
    """Take all privileges on the schema or a table from somebody."""
    statement = compose(
        f"REVOKE ALL ON {kind.upper()} {{name}} FROM {{grantee}} CASCADE",
        name=_name(target, kind, name),
        grantee=_grantee(grantee),
    )
    reason = f"{grantee or 'PUBLIC'} has privileges"
    return Statements("revoke", kind, name, reason, statements=(as_owner(target), statement))


def grant_connect(target: Target) -> Statements:
    """Let the application connect to the database, where PUBLIC may not."""
    app, database = target.names.app, target.database
    statement = compose("GRANT CONNECT ON DATABASE {database} TO {app}", database=database, app=app)
    return Statements("grant", "database", database, f"{app} cannot connect", statements=(_alone(), statement))


def grant_vectors(target: Target, schema: str) -> Statements:
    """Let the application use pgvector, in a schema that is closed to PUBLIC."""
    app = target.names.app
    statement = compose("GRANT USAGE ON SCHEMA {schema} TO {app}", schema=schema, app=app)
    reason = f"{app} cannot use the extension vector, which is in it"
    return Statements("grant", "schema", schema, reason, statements=(_alone(), statement))


def enable_login(login: str, reason: str) -> Statements:
    """Let a login in with the binding's password; the password reaches the server as a SCRAM verifier."""
    return Statements("set", "password of", login, reason, login=login)


def disable_login(login: str) -> Statements:
    """Let no new session of a login in."""
    statement = compose("ALTER ROLE {login} NOLOGIN", login=login)
    return Statements("disable", "role", login, "store deleted", statements=(statement,))


def drop_role(target: Target, role: str, vectors: str | None = None) -> Statements:
    """End a role's sessions and drop it with its privileges.

    Acting as the role itself is what entitles an administrator who is no superuser to do both. What the administrator
    has granted to it on objects that are not the store's only the administrator can take back.

    Args:
        target: The store.
        role: The role.
        vectors: Schema of pgvector, where the administrator may take back privileges.
    """
    shared = [compose("REVOKE ALL ON DATABASE {database} FROM {role}", database=target.database, role=role)]
    if vectors is not None:
        shared.append(compose("REVOKE ALL ON SCHEMA {schema} FROM {role}", schema=vectors, role=role))
    statements = (
        _alone(),
        *(shared if role == target.names.app else ()),
        *_assume(target, role),
        compose("SET LOCAL ROLE {role}", role=role),
        compose(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = {name} AND pid <> pg_backend_pid()",
            name=sql.Literal(role),
        ),
        compose("DROP OWNED BY {role}", role=role),
        compose("RESET ROLE"),
        compose("DROP ROLE {role}", role=role),
    )
    return Statements("drop", "role", role, "store deleted", statements=statements)


def drop_schema(target: Target) -> Statements:
    """Drop the schema and all that is in it."""
    statement = compose("DROP SCHEMA {schema} CASCADE", schema=target.schema)
    return Statements(
        "drop",
        "schema",
        target.schema,
        "store deleted, deletionPolicy: Delete",
        destructive=True,
        statements=(*_assume(target, target.names.owner), as_owner(target), statement),
    )


def release_claim(target: Target, kind: str, name: str) -> Statements:
    """Mark what is kept as free to be adopted."""
    target = replace(target, claim=replace(target.claim, released=True))
    statements = (*_assume(target, target.names.owner), as_owner(target)) if kind == "schema" else ()
    statement = _comment(target, kind.upper(), name)
    return Statements("release", kind, name, "store deleted, data kept", statements=(*statements, statement))


def _alone() -> sql.Composed:
    """Wait for other stores that change privileges on what all stores share, which cannot be done by two at once."""
    return compose("SELECT pg_advisory_xact_lock(hashtextextended('locus-operator shared objects', 0))")


def _member(target: Target, login: str) -> sql.Composed:
    return compose("GRANT {app} TO {login}", app=target.names.app, login=login)


def _search_path(target: Target, login: str) -> sql.Composed:
    return compose(
        "ALTER ROLE {login} IN DATABASE {database} SET search_path = {schema}",
        login=login,
        database=target.database,
        schema=target.schema,
    )


def _usage(target: Target) -> sql.Composed:
    return compose("GRANT USAGE ON SCHEMA {schema} TO {app}", schema=target.schema, app=target.names.app)


def _table_grants(target: Target, table: str) -> list[sql.Composed]:
    name, app = sql.Identifier(target.schema, table), target.names.app
    wanted = ", ".join(privileges(table))
    return [
        compose("REVOKE ALL ON TABLE {name} FROM PUBLIC, {app} CASCADE", name=name, app=app),
        compose(f"GRANT {wanted} ON TABLE {{name}} TO {{app}}", name=name, app=app),
    ]


def _name(target: Target, kind: str, name: str) -> sql.Identifier:
    return sql.Identifier(name) if kind == "schema" else sql.Identifier(target.schema, name)


def _grantee(grantee: str | None) -> sql.Composable:
    return sql.SQL("PUBLIC") if grantee is None else sql.Identifier(grantee)
