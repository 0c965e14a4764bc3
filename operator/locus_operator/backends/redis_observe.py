"""What exists on Redis or Valkey for a store: users on each server, claim, data, and who else is near its prefix."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from redis.exceptions import NoPermissionError

from locus_memory.backends.redis_keys import (
    APPLICATION_COMMANDS,
    CONNECTION_COMMANDS,
    MODE_COMMANDS,
    SENTINEL_COMMANDS,
    KeyLayout,
)
from locus_operator.api.backends import RedisMode
from locus_operator.backends.redis_errors import explained
from locus_operator.backends.redis_privileges import Missing, missing_privileges
from locus_operator.backends.redis_servers import Kind, Node, Servers

_GLOB: Final = re.compile(r"([*?\[\]\\^])")


@dataclass(frozen=True, slots=True)
class User:
    """An ACL user as it is.

    Attributes:
        passwords: SHA-256 digests.
        keys: Key patterns with their `~` or `%R~`.
        commands: Rules such as `-@all` and `+get`.
        extras: What else is set and should not be: `nopass`, `channels`, `selectors`, `databases`.
    """

    name: str
    enabled: bool
    passwords: frozenset[str]
    keys: frozenset[str]
    commands: frozenset[str]
    extras: frozenset[str]


@dataclass(frozen=True, slots=True)
class NodeState:
    """What is on one server by itself: servers do not tell each other of users.

    Attributes:
        users: The store's users that exist.
        neighbours: Key patterns of other stores' users that overlap with the prefix, by user.
        commands: Commands of the library that this server knows.
        durable: Whether users survive a restart; None when the server does not tell.
    """

    node: Node
    users: Mapping[str, User]
    neighbours: Mapping[str, str]
    commands: frozenset[str]
    durable: bool | None


@dataclass(frozen=True, slots=True)
class Observed:
    """Everything that a plan is made from.

    Attributes:
        missing: What the administrator may not do; then nothing else was looked at.
        nodes: All servers that answer.
        away: Those that do not, and that one can do without.
        claim: Content of the claim key.
        has_data: Threads, or long-term memory, are stored under the prefix.
        ancestors: Claims of prefixes whose data this prefix lies in, by claim key.
        replica: The only server takes no writes.
        clustered: The only server is a node of a Cluster.
    """

    missing: tuple[Missing, ...] = ()
    nodes: tuple[NodeState, ...] = ()
    away: tuple[Node, ...] = ()
    claim: str | None = None
    has_data: bool = False
    ancestors: Mapping[str, str] | None = None
    replica: bool = False
    clustered: bool = False


def escape_pattern(text: str) -> str:
    """Return a key pattern that matches the text and nothing else."""
    return _GLOB.sub(r"\\\1", text)


async def observe(
    servers: Servers, layout: KeyLayout, spaces: tuple[KeyLayout, ...], names: tuple[str, str]
) -> Observed:
    """Look at the store; what the administrator may not do is reported in `missing`.

    Args:
        servers: Connected.
        layout: Of the store.
        spaces: All its key spaces.
        names: Of its users.
    """
    lacking = await asyncio.gather(*(missing_privileges(servers, node, layout) for node in servers.nodes))
    if missing := tuple(filter(None, lacking)):
        return Observed(missing=missing)
    if await _is_clustered(servers):
        return Observed(clustered=True)
    claims = [layout.claim, *(KeyLayout(prefix).claim for prefix in _ancestors(layout.prefix))]
    claim, *above = [await servers.ask(servers.owner(key), "GET", key) for key in claims]
    states = await asyncio.gather(*(_node_state(servers, node, layout, names) for node in servers.nodes))
    roles = [(await servers.ask(node, "ROLE"))[0] for node in servers.primaries]
    return Observed(
        nodes=tuple(states),
        away=tuple(servers.away),
        claim=claim,
        has_data=await _has_data(servers, spaces),
        ancestors={key: value for key, value in zip(claims[1:], above, strict=True) if value is not None},
        replica="slave" in roles,
    )


async def _is_clustered(servers: Servers) -> bool:
    """Tell whether a server that is taken for the only one has others beside it."""
    if servers.access.mode is not RedisMode.STANDALONE:
        return False
    (node,) = servers.nodes
    return bool((await servers.ask(node, "INFO", "cluster")).get("cluster_enabled"))


async def _node_state(servers: Servers, node: Node, layout: KeyLayout, names: tuple[str, str]) -> NodeState:
    users = [await _user(servers, node, name) for name in names]
    is_sentinel = node.kind is Kind.SENTINEL
    return NodeState(
        node=node,
        users={user.name: user for user in users if user is not None},
        neighbours={} if is_sentinel else _neighbours(await servers.ask(node, "ACL LIST"), layout, names),
        commands=await _known_commands(servers, node),
        durable=None if is_sentinel else await _keeps_users(servers, node),
    )


async def _has_data(servers: Servers, spaces: tuple[KeyLayout, ...]) -> bool:
    by_node: dict[Node, list[str]] = {}
    for space in spaces:
        by_node.setdefault(servers.owner(space.prefix), []).extend((space.threads, space.memories))
    for node, keys in by_node.items():
        with explained(servers.place(node), "look for data"):
            # One by one: together they would be in several slots.
            async with servers.client(node).pipeline(transaction=False) as pipeline:
                for key in keys:
                    pipeline.exists(key)
                if any(await pipeline.execute()):
                    return True
    return False


async def _known_commands(servers: Servers, node: Node) -> frozenset[str]:
    """Return the library's commands without those that the server is too old to know, and refuses in a rule."""
    if node.kind is Kind.SENTINEL:
        return frozenset(SENTINEL_COMMANDS)
    wanted = (*APPLICATION_COMMANDS, *CONNECTION_COMMANDS, *MODE_COMMANDS[servers.access.mode])
    found = await servers.ask(node, "COMMAND INFO", *wanted)
    return frozenset(name for name, known in zip(wanted, found, strict=True) if known is not None)


async def _user(servers: Servers, node: Node, name: str) -> User | None:
    found = await servers.ask(node, "ACL GETUSER", name)
    if found is None:
        return None
    flags = set(found["flags"])
    others = {
        "nopass": "nopass" in flags,
        "channels": bool(found["channels"]),
        "selectors": bool(found.get("selectors")),
        # Valkey 9.1 can keep a user out of databases.
        "databases": found.get("databases", "alldbs") != "alldbs",
    }
    return User(
        name,
        "on" in flags,
        frozenset(found["passwords"]),
        frozenset(found["keys"]),
        frozenset([*found["categories"], *found["commands"]]),
        frozenset(name for name, present in others.items() if present),
    )


def _ancestors(prefix: str) -> list[str]:
    """Return the prefixes that this one would be data of: what lies between them begins like data."""
    parts = [prefix[: match.end()] for match in re.finditer("[:/]", prefix) if match.end() < len(prefix)]
    return [part for part in parts if prefix.startswith(KeyLayout(part).data_prefixes)]


def _neighbours(acl_list: list[str], layout: KeyLayout, names: tuple[str, str]) -> dict[str, str]:
    """Find patterns of other stores' users that reach our keys, or that our patterns reach."""
    found = {}
    for line in acl_list:
        _, name, *rules = line.split()
        if name in names or not name.startswith("locus_"):
            continue
        for rule in rules:
            kind, mark, pattern = rule.lstrip("(").partition("~")
            begin = re.sub(r"\\(.)", r"\1", pattern.removesuffix("*"))
            if mark and kind in ("", "%R", "%W", "%RW") and _overlaps(begin, layout):
                found[name] = rule
    return found


def _overlaps(begin: str, layout: KeyLayout) -> bool:
    ours = (*layout.data_prefixes, layout.claim)
    return begin.startswith(layout.data_prefixes) or any(each.startswith(begin) for each in ours)


async def _keeps_users(servers: Servers, node: Node) -> bool | None:
    with explained(servers.place(node), "ask whether users survive a restart"):
        try:
            if (await _send(servers, node, "CONFIG GET", "aclfile")).get("aclfile"):
                return True
            # Below Sentinels they are written into the configuration, if there is a file of it.
            below_sentinels = servers.access.mode is RedisMode.SENTINEL
            return below_sentinels and bool((await _send(servers, node, "INFO", "server")).get("config_file"))
        except NoPermissionError:
            return None


async def _send(servers: Servers, node: Node, *command: str) -> Any:
    return await servers.client(node).execute_command(*command)  # type: ignore[no-untyped-call]
