"""What the webhook knows about stores: a copy that a watch keeps up to date, so that no review waits for anybody."""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import AsyncIterator, Sequence
from functools import partial
from http import HTTPStatus
from typing import Final

import aiohttp
from kubernetes.aio.client import ApiClient, CustomObjectsApi
from kubernetes.aio.client.exceptions import ApiException

from locus_operator import logs
from locus_operator.constants import GROUP, STORE_PLURAL, VERSION
from locus_operator.injection.known_stores import KnownStore, Snapshot, read_store
from locus_operator.listing import API_FAILURES, Call, Object, check, pages, reason_of

RESYNC_SECONDS: Final = 120
"""A watch lasts so long, a fifth more or less, before the stores are listed anew: nothing stays wrong for longer,
not even if the connection died without a word."""
FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 30.0
"""Seconds between tries while the API server does not answer; the pauses double."""

_GRACE_SECONDS: Final = 15.0  # for the API server to end a watch that is over
_MAX_EVENT_BYTES: Final = 16 * 1024 * 1024  # etcd takes objects of 1.5 MB
_JITTER: Final = 0.2

_log = logging.getLogger(__name__)


class StoreCache:
    """The stores of the cluster, or of some namespaces: 300 bytes each, and 2 kB with a selector.

    Args:
        client: The API server.
        namespaces: Namespaces to watch; empty for all.
    """

    def __init__(self, client: ApiClient, namespaces: Sequence[str] = ()) -> None:
        self._api = CustomObjectsApi(client)
        self._scopes: tuple[str | None, ...] = tuple(namespaces) or (None,)
        self._stores: dict[str, dict[str, KnownStore]] = {}
        self._waiting = dict.fromkeys(self._scopes, "they are being listed")

    @property
    def snapshot(self) -> Snapshot:
        """The stores by namespace and name, as they are known now."""
        return self._stores

    @property
    def not_ready(self) -> str:
        """Why the stores are not known yet; empty once they have been listed, however old the list gets.

        Reviews with a list that is minutes old do less harm than no reviews.
        """
        reasons = dict.fromkeys(self._waiting.values())
        return f"the stores are not known yet: {'; '.join(reasons)}" if reasons else ""

    async def run(self) -> None:
        """Keep the copy up to date until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for scope in self._scopes:
                tasks.create_task(self._follow(scope), name=f"stores of {scope or 'all namespaces'}")

    async def _follow(self, scope: str | None) -> None:
        failures = 0
        while True:
            started = asyncio.get_running_loop().time()
            try:
                await self._watch(scope, await self._list(scope))
            except Exception as error:  # noqa: BLE001 - whatever it is, the next list may be better
                failures += 1
                self._report(scope, error)
            else:
                lasted = asyncio.get_running_loop().time() - started
                # A server that stops ends its watches; one that ends each at once shall not be asked all the time.
                failures = 0 if lasted > RESYNC_SECONDS / 2 else failures + 1
            if failures:
                await asyncio.sleep(pause_after(failures))

    async def _list(self, scope: str | None) -> str:
        """Replace all that is known; returns the version to watch from."""
        found: dict[str, dict[str, KnownStore]] = {}
        version = ""
        async for page in pages(self._call(scope)):
            version = page.version
            for body in page.items:
                found.setdefault(body["metadata"]["namespace"], {})[body["metadata"]["name"]] = read_store(body)
        if scope is None:
            self._stores = found
        else:
            self._stores[scope] = found.get(scope, {})
        if self._waiting.pop(scope, None):
            _log.info("stores of %s are known", scope or "all namespaces")
        return version

    async def _watch(self, scope: str | None, version: str) -> None:
        seconds = round(RESYNC_SECONDS * _jitter())
        async with asyncio.timeout(seconds + _GRACE_SECONDS):
            response = await self._call(scope)(
                watch=True,
                resource_version=version,
                timeout_seconds=seconds,
                _request_timeout=seconds + _GRACE_SECONDS,
            )
            try:
                check(response)
                async for line in _lines(response):
                    self._apply(json.loads(line))
            finally:
                response.close()

    def _apply(self, event: Object) -> None:
        body = event["object"]
        if event["type"] == "ERROR":
            raise ApiException(status=body.get("code"), reason=body.get("reason"))
        namespace, name = body["metadata"]["namespace"], body["metadata"]["name"]
        stores = self._stores.setdefault(namespace, {})
        if event["type"] == "DELETED":
            stores.pop(name, None)
        else:
            stores[name] = read_store(body)
        if not stores:
            del self._stores[namespace]

    def _call(self, scope: str | None) -> Call:
        if scope is None:
            return partial(
                self._api.list_cluster_custom_object_without_preload_content, GROUP, VERSION, plural=STORE_PLURAL
            )
        return partial(
            self._api.list_namespaced_custom_object_without_preload_content, GROUP, VERSION, scope, STORE_PLURAL
        )

    def _report(self, scope: str | None, error: Exception) -> None:
        where = f"stores of {scope or 'all namespaces'}"
        if isinstance(error, API_FAILURES):
            reason = reason_of(error)
            if isinstance(error, ApiException) and error.status == HTTPStatus.FORBIDDEN:
                reason += ": the webhook's service account may not list and watch checkpointstores"
        else:
            reason = "unexpected error, see the webhook's log"
            _log.error("%s: unexpected %s", where, logs.where_it_happened(error))
        if scope in self._waiting:
            self._waiting[scope] = reason
        _log.warning("%s may be out of date: %s", where, reason)


def pause_after(failures: int) -> float:
    """Return seconds until the next try, a fifth more or less so that replicas do not ask together.

    Args:
        failures: Tries that failed in a row, at least 1.
    """
    return min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(failures - 1, 16)) * _jitter()


async def _lines(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """The lines of an answer. aiohttp's own reader of lines refuses those that an object with a long field makes."""
    buffer = bytearray()
    async for chunk in response.content.iter_any():
        buffer += chunk
        *lines, rest = buffer.split(b"\n")
        for line in lines:
            if line:
                yield bytes(line)
        buffer = bytearray(rest)
        if len(buffer) > _MAX_EVENT_BYTES:
            raise ValueError("an event of the watch is longer than any object can be")


def _jitter() -> float:
    return random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - no secret
