"""What to do on Redis: pure functions from what was observed to a plan."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from locus_memory.backends.redis_keys import KeyLayout
from locus_operator.backends.redis_observe import NodeState, Observed, User, escape_pattern
from locus_operator.backends.redis_privileges import Missing
from locus_operator.backends.redis_servers import Kind, Node
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


@dataclass(frozen=True, slots=True, kw_only=True)
class SetUser(Action):
    """Replace a user's rules on one server; the password is a digest among them."""

    node: Node
    user: str
    rules: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class DropUser(Action):
    """Remove a user from one server, which disconnects its clients."""

    node: Node
    user: str


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


def plan(observed: Observed, target: Target, *, adopt: bool) -> Plan:
    """Decide what makes the backend as desired.

    Raises:
        RefusedError: A conflict, or what the administrator may not do: all of it at once.
    """
    _check_server(observed)
    _check_conflicts(observed, target, adopt=adopt)
    return Plan(tuple(_actions(observed, target)))


def plan_release(observed: Observed, target: Target, *, delete: bool) -> Plan:
    """Decide what the deletion of the store does; what is somebody else's is left alone.

    Raises:
        RefusedError: What the administrator may not do.
    """
    _check_server(observed)
    return Plan(tuple(_release(observed, target, delete=delete)))


def desired_users(state: NodeState, target: Target) -> dict[str, User]:
    """Return the users as they shall be on a server."""
    commands = {"-@all", *(f"+{name}" for name in state.commands)}
    keys: frozenset[str] = frozenset()
    if state.node.kind is not Kind.SENTINEL:
        keys = frozenset(f"~{escape_pattern(prefix)}*" for prefix in target.layout.data_prefixes)
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
    for state in observed.nodes:
        for name, wanted in desired_users(state, target).items():
            found = state.users.get(name)
            differing = [] if found is None else _differences(found, wanted)
            if found is None or differing:
                yield SetUser(
                    "create" if found is None else "alter",
                    "ACL user",
                    _on(state.node, name),
                    "missing" if found is None else f"differs: {', '.join(differing)}",
                    node=state.node,
                    user=name,
                    rules=rules(wanted),
                )


def _on(node: Node, user: str) -> str:
    return user if node.kind is Kind.ONLY else f"{user} on {node}"


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
    for state in observed.nodes:
        desired = desired_users(state, target)
        for name, user in state.users.items():
            # Without a claim (the data was lost) the users tell by their key patterns whose they are.
            if own or (observed.claim is None and user.keys == desired[name].keys):
                yield _drop(state.node, name, "store deleted")
    if not own or claim is None:
        return
    if not claim.released:
        # Their logins would come back with them.
        for node in observed.away:
            yield from (_drop(node, name, "store deleted; the server does not answer") for name in target.names)
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


def _drop(node: Node, user: str, reason: str) -> DropUser:
    return DropUser("drop", "ACL user", _on(node, user), reason, node=node, user=user)


def _check_server(observed: Observed) -> None:
    if observed.missing:
        raise RefusedError(
            ConditionReason.MISSING_PRIVILEGES,
            f"{'; '.join(map(_lacking, observed.missing))}. Nothing was changed. Let another administrator run "
            f"{'; '.join(f'{each.rule} (on {each.node})' for each in observed.missing)}",
        )
    if observed.clustered:
        raise RefusedError(
            ConditionReason.BACKEND_REFUSED,
            "the server belongs to a Cluster: write mode: cluster into spec.backend.redis",
        )
    if observed.replica:
        raise RefusedError(
            ConditionReason.BACKEND_REFUSED,
            "the server is a replica: write the address of the primary into spec.backend.redis.addresses, or let the "
            "Sentinels tell it with mode: sentinel",
        )


def _lacking(missing: Missing) -> str:
    who = f"the administrator {missing.admin!r} of Secret {missing.secret!r} on {missing.node}"
    if missing.unknown:
        return f"{who} may not run acl|dryrun, which tells what else it may not run"
    lacking = [f"run: {', '.join(missing.commands)}"] if missing.commands else []
    if missing.keys:
        lacking.append(f"reach the keys {missing.keys}")
    return f"{who} may not {', nor '.join(lacking)}"


def _check_conflicts(observed: Observed, target: Target, *, adopt: bool) -> None:
    if taken := list(_conflicts(observed, target, adopt=adopt)):
        raise RefusedError(
            ConditionReason.CONFLICT,
            f"{'; '.join(taken)}. Nothing was changed. Choose another spec.backend.redis.keyPrefix or another name; or "
            f'annotate the store with {ANNOTATION_ADOPT}="true" to take over what no living store owns',
        )


def _conflicts(observed: Observed, target: Target, *, adopt: bool) -> Iterator[str]:
    prefix, claim = target.layout.prefix, Owner.from_claim(observed.claim)
    for key, text in (observed.ancestors or {}).items():
        above = Owner.from_claim(text)
        if above is not None and not above.released:
            yield f"key prefix {prefix!r} lies inside {key.removesuffix('claim')!r}, which belongs to the store {above}"
    neighbours = {user: pattern for state in observed.nodes for user, pattern in state.neighbours.items()}
    for neighbour, pattern in neighbours.items():
        yield f"key prefix {prefix!r} overlaps with {pattern!r} of another store's ACL user {neighbour!r}"
    if target.claim.owns(claim) or _proves_ownership(observed, target):
        return
    if claim is not None and not claim.released:
        yield f"key prefix {prefix!r} belongs to the store {claim}"
    elif claim is not None and not adopt:
        yield f"key prefix {prefix!r} was left by the store {claim}"
    elif claim is None and (observed.claim is not None or observed.has_data) and not adopt:
        yield f"key prefix {prefix!r} holds data that belongs to no store"
    for state in observed.nodes:
        desired = desired_users(state, target)
        for name, user in state.users.items():
            if user.keys != desired[name].keys and not adopt:
                keys = " ".join(sorted(user.keys)) or "(none)"
                yield f"ACL user {_on(state.node, name)!r} exists, for the keys {keys}"


def _proves_ownership(observed: Observed, target: Target) -> bool:
    """Tell whether only the claim was lost: nobody else's user has our keys and the password of our binding."""
    return observed.claim is None and any(_has_our_user(state, target) for state in observed.nodes)


def _has_our_user(state: NodeState, target: Target) -> bool:
    active = desired_users(state, target)[target.names[0]]
    found = state.users.get(active.name)
    return (
        state.node.kind is not Kind.SENTINEL
        and found is not None
        and found.passwords == active.passwords
        and found.keys == active.keys
    )
