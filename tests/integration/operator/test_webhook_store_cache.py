"""The webhook's copy of the stores, on an API server that misbehaves as real ones do now and then.

What it does on one that behaves is in `tests/e2e/test_store_cache.py`.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from kubernetes.aio.client import ApiClient, Configuration

from locus_operator.webhook.stores import StoreCache, pause_after

Answer = web.Response | list[bytes]
"""A whole answer, or the chunks of one that ends with them; an empty chunk keeps it open."""


def store(name: str, secret: str, **metadata: Any) -> dict[str, Any]:
    metadata |= {"namespace": "agents", "name": name}
    return {"metadata": metadata, "spec": {"backend": {"memory": {}}, "bindingSecretName": secret}}


def listed(*stores: Any) -> web.Response:
    return web.json_response({"metadata": {"resourceVersion": "7"}, "items": list(stores)})


def event(type_: str, body: Any) -> bytes:
    return json.dumps({"type": type_, "object": body}).encode() + b"\n"


def refused(status: int, reason: str) -> web.Response:
    return web.Response(status=status, reason=reason)


GONE = event("ERROR", {"code": 410, "reason": "Expired", "message": "too old resource version"})
OPEN = [b""]


@dataclass
class ApiServer:
    """Answers lists and watches as it was told to, the last answer of each kind again and again."""

    lists: list[Answer]
    watches: list[Answer]
    requests: list[str] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        kind = "watch" if "watch" in request.query else "list"
        self.requests.append(kind)
        answers = self.watches if kind == "watch" else self.lists
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, web.Response):
            return web.Response(status=answer.status, reason=answer.reason, body=answer.body)
        stream = web.StreamResponse()
        await stream.prepare(request)
        for chunk in answer:
            if not chunk:
                await asyncio.Event().wait()
            await stream.write(chunk)
            await asyncio.sleep(0.01)
        return stream


@asynccontextmanager
async def following(server: ApiServer) -> AsyncIterator[StoreCache]:
    app = web.Application()
    app.router.add_route("GET", "/{path:.*}", server.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0]
    async with ApiClient(Configuration(host=f"http://{host}:{port}")) as client:
        cache = StoreCache(client)
        task = asyncio.create_task(cache.run())
        try:
            yield cache
        finally:
            task.cancel()
            await asyncio.wait([task])
            await runner.cleanup()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while True:
            if holds():
                return
            await asyncio.sleep(0.01)


def secret_of(cache: StoreCache, name: str) -> str | None:
    known = cache.snapshot.get("agents", {}).get(name)
    return known.secret if known is not None else None


async def test_a_watch_that_has_become_too_old_starts_with_a_new_list(caplog: pytest.LogCaptureFixture) -> None:
    server = ApiServer([listed(store("a", "one")), listed(store("a", "two"))], [[GONE], OPEN])

    async with following(server) as cache:
        await until(lambda: secret_of(cache, "a") == "two")
        await until(lambda: server.requests == ["list", "watch", "list", "watch"])

    assert "the API server answers 410 Expired" in caplog.text
    assert "unexpected" not in caplog.text


async def test_a_store_that_went_while_nobody_watched_is_forgotten() -> None:
    server = ApiServer([listed(store("a", "one"), store("b", "one")), listed(store("b", "one"))], [[GONE], OPEN])

    async with following(server) as cache:
        await until(lambda: secret_of(cache, "b") == "one" and secret_of(cache, "a") is None)


async def test_what_is_known_stays_while_the_api_server_is_away() -> None:
    server = ApiServer([listed(store("a", "one")), refused(503, "Service Unavailable")], [[GONE]])

    async with following(server) as cache:
        await until(lambda: server.requests.count("list") >= 3)

        assert secret_of(cache, "a") == "one"
        assert cache.not_ready == "", "old knowledge is better than no webhook"


async def test_it_is_not_ready_before_the_first_list_and_says_why(caplog: pytest.LogCaptureFixture) -> None:
    server = ApiServer([refused(403, "Forbidden"), refused(403, "Forbidden"), listed()], [OPEN])

    with caplog.at_level(logging.WARNING):
        async with following(server) as cache:
            assert cache.not_ready == "the stores are not known yet: they are being listed"
            await until(lambda: "403" in cache.not_ready)
            assert "the webhook's service account may not list and watch checkpointstores" in cache.not_ready
            await until(lambda: not cache.not_ready)

    assert "stores of all namespaces may be out of date: the API server answers 403 Forbidden" in caplog.text


async def test_events_are_read_however_they_are_cut_and_however_long_they_are() -> None:
    long = event("ADDED", store("long", "one", annotations={"note": "x" * 1_000_000}))
    split = event("ADDED", store("split", "one"))
    together = event("ADDED", store("first", "one")) + event("MODIFIED", store("first", "two"))
    server = ApiServer([listed()], [[long, split[:9], split[9:], together, b""]])

    async with following(server) as cache:
        await until(lambda: secret_of(cache, "first") == "two")

        assert (secret_of(cache, "long"), secret_of(cache, "split")) == ("one", "one")


async def test_a_deleted_store_is_forgotten_and_its_namespace_with_the_last_one() -> None:
    server = ApiServer([listed(store("a", "one"))], [[event("DELETED", store("a", "one")), b""]])

    async with following(server) as cache:
        await until(lambda: server.requests == ["list", "watch"] and cache.snapshot == {})


@pytest.mark.parametrize("nonsense", [b"no JSON\n", b'{"type": "ADDED"}\n', b"[]\n"])
async def test_nonsense_does_not_end_the_watching(nonsense: bytes) -> None:
    server = ApiServer([listed(), listed(store("a", "one"))], [[nonsense], OPEN])

    async with following(server) as cache:
        await until(lambda: secret_of(cache, "a") == "one")


async def test_a_server_that_ends_each_watch_at_once_is_not_asked_all_the_time() -> None:
    server = ApiServer([listed()], [[b"\n"]])

    async with following(server):
        await until(lambda: server.requests.count("watch") == 1)
        await asyncio.sleep(1)

    # At once, after half a second, after another one: a busy loop would have made hundreds.
    assert server.requests.count("list") <= 3


def test_pauses_double_up_to_half_a_minute() -> None:
    pauses = [pause_after(failures) for failures in (1, 2, 3, 7, 1000)]

    for pause, expected in zip(pauses, (0.5, 1, 2, 30, 30), strict=True):
        assert expected * 0.8 <= pause <= expected * 1.2
