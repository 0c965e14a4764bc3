"""Works on one store at a time: fetches, calls the engine, writes binding, status and Events, plans the next try.

Level-triggered: it reads the store as it is now and does not care what has changed, or who called.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from locus_operator import engine, logs
from locus_operator.api import CheckpointStore, CheckpointStoreStatus, InvalidSpecError, parse_store
from locus_operator.api.store import DeletionPolicy
from locus_operator.connections import Connections
from locus_operator.constants import ConditionReason, EventReason
from locus_operator.controller import events, status
from locus_operator.controller.class_news import ClassNews
from locus_operator.controller.events import Poster
from locus_operator.controller.inputs import Fetcher, Inputs
from locus_operator.controller.place import check_place
from locus_operator.controller.retries import Work, backoff_of, patient
from locus_operator.controller.tenancy import Tenancy, check_identity
from locus_operator.engine import Failure, Progress
from locus_operator.errors import ProvisioningError
from locus_operator.kube import Kubernetes, Object, StoreIdentity
from locus_operator.provisioner import Action
from locus_operator.settings import Settings
from locus_operator.telemetry import ControllerMetrics

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Blocked:
    """A deletion that cannot finish yet.

    Attributes:
        message: Why.
        pause: Seconds until it is tried again.
    """

    message: str
    pause: float


class Reconciler:
    """Keeps stores as their specs say.

    Args:
        kubernetes: The API server.
        settings: Pauses, workers and the operator's namespace.
        cluster: Identity of the cluster, for claims on backends.
        post: Writes Events.
        connections: Administrators' connections, shared by all stores.
        metrics: What is counted.
        progress: Called after each action on a backend, with its index in its plan.
    """

    def __init__(
        self,
        kubernetes: Kubernetes,
        settings: Settings,
        cluster: str,
        post: Poster,
        connections: Connections,
        metrics: ControllerMetrics,
        *,
        progress: Progress | None = None,
    ) -> None:
        self._kubernetes = kubernetes
        self._settings = settings
        self._fetcher = Fetcher(kubernetes, cluster, settings.namespace, connections)
        self._tenancy = Tenancy(kubernetes)
        self._news = ClassNews(kubernetes, post)
        self._post = post
        self._metrics = metrics
        self._progress = progress
        self._workers = asyncio.Semaphore(settings.workers)
        self._works: dict[str, Work] = {}
        self._retries: set[asyncio.Task[None]] = set()

    async def reconcile(self, store: StoreIdentity) -> None:
        """Make a store as its spec says, now; when that fails, try again later by ourselves."""
        work = self._works.setdefault(store.uid, Work())
        work.failures = 0
        await self._reconcile(store, work)

    def reconcile_soon(self, store: StoreIdentity) -> None:
        """Reconcile without being waited for, because something that the store refers to has changed."""
        work = self._works.setdefault(store.uid, Work())
        work.failures = 0
        self._wake(store, work)

    async def sweep(self, store: StoreIdentity) -> None:
        """Look whether the backend still is as desired, and delete what retention no longer allows.

        A store that has failed is left to its back-off, or to the next change of its spec.
        """
        work = self._works.setdefault(store.uid, Work())
        if not work.failures:
            await self._reconcile(store, work, sweeping=True)

    async def release(self, store: StoreIdentity, *, failures: int) -> Blocked | None:
        """Take a store that is being deleted off its backend.

        Args:
            store: The store.
            failures: How many tries there were, this one included.

        Returns:
            None when it may go.
        """
        work = self._works.setdefault(store.uid, Work())
        work.stay_asleep()
        async with work.lock, self._workers:
            body = await self._kubernetes.store(store.namespace, store.name)
            if body is None or body["metadata"]["uid"] != store.uid:
                return None
            try:
                done = await self._release(store, body, work)
            except Exception as error:  # noqa: BLE001 - whatever it is, the object must not go
                return await self._blocked(store, body, error, failures)
        if done is not None:
            self._post(body, done)
        return None

    async def abandon(self, store: StoreIdentity) -> None:
        """Let a store go whose owner accepts that its backend stays as it is."""
        body = await self._kubernetes.store(store.namespace, store.name)
        if body is not None:
            self._logger(store).warning("abandoned")
            self._post(body, events.of_abandon(status.read_status(body).claims))

    def forget(self, uid: str) -> None:
        """Drop what is remembered of a store that is gone."""
        work = self._works.pop(uid, None)
        if work is not None:
            work.stay_asleep()

    # Reconciling

    async def _reconcile(self, store: StoreIdentity, work: Work, *, sweeping: bool = False) -> None:
        work.stay_asleep()
        async with work.lock, self._workers:
            begin = time.monotonic()
            failure = await self._try(store, work, sweeping=sweeping)
        outcome = failure.reason if failure is not None else ConditionReason.READY
        self._metrics.reconciled(work.backend, outcome, time.monotonic() - begin)
        work.failures = 0 if failure is None else work.failures + 1
        backoff = backoff_of(failure, self._settings) if failure is not None else None
        if backoff is not None and self._works.get(store.uid) is work:
            pause = backoff.pause(work.failures)
            self._logger(store).info("trying again in %.1f seconds", pause)
            work.wake_after(pause, lambda: self._wake(store, work))

    def _wake(self, store: StoreIdentity, work: Work) -> None:
        task = asyncio.create_task(self._reconcile(store, work), name=f"retry of {store}")
        self._retries.add(task)  # the event loop itself keeps no reference
        task.add_done_callback(self._retries.discard)

    async def _try(self, store: StoreIdentity, work: Work, *, sweeping: bool) -> Failure | None:
        """Reconcile once and report; returns what went wrong."""
        try:
            body = await self._kubernetes.store(store.namespace, store.name)
            if body is None or body["metadata"]["uid"] != store.uid:
                self.forget(store.uid)
                return None
            if body["metadata"].get("deletionTimestamp"):
                return None
            try:
                await self._provision(store, body, work, sweeping=sweeping)
            except Exception as error:  # noqa: BLE001 - each error becomes a condition
                return await self._failed(store, body, error)
        except ProvisioningError as error:
            # The API server itself is in the way: there is nobody to report to but the log.
            self._logger(store).warning("%s", error)
            return engine.failure(error)
        return None

    async def _provision(self, store: StoreIdentity, body: Object, work: Work, *, sweeping: bool) -> None:
        before, generation = status.read_status(body), int(body["metadata"]["generation"])
        parsed = parse_store(body)
        if parsed.spec.suspend:
            await self._write(store, before, status.suspended(before, generation, _now()))
            return
        if parsed.spec.class_name is None and parsed.spec.backend is None and before.class_name is None:
            # The watch shows the store with its class, and it is reconciled then.
            class_name = await self._tenancy.give_default_class(store, parsed)
            self._logger(store).info("given the default class %s", class_name)
            return
        spec, name = await self._tenancy.spec(parsed), parsed.binding_secret_name
        check_identity(spec, allowed=self._settings.inline_identity)
        check_place(spec, before)
        work.backend = spec.backend.kind if spec.backend else ""
        inputs = await self._fetcher.inputs(store, parsed, spec)
        inputs.check_binding(name)
        started = await self._announce(store, before, inputs, generation)
        request = replace(inputs.request, enforce_retention=sweeping)
        done = await engine.reconcile(request, progress=self._logged(store))
        work.sources = {source: data for source, data in inputs.request.sources.items() if data is not None}
        await self._kubernetes.write_binding(store, name, done.binding, inputs.binding)
        await self._drop_renamed_binding(store, before, name)
        await self._write(store, started, status.succeeded(started, done, name, generation, _now()))
        self._metrics.expired(work.backend, done.expired or 0)
        for event in events.of_success(before, done, generation):
            self._post(body, event)
            if event.reason is EventReason.DRIFT_CORRECTED:
                self._metrics.corrected(work.backend, len(done.plan.actions))

    async def _announce(
        self, store: StoreIdentity, before: CheckpointStoreStatus, inputs: Inputs, generation: int
    ) -> CheckpointStoreStatus:
        """Before the first change on a backend, put down that there may be something to clean up.

        Not before it is known that there will be one: a store that never came to anything can be deleted freely.
        """
        backend = inputs.request.spec.backend
        if before.backend is not None or backend is None or not engine.needs_release(inputs.request.spec):
            return before
        await engine.plan(inputs.request)
        started = status.provisioning(before, backend.kind, inputs.request.spec.class_name, generation, _now())
        await self._write(store, before, started)
        return started

    async def _drop_renamed_binding(self, store: StoreIdentity, before: CheckpointStoreStatus, name: str) -> None:
        """Delete the Secret of the name that the spec had before: it holds a working login."""
        if before.binding is not None and before.binding.name != name:
            old = await self._kubernetes.binding(store.namespace, before.binding.name)
            if old is not None and old.controller == store.uid:
                await self._kubernetes.delete_binding(store.namespace, before.binding.name, old)

    async def _failed(self, store: StoreIdentity, body: Object, error: Exception) -> Failure:
        failure = engine.failure(error, _class_of(body))
        self._log_error(store, error, failure.detail)
        # As it is now: the first change may have been announced meanwhile.
        current = await self._kubernetes.store(store.namespace, store.name) or body
        before, generation = status.read_status(current), int(body["metadata"]["generation"])
        await self._write(store, before, status.failed(before, failure, generation, _now()))
        event = events.of_failure(status.read_status(body), failure, generation)
        if event is not None:
            self._post(body, event)
            await self._news.tell(_class_of(body), store, failure)
        return failure

    # Releasing

    async def _release(self, store: StoreIdentity, body: Object, work: Work) -> events.Event | None:
        """Clean up; returns what there is to tell."""
        claims, backend = status.read_status(body).claims, status.read_status(body).backend
        if backend is None or backend in engine.LEAVES_NOTHING:
            return None
        parsed: CheckpointStore = parse_store(body)
        spec = await self._tenancy.spec_to_release(parsed)
        if not engine.needs_release(spec):
            return None
        request = (await self._fetcher.inputs(store, parsed, spec)).request
        missing = [source for source, data in request.sources.items() if data is None]
        if missing and await self._kubernetes.namespace_is_ending(store.namespace):
            # The namespace has taken them along, and nobody can put them back.
            if not work.sources.keys() >= set(missing) and spec.deletion_policy is not DeletionPolicy.DELETE:
                self._logger(store).warning("let go: its namespace ended before its logins could be dropped")
                return events.of_abandon(claims)
            request = replace(request, sources={**request.sources, **work.sources})
        # deletionPolicy: Delete says so, and `kubectl delete` is the consent.
        request = replace(request, allow_destructive=True)
        done = await engine.release(request, progress=self._logged(store))
        return events.of_release(done.plan, spec.class_name)

    async def _blocked(self, store: StoreIdentity, body: Object, error: Exception, failures: int) -> Blocked:
        condition = engine.deletion_blocked(error, _class_of(body))
        failure = engine.failure(error, _class_of(body))
        self._log_error(store, error, failure.detail)
        backoff = backoff_of(failure, self._settings) or patient(self._settings)
        before, generation = status.read_status(body), int(body["metadata"]["generation"])
        try:
            await self._write(store, before, status.blocked(before, condition, generation, _now()))
        except ProvisioningError as failed:
            self._logger(store).warning("%s", failed)
        event = events.of_blocked(before, condition)
        if event is not None:
            self._post(body, event)
            await self._news.tell(_class_of(body), store, failure)
        return Blocked(condition.message, backoff.pause(failures))

    # Reporting

    async def _write(self, store: StoreIdentity, before: CheckpointStoreStatus, after: CheckpointStoreStatus) -> None:
        if after != before:
            await self._kubernetes.write_status(store, status.to_body(after))

    def _logged(self, store: StoreIdentity) -> Progress:
        logger = self._logger(store)

        def progress(index: int, action: Action) -> None:
            logger.info("applied: %s", action)
            if self._progress is not None:
                self._progress(index, action)

        return progress

    def _log_error(self, store: StoreIdentity, error: Exception, message: str) -> None:
        if isinstance(error, ProvisioningError | InvalidSpecError):
            self._logger(store).warning("%s", message)
        else:
            self._logger(store).error("unexpected %s", logs.where_it_happened(error))

    def _logger(self, store: StoreIdentity) -> logging.LoggerAdapter[logging.Logger]:
        return logs.store_logger(_log, str(store), store.uid)


def _class_of(store: Object) -> str | None:
    """Return the class whose secrets are kept from readers of the store; its spec may be invalid."""
    bound = status.read_status(store).class_name
    named = (store.get("spec") or {}).get("className")
    return bound or (named if isinstance(named, str) else None)


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)  # as everywhere in Kubernetes
