"""Works on one class at a time: judges it, counts its stores, wakes them when it has changed.

The finalizer of a class follows `status.boundStores`: kopf puts it there with the first store and takes it away with
the last. A number that falls to 0 is confirmed by the API server: the watch may not have shown everything yet.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final

from locus_operator import engine
from locus_operator.api import (
    CheckpointStoreClass,
    CheckpointStoreClassStatus,
    InvalidSpecError,
    parse_store_class,
)
from locus_operator.constants import ConditionReason, ConditionType, EventReason
from locus_operator.controller import class_status
from locus_operator.controller.class_status import FoundClass
from locus_operator.controller.events import Event, Poster
from locus_operator.controller.index import IndexedStore, StoreIndex
from locus_operator.controller.retries import MISSING, Backoff
from locus_operator.engine import required_secrets
from locus_operator.errors import ProvisioningError, RefusedError, UnsupportedError
from locus_operator.inheritance import check_class, spec_of_class
from locus_operator.kube import Kubernetes, Object, StoreIdentity
from locus_operator.settings import Settings

SETTLE_SECONDS: Final = 0.5
"""Stores that come or go within this time are counted once."""

_log = logging.getLogger(__name__)


class ClassReconciler:
    """Keeps the status of classes, and has their stores follow them.

    Args:
        kubernetes: The API server.
        settings: Pauses, the operator's namespace, and which namespaces are watched.
        index: The stores.
        post: Writes Events.
        wake: Has a store reconciled soon.
    """

    def __init__(
        self,
        kubernetes: Kubernetes,
        settings: Settings,
        index: StoreIndex,
        post: Poster,
        wake: Callable[[StoreIdentity], None],
    ) -> None:
        self._kubernetes = kubernetes
        self._settings = settings
        self._index = index
        self._post = post
        self._wake = wake
        self._locks: dict[str, asyncio.Lock] = {}
        self._failures: dict[str, int] = {}
        self._in_use: set[str] = set()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def changed(self, name: str, *, is_default_class: bool) -> None:
        """Have the stores of a class follow a change of it, and bring its status up to date.

        Args:
            name: Its name.
            is_default_class: It is for stores that name neither a class nor a backend.
        """
        for store in (*self._index.of_class(name), *(self._index.undecided() if is_default_class else ())):
            self._wake(store)
        await self._try(name)

    def gone(self, name: str) -> None:
        """Have the stores that name a class say that it is gone."""
        if (timer := self._timers.pop(name, None)) is not None:
            timer.cancel()
        self._locks.pop(name, None)
        self._failures.pop(name, None)
        self._in_use.discard(name)
        for store in self._index.of_class(name):
            self._wake(store)

    def recount(self, name: str) -> None:
        """Bring the status of a class up to date soon, because a store was bound to it or has left it.

        At once for the first store: from then on the class must not be deleted.
        """
        self._later(name, SETTLE_SECONDS if name in self._in_use else 0)

    async def sweep(self) -> None:
        """Look at all classes anew, their Secrets and their stores included."""
        if not self._settings.watch_namespaces:
            await self._correct_index()
        for body in await self._kubernetes.store_classes():
            await self._try(body["metadata"]["name"], sweeping=True)

    async def release(self, name: str) -> str | None:
        """Tell why a class that is being deleted cannot go yet; None when it may.

        Raises:
            ProvisioningError: The API server does not answer.
        """
        found = await self.reconcile(name)
        return class_status.in_use(found.bound).message if found is not None and found.bound else None

    async def reconcile(self, name: str, *, sweeping: bool = False) -> FoundClass | None:
        """Bring the status of a class up to date, and look again later if something is missing.

        Args:
            name: Its name.
            sweeping: Write down the time of the look even if nothing has changed.

        Returns:
            What was found; None if there is no such class.

        Raises:
            ProvisioningError: The API server does not answer.
        """
        async with self._locks.setdefault(name, asyncio.Lock()):
            body = await self._kubernetes.store_class(name)
            if body is None:
                return None
            before, found = class_status.read_status(body), await self._find(body)
            after = class_status.updated(before, found, int(body["metadata"]["generation"]), _now())
            if sweeping or class_status.is_news(before, after):
                await self._kubernetes.write_class_status(name, body["metadata"]["uid"], class_status.to_body(after))
            (self._in_use.add if found.bound else self._in_use.discard)(name)
            blocked = after.condition(ConditionType.DELETION_BLOCKED)
            if blocked is not None and before.condition(ConditionType.DELETION_BLOCKED) is None:
                self._post(body, Event("Warning", EventReason.DELETION_BLOCKED, blocked.message))
        self._plan_next(name, found.ready.reason in MISSING)
        return found

    # What there is to find

    async def _find(self, body: Object) -> FoundClass:
        name, is_ending = body["metadata"]["name"], bool(body["metadata"].get("deletionTimestamp"))
        backend = class_status.read_status(body).backend
        try:
            store_class = parse_store_class(body)
            backend = store_class.spec.backend.kind
            check_class(store_class)
            await self._check_sources(store_class)
            ready = class_status.ready(store_class.spec.allowed_namespaces)
        except (InvalidSpecError, RefusedError, UnsupportedError) as error:
            failure = engine.failure(error)
            ready = class_status.not_ready(failure.reason, failure.detail)
        if is_ending:
            ready = class_status.not_ready(ConditionReason.DELETING, "the class is being deleted")
        return FoundClass(backend, ready, await self._bound(name, before=class_status.read_status(body)), is_ending)

    async def _check_sources(self, store_class: CheckpointStoreClass) -> None:
        spec, namespace = spec_of_class(store_class), self._settings.namespace
        sources = {source: await self._kubernetes.source(namespace, source) for source in required_secrets(spec)}
        engine.check_sources(spec, sources)

    async def _bound(self, name: str, before: CheckpointStoreClassStatus) -> Sequence[StoreIdentity]:
        known = self._index.bound_to(name)
        if not self._settings.watch_namespaces and (known or not before.bound_stores):
            return known
        listed = (IndexedStore.of(body) for body in await self._kubernetes.stores())
        return sorted((each.identity for each in listed if each.bound_class == name), key=str)

    async def _correct_index(self) -> None:
        """Drop stores whose end the watch has not shown."""
        known = {each.identity.uid for each in self._index.all()}
        for uid in known - {body["metadata"]["uid"] for body in await self._kubernetes.stores()}:
            self._index.forget(uid)

    # When to look

    def _plan_next(self, name: str, is_incomplete: bool) -> None:
        self._failures[name] = self._failures.get(name, 0) + 1 if is_incomplete else 0
        if is_incomplete:
            backoff = Backoff(self._settings.missing_retry_seconds, self._settings.missing_retry_max_seconds)
            self._later(name, backoff.pause(self._failures[name]))

    def _later(self, name: str, seconds: float) -> None:
        loop, planned = asyncio.get_running_loop(), self._timers.get(name)
        if planned is not None and planned.when() <= loop.time() + seconds:
            return
        if planned is not None:
            planned.cancel()
        self._timers[name] = loop.call_later(seconds, self._start, name)

    def _start(self, name: str) -> None:
        self._timers.pop(name, None)
        task = asyncio.create_task(self._try(name), name=f"CheckpointStoreClass {name}")
        self._tasks.add(task)  # the event loop itself keeps no reference
        task.add_done_callback(self._tasks.discard)

    async def _try(self, name: str, *, sweeping: bool = False) -> None:
        try:
            await self.reconcile(name, sweeping=sweeping)
        except ProvisioningError as error:
            _log.warning("CheckpointStoreClass %s: %s", name, error)
            self._later(name, self._settings.unavailable_retry_max_seconds)


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)  # as everywhere in Kubernetes
