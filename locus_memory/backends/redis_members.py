"""All servers that belong together, replicas included: for whoever has something to do on each of them.

ACL users are such a thing: servers do not tell each other of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from locus_memory.backends.redis_discovery import node_address
from locus_memory.connection import HostAddress

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Member:
    """A server below Sentinels, or a node of a Cluster.

    Attributes:
        primary: It takes writes: the primary, or a node of a Cluster that is nobody's replica.
        failed: The others agree that it does not answer.
    """

    address: HostAddress
    primary: bool
    failed: bool


def members_below_sentinels(primary: HostAddress, replies: Iterable[Sequence[Any]]) -> tuple[Member, ...]:
    """Return the primary and all replicas that any Sentinel knows.

    Args:
        primary: See `redis_discovery.believed_primary`.
        replies: What Sentinels reply to SENTINEL REPLICAS. They list replicas that are gone for good, too, until
            they are told to forget them (SENTINEL RESET).
    """
    doubts: dict[HostAddress, list[bool]] = {}
    for reply in replies:
        for replica in reply:
            fields = replica if isinstance(replica, dict) else dict(zip(replica[::2], replica[1::2], strict=True))
            address = HostAddress(host=fields[b"ip"].decode(), port=int(fields[b"port"]))
            doubts.setdefault(address, []).append(b"s_down" in fields[b"flags"].split(b","))
    doubts.pop(primary, None)
    replicas = (Member(address, primary=False, failed=all(down)) for address, down in sorted_by_address(doubts))
    return Member(primary, primary=True, failed=False), *replicas


def members_of_cluster(nodes: bytes, slots: Sequence[Any], asked: HostAddress) -> tuple[Member, ...]:
    """Return all nodes of a Cluster, those without slots included.

    Args:
        nodes: What a node replies to CLUSTER NODES: everybody, by addresses that only nodes may know.
        slots: What it replies to CLUSTER SLOTS: those who serve, by the addresses that are meant for clients.
        asked: Address of that node.
    """
    for_clients = {node[2]: node_address(node, asked) for _, _, *serving in slots for node in serving if len(node) > 2}
    lines = list(_lines(nodes))
    # Names are for clients only where the nodes were told to announce them.
    named = {address.host for address in for_clients.values()} & {line.name for line in lines}
    found: dict[HostAddress, Member] = {}
    for line in lines:
        host = line.name if named and line.name else line.host or asked.host
        address = for_clients.get(line.node) or HostAddress(host=host, port=line.port)
        found[address] = Member(address, primary="master" in line.flags, failed="fail" in line.flags)
    return tuple(member for _, member in sorted_by_address(found))


def sorted_by_address(found: Mapping[HostAddress, T]) -> list[tuple[HostAddress, T]]:
    """Return the items in the order in which everybody connects: whoever waits for one holds none behind it."""
    return sorted(found.items(), key=lambda item: (item[0].host, item[0].port))


@dataclass(frozen=True, slots=True)
class _Line:
    node: bytes
    host: str
    port: int
    name: str
    flags: frozenset[str]


def _lines(nodes: bytes) -> Iterator[_Line]:
    for text in nodes.splitlines():
        node, place, flags, *_ = text.split()
        marks = frozenset(flags.decode().split(","))
        # Nodes that are met for the first time, and those whose address is known no more.
        if marks & {"handshake", "noaddr"}:
            continue
        # host:port@port of the bus, and since 7.0: host:port@port,name,...
        numbers, name, *_ = (*place.decode().split(","), "")
        host, _, port = numbers.partition("@")[0].rpartition(":")
        yield _Line(node, host.strip("[]"), int(port), name, marks)
