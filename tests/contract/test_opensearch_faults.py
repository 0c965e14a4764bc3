"""What OpenSearch and its clients get wrong elsewhere, each as a test."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from locus_memory.adapter import StorageBackendAdapter
from locus_memory.backends import (
    opensearch_checkpointer,
    opensearch_queries,
    opensearch_retention,
    opensearch_saves,
)
from locus_memory.backends.opensearch_copies import Copies
from locus_memory.backends.opensearch_layout import index_body, microseconds
from locus_memory.errors import (
    AuthenticationError,
    BackendUnavailableError,
    CheckpointError,
    CorruptCheckpointError,
    InvalidArgumentError,
    SchemaError,
    StateTooLargeError,
)
from locus_memory.retry import RetryPolicy
from locus_memory.storage import NewCheckpoint
from tests.servers.opensearch import OpenSearchServer

QUICK = RetryPolicy(deadline=1)
STATE = {"messages": [{"role": "user", "content": "needle"}]}


@pytest.fixture
def server(opensearch_server: OpenSearchServer) -> OpenSearchServer:
    return opensearch_server


@pytest.fixture
def settings(server: OpenSearchServer, opensearch_index: str) -> dict[str, Any]:
    return {
        "hosts": server.address,
        "index_name": opensearch_index,
        "username": "admin",
        "password": server.password,
    }


@pytest.fixture
async def checkpointer(settings: dict[str, Any]) -> AsyncIterator[StorageBackendAdapter]:
    async with opensearch_checkpointer(**settings) as opened:
        yield opened


@pytest.fixture
async def impatient(settings: dict[str, Any]) -> AsyncIterator[StorageBackendAdapter]:
    """Another checkpointer on the same index, which gives up soon."""
    async with opensearch_checkpointer(**settings, retry=QUICK) as opened:
        yield opened


def shard_away(server: OpenSearchServer, index: str) -> dict[str, Any]:
    """A multi-get answer of a server that has lost a shard: status 200, and an error for each document."""
    failure = {"type": "no_shard_available_action_exception", "reason": "No shard available"}
    return {"docs": [{"_index": index, "_id": "any", "error": failure}] * 2}


# Absence and outage


async def test_a_document_whose_shard_is_away_is_not_taken_for_missing(
    checkpointer: StorageBackendAdapter,
    impatient: StorageBackendAdapter,
    server: OpenSearchServer,
    opensearch_index: str,
) -> None:
    await checkpointer.save(STATE, "t")
    server.fail("_mget", "answer", 1000, 200, shard_away(server, opensearch_index))
    try:
        for call in (impatient.load("t"), impatient.exists("t"), impatient.list_checkpoints("t")):
            with pytest.raises(BackendUnavailableError, match="No shard available"):
                await call
    finally:
        server.ask("DELETE", "/_front/faults")
    assert await checkpointer.load("t") == STATE


@pytest.mark.parametrize(
    "partial",
    [
        {"_shards": {"total": 2, "successful": 1, "failed": 1}, "timed_out": False, "hits": {"hits": []}},
        {"_shards": {"total": 1, "successful": 1, "failed": 0}, "timed_out": True, "hits": {"hits": []}},
    ],
)
async def test_what_only_some_shards_found_is_no_answer(
    checkpointer: StorageBackendAdapter,
    impatient: StorageBackendAdapter,
    server: OpenSearchServer,
    partial: dict[str, Any],
) -> None:
    await checkpointer.save(STATE, "t")
    server.fail("_search", "answer", 1000, 200, partial)
    try:
        with pytest.raises(BackendUnavailableError, match="only some shards"):
            await impatient.search("needle")
    finally:
        server.ask("DELETE", "/_front/faults")
    assert [hit["thread_id"] for hit in await checkpointer.search("needle")] == ["t"]


@pytest.mark.parametrize(
    ("status", "kind", "expected"),
    [
        (429, "es_rejected_execution_exception", BackendUnavailableError),
        (503, "cluster_manager_not_discovered_exception", BackendUnavailableError),
        # A full disk makes indexes read-only: no matter of privileges, although some versions answer 403.
        (403, "cluster_block_exception", BackendUnavailableError),
        (403, "security_exception", AuthenticationError),
        (401, "security_exception", AuthenticationError),
        (413, "", StateTooLargeError),
        (400, "mapper_parsing_exception", CheckpointError),
    ],
)
async def test_a_refusal_is_the_error_that_it_means(
    checkpointer: StorageBackendAdapter,
    server: OpenSearchServer,
    status: int,
    kind: str,
    expected: type[CheckpointError],
) -> None:
    await checkpointer.save({}, "t", "a")
    body = {"error": {"type": kind, "reason": "because"}, "status": status}
    server.fail("_bulk", "answer", 1, status, body)
    with pytest.raises(CheckpointError) as caught:
        await checkpointer.storage.put(NewCheckpoint("t", "b", b"\x01{}", {}))
    assert type(caught.value) is expected
    assert caught.value.__cause__ is not None
    assert await checkpointer.list_checkpoints("t") == ["a"]


async def test_a_save_whose_answer_is_lost_is_written_once(
    checkpointer: StorageBackendAdapter, server: OpenSearchServer
) -> None:
    await checkpointer.save({"n": 1}, "t", "a", expected_checkpoint_id=None)
    for action in ("drop_before", "drop_after"):
        server.fail("_bulk", action)
        await checkpointer.save({"n": action}, "t", action)
        server.fail("_bulk", action)
        await checkpointer.save({"n": action}, "t", f"{action} next", expected_checkpoint_id=action)
    expected = ["drop_after next", "drop_after", "drop_before next", "drop_before", "a"]
    assert await checkpointer.list_checkpoints("t") == expected


async def test_a_deletion_that_was_interrupted_is_finished_by_the_next(
    settings: dict[str, Any], server: OpenSearchServer, opensearch_index: str
) -> None:
    async with opensearch_checkpointer(**settings) as checkpointer:
        for checkpoint_id in "abc":
            await checkpointer.save(STATE, "t", checkpoint_id, {"tag": "x"})
        # The thread is marked as deleted; its documents are still there when the client dies.
        server.fail("_bulk", "drop_after", 1)
        with pytest.raises(BackendUnavailableError):
            await checkpointer.storage.delete_thread("t")
    async with opensearch_checkpointer(**settings) as another:
        assert len(server.documents(opensearch_index)) == 4
        assert await another.load("t") is None
        assert await another.load("t", "a") is None
        assert await another.list_threads() == []
        assert await another.search("needle") == []
        assert await another.query_by_metadata("tag", "x") == []
        assert await another.delete("t")
        assert server.documents(opensearch_index) == []
        assert not await another.delete("t")


async def test_vacuum_finishes_deletions_and_takes_what_no_manifest_names(
    checkpointer: StorageBackendAdapter,
    server: OpenSearchServer,
    opensearch_index: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await checkpointer.save(STATE, "deleted")
    server.fail("_bulk", "drop_after", 1)
    with pytest.raises(BackendUnavailableError):
        await checkpointer.storage.delete_thread("deleted")
    await checkpointer.save(STATE, "t", "c", {"tag": "x"})
    # Replaced, and its document cannot be deleted.
    body = {"error": {"type": "es_rejected_execution_exception", "reason": "busy"}}
    await _fail_second_bulk(server, body)
    await checkpointer.save({}, "t", "c", {"tag": "y"})
    assert len(server.documents(opensearch_index)) == 5
    assert await checkpointer.query_by_metadata("tag", "x") == []
    assert await checkpointer.vacuum(0) == 1  # the checkpoint; what is an orphan may yet be a save under way
    assert len(server.documents(opensearch_index)) == 1
    monkeypatch.setattr(opensearch_retention, "_ORPHAN_AGE", 0)
    assert await checkpointer.vacuum(0) == 0
    assert server.documents(opensearch_index) == []


async def test_vacuum_leaves_what_a_copy_under_way_has_written(
    checkpointer: StorageBackendAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, long_ago, name = checkpointer.storage, datetime(2019, 1, 1, tzinfo=UTC), Copies._name
    await storage.put(NewCheckpoint("t", "a", b"\x01{}", {}, created_at=long_ago))

    async def vacuum_first(*arguments: Any) -> None:
        assert await storage.vacuum(datetime(2020, 1, 1, tzinfo=UTC)) == 1
        await name(*arguments)

    monkeypatch.setattr(Copies, "_name", vacuum_first)
    assert await checkpointer.copy_thread("t", "u")
    assert await checkpointer.load("t") is None
    assert await checkpointer.load("u") == {}


async def _fail_second_bulk(server: OpenSearchServer, body: dict[str, Any]) -> None:
    server.fail("_bulk", "pass")
    server.fail("_bulk", "answer", 1, 429, body)


async def test_a_document_that_vanished_is_an_error_and_not_none(
    checkpointer: StorageBackendAdapter, server: OpenSearchServer, settings: dict[str, Any]
) -> None:
    await checkpointer.save(STATE, "t", "a")
    [entry] = checkpointer.storage._threads.known("t").manifest.entries()  # type: ignore[attr-defined]  # its name
    await checkpointer.storage._threads.delete_documents("t", [entry.document])  # type: ignore[attr-defined]
    async with opensearch_checkpointer(**settings) as another:
        for reader in (checkpointer, another):
            with pytest.raises(CorruptCheckpointError, match="'a': its document is missing"):
                await reader.load("t")
        assert await another.delete("t")


# Indexes


async def test_reading_creates_no_index(
    checkpointer: StorageBackendAdapter, server: OpenSearchServer, opensearch_index: str
) -> None:
    assert await checkpointer.load("t") is None
    assert await checkpointer.list_threads() == []
    assert await checkpointer.search("needle") == []
    assert await checkpointer.vacuum(0) == 0
    assert not await checkpointer.delete("t")
    assert opensearch_index not in server.ask("GET", "/_mapping")


async def test_a_provisioned_index_that_is_missing_is_an_error_and_stays_missing(
    settings: dict[str, Any], server: OpenSearchServer, opensearch_index: str
) -> None:
    async with opensearch_checkpointer(**settings, tables="provisioned") as checkpointer:
        for call in (checkpointer.load("t"), checkpointer.save({}, "t"), checkpointer.list_threads()):
            with pytest.raises(SchemaError, match="index is missing"):
                await call
        assert opensearch_index not in server.ask("GET", "/_mapping")
        server.ask("PUT", f"/{opensearch_index}", index_body())
        await checkpointer.save(STATE, "t")
        assert await checkpointer.load("t") == STATE


async def test_an_index_with_another_mapping_is_refused(
    checkpointer: StorageBackendAdapter, server: OpenSearchServer, opensearch_index: str
) -> None:
    server.ask("PUT", f"/{opensearch_index}", {"mappings": {"properties": {"title": {"type": "text"}}}})
    with pytest.raises(SchemaError, match="use another index_name"):
        await checkpointer.save(STATE, "t")
    assert server.documents(opensearch_index) == []


async def test_an_index_deleted_in_use_is_made_again_when_that_is_noticed(
    checkpointer: StorageBackendAdapter, server: OpenSearchServer, opensearch_index: str
) -> None:
    await checkpointer.save(STATE, "t")
    server.ask("DELETE", f"/{opensearch_index}")
    assert await checkpointer.load("t") is None
    await checkpointer.save(STATE, "t")
    mapping = server.ask("GET", f"/{opensearch_index}/_mapping")[opensearch_index]["mappings"]
    assert mapping["dynamic"] == "strict"


async def test_an_index_that_the_server_made_by_itself_after_a_deletion_is_noticed(
    checkpointer: StorageBackendAdapter, server: OpenSearchServer, opensearch_index: str
) -> None:
    await checkpointer.save(STATE, "t")
    server.ask("DELETE", f"/{opensearch_index}")
    # Nothing was read meanwhile: the bulk request makes an index with a mapping of the server's own.
    with pytest.raises(SchemaError, match="the server made it"):
        await checkpointer.save(STATE, "t")


async def test_a_checkpoint_that_the_server_refuses_alone_is_named_by_no_manifest(
    settings: dict[str, Any], server: OpenSearchServer, opensearch_index: str
) -> None:
    body = index_body()
    # As if somebody had made the index by hand: the items of a bulk request fail one by one.
    del body["mappings"]["properties"]["packed_terms"]
    server.ask("PUT", f"/{opensearch_index}", body)
    async with opensearch_checkpointer(**settings) as checkpointer:
        with pytest.raises(CheckpointError, match="packed_terms"):
            await checkpointer.save(STATE, "new", "a")
        assert not await checkpointer.exists("new")
        await checkpointer.save({}, "t", "a")
        with pytest.raises(CheckpointError, match="packed_terms"):
            await checkpointer.save(STATE, "t", "b")
        assert await checkpointer.list_checkpoints("t") == ["a"]
        assert await checkpointer.load("t") == {}


# Limits of the server


async def test_metadata_with_a_key_longer_than_a_field_name_may_be(checkpointer: StorageBackendAdapter) -> None:
    key = "k" * 60_000
    await checkpointer.save({}, "t", metadata={key: "v"})
    assert await checkpointer.get_metadata("t") == {key: "v"}
    assert [each["thread_id"] for each in await checkpointer.query_by_metadata(key, "v")] == ["t"]


async def test_a_word_longer_than_a_term_may_be_is_found(checkpointer: StorageBackendAdapter) -> None:
    word = "w" * 40_000
    await checkpointer.save({"text": f"before {word} after"}, "t")
    assert [hit["thread_id"] for hit in await checkpointer.search(word)] == ["t"]
    assert await checkpointer.search("w" * 39_999) == []


async def test_a_search_for_more_words_than_a_query_takes_is_refused(checkpointer: StorageBackendAdapter) -> None:
    many = " ".join(f"w{number}" for number in range(501))
    await checkpointer.save({"text": many}, "t")
    with pytest.raises(InvalidArgumentError, match="at most 500"):
        await checkpointer.search(many)
    assert len(await checkpointer.search(many.rpartition(" ")[0])) == 1


async def test_results_of_many_pages_are_whole_and_in_order(
    checkpointer: StorageBackendAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opensearch_queries, "_PAGE", 3)
    names = [f"t{number:02}" for number in range(20)]
    for name in names:
        await checkpointer.save({"text": "needle"}, name, "c", {"tag": "x"})
    assert await checkpointer.list_threads(100) == names
    assert await checkpointer.list_threads(7) == names[:7]
    assert [each["thread_id"] for each in await checkpointer.list_with_metadata(100)] == names
    assert [each["thread_id"] for each in await checkpointer.search("needle", 100)] == names[::-1]
    assert [each["thread_id"] for each in await checkpointer.query_by_metadata("tag", "x", 100)] == names[::-1]
    assert await checkpointer.vacuum(0) == 20


async def test_times_follow_the_order_of_writes_though_a_clock_goes_back(
    checkpointer: StorageBackendAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    for checkpoint_id, year in (("a", 2030), ("b", 2020), ("c", 2020)):
        moment = microseconds(datetime(year, 1, 1, tzinfo=UTC))
        monkeypatch.setattr(opensearch_saves, "now", lambda moment=moment: moment)
        await checkpointer.save({}, "t", checkpoint_id, {"tag": "x"})
    assert [each["checkpoint_id"] for each in await checkpointer.query_by_metadata("tag", "x")] == ["c", "b", "a"]
