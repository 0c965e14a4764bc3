"""What must be so before anything is changed on Oracle: release, names, ownership, privileges; all told at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from locus_memory.backends.oracle_schema import MAX_NAME_BYTES, SCHEMA_VERSION
from locus_memory.store_backends.oracle_schema import SCHEMA_VERSION as ITEMS_VERSION
from locus_operator.backends.oracle_actions import Target
from locus_operator.backends.oracle_observe import Observed, User
from locus_operator.constants import ANNOTATION_ADOPT, ConditionReason
from locus_operator.errors import RefusedError
from locus_operator.provisioner import Action, Owner

_OLDEST: Final = 19
_VECTORS_SINCE: Final = 23
_DICTIONARY: Final = "SELECT ANY DICTIONARY"

PRIVILEGES: Final = (
    "CREATE USER",
    "ALTER USER",
    "DROP USER",
    "CREATE ANY TABLE",
    "CREATE ANY INDEX",
    "CREATE ANY SEQUENCE",
    "CREATE ANY VIEW",
    "SELECT ANY TABLE",
    "GRANT ANY OBJECT PRIVILEGE",
)
"""What every administrator needs, beside the dictionary and CREATE SESSION with the right to pass it on."""

RETENTION: Final = ("UPDATE ANY TABLE", "DELETE ANY TABLE")
"""What deleting checkpoints needs as well."""

IsOwn = Callable[[Observed, Target, User], bool]


def check_dictionary(observed: Observed, admin: str, secret: str) -> None:
    """Refuse an administrator who cannot see what there is: nothing could be decided.

    Raises:
        RefusedError: With all else that is missing.
    """
    if not observed.dictionary:
        lacks = [_DICTIONARY, *_missing(observed, PRIVILEGES)]
        raise _missing_privileges(admin, secret, lacks, observed)


def check_privileges(observed: Observed, todo: tuple[Action, ...], admin: str, secret: str, *, retention: bool) -> None:
    """Refuse an administrator who lacks a privilege.

    Raises:
        RefusedError: All that are missing, each with the statement that grants it.
    """
    needed = [*PRIVILEGES, *_needed(todo)] if todo else []
    lacks = list(_missing(observed, [*needed, *(RETENTION if retention else ())]))
    if lacks or (todo and not _passes_session_on(observed)):
        raise _missing_privileges(admin, secret, lacks, observed)


def check_server(observed: Observed, target: Target) -> None:
    """Refuse a database that cannot hold the store, or holds it in another form.

    Raises:
        RefusedError: What is wrong, and what to do.
    """
    layout = target.layout
    if observed.release < _OLDEST:
        raise RefusedError(
            ConditionReason.NOT_SUPPORTED,
            f"Oracle Database {observed.release} is too old: {_OLDEST}c or later is needed",
        )
    if layout.dimension is not None and observed.release < _VECTORS_SINCE:
        raise RefusedError(
            ConditionReason.NOT_SUPPORTED,
            f"spec.longTermMemory.embeddingDimension: Oracle Database {observed.release} has no vectors, 23ai has: "
            "remove the field for a memory without embeddings",
        )
    names = (*layout.users, *(item.name for item in layout.wanted))
    long = sorted(name for name in names if len(name.encode()) > min(observed.longest_name, MAX_NAME_BYTES))
    if long:
        raise RefusedError(
            ConditionReason.NOT_SUPPORTED,
            f"names may have {observed.longest_name} bytes on this database, {', '.join(long)} has more: raise its "
            "parameter COMPATIBLE to 12.2 or more",
        )
    _check_tables(observed, target)


def _check_tables(observed: Observed, target: Target) -> None:
    layout = target.layout
    newest = {f"{layout.table_name}_SCHEMA".upper(): SCHEMA_VERSION}
    for table, version in observed.versions.items():
        known = newest.get(table, ITEMS_VERSION)
        if version > known:
            raise RefusedError(
                ConditionReason.NOT_SUPPORTED,
                f"table {table} of schema {layout.owner} says version {version}, this operator knows up to {known}: "
                "install a newer operator",
            )
    kinds = {item.name: item.kind.upper() for item in layout.wanted}
    strange = sorted(name for name, kind in kinds.items() if observed.objects.get(name, kind) != kind)
    if strange:
        raise RefusedError(
            ConditionReason.CONFLICT,
            f"schema {layout.owner} has {', '.join(strange)} as something else than what the store needs: rename or "
            "drop it",
        )
    if layout.dimension is not None and observed.dimension not in (None, layout.dimension):
        raise RefusedError(
            ConditionReason.CONFLICT,
            f"schema {layout.owner} has embeddings of {observed.dimension} numbers (table {layout.vectors}), "
            f"spec.longTermMemory.embeddingDimension says {layout.dimension}: put back {observed.dimension}, or drop "
            "the table and its embeddings",
        )


def check_conflicts(observed: Observed, target: Target, is_own: IsOwn, *, adopt: bool, admin: str) -> None:
    """Refuse to touch what is somebody else's.

    Raises:
        RefusedError: All that is in the way.
    """
    taken = list(_forbidden(observed, target, admin))
    adoptable = []
    for user in observed.users.values():
        claim = Owner.from_claim(user.claim)
        if is_own(observed, target, user) and not (claim is not None and claim.released):
            continue
        if claim is not None and not claim.released:
            taken.append(f"user {user.name} belongs to the store {claim}")
        else:
            adoptable.append(f"user {user.name} {f'was left by the store {claim}' if claim else 'belongs to no store'}")
    if taken or (adoptable and not adopt):
        raise RefusedError(
            ConditionReason.CONFLICT,
            f"{'; '.join([*taken, *(() if adopt else adoptable)])}. Nothing was changed. Choose another name for the "
            f'store or another owner; or annotate the store with {ANNOTATION_ADOPT}="true" to take over what no living '
            "store owns",
        )


def _forbidden(observed: Observed, target: Target, admin: str) -> Iterator[str]:
    for name in target.layout.users:
        if name == admin.upper():
            yield f"user {name} is the administrator"
        elif name in observed.users and observed.users[name].builtin:
            yield f"user {name} is Oracle's own, or common to the whole container database"


def _needed(todo: Iterable[Action]) -> Iterator[str]:
    kinds = {(action.verb, action.kind) for action in todo}
    if ("drop", "table") in kinds:
        yield "DROP ANY TABLE"
    if ("revoke", "role") in kinds:
        yield "GRANT ANY ROLE"
    if ("revoke", "privilege") in kinds:
        yield "GRANT ANY PRIVILEGE"


def _missing(observed: Observed, needed: Iterable[str]) -> Iterator[str]:
    yield from (privilege for privilege in needed if privilege not in observed.privileges)


def _passes_session_on(observed: Observed) -> bool:
    return "GRANT ANY PRIVILEGE" in observed.privileges or "CREATE SESSION" in observed.grantable


def _missing_privileges(admin: str, secret: str, lacks: Iterable[str], observed: Observed) -> RefusedError:
    statements = [f"{privilege} (GRANT {privilege} TO {admin})" for privilege in lacks]
    if not _passes_session_on(observed):
        statements.append(f"CREATE SESSION that it may pass on (GRANT CREATE SESSION TO {admin} WITH ADMIN OPTION)")
    return RefusedError(
        ConditionReason.MISSING_PRIVILEGES,
        f"the administrator {admin!r} of Secret {secret!r} lacks: {'; '.join(statements)}. Nothing was changed. Let a "
        "DBA run the statements in brackets",
    )
