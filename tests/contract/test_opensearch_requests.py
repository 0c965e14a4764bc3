"""What each operation costs on OpenSearch, and that none of the frequent ones depends on a refresh."""

from collections.abc import AsyncIterator

import pytest

from locus_memory.backends import opensearch_checkpointer
from locus_memory.backends.opensearch_layout import index_body
from locus_memory.checkpointer import BaseCheckpointer
from tests.servers.opensearch import OpenSearchServer


@pytest.fixture
def opened(opensearch_server: OpenSearchServer, opensearch_index: str) -> BaseCheckpointer:
    return opensearch_checkpointer(
        opensearch_server.address, opensearch_index, username="admin", password=opensearch_server.password
    )


@pytest.fixture
async def checkpointer(
    opened: BaseCheckpointer, opensearch_server: OpenSearchServer
) -> AsyncIterator[BaseCheckpointer]:
    """One that has saved before, hence knows the index."""
    async with opened:
        await opened.save({}, "another thread")
        opensearch_server.requests()
        yield opened


def operations(server: OpenSearchServer) -> list[str]:
    """The last part of the path of each request since the last call."""
    return [each["path"].rpartition("/")[2] for each in server.requests()]


async def test_a_process_looks_at_the_index_before_its_first_save(
    opened: BaseCheckpointer, opensearch_server: OpenSearchServer, opensearch_index: str
) -> None:
    opensearch_server.requests()
    async with opened:
        assert await opened.load("t") is None
        assert operations(opensearch_server) == ["_mget"]
        await opened.save({}, "t")
        # The second look is because the first document of an index was written.
        expected = ["_mapping", opensearch_index, "_mapping", "_bulk", "_mapping"]
        assert operations(opensearch_server) == expected


async def test_saving_takes_one_request_once_the_thread_is_known(
    checkpointer: BaseCheckpointer, opensearch_server: OpenSearchServer
) -> None:
    await checkpointer.save({"text": "word"}, "t", metadata={"tag": "x"})
    assert operations(opensearch_server) == ["_mget", "_bulk"]
    await checkpointer.save({"text": "word"}, "t", "c", metadata={"tag": "x"})
    assert operations(opensearch_server) == ["_bulk"]
    await checkpointer.save({"text": "word"}, "t", "d", expected_checkpoint_id="c")
    assert operations(opensearch_server) == ["_bulk"]
    await checkpointer.load("new")
    opensearch_server.requests()
    await checkpointer.save({}, "new")
    assert operations(opensearch_server) == ["_bulk"]
    # What is replaced is deleted after the save.
    await checkpointer.save({}, "t", "c")
    assert operations(opensearch_server) == ["_bulk", "_bulk"]


@pytest.mark.parametrize("is_known", [True, False])
async def test_reading_takes_one_request_for_a_known_thread_and_two_for_another(
    checkpointer: BaseCheckpointer,
    opensearch_server: OpenSearchServer,
    opensearch_index: str,
    is_known: bool,
) -> None:
    for checkpoint_id in "abc":
        await checkpointer.save({}, "t", checkpoint_id)
    expected = ["_mget"] if is_known else ["_mget", "_mget"]
    for call in ("load", "load one", "exists", "list"):
        async with opensearch_checkpointer(
            opensearch_server.address, opensearch_index, username="admin", password=opensearch_server.password
        ) as stranger:
            reader = checkpointer if is_known else stranger
            opensearch_server.requests()
            if call == "load":
                assert await reader.load("t") == {}
            elif call == "load one":
                assert await reader.load("t", "a") == {}
            elif call == "exists":
                assert await reader.exists("t")
            else:
                assert await reader.list_checkpoints("t") == ["c", "b", "a"]
            assert operations(opensearch_server) == expected, call


async def test_deleting_takes_as_many_requests_however_long_the_thread(
    checkpointer: BaseCheckpointer, opensearch_server: OpenSearchServer
) -> None:
    for number in range(30):
        await checkpointer.save({"text": "word"}, "t", str(number))
    opensearch_server.requests()
    assert await checkpointer.delete("t", "3")
    assert operations(opensearch_server) == ["_bulk", "_bulk"]
    # The search terms of the one before it are read.
    assert await checkpointer.delete("t", "29")
    assert operations(opensearch_server) == ["_mget", "_bulk", "_bulk"]
    assert await checkpointer.delete("t")
    assert operations(opensearch_server) == ["_bulk", "_bulk", "_bulk"]


async def test_copying_takes_a_request_more_for_each_batch(
    checkpointer: BaseCheckpointer, opensearch_server: OpenSearchServer
) -> None:
    for number in range(30):
        await checkpointer.save({"text": "word"}, "t", str(number))
    opensearch_server.requests()
    assert await checkpointer.copy_thread("t", "u")
    assert operations(opensearch_server) == ["_mget", "_mget", "_mget", "_bulk", "_bulk"]


async def test_only_what_searches_refreshes_and_each_call_once(
    checkpointer: BaseCheckpointer, opensearch_server: OpenSearchServer
) -> None:
    for number in range(8):
        await checkpointer.save({"text": "word"}, f"t{number}", metadata={"tag": "x"})
    opensearch_server.requests()
    assert len(await checkpointer.search("word")) == 8
    assert operations(opensearch_server) == ["_refresh", "_search", "_mget", "_mget"]
    assert len(await checkpointer.query_by_metadata("tag", "x")) == 8
    assert operations(opensearch_server) == ["_refresh", "_search", "_mget"]
    assert len(await checkpointer.list_threads(pattern="t*")) == 8
    assert operations(opensearch_server) == ["_refresh", "_search", "_mget"]
    assert len(await checkpointer.list_with_metadata()) == 9
    assert operations(opensearch_server) == ["_refresh", "_search", "_mget", "_mget"]
    assert await checkpointer.vacuum() == 0
    assert operations(opensearch_server) == ["_refresh", "_search"] * 3


async def test_no_write_asks_for_a_refresh(checkpointer: BaseCheckpointer, opensearch_server: OpenSearchServer) -> None:
    await checkpointer.save({}, "t", "a")
    await checkpointer.save({}, "t", "a")
    await checkpointer.delete("t", "a")
    await checkpointer.delete("another thread")
    log = opensearch_server.requests()
    assert [each for each in log if "refresh" in each["query"] or each["path"].endswith("/_refresh")] == []


async def test_state_and_metadata_add_nothing_to_the_mapping(
    checkpointer: BaseCheckpointer, opensearch_server: OpenSearchServer, opensearch_index: str
) -> None:
    for number in range(50):
        await checkpointer.save(
            {f"field{number}": {"deep": number}}, "t", metadata={f"key{number}": {"deep": [number]}}
        )
    mapping = opensearch_server.ask("GET", f"/{opensearch_index}/_mapping")[opensearch_index]["mappings"]
    assert mapping["properties"].keys() == index_body()["mappings"]["properties"].keys()
    assert mapping["dynamic"] == "strict"
