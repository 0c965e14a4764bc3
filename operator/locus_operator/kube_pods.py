"""Pods on the API server: looked at page by page, never changed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from functools import partial
from http import HTTPStatus
from typing import Any, cast

from kubernetes.aio.client import ApiClient, CoreV1Api, CoreV1Event, CustomObjectsApi
from kubernetes.aio.client.exceptions import ApiException

from locus_operator.api.references import LabelSelector
from locus_operator.constants import (
    GROUP,
    INJECTION_ENABLED,
    LABEL_INJECTION,
    LABEL_STORE,
    STORE_PLURAL,
    VERSION,
)
from locus_operator.injection.known_stores import KnownStore, Snapshot, read_store
from locus_operator.listing import Call, Object, pages


class KubernetesPods:
    """The pods of the cluster, or of some namespaces, and the stores beside them.

    All methods raise the `API_FAILURES` of `locus_operator.listing`.

    Args:
        client: The API server.
        namespaces: Namespaces to look at; empty for all.
    """

    def __init__(self, client: ApiClient, namespaces: Sequence[str] = ()) -> None:
        self._core = CoreV1Api(client)
        self._custom = CustomObjectsApi(client)
        self._scopes: tuple[str | None, ...] = tuple(namespaces) or (None,)

    async def labelled(self) -> AsyncIterator[Object]:
        """Yield the pods that ask for a store with the label."""
        for scope in self._scopes:
            async for pod in _objects(self._pods(scope), label_selector=LABEL_STORE):
                yield pod

    async def selected(self, namespace: str, selector: LabelSelector) -> AsyncIterator[Object]:
        """Yield the pods of a namespace that a selector matches."""
        async for pod in _objects(self._pods(namespace), label_selector=label_query(selector)):
            yield pod

    async def enabled_namespaces(self) -> set[str]:
        """Return the names of the namespaces that have opted in to selection."""
        if self._scopes == (None,):
            call = self._core.list_namespace_without_preload_content
            query = f"{LABEL_INJECTION}={INJECTION_ENABLED}"
            return {each["metadata"]["name"] async for each in _objects(call, label_selector=query)}
        enabled = set()
        for name in filter(None, self._scopes):
            metadata = (await self._core.read_namespace(name)).metadata
            if ((metadata and metadata.labels) or {}).get(LABEL_INJECTION) == INJECTION_ENABLED:
                enabled.add(name)
        return enabled

    async def stores(self) -> Snapshot:
        """Return all stores."""
        found: dict[str, dict[str, KnownStore]] = {}
        for scope in self._scopes:
            async for body in _objects(self._stores(scope)):
                found.setdefault(body["metadata"]["namespace"], {})[body["metadata"]["name"]] = read_store(body)
        return found

    async def store(self, namespace: str, name: str) -> KnownStore | None:
        """Return one store, or None."""
        call = self._custom.get_namespaced_custom_object(GROUP, VERSION, namespace, STORE_PLURAL, name)
        try:
            return read_store(cast("Object", await call))
        except ApiException as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise

    async def post_once(self, namespace: str, event: CoreV1Event) -> None:
        """Write an Event unless one of its name is there; a namespace that is being deleted takes none."""
        try:
            await self._core.create_namespaced_event(namespace, event)
        except ApiException as error:
            if error.status not in (HTTPStatus.CONFLICT, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND):
                raise

    def _pods(self, scope: str | None) -> Call:
        if scope is None:
            return self._core.list_pod_for_all_namespaces_without_preload_content
        return partial(self._core.list_namespaced_pod_without_preload_content, scope)

    def _stores(self, scope: str | None) -> Call:
        place = (GROUP, VERSION, STORE_PLURAL)
        if scope is None:
            return partial(self._custom.list_cluster_custom_object_without_preload_content, *place)
        return partial(
            self._custom.list_namespaced_custom_object_without_preload_content, GROUP, VERSION, scope, STORE_PLURAL
        )


async def _objects(call: Call, **arguments: Any) -> AsyncIterator[Object]:
    async for page in pages(call, **arguments):
        for item in page.items:
            yield item


def label_query(selector: LabelSelector) -> str:
    """Write a selector as the API server's query language has it."""
    parts = [f"{key}={value}" for key, value in selector.match_labels.items()]
    for each in selector.match_expressions:
        match each.operator.value:
            case "In":
                parts.append(f"{each.key} in ({','.join(each.values)})")
            case "NotIn":
                parts.append(f"{each.key} notin ({','.join(each.values)})")
            case "Exists":
                parts.append(each.key)
            case _:
                parts.append(f"!{each.key}")
    return ",".join(parts)
