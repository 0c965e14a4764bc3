"""Twenty replicas start at once on an empty store, and write to one thread at once."""

import secrets
from collections.abc import Iterator

import pytest

from tests.chaos.replicas import REPLICAS, ROUNDS, Outcome, run_replicas
from tests.servers.checkpoint import CheckpointServer
from tests.servers.oci import COMPARTMENT, ObjectStorageServer
from tests.servers.opensearch import OpenSearchServer
from tests.servers.oracle import EmulatedOracle, RealOracle, installed
from tests.servers.postgresql import PostgreSQLServer
from tests.servers.redis import RedisServer
from tests.servers.redis_group import RedisGroup
from tests.servers.report import ServerReport

Served = (
    CheckpointServer
    | PostgreSQLServer
    | RedisServer
    | RedisGroup
    | OpenSearchServer
    | ObjectStorageServer
    | EmulatedOracle
    | RealOracle
)


@pytest.fixture(scope="module")
def checkpoint_server(
    postgresql_server: PostgreSQLServer, tmp_path_factory: pytest.TempPathFactory, server_report: ServerReport
) -> Iterator[CheckpointServer]:
    """`locus-memory serve` in front of an empty database."""
    database = postgresql_server.create_database(f"test_{secrets.token_hex(6)}")
    with CheckpointServer(database.dsn(), directory=tmp_path_factory.mktemp("server")) as server:
        server_report.started("checkpoint_server", server.product, server.version)
        yield server
    database.drop()


@pytest.fixture(
    scope="module",
    params=[
        *("postgresql_server", "redis_server", "redis_cluster", "redis_sentinels", "opensearch_server", "oci_server"),
        *("oracle_database", "checkpoint_server"),
    ],
)
def outcomes(request: pytest.FixtureRequest) -> Iterator[list[Outcome]]:
    """What the replicas met; they ran once for all tests of a server."""
    server: Served = request.getfixturevalue(request.param)
    if isinstance(server, EmulatedOracle | RealOracle):
        with installed(server), server.store() as store:
            yield run_replicas(store.url())
    elif isinstance(server, CheckpointServer):
        yield run_replicas(server.url)
    elif isinstance(server, RedisServer | RedisGroup | OpenSearchServer):
        server.reset()
        yield run_replicas(server.url())
    elif isinstance(server, ObjectStorageServer):
        # None finds the bucket: all create it.
        yield run_replicas(server.url(f"test-{secrets.token_hex(6)}", compartment_id=COMPARTMENT))
    else:
        database = server.create_database(f"test_{secrets.token_hex(6)}")
        yield run_replicas(database.dsn())
        database.drop()


def test_all_save_although_none_found_tables(outcomes: list[Outcome]) -> None:
    assert [each.error for each in outcomes] == [None] * REPLICAS
    assert [each.own for each in outcomes] == [{"replica": number} for number in range(REPLICAS)]


def test_of_writers_that_expect_the_same_checkpoint_exactly_one_wins(outcomes: list[Outcome]) -> None:
    for turn in range(ROUNDS):
        winners = [number for number, each in enumerate(outcomes) if turn in each.won]
        assert len(winners) == 1
        assert sum(turn in each.lost for each in outcomes) == REPLICAS - 1
        assert {each.seen[turn] for each in outcomes} == set(winners)
