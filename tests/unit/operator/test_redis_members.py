"""Who belongs together, from what Sentinels and nodes of a Cluster reply."""

from typing import Any

from locus_memory.backends.redis_members import Member, members_below_sentinels, members_of_cluster
from locus_memory.connection import HostAddress

ASKED = HostAddress(host="asked", port=7000)


def at(host: str, port: int) -> HostAddress:
    return HostAddress(host=host, port=port)


def replica(host: str, port: int, flags: str = "slave") -> dict[bytes, bytes]:
    return {b"ip": host.encode(), b"port": str(port).encode(), b"flags": flags.encode()}


def test_replicas_of_all_sentinels_are_known_in_either_protocol() -> None:
    flat = [part for pair in replica("r2", 2).items() for part in pair]
    found = members_below_sentinels(at("p", 1), [[replica("r1", 1)], [flat, replica("p", 1)]])
    assert found == (
        Member(at("p", 1), primary=True, failed=False),
        Member(at("r1", 1), primary=False, failed=False),
        Member(at("r2", 2), primary=False, failed=False),
    )


def test_a_replica_has_failed_when_all_sentinels_say_so() -> None:
    down = replica("r", 1, "s_down,slave,disconnected")
    assert members_below_sentinels(at("p", 1), [[down], [down]])[1].failed
    assert not members_below_sentinels(at("p", 1), [[down], [replica("r", 1)]])[1].failed


def slots(*nodes: list[Any]) -> list[Any]:
    return [[0, 16383, *nodes]]


def test_nodes_have_the_addresses_that_are_meant_for_clients() -> None:
    nodes = (
        b"aaa 10.0.0.1:7000@17000,one.example.com myself,master - 0 0 1 connected 0-16383\n"
        b"bbb 10.0.0.2:7000@17000,two.example.com slave aaa 0 0 1 connected\n"
        b"ccc 10.0.0.3:7000@17000,three.example.com master - 0 0 0 connected\n"
    )
    by_name = members_of_cluster(
        nodes, slots([b"one.example.com", 7000, b"aaa", []], [b"two.example.com", 7000, b"bbb", []]), ASKED
    )
    assert [each.address.host for each in by_name] == ["one.example.com", "three.example.com", "two.example.com"]
    by_address = members_of_cluster(nodes, slots([b"10.0.0.1", 7000, b"aaa", []]), ASKED)
    assert [each.address.host for each in by_address] == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
    assert [each.primary for each in by_address] == [True, False, True]


def test_a_node_that_does_not_know_its_address_is_where_it_was_found() -> None:
    nodes = b"aaa :7000@17000 myself,master - 0 0 1 connected 0-16383\n"
    assert [each.address for each in members_of_cluster(nodes, slots([b"", 7000, b"aaa", []]), ASKED)] == [ASKED]


def test_nodes_that_failed_are_told_apart_from_those_that_one_node_doubts_and_those_that_are_gone() -> None:
    nodes = (
        b"aaa 10.0.0.1:1@2 myself,master - 0 0 1 connected 0-16383\n"
        b"bbb 10.0.0.2:1@2 slave,fail aaa 0 0 1 disconnected\n"
        b"ccc 10.0.0.3:1@2 slave,fail? aaa 0 0 1 connected\n"
        b"ddd 10.0.0.4:1@2 handshake - 0 0 0 connected\n"
        b"eee :0@0 slave,fail,noaddr aaa 0 0 1 disconnected\n"
        b"fff [fd00::1]:1@2 slave aaa 0 0 1 connected\n"
    )
    found = members_of_cluster(nodes, slots([b"10.0.0.1", 1, b"aaa", []]), ASKED)
    assert {each.address.host: each.failed for each in found} == {
        "10.0.0.1": False,
        "10.0.0.2": True,
        "10.0.0.3": False,
        "fd00::1": False,
    }
