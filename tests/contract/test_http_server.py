"""The routes of the server as others call them, and what the client makes of what it is answered."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from locus.agent import Agent
from locus.core.state import AgentState
from locus.memory.backends.http import HTTPCheckpointer as SDKCheckpointer

from locus_memory.backends import HTTPCheckpointer, MemoryCheckpointer
from locus_memory.errors import (
    BackendUnavailableError,
    BindingError,
    CapabilityNotSupportedError,
    CheckpointError,
    StateTooLargeError,
)
from locus_memory.retry import RetryPolicy
from locus_memory.server.app import create_app
from locus_memory.server.settings import Limits
from locus_memory.server.tokens import Tokens
from locus_memory.storage import NewCheckpoint
from locus_memory.testing.identifiers import AWKWARD_IDS
from tests.contract.travel_agent import make_agent
from tests.servers.hosting import TOKEN, Host

BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def store() -> MemoryCheckpointer:
    return MemoryCheckpointer()


@pytest.fixture
def url(http_host: Host, store: MemoryCheckpointer) -> Iterator[str]:
    with http_host.serving(store, Tokens(text=TOKEN)) as url:
        yield url


@pytest.fixture
def client(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, headers=BEARER) as client:
        yield client


def test_states_are_json_on_the_basic_routes(client: httpx.Client) -> None:
    saved = client.post("/threads/t/checkpoints", json={"state": {"n": 1}, "metadata": {"tag": "x"}})
    assert saved.status_code == 201
    checkpoint_id = saved.json()["checkpoint_id"]
    [listed] = client.get("/threads/t/checkpoints").json()["checkpoints"]
    assert (listed["checkpoint_id"], listed["metadata"]) == (checkpoint_id, {"tag": "x"})
    loaded = client.get(f"/threads/t/checkpoints/{checkpoint_id}").json()
    assert (loaded["state"], loaded["thread_id"]) == ({"n": 1}, "t")
    assert client.delete(f"/threads/t/checkpoints/{checkpoint_id}").json() == {"deleted": True}
    missing = client.delete(f"/threads/t/checkpoints/{checkpoint_id}")
    assert (missing.status_code, missing.json()["code"]) == (404, "checkpoint_not_found")
    assert client.get("/threads/t/checkpoints").json() == {"checkpoints": []}


def test_comparing_works_on_the_basic_routes(client: httpx.Client) -> None:
    first: dict[str, Any] = {"state": {}, "checkpoint_id": "a", "expected_checkpoint_id": None}
    assert client.post("/threads/t/checkpoints", json=first).status_code == 201
    again = client.post("/threads/t/checkpoints", json=first)
    assert (again.status_code, again.json()["code"]) == (409, "conflict")


async def test_awkward_ids_never_meet_on_the_basic_routes(url: str, store: MemoryCheckpointer) -> None:
    # Every client normalises "." and ".." away, even encoded: those are refused by the client of the basic routes.
    ids = [each for each in AWKWARD_IDS if each not in (".", "..")]
    async with httpx.AsyncClient(headers=BEARER) as client:
        for number, thread_id in enumerate(ids):
            path = f"{url}/threads/{quote(thread_id, safe='')}/checkpoints"
            body = {"state": {"n": number}, "checkpoint_id": thread_id}
            assert (await client.post(path, json=body)).status_code == 201
            found = await client.get(f"{path}/{quote(thread_id, safe='')}")
            assert found.json()["state"] == {"n": number}
    assert await store.list_threads(1000) == sorted(ids, key=str.encode)


async def test_locus_sdks_own_client_is_served(url: str) -> None:
    state = AgentState(agent_id="a", metadata={"k": "v"})
    theirs, own = SDKCheckpointer(url, headers=BEARER), HTTPCheckpointer(url, BEARER)
    try:
        assert await theirs.health_check()
        assert await theirs.save(state, "a/1:é", "c1", {"tag": "x"}) == "c1"
        await theirs.save(state, "a/1:é", "c2")
        assert await theirs.list_checkpoints("a/1:é", 1) == ["c2"]
        assert await theirs.load("a/1:é") == state
        assert await theirs.load("a/1:é", "c1") == state
        assert await theirs.load("never") is None
        # Its states come back as such through the operations as well, with their metadata.
        assert await own.load("a/1:é") == state
        assert await own.get_metadata("a/1:é", "c1") == {"tag": "x"}
        assert await theirs.delete("a/1:é", "c2")
        assert await theirs.delete("a/1:é")
        assert not await theirs.delete("a/1:é")
    finally:
        await theirs.close()
        await own.close()


def test_an_agent_with_locus_sdks_own_client_remembers(url: str) -> None:
    def agent() -> Agent:
        checkpointer: Any = SDKCheckpointer(url, headers=BEARER)
        return make_agent(checkpointer)

    assert agent().run_sync("I am planning a trip to Tokyo.", thread_id="t").text == "Go in April"
    answer = agent().run_sync("What were we discussing?", thread_id="t").text
    assert answer == "You said: I am planning a trip to Tokyo."


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/get", {"thread_id": ""}),
        ("/v1/get", {"thread_id": "x" * 1025}),
        ("/v1/get", {"thread_id": "t", "other": 1}),
        ("/v1/list_checkpoints", {"thread_id": "t", "limit": 0}),
        ("/v1/list_checkpoints", {"thread_id": "t", "limit": "5"}),
        ("/v1/list_threads", {"limit": True}),
        ("/v1/search", {"terms": ["' | '"], "limit": 1}),
        ("/v1/vacuum", {"before": "2020-01-01T00:00:00"}),
        ("/v1/query_by_metadata", {"key": "k", "limit": 1}),
        ("/threads/t/checkpoints", {"state": "text"}),
        ("/threads/%FF/checkpoints", {"state": {}}),
        ("/threads/t/checkpoints", {"state": {}, "metadata": {"k": "x" * 70_000}}),
    ],
)
def test_an_argument_out_of_bounds_is_a_problem(client: httpx.Client, path: str, body: dict[str, Any]) -> None:
    answer = client.post(path, json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_argument")
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("body", [b"", b"\0\0\0\x02{", b"\0\0\0\x02{}", b"\xff\xff\xff\xff{}", b"\0\0\0\x04null"])
def test_a_frame_that_is_none_is_a_problem(client: httpx.Client, body: bytes) -> None:
    assert client.post("/v1/put", content=body).json()["code"] == "invalid_argument"


def test_an_unknown_route_is_never_an_absent_checkpoint(client: httpx.Client) -> None:
    for path in ("/v1/nothing", "/threads", "/threads/a/b/checkpoints", "/v2/get"):
        assert client.post(path, json={}).json()["code"] == "unknown_route"
    assert client.get("/v1/get").json()["code"] == "method_not_allowed"


async def test_stores_that_one_process_serves_never_meet(http_host: Host) -> None:
    first, second = MemoryCheckpointer(), MemoryCheckpointer()
    with http_host.serving(first) as one, http_host.serving(second, limits=Limits(max_body_bytes=2000)) as other:
        async with HTTPCheckpointer(one) as own, HTTPCheckpointer(other, compression=False) as theirs:
            calls = (each.save({"n": number}, f"t{number}") for number in range(9) for each in (own, theirs))
            await asyncio.gather(*calls, own.save({}, "own"), theirs.save({}, "theirs"))
            await own.save({"k": "x" * 2000}, "own")
            with pytest.raises(StateTooLargeError):
                await theirs.save({"k": "x" * 2000}, "theirs")
    shared = [f"t{number}" for number in range(9)]
    assert await first.list_threads(100) == ["own", *shared]
    assert await second.list_threads(100) == [*shared, "theirs"]


async def test_the_store_is_closed_at_the_end(store: MemoryCheckpointer) -> None:
    closed = asyncio.Event()

    async def close() -> None:
        closed.set()

    store.close = close  # type: ignore[method-assign]
    app, incoming, outgoing = create_app(store, tokens=None), asyncio.Queue[Any](), asyncio.Queue[Any]()
    living = asyncio.create_task(app({"type": "lifespan"}, incoming.get, outgoing.put))
    incoming.put_nowait({"type": "lifespan.startup"})
    assert (await outgoing.get())["type"] == "lifespan.startup.complete"
    assert not closed.is_set()
    incoming.put_nowait({"type": "lifespan.shutdown"})
    assert (await outgoing.get())["type"] == "lifespan.shutdown.complete"
    assert closed.is_set()
    await living


async def test_a_proxy_that_has_lost_the_server_is_an_outage(url: str) -> None:
    lost = httpx.MockTransport(lambda request: httpx.Response(404, json={"detail": "Not Found"}))
    async with HTTPCheckpointer(url, BEARER, retry=RetryPolicy(deadline=0.3)) as checkpointer:
        await checkpointer.save({"n": 1}, "t")
        client = checkpointer.storage._client._loops.get().client  # type: ignore[attr-defined]
        real, client._transport = client._transport, lost
        with pytest.raises(BackendUnavailableError, match="base URL"):
            await checkpointer.load("t")
        # What it could do before, it could do yet.
        assert checkpointer.capabilities.search
        client._transport = real
        assert await checkpointer.load("t") == {"n": 1}


async def test_a_capability_that_the_server_lost_is_refused_by_its_name(url: str, store: MemoryCheckpointer) -> None:
    async with HTTPCheckpointer(url, BEARER) as checkpointer:
        assert checkpointer.capabilities.branching
        object.__setattr__(store.storage.capabilities, "branching", False)
        try:
            with pytest.raises(CapabilityNotSupportedError) as caught:
                await checkpointer.copy_thread("a", "b")
            assert caught.value.capability == "branching"
        finally:
            object.__setattr__(store.storage.capabilities, "branching", True)


async def test_a_redirect_is_an_error_that_names_the_target() -> None:
    async def redirect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 301 Moved\r\nLocation: https://elsewhere/\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(redirect, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        async with HTTPCheckpointer(f"http://127.0.0.1:{port}") as checkpointer:
            with pytest.raises(BindingError, match="https://elsewhere/"):
                await checkpointer.load("t")


async def test_a_cancelled_call_leaves_the_connections_usable(http_host: Host, store: MemoryCheckpointer) -> None:
    entered = 0

    async def slow(*_: Any, **__: Any) -> None:
        nonlocal entered
        entered += 1
        await asyncio.sleep(60)

    store.storage.get_summary = slow  # type: ignore[method-assign]
    with http_host.serving(store, Tokens(text=TOKEN), Limits(request_timeout=1.0)) as url:
        async with HTTPCheckpointer(url, BEARER, pool_max_size=2, retry=RetryPolicy(deadline=0.2)) as checkpointer:
            await checkpointer.save({"n": 1}, "t")
            for _ in range(5):
                calls = [checkpointer.exists("t") for _ in range(4)]
                outcomes = await asyncio.gather(*calls, return_exceptions=True)
                assert all(isinstance(each, BackendUnavailableError) for each in outcomes)
            assert entered > 2  # not only what the first two connections were used for
            assert await checkpointer.load("t") == {"n": 1}


async def test_what_a_client_gave_up_is_cancelled_on_the_server(http_host: Host, store: MemoryCheckpointer) -> None:
    entered, cancelled = asyncio.Event(), asyncio.Event()
    here = asyncio.get_running_loop()

    async def slow(*_: Any, **__: Any) -> None:
        here.call_soon_threadsafe(entered.set)
        try:
            await asyncio.sleep(60)
        finally:
            here.call_soon_threadsafe(cancelled.set)

    store.storage.put = slow  # type: ignore[method-assign]
    with http_host.serving(store, Tokens(text=TOKEN), Limits(request_timeout=60)) as url:
        async with HTTPCheckpointer(url, BEARER) as checkpointer, asyncio.timeout(9):
            saving = asyncio.create_task(checkpointer.save({}, "t"))
            await entered.wait()
            saving.cancel()
            await cancelled.wait()


async def test_a_backend_that_gives_no_answer_is_an_outage_in_time(http_host: Host, store: MemoryCheckpointer) -> None:
    async def stuck(*_: Any, **__: Any) -> None:
        await asyncio.sleep(60)

    store.storage.get = stuck  # type: ignore[method-assign]
    with http_host.serving(store, Tokens(text=TOKEN), Limits(request_timeout=0.2)) as url:
        async with httpx.AsyncClient(headers=BEARER) as client:
            for answer in (
                await client.post(f"{url}/v1/get", json={"thread_id": "t"}),
                await client.get(f"{url}/threads/t/checkpoints/c"),
            ):
                assert (answer.status_code, answer.json()["code"]) == (503, "backend_unavailable")
                assert answer.headers["retry-after"] == "1"


async def test_a_defect_of_a_backend_is_an_error_without_details(http_host: Host, store: MemoryCheckpointer) -> None:
    async def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("secret detail")

    store.storage.get = broken  # type: ignore[method-assign]
    with http_host.serving(store, Tokens(text=TOKEN)) as url:
        async with HTTPCheckpointer(url, BEARER, retry=RetryPolicy(deadline=0.3)) as checkpointer:
            with pytest.raises(CheckpointError) as caught:
                await checkpointer.load("t")
    assert "secret detail" not in str(caught.value)


async def test_requests_of_each_call(url: str) -> None:
    requests: list[str] = []

    async def count(request: httpx.Request) -> None:
        requests.append(request.url.path.rpartition("/")[2])

    async with HTTPCheckpointer(url, BEARER) as checkpointer:
        storage: Any = checkpointer.storage
        storage._client._loops.get().client.event_hooks = {"request": [count]}
        await checkpointer.save({"n": 1}, "t", "c")
        await checkpointer.load("t")
        await checkpointer.load("t", "c")
        await checkpointer.list_checkpoints("t")
        await checkpointer.exists("t")
        await checkpointer.list_threads()
        await checkpointer.search("word")
        await checkpointer.copy_thread("t", "u")
        await checkpointer.delete("t", "c")
        await checkpointer.delete("u")
    once = ["put", "get", "get", "list_checkpoints", "get_summary", "list_threads", "search", "copy_thread"]
    assert requests == ["capabilities", *once, "delete_checkpoint", "delete_thread"]


async def test_a_payload_is_not_looked_into(url: str, store: MemoryCheckpointer) -> None:
    async with HTTPCheckpointer(url, BEARER, encryption_key=bytes(32)) as checkpointer:
        await checkpointer.save({"secret": "needle"}, "t")
        assert not checkpointer.capabilities.search
        stored = await store.storage.get("t")
        assert stored is not None
        assert b"needle" not in stored.payload
        await checkpointer.storage.put(NewCheckpoint("t", "c", stored.payload, {}))
        assert await checkpointer.load("t", "c") == {"secret": "needle"}
        async with httpx.AsyncClient(headers=BEARER) as client:
            sealed = await client.get(f"{url}/threads/t/checkpoints/c")
        assert (sealed.status_code, sealed.json()["code"]) == (500, "unknown_encryption_key")


def test_the_openapi_document_names_every_error_of_every_route(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    operations = [
        (path, method, operation) for path, each in document["paths"].items() for method, operation in each.items()
    ]
    assert len(operations) >= 20
    for path, _, operation in operations:
        assert ("503" in operation["responses"]) == (path != "/healthz")
        if path.startswith(("/v1", "/threads")):
            assert {"401", "422"} <= operation["responses"].keys()
            assert operation["security"]
    references = {part.partition('"')[0] for part in json.dumps(document).split('"#/components/schemas/')[1:]}
    assert references <= document["components"]["schemas"].keys()
