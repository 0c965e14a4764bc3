"""The API server as the node sees it: plain JSON objects, and local copies kept by watching."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
from kubernetes.aio import client, config

Object = dict[str, Any]
Key = tuple[str, str]

MERGE_PATCH = "application/merge-patch+json"
WATCH_SECONDS = 300
RETRY_SECONDS = 0.5

log = logging.getLogger(__name__)


class ApiError(Exception):
    """The API server refused a request."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


class Cluster:
    """A connection to the API server that ``kubeconfig`` names; an asynchronous context manager."""

    def __init__(self, kubeconfig: Path) -> None:
        self._kubeconfig = kubeconfig

    async def __aenter__(self) -> Self:
        self.configuration = client.Configuration()
        await config.load_kube_config(  # type: ignore[no-untyped-call]
            config_file=str(self._kubeconfig), client_configuration=self.configuration
        )
        # The client knows how to read every kubeconfig; its models would cost more than they give here.
        rest = client.ApiClient(self.configuration)
        authorization = await self.configuration.get_api_key_with_prefix("BearerToken")
        self._session = aiohttp.ClientSession(
            base_url=str(self.configuration.host),
            connector=aiohttp.TCPConnector(ssl=rest.rest_client.ssl_context, limit=0),
            headers={"Authorization": authorization} if authorization else {},
            timeout=aiohttp.ClientTimeout(total=30),
            read_bufsize=2**22,  # one line of a watch is one object, up to etcd's limit
        )
        await rest.close()  # type: ignore[no-untyped-call]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def request(
        self, method: str, path: str, body: Object | None = None, content_type: str = "application/json"
    ) -> Object:
        """Send one request and return the JSON answer.

        Raises:
            ApiError: the server answered with an error.
            aiohttp.ClientError, TimeoutError: it did not answer.
        """
        data = None if body is None else json.dumps(body)
        headers = {"Content-Type": content_type}
        async with self._session.request(method, path, data=data, headers=headers) as response:
            answer: Object = await response.json(content_type=None)
            if response.status >= 400:
                raise ApiError(response.status, str(answer.get("message", answer)))
            return answer

    async def watch(self, path: str, version: str) -> AsyncIterator[tuple[str, Object]]:
        """Yield ``(type, object)`` for every change since ``version``, until the server ends the watch."""
        params = {"watch": "1", "resourceVersion": version, "timeoutSeconds": str(WATCH_SECONDS)}
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
        async with self._session.get(path, params=params, timeout=timeout) as response:
            async for line in response.content:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    raise ApiError(event["object"].get("code", 500), event["object"].get("message", ""))
                yield event["type"], event["object"]

    async def record_event(self, pod: Object, kind: str, reason: str, message: str) -> None:
        """Create an Event of type ``kind`` (``Normal`` or ``Warning``) about ``pod``; failing is no error."""
        metadata = pod["metadata"]
        now = timestamp()
        event = {
            "metadata": {"generateName": f"{metadata['name'][:50]}.", "namespace": metadata["namespace"]},
            "involvedObject": {
                "apiVersion": "v1",
                "kind": "Pod",
                "name": metadata["name"],
                "namespace": metadata["namespace"],
                "uid": metadata["uid"],
            },
            "type": kind,
            "reason": reason,
            "message": message,
            "source": {"component": "test-node"},
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        try:
            await self.request("POST", f"/api/v1/namespaces/{metadata['namespace']}/events", event)
        except (ApiError, aiohttp.ClientError, TimeoutError) as error:
            log.warning("event %s of pod %s not recorded: %s", reason, metadata["name"], error)


class Reflector:
    """A local copy of all objects of one kind, by ``(namespace, name)``.

    Args:
        path: API path of the collection, over all namespaces.
        changed: called after each change, with ``ADDED``, ``MODIFIED`` or ``DELETED`` and the object.
    """

    def __init__(self, cluster: Cluster, path: str, changed: Callable[[str, Object], None]) -> None:
        self.objects: dict[Key, Object] = {}
        self.synced = asyncio.Event()
        self._cluster = cluster
        self._path = path
        self._changed = changed

    async def run(self) -> None:
        """Keep the copy current for ever."""
        while True:
            try:
                version = await self._list()
                while True:
                    version = await self._follow(version)
            except (ApiError, aiohttp.ClientError, TimeoutError) as error:
                log.info("watch of %s interrupted, listing again: %s", self._path, error)
                await asyncio.sleep(RETRY_SECONDS)

    async def _list(self) -> str:
        answer = await self._cluster.request("GET", self._path)
        found = {_key(item): item for item in answer["items"] or []}
        for key in self.objects.keys() - found.keys():
            self._changed("DELETED", self.objects.pop(key))
        for key, item in found.items():
            known = self.objects.get(key)
            self.objects[key] = item
            if known is None or known["metadata"]["resourceVersion"] != item["metadata"]["resourceVersion"]:
                self._changed("ADDED" if known is None else "MODIFIED", item)
        self.synced.set()
        return str(answer["metadata"]["resourceVersion"])

    async def _follow(self, version: str) -> str:
        async for kind, item in self._cluster.watch(self._path, version):
            version = str(item["metadata"]["resourceVersion"])
            if kind == "DELETED":
                self.objects.pop(_key(item), None)
            else:
                self.objects[_key(item)] = item
            self._changed(kind, item)
        return version


def timestamp() -> str:
    """Return the present time as Kubernetes writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _key(item: Object) -> Key:
    return item["metadata"].get("namespace", ""), item["metadata"]["name"]
