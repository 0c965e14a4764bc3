"""The node: registers itself, takes pending pods, and runs a worker for each of its pods."""

import asyncio
import itertools
import logging
import os
import platform
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp

from tests.e2e.test_node.claims import ClaimProvisioner
from tests.e2e.test_node.cluster import MERGE_PATCH, ApiError, Cluster, Object, Reflector, timestamp
from tests.e2e.test_node.container import Container, NodeSettings
from tests.e2e.test_node.logs import log_server
from tests.e2e.test_node.objects import ObjectStore
from tests.e2e.test_node.pod import PodWorker

ADDRESS = "127.0.0.1"
HEARTBEAT_SECONDS = 10.0
LEASE_SECONDS = 40

log = logging.getLogger(__name__)


def pod_addresses() -> Iterator[str]:
    """Yield addresses for pods, each its own, so that several can listen on one port: all of 127.0.0.0/8 is loopback.

    A process that listens on 0.0.0.0 has the port on all of them.
    """
    second, third = divmod(os.getpid() % (254 * 256), 256)  # another node on this machine has other ones
    for fourth in itertools.cycle(range(1, 255)):
        yield f"127.{second + 1}.{third}.{fourth}"


class Node:
    """A node called ``name`` of the cluster that ``kubeconfig`` names.

    Args:
        directory: for pods, claims and logs.
        images: the file of images, see ``images``.
    """

    def __init__(self, name: str, kubeconfig: Path, directory: Path, images: Path) -> None:
        self._name = name
        self._kubeconfig = kubeconfig
        self._directory = directory.resolve()
        self._images = images.resolve()
        self._workers: dict[str, tuple[PodWorker, asyncio.Task[None]]] = {}
        self._addresses = pod_addresses()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Be a node inside the block: it is Ready when the block is entered; all containers end with it."""
        shutil.rmtree(self._directory / "pods", ignore_errors=True)  # of a run that was killed
        (self._directory / "pods").mkdir(parents=True)
        async with (
            Cluster(self._kubeconfig) as self._cluster,
            aiohttp.ClientSession() as self._session,
            log_server(
                ADDRESS, self._directory / "pki", self._cluster.configuration.ssl_ca_cert, self._find
            ) as self._log_port,
        ):
            self._settings = self._make_settings()
            self._objects = ObjectStore(self._cluster)
            pods = Reflector(self._cluster, "/api/v1/pods", self._pod_changed)
            claims = ClaimProvisioner(self._cluster, self._objects, self._directory / "claims")
            await self._register()
            async with self._objects.watching(), asyncio.TaskGroup() as self._group:
                tasks = [self._group.create_task(work) for work in (self._heartbeat(), pods.run(), claims.run())]
                try:
                    yield
                finally:
                    for task in (*tasks, *(task for _, task in self._workers.values())):
                        task.cancel()

    def _make_settings(self) -> NodeSettings:
        server = urlsplit(str(self._cluster.configuration.host))
        return NodeSettings(
            name=self._name,
            address=ADDRESS,
            images=self._images,
            logs=self._directory / "logs",
            # What client libraries call the in-cluster configuration.
            env={
                "KUBERNETES_SERVICE_HOST": str(server.hostname),
                "KUBERNETES_SERVICE_PORT": str(server.port or 443),
            },
        )

    def _find(self, namespace: str, pod: str, container: str) -> Container | None:
        for worker, _ in self._workers.values():
            metadata = worker.pod["metadata"]
            if (metadata["namespace"], metadata["name"]) == (namespace, pod):
                return worker.container(container)
        return None

    # Pods

    def _pod_changed(self, kind: str, pod: Object) -> None:
        node, uid = pod["spec"].get("nodeName"), pod["metadata"]["uid"]
        if not node and kind != "DELETED":
            self._group.create_task(self._bind(pod))
        if node != self._name:
            return
        if uid in self._workers:
            worker, _ = self._workers[uid]
            worker.update(pod)
            if kind == "DELETED":
                worker.removed()
            self._objects.notify()  # its volumes may show its labels
        elif kind != "DELETED":
            self._start(pod)

    def _start(self, pod: Object) -> None:
        done = (pod.get("status") or {}).get("phase") in {"Succeeded", "Failed"}
        if done and "deletionTimestamp" not in pod["metadata"]:
            return
        uid = pod["metadata"]["uid"]
        directory = self._directory / "pods" / uid
        address = ADDRESS if pod["spec"].get("hostNetwork") else next(self._addresses)
        worker = PodWorker(pod, directory, address, self._settings, self._cluster, self._objects, self._session)
        self._workers[uid] = worker, self._group.create_task(self._work(uid, worker))
        worker.update(pod)

    async def _work(self, uid: str, worker: PodWorker) -> None:
        try:
            await worker.run()
        except Exception:  # one pod's fault must not take the node down
            log.exception("pod %s of %s failed on the node", uid, worker.pod["metadata"]["name"])
        finally:
            del self._workers[uid]

    async def _bind(self, pod: Object) -> None:
        metadata = pod["metadata"]
        binding = {
            "metadata": {"name": metadata["name"], "uid": metadata["uid"]},
            "target": {"kind": "Node", "name": self._name},
        }
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}/binding"
        try:
            await self._cluster.request("POST", path, binding)
        except ApiError as error:
            if error.status not in {404, 409}:  # gone, or bound already
                log.warning("pod %s not bound: %s", metadata["name"], error)
        except (aiohttp.ClientError, TimeoutError) as error:
            log.warning("pod %s not bound: %s", metadata["name"], error)

    # The Node object

    async def _register(self) -> None:
        version = await self._cluster.request("GET", "/version")
        labels = {
            "kubernetes.io/hostname": self._name,
            "kubernetes.io/os": "linux",
            "kubernetes.io/arch": platform.machine().replace("x86_64", "amd64").replace("aarch64", "arm64"),
        }
        await self._create("/api/v1/nodes", {"metadata": {"name": self._name, "labels": labels}})
        await self._create("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases", self._lease())
        status = self._node_status(str(version["gitVersion"]))
        await self._cluster.request("PATCH", f"/api/v1/nodes/{self._name}/status", {"status": status}, MERGE_PATCH)

    async def _heartbeat(self) -> None:
        path = f"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{self._name}"
        while True:
            try:
                await self._cluster.request("PATCH", path, self._lease(), MERGE_PATCH)
            except (ApiError, aiohttp.ClientError, TimeoutError) as error:
                log.warning("heartbeat failed: %s", error)
            await asyncio.sleep(HEARTBEAT_SECONDS)

    async def _create(self, path: str, body: Object) -> None:
        try:
            await self._cluster.request("POST", path, body)
        except ApiError as error:
            if error.status != 409:
                raise

    def _lease(self) -> Object:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = {"holderIdentity": self._name, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": now}
        return {"metadata": {"name": self._name}, "spec": spec}

    def _node_status(self, version: str) -> Object:
        now = timestamp()
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 1024
        resources = {"cpu": str(os.cpu_count()), "memory": f"{memory}Ki", "pods": "250"}
        ready = {
            "type": "Ready",
            "status": "True",
            "reason": "KubeletReady",
            "message": "the test node is ready",
            "lastHeartbeatTime": now,
            "lastTransitionTime": now,
        }
        return {
            "addresses": [
                {"type": "InternalIP", "address": ADDRESS},
                {"type": "Hostname", "address": self._name},
            ],
            "conditions": [ready],
            "capacity": resources,
            "allocatable": resources,
            "daemonEndpoints": {"kubeletEndpoint": {"Port": self._log_port}},
            "nodeInfo": {
                "machineID": self._name,
                "systemUUID": self._name,
                "bootID": self._name,
                "kernelVersion": platform.release(),
                "osImage": "local processes",
                "containerRuntimeVersion": "test-node://1",
                "kubeletVersion": version,
                "kubeProxyVersion": version,
                "operatingSystem": "linux",
                "architecture": platform.machine(),
            },
        }
