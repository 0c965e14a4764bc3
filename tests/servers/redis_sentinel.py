"""A Valkey primary with replicas, watched by Sentinels."""

import secrets
from urllib.parse import quote, urlencode

from tests.servers.redis_group import PATIENCE_MILLISECONDS, Member, RedisGroup

NAME = "main"


class RedisSentinels(RedisGroup):
    """One primary, its replicas, and three Sentinels of which two decide.

    Args:
        replicas: of the primary.
        patience: milliseconds for which the primary may not answer without being replaced.
        sentinel_password: None for a password that is the servers' own, empty for Sentinels that ask for none.
    """

    product = "Valkey Sentinel"

    def __init__(
        self, replicas: int = 1, *, patience: int = PATIENCE_MILLISECONDS, sentinel_password: str | None = None
    ) -> None:
        super().__init__()
        self._patience = patience
        password = secrets.token_urlsafe(24)
        settings = {"repl-diskless-sync-delay": "0", "repl-ping-replica-period": "1"}
        self.servers = [
            Member(self.directory / f"server-{number}", password, settings) for number in range(1 + replicas)
        ]
        of_sentinels = password if sentinel_password is None else sentinel_password
        asked = {} if of_sentinels else {"requirepass": "", "protected-mode": "no"}
        self.sentinels = [
            Member(self.directory / f"sentinel-{number}", of_sentinels, asked, ["--sentinel"]) for number in range(3)
        ]

    def url(self, **parameters: str) -> str:
        """The connection URL of this library, with all rights."""
        hosts = ",".join(f"{each.host}:{each.port}" for each in self.sentinels)
        query = urlencode({"master_name": NAME, **parameters}, quote_via=quote)
        return f"redis+sentinel://:{quote(self.password, safe='')}@{hosts}?{query}"

    def start(self) -> None:
        """Start everything and wait until the Sentinels know each other and the replicas."""
        for member in self.members():
            member.start()
        primary, *replicas = self.servers
        for replica in replicas:
            replica.send("REPLICAOF", primary.host, str(primary.port))
        self.wait_until(lambda: all(self._follows(each) for each in replicas), "the replicas follow")
        settings = {
            "auth-pass": self.password,
            "down-after-milliseconds": str(self._patience),
            "failover-timeout": "3000",
        }
        for sentinel in self.sentinels:
            sentinel.send("SENTINEL", "MONITOR", NAME, primary.host, str(primary.port), "2")
            for name, value in settings.items():
                sentinel.send("SENTINEL", "SET", NAME, name, value)
        self.wait_until(lambda: all(map(self._is_complete, self.sentinels)), "the Sentinels know each other")

    def reset(self) -> None:
        """Forget data, scripts and users, those included that failovers have written into configuration files."""
        super().reset()
        for server in self.servers:
            server.send("CONFIG", "REWRITE")
        for sentinel in self.sentinels:
            sentinel.send("SENTINEL", "FLUSHCONFIG")

    def members(self) -> list[Member]:
        """Servers and Sentinels."""
        return [*self.servers, *self.sentinels]

    def settle(self) -> None:
        """Wait until all servers run and have found their places again after a failover."""
        # A failover that is not finished goes on at the one Sentinel that began it.
        self.wait_until(lambda: all(map(self._is_complete, self.sentinels)), "the failover is finished")
        primary = self.primary
        for server in self.servers:
            if server is not primary and server.role() == "master":
                # The Sentinels do so, too, after some ten seconds.
                server.send("REPLICAOF", primary.host, str(primary.port))
        others = [each for each in self.servers if each is not primary]
        self.wait_until(lambda: all(map(self._follows, others)), "the replicas follow")

    @property
    def primary(self) -> Member:
        """The server that the Sentinels name."""
        named = [self.primary_of(each) for each in self.sentinels if each.running]
        return next(each for each in self.servers if each.port == max(set(named), key=named.count))

    def promote(self, primary: Member, *, coordinated: bool = True) -> None:
        """Let a replica take over from the primary, which hands over in an orderly way; wait until all know.

        Args:
            primary: that is replaced.
            coordinated: whether it hands over; otherwise it goes on as a primary until it is told, seconds later.
        """
        options = ["COORDINATED"] if coordinated else []
        self.sentinels[0].send("SENTINEL", "FAILOVER", NAME, *options)
        self.wait_until(
            lambda: all(self.primary_of(each) != primary.port for each in self.sentinels), "a replica takes over"
        )

    def primary_of(self, sentinel: Member) -> int:
        """The port of the primary that a Sentinel tells of."""
        return int(sentinel.send("SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME)[1])

    def _is_complete(self, sentinel: Member) -> bool:
        known = sentinel.send("SENTINEL", "MASTER", NAME)
        fields = known if isinstance(known, dict) else dict(zip(known[::2], known[1::2], strict=True))
        counts = (int(fields["num-slaves"]), int(fields["num-other-sentinels"]))
        return counts == (len(self.servers) - 1, len(self.sentinels) - 1) and fields["flags"] == "master"

    @staticmethod
    def _follows(replica: Member) -> bool:
        role = replica.send("ROLE")
        return bool(role[0] == "slave" and role[3] == "connected")
