"""Pods that should have been injected and were not: the webhook was away, and nobody else would ever tell.

What is missing is found by injecting once more, on paper, with the function that the webhook uses.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import kopf
from kubernetes.aio.client import CoreV1Event, V1ObjectMeta

from locus_operator.constants import LABEL_STORE, EventReason
from locus_operator.controller.events import MAX_MESSAGE, Event
from locus_operator.controller.posting import COMPONENT, event_body
from locus_operator.injection.known_stores import StoresByName
from locus_operator.injection.opt_in import read_opt_in
from locus_operator.injection.pod import Injection, Object, inject
from locus_operator.kube_pods import KubernetesPods
from locus_operator.listing import API_FAILURES, reason_of

EVENTS_PER_SWEEP: Final = 100
"""Events that one sweep writes; a namespace full of pods that a new store selects is told bit by bit."""

_LOOKS_AT_A_TIME: Final = 5
_ENDED: Final = ("Succeeded", "Failed")
_ADVICE: Final = (
    "The webhook was not reached when this pod was created, or the store has come to select it later. Create the pod "
    "again (kubectl rollout restart, or delete it); if that does not help, look at the webhook: kubectl describe "
    "mutatingwebhookconfigurations, its pods and their logs"
)

_log = logging.getLogger(__name__)


class UninjectedPods:
    """Finds them, and tells once of each: an Event on the pod, and a line in the log.

    Args:
        pods: The pods on the API server.
    """

    def __init__(self, pods: KubernetesPods) -> None:
        self._pods = pods
        self._looks = asyncio.Semaphore(_LOOKS_AT_A_TIME)
        self._judged: set[str] = set()
        self._uninjected: set[str] = set()
        self._told: set[str] = set()

    @property
    def count(self) -> int:
        """How many pods there are now that lack a store, as far as known; a sweep makes it exact."""
        return len(self._uninjected)

    async def look(self, pod: Object) -> None:
        """Look at a labelled pod as the watch shows it."""
        uid = pod["metadata"]["uid"]
        if _has_ended(pod):
            self.forget(uid)
            return
        # Most pods are as they should be, whatever their stores say; asking for those costs a request each.
        if uid in self._judged or not _lacks(inject(pod)):
            return
        async with self._looks:
            try:
                injection = inject(pod, await self._asked_stores(pod))
                self._judged.add(uid)
                if _lacks(injection):
                    self._uninjected.add(uid)
                    await self._tell(pod, injection)
            except API_FAILURES as error:
                # The next event of the pod, or the sweep, looks again.
                _log.warning("pods without injection are not reported: %s", reason_of(error))

    def forget(self, uid: str) -> None:
        """Drop what is remembered of a pod that has ended or is gone."""
        for remembered in (self._judged, self._uninjected, self._told):
            remembered.discard(uid)

    async def report_uninjected(self) -> None:
        """Look at all pods that ask for a store, and at those that are selected where the namespace has opted in."""
        try:
            await self._sweep()
        except API_FAILURES as error:
            _log.warning("pods without injection are not reported: %s", reason_of(error))

    async def _sweep(self) -> None:
        stores, enabled = await self._pods.stores(), await self._pods.enabled_namespaces()
        judged: set[str] = set()
        lacking: set[str] = set()
        may_tell = EVENTS_PER_SWEEP

        async def judge(pod: Object) -> None:
            nonlocal may_tell
            uid, namespace = pod["metadata"]["uid"], pod["metadata"]["namespace"]
            if uid in judged or _has_ended(pod):
                return
            judged.add(uid)
            injection = inject(pod, stores.get(namespace, {}), selects=namespace in enabled)
            if not _lacks(injection):
                return
            lacking.add(uid)
            if uid not in self._told and may_tell:
                may_tell -= 1
                await self._tell(pod, injection)

        async for pod in self._pods.labelled():
            await judge(pod)
        for namespace in enabled & stores.keys():
            for store in stores[namespace].values():
                if store.selector is not None:
                    async for pod in self._pods.selected(namespace, store.selector):
                        await judge(pod)
        self._judged, self._uninjected = judged, lacking
        self._told &= lacking
        if lacking:
            _log.warning("%d pods lack a store that they should have", len(lacking))

    async def _asked_stores(self, pod: Object) -> StoresByName:
        namespace = pod["metadata"]["namespace"]
        names = [each.name for each in read_opt_in(pod["metadata"], {}, selects=False).stores]
        found = [await self._pods.store(namespace, name) for name in names]
        return {store.name: store for store in found if store is not None}

    async def _tell(self, pod: Object, injection: Injection) -> None:
        metadata = pod["metadata"]
        if metadata["uid"] in self._told:
            return
        parts = [*injection.left_out]
        if injection.added:
            parts.append(f"not mounted: store {', '.join(injection.added)}. {_ADVICE}")
        await self._pods.post_once(metadata["namespace"], _event(pod, "; ".join(parts)))
        self._told.add(metadata["uid"])
        place = {"namespace": metadata["namespace"], "pod": metadata["name"]}
        _log.warning("pod was not injected", extra=place | {"stores": list(injection.added)})


def register(registry: kopf.OperatorRegistry, uninjected: UninjectedPods) -> None:
    """Have every labelled pod looked at; kopf leaves neither finalizers nor annotations on them.

    Pods that are selected without asking cannot be watched apart from all others: the sweep finds them.
    """

    async def look(event: Mapping[str, Any], type: str | None, uid: str | None, **_: Any) -> None:  # noqa: A002 - kopf's
        if type == "DELETED":
            uninjected.forget(uid or "")
        else:
            await uninjected.look(event["object"])

    kopf.on.event("v1", "pods", registry=registry, labels={LABEL_STORE: kopf.PRESENT}, id="uninjected")(look)


def _event(pod: Object, message: str) -> CoreV1Event:
    """The Event about a pod; its name is made of the pod's UID, so that a restarted controller writes no second one."""
    short = message.encode()[:MAX_MESSAGE].decode(errors="ignore")
    about = {"apiVersion": "v1", "kind": "Pod", **pod}  # the items of a list do not say what they are
    event = event_body(about, Event("Warning", EventReason.NOT_INJECTED, short), datetime.now(UTC))
    metadata = pod["metadata"]
    event.metadata = V1ObjectMeta(namespace=metadata["namespace"], name=f"{COMPONENT}-uninjected-{metadata['uid']}")
    return event


def _lacks(injection: Injection) -> bool:
    return bool(injection.added or injection.left_out)


def _has_ended(pod: Object) -> bool:
    return "deletionTimestamp" in pod["metadata"] or (pod.get("status") or {}).get("phase") in _ENDED
