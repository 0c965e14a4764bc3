"""Looks at the objects of one store in an Oracle Database: reads the data dictionary, changes nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

import oracledb

from locus_memory.backends.oracle_errors import NO_SUCH_TABLE, code_of, is_missing_privilege
from locus_operator.backends.oracle_connect import Administrator
from locus_operator.backends.oracle_names import Layout

LoginState = Literal["untried", "accepted", "wrong password"]

QUERIES: Final = {
    "privileges": "SELECT p.privilege FROM session_privs p",
    # What may be passed on, granted to the administrator itself or by a role.
    "grantable": """SELECT u.privilege FROM user_sys_privs u WHERE u.admin_option = 'YES'
        UNION SELECT r.privilege FROM role_sys_privs r WHERE r.admin_option = 'YES'""",
    "tablespace": """SELECT p.property_value FROM database_properties p
        WHERE p.property_name = 'DEFAULT_PERMANENT_TABLESPACE'""",
}
QUERIES_OF_USERS: Final = {
    "users": """SELECT u.username, u.account_status, u.authentication_type, u.default_tablespace,
            u.oracle_maintained, u.common, u.expiry_date, SYSDATE
        FROM dba_users u WHERE u.username IN (:owner, :login_a, :login_b)""",
    "claims": """SELECT v.owner, v.text_vc FROM dba_views v
        WHERE v.view_name = 'LOCUS_CLAIM' AND v.owner IN (:owner, :login_a, :login_b)""",
    "quotas": """SELECT q.username, q.tablespace_name, q.max_bytes FROM dba_ts_quotas q
        WHERE q.dropped = 'NO' AND q.username IN (:owner, :login_a, :login_b)""",
    "objects": """SELECT o.owner, o.object_name, o.object_type FROM dba_objects o
        WHERE o.owner IN (:owner, :login_a, :login_b)""",
    "system": """SELECT p.grantee, p.privilege, p.admin_option FROM dba_sys_privs p
        WHERE p.grantee IN (:owner, :login_a, :login_b)""",
    "roles": """SELECT p.grantee, p.granted_role FROM dba_role_privs p
        WHERE p.grantee IN (:owner, :login_a, :login_b)""",
    "grants": """SELECT p.grantee, p.owner, p.table_name, p.privilege, p.grantable FROM dba_tab_privs p
        WHERE p.owner = :owner OR p.grantee IN (:owner, :login_a, :login_b)""",
}
_LITERAL: Final = re.compile(r"'((?:[^']|'')*)'")


@dataclass(frozen=True, slots=True)
class User:
    """A user of the store: the owner of its tables, or one of its logins.

    Attributes:
        status: Such as `OPEN`, `LOCKED`, `LOCKED(TIMED)`, `EXPIRED(GRACE)`.
        authentication: Such as `PASSWORD`; `NONE` for who cannot log in.
        tablespace: Where its tables are created.
        builtin: It belongs to Oracle, or to the whole container database.
        expires: Its password has expired, or does within a day.
        claim: Text of its claim, if it has one.
        idle: It cannot log in, owns nothing and may do nothing: what a run leaves that ended before it could claim.
    """

    name: str
    status: str
    authentication: str
    tablespace: str
    builtin: bool = False
    expires: bool = False
    claim: str | None = None
    idle: bool = False

    @property
    def locked(self) -> bool:
        """Whether it is shut, for good or for a while."""
        return "LOCKED" in self.status


@dataclass(frozen=True, slots=True)
class Grant:
    """A privilege on an object."""

    grantee: str
    owner: str
    name: str
    privilege: str
    grantable: bool = False


@dataclass(frozen=True, slots=True)
class Observed:
    """What is there.

    Attributes:
        release: Number of the database's release.
        longest_name: Bytes that names may have.
        privileges: System privileges of the administrator.
        grantable: Those of them that it may pass on.
        dictionary: Whether it may read the data dictionary; if not, nothing else is known.
        default_tablespace: Where tables go of users without a tablespace of their own.
        users: Owner and logins, by name.
        quotas: Bytes by user and tablespace; -1 is unlimited.
        objects: Kind by name, of the owner's schema.
        system: Grantee, system privilege, and whether it may be passed on.
        roles: Grantee and role.
        grants: Privileges on the owner's objects, and all of the store's users.
        versions: Highest version by version table; 0 for one without rows.
        filled: Tables that have rows, of those that have lost the table that they belong to.
        next_numbers: Where a sequence that is missing has to start, behind the rows that it has numbered.
        dimension: Numbers in an embedding, of the table of embeddings that is there.
        login: Whether the first login lets the binding's password in.
    """

    release: int
    longest_name: int
    privileges: frozenset[str]
    grantable: frozenset[str] = frozenset()
    dictionary: bool = True
    default_tablespace: str = ""
    users: Mapping[str, User] = field(default_factory=dict)
    quotas: Mapping[tuple[str, str], int] = field(default_factory=dict)
    objects: Mapping[str, str] = field(default_factory=dict)
    system: frozenset[tuple[str, str, bool]] = frozenset()
    roles: frozenset[tuple[str, str]] = frozenset()
    grants: frozenset[Grant] = frozenset()
    versions: Mapping[str, int] = field(default_factory=dict)
    filled: frozenset[str] = frozenset()
    next_numbers: Mapping[str, int] = field(default_factory=dict)
    dimension: int | None = None
    login: LoginState = "untried"


async def observe(admin: Administrator, layout: Layout) -> Observed:
    """Read the data dictionary, and of the tables what it does not tell.

    Raises:
        ProvisioningError: The database is away, or does not answer.
    """
    observed = Observed(
        release=admin.release,
        longest_name=admin.longest_name,
        privileges=frozenset(row[0] for row in await _ask(admin, "privileges")),
        grantable=frozenset(row[0] for row in await _ask(admin, "grantable")),
    )
    users = dict(zip(("owner", "login_a", "login_b"), (layout.owner, *layout.logins), strict=True))
    with admin.explaining("read the data dictionary"):
        try:
            found = {name: await admin.query(text, **users) for name, text in QUERIES_OF_USERS.items()}
        except oracledb.DatabaseError as error:
            if code_of(error) != NO_SUCH_TABLE and not is_missing_privilege(error):
                raise
            return replace(observed, dictionary=False)
    ((tablespace,),) = await _ask(admin, "tablespace")
    observed = replace(
        observed,
        default_tablespace=tablespace,
        users={row[0]: _user(row, found) for row in found["users"]},
        quotas={(user, place): size for user, place, size in found["quotas"]},
        objects={name: kind for owner, name, kind in found["objects"] if owner == layout.owner},
        system=frozenset((grantee, privilege, option == "YES") for grantee, privilege, option in found["system"]),
        roles=frozenset((grantee, role) for grantee, role in found["roles"]),
        grants=frozenset(
            Grant(grantee, owner, name, privilege, option == "YES")
            for grantee, owner, name, privilege, option in found["grants"]
        ),
    )
    return await _with_tables(admin, observed, layout)


async def _ask(admin: Administrator, name: str) -> list[Any]:
    return await admin.rows("read the data dictionary", QUERIES[name])


def _user(row: tuple[Any, ...], found: Mapping[str, Iterable[Any]]) -> User:
    name, status, authentication, tablespace, maintained, common, expiry, now = row
    claims = [text for owner, text in found["claims"] if owner == name]
    has = any(each[0] == name for kind in ("objects", "system", "roles", "grants") for each in found[kind])
    return User(
        name,
        status,
        authentication,
        tablespace,
        builtin=maintained == "Y" or common == "YES",
        expires="EXPIRED" in status or (expiry is not None and (expiry - now).days < 1),
        claim=_literal(claims[0]) if claims else None,
        idle=authentication == "NONE" and "LOCKED" in status and not has,
    )


def _literal(text: str | None) -> str | None:
    found = _LITERAL.search(text or "")
    return found[1].replace("''", "'") if found else None


async def _with_tables(admin: Administrator, observed: Observed, layout: Layout) -> Observed:
    """Ask the tables themselves; one that the administrator may not read tells nothing, and preflight says so."""
    versions, filled, numbers, dimension = {}, set(), {}, None
    there = observed.objects
    if "SELECT ANY TABLE" not in observed.privileges:
        return replace(observed, filled=frozenset(layout.orphans(there)))
    for table in layout.version_tables & there.keys():
        ((version,),) = await admin.rows(f"read the table {table}", layout.version_query(table))
        versions[table] = int(version or 0)
    for table in layout.orphans(there):
        if await admin.rows(f"read the table {table}", layout.any_row_query(table)):
            filled.add(table)
    for sequence, table in layout.sequences.items():
        if sequence not in there and table in there:
            ((highest,),) = await admin.rows(f"read the table {table}", layout.highest_query(table))
            numbers[sequence] = int(highest or 0) + 1
    if layout.vectors in there:
        dimension = await admin.dimensions(layout.vectors_query)
    return replace(observed, versions=versions, filled=frozenset(filled), next_numbers=numbers, dimension=dimension)
