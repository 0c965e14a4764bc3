"""A Valkey Cluster."""

import secrets
from urllib.parse import quote, urlencode

from tests.servers.processes import free_port
from tests.servers.redis_group import PATIENCE_MILLISECONDS, Member, RedisGroup

SLOTS = 16384


class RedisCluster(RedisGroup):
    """Three primaries that share the slots, each with the same number of replicas.

    Args:
        replicas: of each primary.
        patience: milliseconds for which a node may not answer without being replaced.
    """

    product = "Valkey Cluster"

    def __init__(self, replicas: int = 0, *, patience: int = PATIENCE_MILLISECONDS) -> None:
        super().__init__()
        password = secrets.token_urlsafe(24)
        self._replicas = replicas
        for number in range(3 * (1 + replicas)):
            settings = {
                "cluster-enabled": "yes",
                # By default it is the port plus 10,000, which may be in use or no port at all.
                "cluster-port": str(free_port()),
                "cluster-node-timeout": str(patience),
                "cluster-replica-validity-factor": "0",
                "cluster-allow-replica-migration": "no",
                "repl-diskless-sync-delay": "0",
            }
            self.servers.append(Member(self.directory / f"node-{number}", password, settings))

    def url(self, **parameters: str) -> str:
        """The connection URL of this library, with all rights."""
        hosts = ",".join(f"{each.host}:{each.port}" for each in self.servers)
        query = urlencode(parameters, quote_via=quote)
        return f"redis+cluster://:{quote(self.password, safe='')}@{hosts}" + (f"?{query}" if query else "")

    def start(self) -> None:
        """Start all nodes, share the slots out, and wait until every node knows all others."""
        for server in self.servers:
            server.start()
        first, primaries = self.servers[0], self.servers[:3]
        for number, server in enumerate(primaries):
            server.send("CLUSTER", "SET-CONFIG-EPOCH", str(number + 1))
            begin, end = (SLOTS * each // 3 for each in (number, number + 1))
            server.send("CLUSTER", "ADDSLOTSRANGE", str(begin), str(end - 1))
        for server in self.servers[1:]:
            server.send("CLUSTER", "MEET", first.host, str(first.port), server_bus_port(first))
        self.wait_until(self._complete, "all nodes know each other")
        for number, server in enumerate(self.servers[3:]):
            server.send("CLUSTER", "REPLICATE", self.node_id(primaries[number % 3]))
        self.settle()

    def settle(self) -> None:
        """Wait until all servers run and have found their places again after a failover."""
        self.wait_until(lambda: len(self.replicas) == 3 * self._replicas, "the replicas follow")
        self.wait_until(self._complete, "all slots are served")

    @staticmethod
    def node_id(server: Member) -> str:
        """The name of a node among the others."""
        return str(server.send("CLUSTER", "MYID"))

    def owner(self, slot: int) -> Member:
        """The primary of a slot."""
        for first, last, primary, *_ in self.primaries[0].send("CLUSTER", "SLOTS"):
            if first <= slot <= last:
                return next(each for each in self.servers if each.port == primary[1])
        raise LookupError(f"no primary has slot {slot}")

    def promote(self, primary: Member) -> None:
        """Let a replica take over from its primary, which hands over in an orderly way; wait until it has."""

        def ports() -> list[int]:
            slots = [each for each in primary.send("CLUSTER", "SLOTS") if each[2][1] == primary.port]
            return [each[1] for each in slots[0][3:]]

        # A replica is no candidate before it has told how far it is.
        self.wait_until(lambda: bool(ports()), "the replica is a candidate")
        replica = next(each for each in self.servers if each.port == ports()[0])
        replica.send("CLUSTER", "FAILOVER")
        self.wait_until(lambda: replica.role() == "master", f"the server on port {replica.port} takes over")

    def move_keys(self, slot: int, source: Member, target: Member, count: int) -> int:
        """Move some keys of a slot that is being moved; return how many there were."""
        keys = source.send("CLUSTER", "GETKEYSINSLOT", str(slot), str(count))
        for key in keys:
            place = (target.host, str(target.port), "", "0", "5000")
            source.send("MIGRATE", *place, "AUTH", self.password, "KEYS", key)
        return len(keys)

    def begin_move(self, slot: int, source: Member, target: Member) -> None:
        """Announce that a slot is being moved key by key, as `valkey-cli --cluster reshard` does."""
        target.send("CLUSTER", "SETSLOT", str(slot), "IMPORTING", self.node_id(source))
        source.send("CLUSTER", "SETSLOT", str(slot), "MIGRATING", self.node_id(target))

    def end_move(self, slot: int, source: Member, target: Member) -> None:
        """Give a slot to the server that has all its keys now."""
        for server in (target, source):
            server.send("CLUSTER", "SETSLOT", str(slot), "NODE", self.node_id(target))

    def _complete(self) -> bool:
        for server in self.servers:
            lines = [line.split() for line in server.send("CLUSTER", "NODES").splitlines()]
            if len(lines) != len(self.servers) or any("handshake" in line[2] for line in lines):
                return False
            if "cluster_state:ok" not in server.send("CLUSTER", "INFO"):
                return False
        return True


def server_bus_port(server: Member) -> str:
    """The port on which a node listens to the other nodes."""
    return str(server.send("CONFIG", "GET", "cluster-port")["cluster-port"])
