"""What the administrator has to be allowed on each kind of server, and how that is found out beforehand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from redis.exceptions import NoPermissionError, ResponseError

from locus_memory.backends.redis_keys import KeyLayout
from locus_memory.backends.redis_retention import RETENTION_COMMANDS
from locus_operator.api.backends import RedisMode
from locus_operator.backends.redis_errors import explained
from locus_operator.backends.redis_servers import Kind, Node, Servers

_USERS: Final = ("acl|dryrun", "acl|setuser", "acl|getuser", "acl|deluser", "acl|save", "client|setname")
_DATA: Final = ("command|info", "info", "role", "acl|list", "watch", "multi", "exec", "get", "set", "scan")
_CLUSTER: Final = ("cluster|slots", "cluster|nodes")
_BELOW_SENTINELS: Final = ("config|rewrite",)
_SENTINEL: Final = tuple(
    f"sentinel|{question}" for question in ("get-master-addr-by-name", "master", "replicas", "flushconfig")
)

OPTIONAL_COMMANDS: Final = ("config|get",)
"""With this the operator also sees whether users survive a restart."""

# What commands want behind them: ACL DRYRUN counts arguments.
_ARGUMENTS: Final[Mapping[str, str]] = {
    "acl|setuser": "x",
    "acl|getuser": "x",
    "acl|deluser": "x",
    "acl|dryrun": "x PING",
    "client|setname": "x",
    "watch": "{key}",
    "get": "{key}",
    "set": "{key} x",
    "scan": "0",
    "eval": "x 0",
    "evalsha": "x 0",
    "exists": "{key}",
    "unlink": "{key}",
    "pttl": "{key}",
    "pexpire": "{key} 1",
    "hget": "{key} x",
    "hset": "{key} x x",
    "hdel": "{key} x",
    "hgetall": "{key}",
    "hmget": "{key} x",
    "hexists": "{key} x",
    "smembers": "{key}",
    "srem": "{key} x",
    "zadd": "{key} 0 x",
    "zrem": "{key} x",
    "zcard": "{key}",
    "zscore": "{key} x",
    "zrange": "{key} 0 1",
    "zrangebylex": "{key} - +",
    "sentinel|get-master-addr-by-name": "x",
    "sentinel|master": "x",
    "sentinel|replicas": "x",
}


@dataclass(frozen=True, slots=True)
class Missing:
    """What the administrator may not do on a server.

    Attributes:
        admin: Its user name there.
        secret: Name of the Secret that holds the login.
        commands: It may not run these.
        keys: It may not reach these; empty where it may.
        unknown: It may not even ask, so `commands` are all that it needs.
    """

    node: Node
    admin: str
    secret: str
    commands: tuple[str, ...]
    keys: str
    unknown: bool = False

    @property
    def rule(self) -> str:
        """The command that allows it all."""
        rules = [*(f"+{command}" for command in self.commands), *([f"~{self.keys}"] if self.keys else [])]
        return " ".join(("ACL SETUSER", self.admin, *rules))


def admin_commands(mode: RedisMode, kind: Kind) -> tuple[str, ...]:
    """Return the commands that the administrator needs on a server."""
    if kind is Kind.SENTINEL:
        return (*_USERS, *_SENTINEL)
    of_mode = {RedisMode.CLUSTER: _CLUSTER, RedisMode.SENTINEL: _BELOW_SENTINELS}.get(mode, ())
    return tuple(dict.fromkeys((*_USERS, *_DATA, *of_mode, *RETENTION_COMMANDS)))


async def missing_privileges(servers: Servers, node: Node, layout: KeyLayout) -> Missing | None:
    """Ask a server what the administrator may not do there; None for nothing.

    Servers older than 7.0 cannot be asked: each command then tells by itself.
    """
    login = servers.access.logins(node.kind)[-1]
    assert login is not None  # noqa: S101 - only the first of several is none
    admin, commands = login.username or "default", admin_commands(servers.access.mode, node.kind)
    with explained(servers.place(node), "ask for the administrator's privileges"):
        async with servers.client(node).pipeline(transaction=False) as pipeline:
            for command in commands:
                rest = _ARGUMENTS.get(command, "").format(key=f"{layout.data_prefixes[0]}x").split()
                pipeline.execute_command("ACL DRYRUN", admin, *command.split("|"), *rest)
            answers = await pipeline.execute(raise_on_error=False)
    if any(isinstance(answer, NoPermissionError) for answer in answers):
        return Missing(node, admin, login.secret, commands, f"{layout.prefix}*", unknown=True)
    if any(isinstance(answer, ResponseError) for answer in answers):
        return None
    refused = {command: str(answer) for command, answer in zip(commands, answers, strict=True) if answer != "OK"}
    lacking = tuple(command for command, answer in refused.items() if "to access the" not in answer)
    keys = f"{layout.prefix}*" if len(lacking) < len(refused) else ""
    return Missing(node, admin, login.secret, lacking, keys) if refused else None
