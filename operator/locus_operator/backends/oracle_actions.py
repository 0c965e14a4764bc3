"""Statements of the Oracle provisioner: each function returns one action.

Oracle commits before and after each statement of DDL: there is no transaction for several. So a new user is made
without login, locked, and claimed before it gets anything; one that was left before its claim is as good as not there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Final

from locus_memory.backends.oracle_schema import DatabaseObject
from locus_operator.backends.oracle_names import Layout, create_claim
from locus_operator.backends.oracle_observe import Grant
from locus_operator.provisioner import Action, Owner

_SHUT: Final = "NO AUTHENTICATION ACCOUNT LOCK"
SESSION: Final = "CREATE SESSION"
"""The one system privilege of a login."""

SESSIONS: Final = 'SELECT s.sid, s."SERIAL#", s.inst_id FROM gv$session s WHERE s.username = :user_name'


@dataclass(frozen=True, slots=True)
class Statements(Action):
    """An action that runs these statements, one after the other."""

    statements: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class EnableLogin(Action):
    """Let a login in with the binding's password.

    Attributes:
        keeps_password: It has one, which may be the binding's: then it is unlocked only.
    """

    keeps_password: bool = False


@dataclass(frozen=True, slots=True)
class DropUser(Action):
    """End the sessions of a user, and drop it with all that it owns."""


@dataclass(frozen=True, slots=True)
class Target:
    """What the statements are about.

    Attributes:
        tablespace: Where the owner's tables go.
        quota: Space that the owner has there, such as `10G` or `unlimited`.
    """

    layout: Layout
    claim: Owner
    tablespace: str
    quota: str

    @property
    def space(self) -> str:
        """The owner's tablespace and quota, as options of a user."""
        return f'DEFAULT TABLESPACE "{self.tablespace}" QUOTA {self.quota.upper()} ON "{self.tablespace}"'


def create_user(target: Target, user: str) -> Statements:
    """Create a user that cannot log in, and claim it; logins may then have sessions, once they are let in."""
    owner = user == target.layout.owner
    create = f'CREATE USER "{user}" {_SHUT}{f" {target.space}" if owner else ""}'
    session = () if owner else (f'GRANT {SESSION} TO "{user}"',)
    return Statements(
        "create", "user", user, "missing", statements=(create, create_claim(user, target.claim), *session)
    )


def claim_user(target: Target, user: str) -> Statements:
    """Write the claim of a user that exists."""
    return Statements("claim", "user", user, "not claimed", statements=(create_claim(user, target.claim),))


def shut_owner(user: str, reason: str) -> Statements:
    """Take the owner's login away."""
    return Statements("alter", "user", user, reason, statements=(f'ALTER USER "{user}" {_SHUT}',))


def lock_login(user: str, reason: str) -> Statements:
    """Let no new session of a login in."""
    return Statements("lock", "user", user, reason, statements=(f'ALTER USER "{user}" ACCOUNT LOCK',))


def give_space(target: Target, reason: str) -> Statements:
    """Give the owner its tablespace and quota."""
    owner = target.layout.owner
    return Statements("set", "quota of", owner, reason, statements=(f'ALTER USER "{owner}" {target.space}',))


def take_space(user: str, tablespace: str) -> Statements:
    """Take away space from a login, which is to own nothing."""
    statement = f'ALTER USER "{user}" QUOTA 0K ON "{tablespace}"'
    return Statements("revoke", "quota of", user, f"it may use tablespace {tablespace}", statements=(statement,))


def create_object(target: Target, item: DatabaseObject, reason: str, start: int | None = None) -> Statements:
    """Create an object of the library's DDL, and grant the logins what the library needs on it.

    Args:
        target: What it is for.
        item: The object.
        reason: Why.
        start: First number of a sequence whose rows are there already.
    """
    behind = f" START WITH {start}" if start is not None else ""
    grants = _grant(target.layout, item.name, item.privileges, target.layout.logins)
    return Statements("create", item.kind, item.name, reason, statements=(f"{item.statement}{behind}", *grants))


def drop_table(target: Target, table: str, reason: str, *, rows: bool) -> Statements:
    """Drop a table for good: what lies in the recycle bin counts towards the quota."""
    statement = f"DROP TABLE {target.layout.qualified(table)} CASCADE CONSTRAINTS PURGE"
    return Statements("drop", "table", table, reason, destructive=rows, statements=(statement,))


def grant_object(target: Target, user: str, item: DatabaseObject, missing: Iterable[str]) -> Statements:
    """Grant a login what it lacks on an object."""
    statements = _grant(target.layout, item.name, sorted(missing), (user,))
    return Statements("grant", item.kind, item.name, f"privileges of {user} differ", statements=statements)


def revoke_object(grant: Grant) -> Statements:
    """Take a privilege on an object from somebody."""
    who = grant.grantee if grant.grantee == "PUBLIC" else f'"{grant.grantee}"'
    statement = f'REVOKE {grant.privilege} ON "{grant.owner}"."{grant.name}" FROM {who}'
    reason = f"{grant.grantee} has {grant.privilege}{', and may pass it on' if grant.grantable else ''}"
    return Statements("revoke", "object", f"{grant.owner}.{grant.name}", reason, statements=(statement,))


def grant_session(user: str) -> Statements:
    """Let a login have sessions."""
    return Statements("grant", "privilege", SESSION, f"{user} lacks it", statements=(f'GRANT {SESSION} TO "{user}"',))


def revoke_system(user: str, privilege: str) -> Statements:
    """Take a system privilege from a user."""
    statement = f'REVOKE {privilege} FROM "{user}"'
    return Statements("revoke", "privilege", privilege, f"{user} has it", statements=(statement,))


def revoke_role(user: str, role: str) -> Statements:
    """Take a role from a user."""
    return Statements("revoke", "role", role, f"{user} has it", statements=(f'REVOKE "{role}" FROM "{user}"',))


def enable_login(user: str, reason: str, *, keeps_password: bool) -> EnableLogin:
    """Let a login in with the binding's password."""
    return EnableLogin("set", "password of", user, reason, keeps_password=keeps_password)


def drop_user(user: str, *, data: bool) -> DropUser:
    """Drop a user; the owner goes with its tables."""
    return DropUser(
        "drop", "user", user, f"store deleted{', deletionPolicy: Delete' if data else ''}", destructive=data
    )


def release_claim(target: Target, user: str) -> Statements:
    """Mark what is kept as free to be adopted."""
    statement = create_claim(user, replace(target.claim, released=True))
    return Statements("release", "user", user, "store deleted, data kept", statements=(statement,))


def set_password(user: str, password: str) -> str:
    """Return the statement that gives a login its password and opens it."""
    return f'ALTER USER "{user}" IDENTIFIED BY "{password}" ACCOUNT UNLOCK'


def unlock(user: str) -> str:
    """Return the statement that opens a login."""
    return f'ALTER USER "{user}" ACCOUNT UNLOCK'


def drop(user: str) -> str:
    """Return the statement that drops a user with all that it owns; nothing of it goes into the recycle bin."""
    return f'DROP USER "{user}" CASCADE'


def end_session(sid: int, serial: int, instance: int) -> str:
    """Return the statement that ends a session, on whichever instance of a cluster it is."""
    return f"ALTER SYSTEM KILL SESSION '{sid},{serial},@{instance}' IMMEDIATE"


def _grant(layout: Layout, name: str, privileges: Iterable[str], users: Iterable[str]) -> tuple[str, ...]:
    wanted = ", ".join(privileges)
    return tuple(f'GRANT {wanted} ON {layout.qualified(name)} TO "{user}"' for user in users) if wanted else ()
