"""What doctor learns from a cluster, with an administrator's login and with others."""

from collections.abc import Iterator
from typing import Any

import pytest

from locus_memory.backends import opensearch_checkpointer
from locus_memory.diagnosis import Diagnosis, Level
from locus_memory.errors import AuthenticationError, BackendUnavailableError
from tests.servers.opensearch import OpenSearchServer


@pytest.fixture
def server(opensearch_server: OpenSearchServer) -> Iterator[OpenSearchServer]:
    yield opensearch_server
    opensearch_server.ask("DELETE", "/_front/faults")


async def diagnose(server: OpenSearchServer, index: str, *, save: bool = False, **options: Any) -> Diagnosis:
    login = {"username": "admin", "password": server.password}
    async with opensearch_checkpointer(server.address, index, **{**login, **options}) as checkpointer:
        if save:
            await checkpointer.save({}, "t")
        return await checkpointer.storage.diagnose()


def levels(diagnosis: Diagnosis) -> dict[str, Level]:
    return {finding.code: finding.level for finding in diagnosis.findings}


async def test_a_cluster_of_one_node_is_described_and_warned_of(
    server: OpenSearchServer, opensearch_index: str
) -> None:
    found = await diagnose(server, opensearch_index, save=True)
    assert found.facts["server"] == f"OpenSearch {server.version}"
    assert found.facts["index"] == opensearch_index
    assert found.facts["health"] == "yellow, 1 data nodes"
    assert (found.facts["shards"], found.facts["replicas"], found.facts["translog"]) == ("1", "1", "request")
    assert levels(found) == {"opensearch-yellow": Level.WARNING}
    assert server.password not in str(found)


async def test_an_index_that_is_not_there_yet_is_created_or_missed(
    server: OpenSearchServer, opensearch_index: str
) -> None:
    assert levels(await diagnose(server, opensearch_index)) == {"opensearch-index-created": Level.INFO}
    found = await diagnose(server, opensearch_index, tables="provisioned")
    assert levels(found) == {"opensearch-no-index": Level.ERROR}
    assert opensearch_index not in server.ask("GET", "/_mapping")


async def test_a_login_that_may_not_ask_is_told_so(server: OpenSearchServer, opensearch_index: str) -> None:
    refusal = {"error": {"type": "security_exception", "reason": "no permissions"}, "status": 403}
    await diagnose(server, opensearch_index, save=True)
    server.fail("GET /(_cluster.*|.*_settings|)$", "answer", 3, 403, refusal)
    found = await diagnose(server, opensearch_index)
    assert found.facts["server"] == "unknown"
    assert levels(found) == {"opensearch-unseen": Level.INFO}


async def test_what_cannot_be_learnt_is_an_error(server: OpenSearchServer, opensearch_index: str) -> None:
    with pytest.raises(AuthenticationError):
        await diagnose(server, opensearch_index, password="wrong")
    server.fail("GET /$", "drop_before", 1000)
    with pytest.raises(BackendUnavailableError):
        await diagnose(server, opensearch_index)
