"""What to do on PostgreSQL: pure functions from what was observed to a plan."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Final

from psycopg import sql

from locus_operator.backends import postgresql_actions as actions
from locus_operator.backends.postgresql_actions import Statements, Target
from locus_operator.backends.postgresql_observe import (
    ROLE_GRANT_OPTIONS,
    DefaultPrivilege,
    Membership,
    Observed,
    Role,
)
from locus_operator.backends.postgresql_repairs import Damage, repairs
from locus_operator.backends.postgresql_tables import TableSet, privileges
from locus_operator.constants import ANNOTATION_ADOPT, ConditionReason
from locus_operator.errors import RefusedError
from locus_operator.provisioner import Owner, Plan

_NEEDS_SUPERUSER: Final = {"superuser": "NOSUPERUSER", "replication": "NOREPLICATION", "bypassrls": "NOBYPASSRLS"}


def plan(observed: Observed, target: Target, *, adopt: bool, admin_secret: str) -> Plan:
    """Decide what makes the backend as desired.

    Raises:
        RefusedError: Conflicts, or missing privileges of the administrator: all of them at once.
    """
    _check_server(observed, target)
    _check_conflicts(observed, target, adopt=adopt)
    tables = tuple(_all_tables(observed, target))
    _check_damage(target, [each for each in tables if isinstance(each, Damage)])
    todo = tuple(chain(_roles(observed, target), _schema(observed, target),
                       (each for each in tables if isinstance(each, Statements)),
                       _privileges(observed, target), _logins(observed, target)))  # fmt: skip
    if todo:
        _check_privileges(observed, target, admin_secret)
    return Plan(todo)


def plan_release(observed: Observed, target: Target, *, delete: bool) -> Plan:
    """Decide what the deletion of the store does; what is somebody else's is left alone.

    Args:
        observed: What was observed.
        target: What it was observed for.
        delete: The data goes as well.
    """
    return Plan(tuple(_delete(observed, target) if delete else _retain(observed, target)))


# --- who owns what ---


def is_own_role(observed: Observed, target: Target, role: str) -> bool:
    """Tell whether a role is the store's: by its claim, or, had that been lost, by the claims beside it."""
    found = observed.roles[role].comment
    claim = Owner.from_claim(found)
    if claim is not None:
        return _same(target.claim, claim)
    beside = [each.comment for each in observed.roles.values()] + [observed.schema.comment if observed.schema else None]
    return any(target.claim.owns(Owner.from_claim(comment)) for comment in beside)


def is_own_schema(observed: Observed, target: Target) -> bool:
    """Tell whether the schema is the store's: by its claim, or by its owner's where that has been lost."""
    if observed.schema is None:
        return False
    claim = Owner.from_claim(observed.schema.comment)
    if claim is not None:
        return _same(target.claim, claim)
    owner = observed.roles.get(observed.schema.owner)
    return owner is not None and target.claim.owns(Owner.from_claim(owner.comment))


def _same(ours: Owner, claim: Owner) -> bool:
    return (claim.cluster, claim.uid) == (ours.cluster, ours.uid)


def _check_conflicts(observed: Observed, target: Target, *, adopt: bool) -> None:
    taken = []
    for kind, name, comment, own in _claimable(observed, target):
        claim = Owner.from_claim(comment)
        if own and not (claim is not None and claim.released):
            continue
        if claim is not None and not claim.released:
            taken.append(f"{kind} {name!r} belongs to the store {claim}")
        elif not adopt:
            whose = f"was left by the store {claim}" if claim else "exists and belongs to no store"
            taken.append(f"{kind} {name!r} {whose}")
    if taken:
        raise RefusedError(
            ConditionReason.CONFLICT,
            f"database {target.database!r}: {'; '.join(taken)}. Nothing was changed. Choose another name for the "
            f'store or its schema; or annotate the store with {ANNOTATION_ADOPT}="true" to take over what no living '
            "store owns",
        )


def _claimable(observed: Observed, target: Target) -> Iterator[tuple[str, str, str | None, bool]]:
    if observed.schema is not None:
        yield "schema", target.schema, observed.schema.comment, is_own_schema(observed, target)
    for role in observed.roles.values():
        yield "role", role.name, role.comment, is_own_role(observed, target, role.name)


# --- what is desired ---


def _roles(observed: Observed, target: Target) -> Iterator[Statements]:
    names = target.names
    for name in (names.owner, names.app, *names.logins):
        role = observed.roles.get(name)
        if role is None:
            yield actions.create_role(target, name)
            continue
        if role.comment != target.claim.claim():
            yield actions.claim_object(target, "role", name, "not claimed")
        if options := _wrong_options(role, may_login=name == names.logins[0]):
            yield actions.alter_role(name, options)
        if name == names.owner and not role.assumable:
            yield actions.assume_owner(target)
        if name in names.logins:
            if not _is_member(observed, names.app, name):
                yield actions.grant_membership(target, name)
            if not role.search_path_set:
                yield actions.set_search_path(target, name)
    yield from (actions.revoke_membership(target, each) for each in _foreign_memberships(observed, target))


def _wrong_options(role: Role, *, may_login: bool) -> tuple[str, ...]:
    wrong = {
        "NOSUPERUSER": role.superuser,
        "NOCREATEDB": role.createdb,
        "NOCREATEROLE": role.createrole,
        "NOREPLICATION": role.replication,
        "NOBYPASSRLS": role.bypassrls,
        "INHERIT": not role.inherit,
        "NOLOGIN": role.login and not may_login,
        "CONNECTION LIMIT -1": role.connection_limit != -1,
        "VALID UNTIL 'infinity'": role.expires,
    }
    return tuple(option for option, is_wrong in wrong.items() if is_wrong)


def _is_member(observed: Observed, app: str, login: str) -> bool:
    found = [each for each in observed.memberships if (each.role, each.member) == (app, login)]
    return any(each.inherits for each in found) and not any(each.admin_option for each in found)


def _foreign_memberships(observed: Observed, target: Target) -> Iterator[Membership]:
    """Who should not be a member; administrators, who could make themselves one, are left alone."""
    names = target.names
    wanted = {(names.app, login) for login in names.logins}
    own = {names.owner, names.app, *names.logins}
    for each in observed.memberships:
        if (each.role, each.member) not in wanted and (each.member in own or not each.administrator):
            yield each


def _schema(observed: Observed, target: Target) -> Iterator[Statements]:
    schema = observed.schema
    if schema is None:
        yield actions.create_schema(target)
    else:
        if schema.owner != target.names.owner:
            yield actions.change_owner(target, "schema", target.schema, schema.owner)
        if schema.comment != target.claim.claim():
            yield actions.claim_object(target, "schema", target.schema, "not claimed")
    defaults = set(observed.default_privileges)
    if target.names.owner not in observed.roles:
        # A new owner's functions and types are open to PUBLIC.
        defaults = {DefaultPrivilege(kind, None, None) for kind in ("FUNCTIONS", "TYPES")}
    for default in sorted(defaults, key=str):
        yield actions.close_default(target, default)


def _all_tables(observed: Observed, target: Target) -> Iterator[Statements | Damage]:
    for found in observed.relations.values():
        if found.kind == "table" and found.owner != target.names.owner:
            yield actions.change_owner(target, "table", found.name, found.owner)
    for tables in target.tables.sets:
        yield from _tables(tables, observed, target)


def _tables(tables: TableSet, observed: Observed, target: Target) -> Iterator[Statements | Damage]:
    first, *others = tables.tables
    dropped = set()
    if first not in observed.relations:
        # A new first table would number its rows from 1 again, and old rows would join the wrong threads.
        for name in reversed(others):
            if name in observed.relations and name != tables.version_table:
                dropped.add(name)
                yield actions.drop_orphan(target, name, first, rows=name in observed.filled)
    for item in tables.objects:
        if item.name not in observed.relations or item.table in dropped:
            yield actions.create_object(target, item, "missing")
        elif item.name == tables.version_table and observed.versions.get(item.name) == 0:
            yield actions.create_object(target, item, "has no row", drop_first=True)
        else:
            yield from repairs(item, observed, target)


def _check_damage(target: Target, damages: list[Damage]) -> None:
    if damages:
        what = "; ".join(f"{damage.what}: {damage.advice}" for damage in damages)
        raise RefusedError(
            ConditionReason.CONFLICT,
            f"schema {target.schema!r} cannot be corrected without the loss of data, so nothing was done: {what}",
        )


def _privileges(observed: Observed, target: Target) -> Iterator[Statements]:
    owned = [observed.schema] if observed.schema else []
    owned += [each for each in observed.relations.values() if each.kind == "table"]
    for each in owned:
        if not each.owner_complete:
            yield actions.restore_owner(target, each.kind, each.name)
        granted = [
            p for p in observed.privileges if p.name == each.name and (p.kind == "schema") == (each.kind == "schema")
        ]
        for grantee in sorted({p.grantee for p in granted} - {target.names.app, target.names.owner}, key=str):
            yield actions.revoke_all(target, each.kind, each.name, grantee)
        found = {(p.kind, p.privilege, p.grantable) for p in granted if p.grantee == target.names.app}
        wanted = ("USAGE",) if each.kind == "schema" else privileges(each.name)
        if found != {(each.kind, privilege, False) for privilege in wanted}:
            schema = each.kind == "schema"
            yield actions.grant_schema(target) if schema else actions.grant_table(target, each.name)
    if not _connects(observed, target):
        yield actions.grant_connect(target)
    if observed.vectors is not None and _lacks_vectors(observed, target):
        yield actions.grant_vectors(target, observed.vectors.schema)


def _lacks_vectors(observed: Observed, target: Target) -> bool:
    # Where the extension is, the library uses it.
    return target.tables.long_term_memory and observed.vectors is not None and not observed.vectors.usable


def _connects(observed: Observed, target: Target) -> bool:
    app = observed.roles.get(target.names.app)
    return observed.admin.public_connects or (app is not None and app.connects)


def _logins(observed: Observed, target: Target) -> Iterator[Statements]:
    active = target.names.logins[0]
    role = observed.roles.get(active)
    if role is None or not role.login:
        yield actions.enable_login(active, "missing" if role is None else "differs: NOLOGIN")
    elif observed.login == "wrong password":
        yield actions.enable_login(active, "differs from the binding's")


# --- what the server and the administrator must allow ---


def _check_server(observed: Observed, target: Target) -> None:
    if observed.admin.read_only:
        raise RefusedError(
            ConditionReason.BACKEND_REFUSED,
            "the server is a read-only replica: write the host of the primary into spec.backend.postgresql.host",
        )
    for tables in target.tables.sets:
        version = observed.versions.get(tables.version_table, 0)
        if version > tables.version:
            raise RefusedError(
                ConditionReason.NOT_SUPPORTED,
                f"schema {target.schema!r} has tables of version {version} ({tables.version_table}), this operator "
                f"knows up to {tables.version}: install a newer operator",
            )
    kinds = {item.name: item.kind for item in target.tables.objects}
    strange = [name for name, found in observed.relations.items() if found.kind != kinds[name]]
    if strange:
        raise RefusedError(
            ConditionReason.CONFLICT,
            f"schema {target.schema!r} has {', '.join(sorted(strange))} as something else than a table or an index: "
            "rename or drop it",
        )


def _check_privileges(observed: Observed, target: Target, admin_secret: str) -> None:
    if missing := list(_missing(observed, target)):
        what = "; ".join(f"{lack} ({statement.as_string()};)" for lack, statement in missing)
        raise RefusedError(
            ConditionReason.MISSING_PRIVILEGES,
            f"the administrator {observed.admin.name!r} of Secret {admin_secret!r} lacks: {what}. Nothing was changed. "
            "Let a superuser (or the owner of the object) run the statements in brackets",
        )


def _missing(observed: Observed, target: Target) -> Iterator[tuple[str, sql.Composed]]:
    admin = observed.admin
    if admin.superuser:
        return
    me, database = sql.Identifier(admin.name), sql.Identifier(target.database)
    if not admin.createrole:
        yield "CREATEROLE", sql.SQL("ALTER ROLE {} CREATEROLE").format(me)
    moves = observed.schema is not None and observed.schema.owner != target.names.owner
    if (observed.schema is None or moves) and not admin.creates_schemas:
        text = f"CREATE on the database {target.database!r}"
        yield text, sql.SQL("GRANT CREATE ON DATABASE {} TO {}").format(database, me)
    if not _connects(observed, target) and not admin.grants_connect:
        text = f"CONNECT WITH GRANT OPTION on the database {target.database!r}"
        yield text, sql.SQL("GRANT CONNECT ON DATABASE {} TO {} WITH GRANT OPTION").format(database, me)
    if observed.vectors is not None and _lacks_vectors(observed, target) and not observed.vectors.grantable:
        text, schema = f"USAGE WITH GRANT OPTION on the schema {observed.vectors.schema!r}", observed.vectors.schema
        grant = sql.SQL("GRANT USAGE ON SCHEMA {} TO {} WITH GRANT OPTION").format(sql.Identifier(schema), me)
        yield f"{text} of the extension vector", grant
    for role in observed.roles.values():
        if observed.version >= ROLE_GRANT_OPTIONS and not role.administered:
            statement = sql.SQL("GRANT {} TO {} WITH ADMIN OPTION").format(sql.Identifier(role.name), me)
            yield f"ADMIN OPTION on the role {role.name!r}", statement
        yield from _missing_for_options(observed, role)
    yield from _missing_for_owners(observed, target)
    for each in _foreign_memberships(observed, target):
        if not each.revocable:
            what = f"the right to revoke {each.role!r} from {each.member!r}"
            yield what, actions.revocation(observed.version, each)


def _missing_for_options(observed: Observed, role: Role) -> Iterator[tuple[str, sql.Composed]]:
    admin, modern = observed.admin, observed.version >= ROLE_GRANT_OPTIONS
    for attribute, option in (_NEEDS_SUPERUSER | {"createdb": "NOCREATEDB"}).items():
        allowed = attribute != "superuser" and (getattr(admin, attribute) if modern else attribute == "createdb")
        if getattr(role, attribute) and not allowed:
            statement = sql.Composed([sql.SQL("ALTER ROLE {} ").format(sql.Identifier(role.name)), sql.SQL(option)])
            yield f"the right to set {option} on the role {role.name!r}", statement


def _missing_for_owners(observed: Observed, target: Target) -> Iterator[tuple[str, sql.Composed]]:
    owned = [observed.schema] if observed.schema else []
    for each in (*owned, *observed.relations.values()):
        if each.kind != "index" and each.owner != target.names.owner and not each.reachable:
            # Where the owner role is still to be created, the administrator passes it on.
            heir = target.names.owner if target.names.owner in observed.roles else observed.admin.name
            statement = actions.hand_over(target, each.kind, each.name, heir)
            yield f"the rights of {each.owner!r}, who owns {each.kind} {each.name!r}", statement


# --- deletion ---


def _drop_logins(observed: Observed, target: Target) -> Iterator[Statements]:
    for login in target.names.logins:
        role = observed.roles.get(login)
        if role is not None and is_own_role(observed, target, login):
            if role.login:
                yield actions.disable_login(login)
            yield actions.drop_role(target, login)


def _retain(observed: Observed, target: Target) -> Iterator[Statements]:
    yield from _drop_logins(observed, target)
    if observed.schema and is_own_schema(observed, target) and not _is_released(observed.schema.comment):
        yield actions.release_claim(target, "schema", target.schema)
    for name in (target.names.app, target.names.owner):
        role = observed.roles.get(name)
        if role is not None and is_own_role(observed, target, name) and not _is_released(role.comment):
            yield actions.release_claim(target, "role", name)


def _delete(observed: Observed, target: Target) -> Iterator[Statements]:
    yield from _drop_logins(observed, target)
    if is_own_schema(observed, target):
        yield actions.drop_schema(target)
    elif observed.schema is not None and observed.schema.owner == target.names.owner:
        return  # Somebody else has claimed it since; dropping its owner would take it along.
    found = observed.vectors
    vectors = found.schema if found is not None and (found.grantable or observed.admin.superuser) else None
    for name in (target.names.app, target.names.owner):
        if name in observed.roles and is_own_role(observed, target, name):
            yield actions.drop_role(target, name, vectors)


def _is_released(comment: str | None) -> bool:
    claim = Owner.from_claim(comment)
    return claim is not None and claim.released
