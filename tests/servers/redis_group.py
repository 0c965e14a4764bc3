"""Several Valkeys that belong together: a Cluster, or a primary with replicas and Sentinels."""

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import redis

from tests.servers.processes import wait_for
from tests.servers.redis import RedisServer

FORM_SECONDS = 30
PATIENCE_MILLISECONDS = 15_000
"""For how long a server may not answer without being replaced: longer than a busy machine keeps it waiting."""


class Member(RedisServer):
    """One of the servers; all of them have the same password.

    Args:
        directory: where its data and configuration live.
        password: of the default user, here and on the others.
        settings: directives of the configuration file.
        program: arguments that make the binary something else, such as ``--sentinel``.
    """

    def __init__(
        self, directory: Path, password: str, settings: Mapping[str, str], program: Sequence[str] = ()
    ) -> None:
        directory.mkdir(parents=True)
        (directory / "password").touch(mode=0o600)
        (directory / "password").write_text(password)
        super().__init__(directory, settings={"masterauth": password, "masteruser": "default", **settings})
        self._program = tuple(program)

    def _command(self) -> list[str]:
        return [*super()._command(), *self._program]

    def send(self, *command: str) -> Any:
        """Run a command on this very server."""
        with self.client() as client:
            return client.execute_command(*command)  # type: ignore[no-untyped-call]

    def role(self) -> str:
        """What the server takes itself for; nothing when it does not answer."""
        try:
            with redis.Redis.from_url(self.url(socket_timeout="1"), decode_responses=True) as client:
                return str(client.execute_command("ROLE")[0])
        except redis.RedisError:
            return ""


class RedisGroup:
    """What both have in common: a directory, a password, members that are started and closed together."""

    product: str

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="locus-server-"))
        self.servers: list[Member] = []
        """All that keep data."""

    @property
    def password(self) -> str:
        """Of the default user, everywhere."""
        return self.servers[0].password

    @property
    def version(self) -> str:
        """The version that the first server reports."""
        return self.servers[0].version

    @property
    def primaries(self) -> list[Member]:
        """The servers that take writes now."""
        return [each for each in self.servers if each.running and each.role() == "master"]

    @property
    def replicas(self) -> list[Member]:
        """The servers that follow another one now."""
        return [each for each in self.servers if each.running and each.role() == "slave"]

    def url(self, **parameters: str) -> str:
        """The connection URL of this library, with all rights."""
        raise NotImplementedError

    def expiries(self, prefix: str) -> dict[str, int]:
        """All keys that begin with the prefix, and the seconds until they expire (-1: never)."""
        return {key: left for server in self.primaries for key, left in server.expiries(prefix).items()}

    def reset(self) -> None:
        """Forget all data, scripts, and users but the default one."""
        for server in self.primaries:
            server.send("FLUSHALL")
        for server in self.servers:
            server.send("SCRIPT", "FLUSH")
        for member in self.members():
            with member.client() as client:
                others = [str(user) for user in client.acl_users() if user != "default"]
                if others:
                    client.acl_deluser(*others)

    def start(self) -> None:
        """Start all members and wait until they have found each other."""
        raise NotImplementedError

    def settle(self) -> None:
        """Wait until all servers run and have found their places again after a failover."""
        raise NotImplementedError

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for something that the members do by themselves.

        Raises:
            ServerError: It did not come.
        """
        wait_for(condition, timeout=FORM_SECONDS, what=f"{self.product}: {what}")

    def members(self) -> list[Member]:
        """Everything that was started."""
        return self.servers

    def close(self) -> None:
        """Stop everything and remove the data."""
        try:
            for member in self.members():
                # In an orderly shutdown a primary waits for its replicas.
                if member.running:
                    member.kill()
        finally:
            shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
