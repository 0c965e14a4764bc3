"""Writes Kubernetes Events.

Not through kopf: its own way to post works in the handlers of an object only, and a sweep is no handler.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from typing import Final

from kubernetes.aio.client import (
    ApiClient,
    CoreV1Api,
    CoreV1Event,
    V1EventSource,
    V1ObjectMeta,
    V1ObjectReference,
)

from locus_operator.controller.events import Event
from locus_operator.errors import ProvisioningError
from locus_operator.kube import Object, ask

COMPONENT: Final = "locus-operator"
"""Who says it, in `kubectl describe`."""
NAMESPACE_OF_CLUSTER_SCOPED: Final = "kube-system"
"""Where Events about objects without namespace are: API servers refuse any other one but `default`, which old ones
refuse as well, and where people look who should not read what is told of a class."""

_log = logging.getLogger(__name__)


class EventPoster:
    """Posts Events in the background: they tell a story, and nothing waits for its listeners.

    Args:
        client: The API server.
    """

    def __init__(self, client: ApiClient) -> None:
        self._core = CoreV1Api(client)
        self._posts: set[asyncio.Task[None]] = set()

    def __call__(self, about: Object, event: Event) -> None:
        """Post an Event about an object; one that cannot be posted is in the log."""
        task = asyncio.create_task(self._post(about, event), name=f"Event {event.reason}")
        self._posts.add(task)  # the event loop itself keeps no reference
        task.add_done_callback(self._posts.discard)

    async def finish(self) -> None:
        """Wait for the Events that are on their way."""
        await asyncio.gather(*self._posts)

    async def _post(self, about: Object, event: Event) -> None:
        body = event_body(about, event, datetime.now(UTC))
        namespace = about["metadata"].get("namespace") or NAMESPACE_OF_CLUSTER_SCOPED
        try:
            await ask(f"post an Event in namespace {namespace}", self._core.create_namespaced_event(namespace, body))
        except ProvisioningError as error:
            _log.warning("Event %s about %s is lost: %s", event.reason, about["metadata"]["name"], error)


def event_body(about: Object, event: Event, now: datetime) -> CoreV1Event:
    """Return the Event as the API server takes it.

    Args:
        about: The object, with `apiVersion`, `kind` and `metadata`.
        event: What happened.
        now: When.
    """
    metadata = about["metadata"]
    namespace = metadata.get("namespace") or NAMESPACE_OF_CLUSTER_SCOPED
    return CoreV1Event(
        metadata=V1ObjectMeta(namespace=namespace, generate_name=f"{COMPONENT}-"),
        involved_object=V1ObjectReference(
            api_version=about["apiVersion"],
            kind=about["kind"],
            namespace=metadata.get("namespace"),
            name=metadata["name"],
            uid=metadata["uid"],
        ),
        type=event.type,
        reason=event.reason,
        message=event.message,
        action="Reconcile",
        reporting_component=COMPONENT,
        reporting_instance=COMPONENT,
        source=V1EventSource(component=COMPONENT),
        event_time=now,
        first_timestamp=now,
        last_timestamp=now,
    )
