"""What to do on Redis: pure functions from what was observed to a plan."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from locus_memory.backends.redis_keys import KeyLayout
from locus_operator.backends.redis_observe import Observed, User, escape_pattern
from locus_operator.constants import ANNOTATION_ADOPT, ConditionReason
from locus_operator.errors import RefusedError
from locus_operator.provisioner import Action, Owner, Plan


@dataclass(frozen=True, slots=True)
class Target:
    """What is desired.

    Attributes:
        names: The two users; the first one is in use.
        password: Of the first user.
        database: Number of the logical database.
    """

    layout: KeyLayout
    names: tuple[str, str]
    claim: Owner
    password: str = field(repr=False)
    database: int


@dataclass(frozen=True, slots=True)
class SetUser(Action):
    """Replace a user's rules; the password is a digest among them."""

    rules: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class DropUser(Action):
    """Remove a user, which disconnects its clients."""


@dataclass(frozen=True, slots=True)
class WriteClaim(Action):
    """Write the claim key, provided that it still holds what was observed.

    Attributes:
        expected: What was observed.
        value: What to write; None deletes the key.
    """

    expected: str | None = None
    value: str | None = None


@dataclass(frozen=True, slots=True)
class DropKeys(Action):
    """Delete all keys that match one of the patterns."""

    patterns: tuple[str, ...] = ()


def plan(observed: Observed, target: Target, *, adopt: bool, admin_secret: str) -> Plan:
    """Decide what makes the backend as desired.

    Raises:
        RefusedError: A conflict, or commands that the administrator may not run: all of them at once.
    """
    _check_server(observed, admin_secret)
    _check_conflicts(observed, target, adopt=adopt)
    return Plan(tuple(_actions(observed, target)))


def plan_release(observed: Observed, target: Target, *, delete: bool, admin_secret: str) -> Plan:
    """Decide what the deletion of the store does; what is somebody else's is left alone.

    Raises:
        RefusedError: Commands that the administrator may not run.
    """
    _check_server(observed, admin_secret)
    return Plan(tuple(_release(observed, target, delete=delete)))


def desired_users(observed: Observed, target: Target) -> dict[str, User]:
    """Return the users as they shall be."""
    keys = frozenset(f"~{escape_pattern(prefix)}*" for prefix in target.layout.data_prefixes)
    commands = {"-@all", *(f"+{name}" for name in observed.commands)}
    if target.database:
        # Clients choose their database when they connect; this one, and no other.
        commands.add(f"+select|{target.database}")
    active, idle = target.names
    digest = hashlib.sha256(target.password.encode()).hexdigest()
    return {
        active: User(active, True, frozenset({digest}), keys, frozenset(commands), frozenset()),
        idle: User(idle, False, frozenset(), keys, frozenset(commands), frozenset()),
    }


def rules(user: User) -> tuple[str, ...]:
    """Return the arguments of ACL SETUSER that make a user exactly this, whatever it was."""
    return (
        "reset",
        "on" if user.enabled else "off",
        *(f"#{digest}" for digest in sorted(user.passwords)),
        *sorted(user.keys),
        "resetchannels",
        "-@all",
        *sorted(user.commands - {"-@all"}),
    )


def _actions(observed: Observed, target: Target) -> Iterator[Action]:
    claim = target.claim.claim()
    if observed.claim != claim:
        reason = "missing" if observed.claim is None else "not claimed by this store"
        yield WriteClaim("claim", "key prefix", target.layout.prefix, reason, expected=observed.claim, value=claim)
    for name, wanted in desired_users(observed, target).items():
        found = observed.users.get(name)
        if found is None:
            yield SetUser("create", "ACL user", name, "missing", rules=rules(wanted))
        elif differing := _differences(found, wanted):
            yield SetUser("alter", "ACL user", name, f"differs: {', '.join(differing)}", rules=rules(wanted))


def _differences(found: User, wanted: User) -> list[str]:
    compared = {
        "enabled": (found.enabled, wanted.enabled),
        "password": (found.passwords, wanted.passwords),
        "keys": (found.keys, wanted.keys),
        "commands": (found.commands, wanted.commands),
    }
    return [name for name, (one, other) in compared.items() if one != other] + sorted(found.extras)


def _release(observed: Observed, target: Target, *, delete: bool) -> Iterator[Action]:
    claim = Owner.from_claim(observed.claim)
    own = claim is not None and (claim.cluster, claim.uid) == (target.claim.cluster, target.claim.uid)
    desired = desired_users(observed, target)
    for name, user in observed.users.items():
        # Without a claim (the data was lost) the users tell by their key patterns whose they are.
        if own or (observed.claim is None and user.keys == desired[name].keys):
            yield DropUser("drop", "ACL user", name, "store deleted")
    if not own or claim is None:
        return
    prefix, patterns = target.layout.prefix, tuple(f"{escape_pattern(p)}*" for p in target.layout.data_prefixes)
    if delete:
        reason = "store deleted, deletionPolicy: Delete"
        yield DropKeys("drop", "keys", f"{prefix}*", reason, destructive=True, patterns=patterns)
        # Last: as long as it is there, the next run goes on deleting.
        yield WriteClaim("drop", "claim of key prefix", prefix, "store deleted", expected=observed.claim)
    elif not claim.released:
        released = Owner(claim.cluster, claim.uid, claim.namespace, claim.name, released=True).claim()
        reason = "store deleted, data kept"
        yield WriteClaim("release", "key prefix", prefix, reason, expected=observed.claim, value=released)


def _check_server(observed: Observed, admin_secret: str) -> None:
    if observed.missing:
        commands = " ".join(f"+{name.split()[0]}" for name in observed.missing)
        raise RefusedError(
            ConditionReason.MISSING_PRIVILEGES,
            f"the administrator {observed.admin!r} of Secret {admin_secret!r} may not run: "
            f"{', '.join(observed.missing)}. Nothing was changed. Let another administrator run ACL SETUSER "
            f"{observed.admin} {commands} (and give it the key patterns that are missing)",
        )
    if observed.replica:
        raise RefusedError(
            ConditionReason.BACKEND_REFUSED,
            "the server is a replica: write the address of the primary into spec.backend.redis.addresses",
        )


def _check_conflicts(observed: Observed, target: Target, *, adopt: bool) -> None:
    if taken := list(_conflicts(observed, target, adopt=adopt)):
        raise RefusedError(
            ConditionReason.CONFLICT,
            f"{'; '.join(taken)}. Nothing was changed. Choose another spec.backend.redis.keyPrefix or another name; or "
            f'annotate the store with {ANNOTATION_ADOPT}="true" to take over what no living store owns',
        )


def _conflicts(observed: Observed, target: Target, *, adopt: bool) -> Iterator[str]:
    prefix, claim = target.layout.prefix, Owner.from_claim(observed.claim)
    for key, text in observed.ancestors.items():
        above = Owner.from_claim(text)
        if above is not None and not above.released:
            yield f"key prefix {prefix!r} lies inside {key.removesuffix('claim')!r}, which belongs to the store {above}"
    for neighbour, pattern in observed.neighbours.items():
        yield f"key prefix {prefix!r} overlaps with {pattern!r} of another store's ACL user {neighbour!r}"
    if target.claim.owns(claim) or _proves_ownership(observed, target):
        return
    if claim is not None and not claim.released:
        yield f"key prefix {prefix!r} belongs to the store {claim}"
    elif claim is not None and not adopt:
        yield f"key prefix {prefix!r} was left by the store {claim}"
    elif claim is None and (observed.claim is not None or observed.has_data) and not adopt:
        yield f"key prefix {prefix!r} holds data that belongs to no store"
    desired = desired_users(observed, target)
    for name, user in observed.users.items():
        if user.keys != desired[name].keys and not adopt:
            yield f"ACL user {name!r} exists, for the keys {' '.join(sorted(user.keys)) or '(none)'}"


def _proves_ownership(observed: Observed, target: Target) -> bool:
    """Tell whether only the claim was lost: nobody else's user has our keys and the password of our binding."""
    active = desired_users(observed, target)[target.names[0]]
    found = observed.users.get(active.name)
    proof = found is not None and found.passwords == active.passwords and found.keys == active.keys
    return observed.claim is None and proof
