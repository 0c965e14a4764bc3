"""The webhook's copy of the stores on a real API server, with the permissions that it has in production."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.config import load_kube_config

from locus_operator.listing import PAGE_SIZE
from locus_operator.webhook import stores as stores_module
from locus_operator.webhook.stores import StoreCache
from tests.e2e.control_plane import ControlPlane
from tests.e2e.operator_process import NAMESPACE, WEBHOOK_ACCOUNT, install, store_manifest


@pytest.fixture(scope="module")
def kubeconfig(control_plane: ControlPlane) -> Path:
    install(control_plane)
    return control_plane.kubeconfig_for_service_account(WEBHOOK_ACCOUNT, NAMESPACE)


@asynccontextmanager
async def following(kubeconfig: Path, *namespaces: str) -> AsyncIterator[StoreCache]:
    configuration = Configuration()
    await load_kube_config(str(kubeconfig), client_configuration=configuration)  # type: ignore[no-untyped-call]
    async with ApiClient(configuration) as client:
        cache = StoreCache(client, namespaces)
        task = asyncio.create_task(cache.run())
        try:
            await until(lambda: not cache.not_ready)
            yield cache
        finally:
            task.cancel()
            await asyncio.wait([task])
    # TLS says goodbye in the background; the event loop has to live until it has.
    port = int(configuration.host.rpartition(":")[2])
    connections = psutil.Process().net_connections
    await until(lambda: port not in {getattr(each.raddr, "port", None) for each in connections()})


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(40):
        while True:
            if holds():
                return
            await asyncio.sleep(0.02)


async def apply(control_plane: ControlPlane, *manifests: dict[str, Any]) -> None:
    await asyncio.to_thread(control_plane.apply, *manifests)


def manifest(namespace: str, name: str, secret: str) -> dict[str, Any]:
    return store_manifest(namespace, name, {"backend": {"memory": {}}, "bindingSecretName": secret})


def secret_of(cache: StoreCache, namespace: str, name: str = "support") -> str | None:
    store = cache.snapshot.get(namespace, {}).get(name)
    return store.secret if store is not None else None


async def test_more_stores_than_a_page_holds_are_known_and_then_followed(
    control_plane: ControlPlane, kubeconfig: Path, namespace: str
) -> None:
    names = [f"store-{index}" for index in range(PAGE_SIZE + 5)]
    manifests = [manifest(namespace, name, "one") for name in names]
    items = json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests})
    await asyncio.to_thread(control_plane.kubectl, "create", "--filename=-", "--validate=false", input=items)

    async with following(kubeconfig) as cache:
        assert set(cache.snapshot[namespace]) == set(names)
        await apply(control_plane, manifest(namespace, "another", "one"), manifest(namespace, "store-0", "two"))
        await until(lambda: secret_of(cache, namespace, "another") == "one")
        await until(lambda: secret_of(cache, namespace, "store-0") == "two")
        await asyncio.to_thread(control_plane.kubectl, "delete", "cps", "another", f"--namespace={namespace}")
        await until(lambda: secret_of(cache, namespace, "another") is None)


async def test_only_the_watched_namespaces_are_known(
    control_plane: ControlPlane, kubeconfig: Path, namespace: str
) -> None:
    await apply(control_plane, manifest("default", "elsewhere", "x"), manifest(namespace, "support", "one"))
    async with following(kubeconfig, namespace) as cache:
        assert secret_of(cache, namespace) == "one"
        assert set(cache.snapshot) == {namespace}
    await asyncio.to_thread(control_plane.kubectl, "delete", "cps", "elsewhere")


async def test_a_watch_that_has_lasted_long_enough_is_followed_by_another(
    control_plane: ControlPlane, kubeconfig: Path, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores_module, "RESYNC_SECONDS", 1)
    lists: list[float] = []
    list_once = StoreCache._list

    async def counting(self: StoreCache, scope: str | None) -> str:
        lists.append(asyncio.get_running_loop().time())
        return await list_once(self, scope)

    monkeypatch.setattr(StoreCache, "_list", counting)
    async with following(kubeconfig) as cache:
        await until(lambda: len(lists) >= 3)
        await apply(control_plane, manifest(namespace, "support", "one"))
        await until(lambda: secret_of(cache, namespace) == "one")


async def test_an_api_server_that_was_away_is_followed_again(
    control_plane: ControlPlane, kubeconfig: Path, namespace: str
) -> None:
    await apply(control_plane, manifest(namespace, "support", "one"))
    async with following(kubeconfig) as cache:
        await asyncio.to_thread(control_plane.stop_server, "kube-apiserver")
        assert secret_of(cache, namespace) == "one", "what was known is known"
        await asyncio.to_thread(control_plane.start_api_server)
        await apply(control_plane, manifest(namespace, "support", "two"))
        await until(lambda: secret_of(cache, namespace) == "two")
