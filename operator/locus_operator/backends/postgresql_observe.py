"""What exists on PostgreSQL for a store: read from the catalogs in one transaction, nothing changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from psycopg import AsyncConnection, AsyncCursor
from psycopg.rows import class_row

from locus_operator.backends import postgresql_definitions as definitions
from locus_operator.backends.postgresql_definitions import Definitions
from locus_operator.backends.postgresql_tables import Tables
from locus_operator.names import RoleNames

ROLE_GRANT_OPTIONS: Final = 160_000
"""Server version from which memberships have INHERIT and SET options, and CREATEROLE needs ADMIN on a role."""

LoginState = Literal["accepted", "wrong password", "untried"]


@dataclass(frozen=True, slots=True)
class Admin:
    """The role that the operator is logged in as, and what it may do."""

    name: str
    superuser: bool
    createrole: bool
    createdb: bool
    replication: bool
    bypassrls: bool
    creates_schemas: bool
    grants_connect: bool
    public_connects: bool
    read_only: bool


@dataclass(frozen=True, slots=True)
class Role:
    """One of the store's roles as it is.

    Attributes:
        comment: Where the claim is.
        expires: It has a VALID UNTIL.
        search_path_set: In this database its search_path is the store's schema.
        administered: The administrator has ADMIN OPTION on it.
        assumable: The administrator may SET ROLE to it.
        connects: It has CONNECT on this database, directly or through PUBLIC.
    """

    name: str
    comment: str | None
    superuser: bool
    inherit: bool
    createrole: bool
    createdb: bool
    login: bool
    replication: bool
    bypassrls: bool
    connection_limit: int
    expires: bool
    search_path_set: bool
    administered: bool
    assumable: bool
    connects: bool


@dataclass(frozen=True, slots=True)
class Membership:
    """One role is a member of another, and one of them is the store's.

    Attributes:
        role: What was granted.
        member: To whom.
        grantor: By whom.
        admin_option: The member may grant it on.
        inherits: The member has the role's privileges without SET ROLE.
        administrator: The member could grant itself anything anyway.
        revocable: The operator may revoke it.
    """

    role: str
    member: str
    grantor: str | None
    admin_option: bool
    inherits: bool
    administrator: bool
    revocable: bool


@dataclass(frozen=True, slots=True)
class Owned:
    """A schema, table or index.

    Attributes:
        kind: `schema`, `table`, `index`, or `other` for another kind of relation.
        owner: Its owner.
        comment: Where the claim is, on a schema.
        reachable: The administrator has the owner's privileges.
        owner_complete: The owner has all privileges, as after creation.
    """

    kind: str
    name: str
    owner: str
    comment: str | None
    reachable: bool
    owner_complete: bool


@dataclass(frozen=True, slots=True)
class Privilege:
    """What somebody other than the owner may do.

    Attributes:
        kind: `schema` or `table`; `column` for a grant on one column of the table.
        grantee: None is PUBLIC.
        privilege: Such as SELECT.
        grantable: With GRANT OPTION.
    """

    kind: str
    name: str
    grantee: str | None
    privilege: str
    grantable: bool


@dataclass(frozen=True, slots=True)
class DefaultPrivilege:
    """What somebody other than the owner gets on each new object of the owner.

    Attributes:
        kind: `TABLES`, `SEQUENCES`, `FUNCTIONS`, `TYPES` or `SCHEMAS`.
        schema: None for all schemas.
        grantee: None is PUBLIC.
    """

    kind: str
    schema: str | None
    grantee: str | None


@dataclass(frozen=True, slots=True)
class Extension:
    """The extension pgvector, in this database.

    Attributes:
        schema: Where its type is.
        usable: The application has USAGE there.
        grantable: The administrator may grant that.
    """

    schema: str
    usable: bool
    grantable: bool


@dataclass(frozen=True, slots=True)
class Observed:
    """Everything that a plan is made from.

    Attributes:
        version: Server version as a number, such as 180004.
        definitions: What tables and indexes are.
        versions: Recorded versions by the table that records them: 0 when it is empty, absent when it cannot be read.
        filled: Tables that hold rows, or may, of those for which it matters.
        vectors: None where the database has no pgvector.
        login: Whether the server accepts the password of the binding.
    """

    version: int
    admin: Admin
    roles: Mapping[str, Role]
    memberships: tuple[Membership, ...]
    schema: Owned | None
    relations: Mapping[str, Owned]
    privileges: frozenset[Privilege]
    default_privileges: frozenset[DefaultPrivilege]
    definitions: Definitions = field(default_factory=Definitions)
    versions: Mapping[str, int] = field(default_factory=dict)
    filled: frozenset[str] = frozenset()
    vectors: Extension | None = None
    login: LoginState = "untried"


_ADMIN: Final = """
SELECT r.rolname AS name, r.rolsuper AS superuser, r.rolcreaterole AS createrole, r.rolcreatedb AS createdb,
       r.rolreplication AS replication, r.rolbypassrls AS bypassrls,
       has_database_privilege(current_database(), 'CREATE') AS creates_schemas,
       has_database_privilege(current_database(), 'CONNECT WITH GRANT OPTION') AS grants_connect,
       has_database_privilege('public', current_database(), 'CONNECT') AS public_connects,
       pg_is_in_recovery() AS read_only
FROM pg_roles r WHERE r.rolname = current_user
"""

_ROLES: Final = """
SELECT r.rolname AS name, shobj_description(r.oid, 'pg_authid') AS comment, r.rolsuper AS superuser,
       r.rolinherit AS inherit, r.rolcreaterole AS createrole, r.rolcreatedb AS createdb, r.rolcanlogin AS login,
       r.rolreplication AS replication, r.rolbypassrls AS bypassrls, r.rolconnlimit AS connection_limit,
       coalesce(r.rolvaliduntil <> 'infinity', false) AS expires,
       coalesce('search_path=' || quote_ident(%(schema)s) = ANY (s.setconfig), false) AS search_path_set,
       pg_has_role(current_user, r.oid, 'MEMBER WITH ADMIN OPTION') AS administered,
       pg_has_role(current_user, r.oid, {assumable}) AS assumable,
       has_database_privilege(r.oid, current_database(), 'CONNECT') AS connects
FROM pg_roles r
LEFT JOIN pg_db_role_setting s ON s.setrole = r.oid
     AND s.setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
WHERE r.rolname = ANY (%(roles)s)
"""

_MEMBERSHIPS: Final = """
SELECT r.rolname AS role, m.rolname AS member, g.rolname AS grantor, a.admin_option,
       {inherits} AS inherits, m.rolsuper OR m.rolcreaterole AS administrator, {revocable} AS revocable
FROM pg_auth_members a
JOIN pg_roles r ON r.oid = a.roleid
JOIN pg_roles m ON m.oid = a.member
LEFT JOIN pg_roles g ON g.oid = a.grantor
WHERE r.rolname = ANY (%(roles)s) OR m.rolname = ANY (%(roles)s)
ORDER BY 1, 2, 3
"""

_OWNED: Final = """
SELECT o.kind, o.name, pg_get_userbyid(o.owner) AS owner, o.comment,
       pg_has_role(current_user, o.owner, 'USAGE') AS reachable,
       NOT EXISTS (SELECT privilege_type FROM aclexplode(acldefault(o.acl_kind, o.owner))
                   EXCEPT SELECT privilege_type FROM aclexplode(o.acl) WHERE grantee = o.owner) AS owner_complete
FROM (
    SELECT 'schema' AS kind, nspname AS name, nspowner AS owner, obj_description(oid, 'pg_namespace') AS comment,
           'n'::"char" AS acl_kind, coalesce(nspacl, acldefault('n', nspowner)) AS acl
    FROM pg_namespace WHERE nspname = %(schema)s
    UNION ALL
    SELECT CASE WHEN relkind = 'r' THEN 'table' WHEN relkind = 'i' THEN 'index' ELSE 'other' END, relname, relowner,
           NULL, 'r', CASE WHEN relkind = 'i' THEN acldefault('r', relowner)
                           ELSE coalesce(relacl, acldefault('r', relowner)) END
    FROM pg_class WHERE relnamespace = to_regnamespace(quote_ident(%(schema)s)) AND relname = ANY (%(relations)s)
) o
"""

_PRIVILEGES: Final = """
SELECT o.kind, o.name, CASE WHEN x.grantee <> 0 THEN pg_get_userbyid(x.grantee) END AS grantee,
       x.privilege_type AS privilege, x.is_grantable AS grantable
FROM (
    SELECT 'schema' AS kind, nspname AS name, nspowner AS owner, nspacl AS acl
    FROM pg_namespace WHERE nspname = %(schema)s
    UNION ALL
    SELECT 'table', relname, relowner, relacl
    FROM pg_class WHERE relnamespace = to_regnamespace(quote_ident(%(schema)s)) AND relname = ANY (%(relations)s)
    UNION ALL
    SELECT 'column', c.relname, c.relowner, a.attacl
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
    WHERE c.relnamespace = to_regnamespace(quote_ident(%(schema)s)) AND c.relname = ANY (%(relations)s)
) o, aclexplode(o.acl) x
WHERE x.grantee <> o.owner
"""

# Without an entry of its own, the owner's new functions and types are open to PUBLIC.
_DEFAULT_PRIVILEGES: Final = """
SELECT CASE d.type WHEN 'r' THEN 'TABLES' WHEN 'S' THEN 'SEQUENCES' WHEN 'f' THEN 'FUNCTIONS' WHEN 'T' THEN 'TYPES'
                   ELSE 'SCHEMAS' END AS kind,
       n.nspname AS schema, CASE WHEN x.grantee <> 0 THEN pg_get_userbyid(x.grantee) END AS grantee
FROM (
    SELECT d.defaclobjtype AS type, d.defaclnamespace AS namespace, d.defaclrole AS owner, d.defaclacl AS acl
    FROM pg_default_acl d JOIN pg_roles r ON r.oid = d.defaclrole
    WHERE r.rolname = %(owner)s
    UNION ALL
    SELECT k.type, 0, r.oid, acldefault(k.type, r.oid)
    FROM pg_roles r, (VALUES ('f'::"char"), ('T'::"char")) k (type)
    WHERE r.rolname = %(owner)s AND NOT EXISTS (
        SELECT FROM pg_default_acl d
        WHERE d.defaclrole = r.oid AND d.defaclnamespace = 0 AND d.defaclobjtype = k.type)
) d
LEFT JOIN pg_namespace n ON n.oid = d.namespace
CROSS JOIN aclexplode(d.acl) x
WHERE x.grantee <> d.owner
"""


_EXTENSION: Final = """
SELECT n.nspname AS schema, has_schema_privilege(n.oid, 'USAGE WITH GRANT OPTION') AS grantable,
       coalesce((SELECT has_schema_privilege(r.oid, n.oid, 'USAGE') FROM pg_roles r WHERE r.rolname = %(app)s),
                has_schema_privilege('public', n.oid, 'USAGE')) AS usable
FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
WHERE e.extname = 'vector'
"""


async def observe(connection: AsyncConnection[Any], names: RoleNames, schema: str, tables: Tables) -> Observed:
    """Read the catalogs, in one round trip; neither looks into tables nor tries the login."""
    version = connection.info.server_version
    reader = _Reader(
        connection,
        {
            "schema": schema,
            "roles": [names.owner, names.app, *names.logins],
            "relations": [item.name for item in tables.objects],
            "owner": names.owner,
            "app": names.app,
        },
    )
    async with connection.pipeline():
        await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        admin = await reader.ask(Admin, _ADMIN)
        roles = await reader.ask(Role, _versioned(_ROLES, version))
        memberships = await reader.ask(Membership, _versioned(_MEMBERSHIPS, version))
        owned = await reader.ask(Owned, _OWNED)
        privileges = await reader.ask(Privilege, _PRIVILEGES)
        defaults = await reader.ask(DefaultPrivilege, _DEFAULT_PRIVILEGES)
        vectors = await reader.ask(Extension, _EXTENSION)
        await connection.execute(definitions.SHOW_BARE_NAMES, {"schema": schema})
        columns = await reader.ask(definitions.FoundColumn, definitions.COLUMNS)
        constraints = await reader.ask(definitions.FoundConstraint, definitions.CONSTRAINTS)
        relations = await reader.ask(definitions.FoundRelation, definitions.RELATIONS)
        await connection.execute("COMMIT")
    found = await owned.fetchall()
    return Observed(
        version,
        (await admin.fetchall())[0],
        {role.name: role for role in await roles.fetchall()},
        tuple(await memberships.fetchall()),
        next((each for each in found if each.kind == "schema"), None),
        {each.name: each for each in found if each.kind != "schema"},
        frozenset(await privileges.fetchall()),
        frozenset(await defaults.fetchall()),
        Definitions.of(await columns.fetchall(), await constraints.fetchall(), await relations.fetchall()),
        vectors=next(iter(await vectors.fetchall()), None),
    )


@dataclass(frozen=True, slots=True)
class _Reader:
    connection: AsyncConnection[Any]
    parameters: Mapping[str, Any]

    async def ask(self, kind: type[Any], query: str) -> AsyncCursor[Any]:
        """Send a query whose rows are fetched when the pipeline has ended."""
        cursor = self.connection.cursor(row_factory=class_row(kind))
        return await cursor.execute(query.encode(), self.parameters)


def _versioned(query: str, version: int) -> str:
    """Fill in what PostgreSQL 16 has changed about memberships."""
    if version >= ROLE_GRANT_OPTIONS:
        return query.format(
            assumable="'SET'",
            inherits="a.inherit_option",
            revocable="pg_has_role(current_user, a.roleid, 'MEMBER WITH ADMIN OPTION') "
            "AND pg_has_role(current_user, a.grantor, 'USAGE')",
        )
    return query.format(
        assumable="'MEMBER'",
        inherits="m.rolinherit",
        revocable="pg_has_role(current_user, a.roleid, 'MEMBER WITH ADMIN OPTION') OR NOT r.rolsuper",
    )
