"""Parts, pending writes and transfers through the server: what the contract cannot see from its side."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from locus_memory.adapter import StorageBackendAdapter
from locus_memory.backends import HTTPCheckpointer, MemoryCheckpointer
from locus_memory.backends.memory import MemoryBackend
from locus_memory.errors import CapabilityNotSupportedError
from locus_memory.saver import CheckpointSaver
from locus_memory.server.tokens import Tokens
from locus_memory.storage import NewCheckpoint, PendingWrite, StorageBackend
from locus_memory.testing.history import new, write
from locus_memory.testing.transfers import LONG_AGO
from locus_memory.wire import frame
from tests.servers.hosting import TOKEN, Host

BEARER = {"Authorization": f"Bearer {TOKEN}"}
WRITE: dict[str, Any] = {"task_id": "task", "index": 0, "channel": "c", "task_path": "", "size": 1}


class PlainBackend(MemoryBackend):
    """As a backend of somebody else may be: without history, and without transfers."""

    transfers = False
    get_complete = StorageBackend.get_complete
    put_writes = StorageBackend.put_writes
    get_writes = StorageBackend.get_writes
    list_threads_after = StorageBackend.list_threads_after
    list_namespaces = StorageBackend.list_namespaces


@pytest.fixture
def store() -> MemoryCheckpointer:
    return MemoryCheckpointer()


@pytest.fixture
def url(http_host: Host, store: MemoryCheckpointer) -> Iterator[str]:
    with http_host.serving(store, Tokens(text=TOKEN)) as url:
        yield url


@pytest_asyncio.fixture
async def client(url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=url, headers=BEARER) as client:
        yield client


async def test_what_the_backend_does_not_keep_is_refused_and_nothing_is_written(http_host: Host) -> None:
    plain = StorageBackendAdapter(PlainBackend())
    with http_host.serving(plain, Tokens(text=TOKEN)) as url:
        async with HTTPCheckpointer(url, BEARER) as checkpointer, httpx.AsyncClient(headers=BEARER) as client:
            storage = checkpointer.storage
            await storage.discover()
            assert not storage.keeps_history
            assert not storage.transfers
            refused = {
                "history": (
                    lambda: storage.put(new("a", x=b"1")),
                    lambda: storage.put_writes("t", "a", [write("task", 0)]),
                    lambda: storage.get_writes("t", "a"),
                    lambda: storage.get_complete("t"),
                ),
                "transfers": (
                    lambda: storage.put(NewCheckpoint("t", "a", b"1", {}, created_at=LONG_AGO)),
                    lambda: storage.list_threads_after(None, 1),
                    lambda: storage.list_namespaces("t"),
                ),
            }
            for capability, calls in refused.items():
                for call in calls:
                    with pytest.raises(CapabilityNotSupportedError, match=f"has no capability '{capability}'$"):
                        await call()
            # Nor does the server take it from a client that has not asked.
            for head in (
                {"part_names": ["x"], "parts": [{"name": "x", "size": 1}]},
                {"created_at": LONG_AGO.isoformat()},
            ):
                body = frame({"thread_id": "t", "checkpoint_id": "a", **head}) + b"12"
                answer = await client.post(f"{url}/v1/put", content=body)
                assert (answer.status_code, answer.json()["code"]) == (501, "capability_not_supported")
    assert await plain.list_threads() == []


async def test_requests_of_each_call(url: str) -> None:
    requests: list[str] = []

    async def count(request: httpx.Request) -> None:
        requests.append(request.url.path.rpartition("/")[2])

    async with HTTPCheckpointer(url, BEARER) as checkpointer:
        storage: Any = checkpointer.storage
        storage._client._loops.get().client.event_hooks = {"request": [count]}
        await storage.put(new("a", x=b"1"))
        await storage.put_writes("t", "a", [write("task", 0), write("task", 1)])
        await storage.get_writes("t", "a")
        await storage.get_complete("t")
        await storage.list_threads_after(None, 10)
        await storage.list_namespaces("t")
    once = ["put", "put_writes", "get_writes", "get_complete", "list_threads_after", "list_namespaces"]
    assert requests == ["capabilities", *once]


async def test_a_part_that_several_checkpoints_share_travels_once(url: str, client: httpx.AsyncClient) -> None:
    async with HTTPCheckpointer(url, BEARER) as checkpointer:
        storage = checkpointer.storage
        await storage.put(new("c0", document=b"x" * 400_000))
        for number in range(1, 10):
            await storage.put(new(f"c{number}", "document"))
        ids = [f"c{number}" for number in range(10)]
        found = await storage.get_complete("t", ids)
        assert [each.parts for each in found] == [{"document": b"x" * 400_000}] * 10
        answer = await client.post("/v1/get_complete", json={"thread_id": "t", "checkpoint_ids": ids})
    assert 400_000 < len(answer.content) < 410_000


async def test_what_no_agent_saved_is_not_made_searchable(url: str, store: MemoryCheckpointer) -> None:
    texts: list[str | None] = []
    put = store.storage.put

    async def spy(checkpoint: NewCheckpoint, **arguments: Any) -> None:
        texts.append(checkpoint.text() if checkpoint.text else None)
        await put(checkpoint, **arguments)

    store.storage.put = spy  # type: ignore[method-assign]
    async with HTTPCheckpointer(url, BEARER) as checkpointer:
        await checkpointer.save({"k": "needle"}, "t")
        await CheckpointSaver(checkpointer).put(thread_id="t", checkpoint_id="c", checkpoint_data={"k": "needle"})
    assert texts == ["needle", None]


@pytest.mark.parametrize(
    ("operation", "head", "body"),
    [
        ("put", {"parts": [{"name": "x", "size": 3}], "part_names": ["x"]}, b"12"),
        ("put", {"parts": [{"name": "x", "size": -1}], "part_names": ["x"]}, b"12"),
        ("put", {"parts": [{"name": "x", "size": 1}]}, b"12"),
        ("put", {"created_at": "2020-01-01T00:00:00"}, b"12"),
        ("put_writes", {"writes": [WRITE]}, b""),
        ("put_writes", {"writes": [WRITE]}, b"12"),
        ("put_writes", {"writes": []}, b""),
        ("put_writes", {"writes": [WRITE | {"index": 2**31}]}, b"1"),
        ("put_writes", {"writes": [WRITE | {"task_id": ""}]}, b"1"),
        ("put_writes", {"writes": [WRITE | {"task_id": "x" * 1025}]}, b"1"),
    ],
)
async def test_a_frame_that_does_not_hold_what_it_says_is_a_problem(
    client: httpx.AsyncClient, store: MemoryCheckpointer, operation: str, head: dict[str, Any], body: bytes
) -> None:
    content = frame({"thread_id": "t", "checkpoint_id": "c", **head}) + body
    answer = await client.post(f"/v1/{operation}", content=content)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_argument")
    assert await store.storage.get("t") is None
    assert await store.storage.get_writes("t", "c") == []


async def test_a_frame_may_hold_empty_parts_and_writes(client: httpx.AsyncClient, store: MemoryCheckpointer) -> None:
    head = {"thread_id": "t", "checkpoint_id": "c", "part_names": ["x"], "parts": [{"name": "x", "size": 0}]}
    assert (await client.post("/v1/put", content=frame(head))).status_code == 204
    writes = {"thread_id": "t", "checkpoint_id": "c", "writes": [WRITE | {"size": 0}]}
    assert (await client.post("/v1/put_writes", content=frame(writes))).status_code == 204
    [found] = await store.storage.get_complete("t")
    assert (found.payload, found.parts, found.writes) == (b"", {"x": b""}, (PendingWrite("task", 0, "c", b""),))
