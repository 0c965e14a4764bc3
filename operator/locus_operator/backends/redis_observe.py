"""What exists on Redis or Valkey for a store: users, claim, data, and whoever else is near its prefix."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import NoPermissionError, ResponseError

from locus_memory.backends.redis_keys import APPLICATION_COMMANDS, CONNECTION_COMMANDS, KeyLayout

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
class Observed:
    """Everything that a plan is made from.

    Attributes:
        admin: The user that the operator is logged in as.
        missing: Commands that the administrator may not run, as far as the server tells.
        users: The store's users that exist.
        claim: Content of the claim key.
        has_data: Threads are stored under the prefix.
        ancestors: Claims of prefixes that this one begins with, by claim key.
        neighbours: Key patterns of other stores' users that overlap with the prefix, by user.
        commands: Commands of the library that this server knows.
        acl_file: Whether users survive a restart; None when the server does not tell.
        replica: The server takes no writes.
    """

    admin: str
    missing: tuple[str, ...]
    users: Mapping[str, User]
    claim: str | None
    has_data: bool
    ancestors: Mapping[str, str]
    neighbours: Mapping[str, str]
    commands: frozenset[str]
    acl_file: bool | None
    replica: bool


def escape_pattern(text: str) -> str:
    """Return a key pattern that matches the text and nothing else."""
    return _GLOB.sub(r"\\\1", text)


async def observe(client: Redis, layout: KeyLayout, names: tuple[str, str], admin: str) -> Observed:
    """Look at the store; what the administrator may not read is reported in `missing`."""
    missing = await _missing_commands(client, layout, admin)
    commands = await _known_commands(client)
    if missing:
        return Observed(admin, missing, {}, None, False, {}, {}, commands, None, False)
    users = [await _user(client, name) for name in names]
    ancestors = [KeyLayout(prefix).claim for prefix in _ancestors(layout.prefix)]
    claim, *above = await _send(client, "MGET", layout.claim, *ancestors)
    return Observed(
        admin=admin,
        missing=(),
        users={user.name: user for user in users if user is not None},
        claim=claim,
        has_data=bool(await client.exists(layout.threads)),
        ancestors={key: value for key, value in zip(ancestors, above, strict=True) if value is not None},
        neighbours=_neighbours(await _send(client, "ACL LIST"), layout, names),
        commands=commands,
        acl_file=await _acl_file(client),
        replica=(await client.info("replication")).get("role") == "slave",
    )


def _admin_commands(layout: KeyLayout) -> dict[str, tuple[str, ...]]:
    """Return what the operator runs, with arguments that a dry run accepts."""
    data = f"{layout.data_prefixes[0]}x"
    return {
        "acl|setuser": ("ACL", "SETUSER", "x"),
        "acl|getuser": ("ACL", "GETUSER", "x"),
        "acl|deluser": ("ACL", "DELUSER", "x"),
        "acl|list": ("ACL", "LIST"),
        "info": ("INFO", "replication"),
        "watch": ("WATCH", layout.claim),
        "multi": ("MULTI",),
        "exec": ("EXEC",),
        "mget": ("MGET", layout.claim),
        f"get {layout.claim}": ("GET", layout.claim),
        f"set {layout.claim}": ("SET", layout.claim, "x"),
        f"exists {layout.threads}": ("EXISTS", layout.threads),
        f"unlink {layout.data_prefixes[0]}*": ("UNLINK", data),
        "scan": ("SCAN", "0"),
    }


async def _missing_commands(client: Redis, layout: KeyLayout, admin: str) -> tuple[str, ...]:
    missing = []
    for name, command in _admin_commands(layout).items():
        try:
            answer = await _send(client, "ACL DRYRUN", admin, *command)
        except ResponseError:
            # The administrator may not ask, or the server is older than 7.0: each command tells by itself.
            return ()
        if answer != "OK":
            missing.append(name)
    return tuple(missing)


async def _known_commands(client: Redis) -> frozenset[str]:
    """Return the library's commands without those that the server is too old to know, and refuses in a rule."""
    wanted = (*APPLICATION_COMMANDS, *CONNECTION_COMMANDS)
    try:
        found = await _send(client, "COMMAND INFO", *wanted)
    except NoPermissionError:
        return frozenset(wanted)
    return frozenset(name for name, known in zip(wanted, found, strict=True) if known is not None)


async def _user(client: Redis, name: str) -> User | None:
    found = await _send(client, "ACL GETUSER", name)
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
    return [prefix[: match.end()] for match in re.finditer("[:/]", prefix) if match.end() < len(prefix)]


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
    return begin.startswith(layout.prefix) or any(data.startswith(begin) for data in layout.data_prefixes)


async def _acl_file(client: Redis) -> bool | None:
    try:
        return bool((await client.config_get("aclfile")).get("aclfile"))
    except ResponseError:
        return None


async def _send(client: Redis, *command: str) -> Any:
    return await client.execute_command(*command)  # type: ignore[no-untyped-call]
