"""One pod on the node, from its binding to its deletion."""

import asyncio
import logging
import shutil
from contextlib import suppress
from pathlib import Path

import aiohttp

from tests.e2e.test_node.cluster import MERGE_PATCH, ApiError, Cluster, Object, timestamp
from tests.e2e.test_node.container import Container, NodeSettings
from tests.e2e.test_node.objects import MissingError, ObjectStore
from tests.e2e.test_node.status import conditions, phase
from tests.e2e.test_node.volumes import PodVolumes

REFRESH_SECONDS = 30.0  # tokens expire without anything changing
RETRY_SECONDS = 0.5
CONNECTION_ERRORS = (ApiError, aiohttp.ClientError, TimeoutError)

log = logging.getLogger(__name__)


class PodWorker:
    """Runs ``pod`` until it is deleted.

    Args:
        directory: for the pod's volumes and containers; removed in the end.
        address: the pod's own.
    """

    def __init__(
        self,
        pod: Object,
        directory: Path,
        address: str,
        settings: NodeSettings,
        cluster: Cluster,
        objects: ObjectStore,
        session: aiohttp.ClientSession,
    ) -> None:
        self.address = address
        self.directory = directory
        self.settings = settings
        self.pod = self._addressed(pod)
        self.objects = objects
        self.session = session
        self.volumes = PodVolumes(cluster, objects, directory / "volumes")
        self._cluster = cluster
        policy = pod["spec"].get("restartPolicy", "Always")
        init_policy = "Never" if policy == "Never" else "OnFailure"
        self.init = [Container(self, spec, init_policy) for spec in pod["spec"].get("initContainers") or []]
        self.containers = [Container(self, spec, policy) for spec in pod["spec"]["containers"]]
        self._started_at = timestamp()
        self._dirty = asyncio.Event()
        self._deleted = asyncio.Event()
        self._conditions: list[Object] = []
        self._written: Object = {}

    # What the node and the containers say

    def update(self, pod: Object) -> None:
        """Take note of the pod's present object; its deletion is what ends `run`."""
        self.pod = self._addressed(pod)
        if "deletionTimestamp" in pod["metadata"]:
            self._deleted.set()
            if pod["metadata"].get("deletionGracePeriodSeconds") == 0:
                self.kill()

    def removed(self) -> None:
        """Take note that the object is gone: there is nothing left to wait for."""
        self._deleted.set()
        self.kill()

    def kill(self) -> None:
        """End every container at once."""
        for container in (*self.init, *self.containers):
            container.kill()

    def changed(self) -> None:
        """Report the status again, soon."""
        self._dirty.set()

    async def event(self, kind: str, reason: str, message: str) -> None:
        """Record an Event about the pod."""
        await self._cluster.record_event(self.pod, kind, reason, message)

    def container(self, name: str) -> Container | None:
        """Return the (init) container called ``name``."""
        return next((each for each in (*self.init, *self.containers) if each.spec["name"] == name), None)

    # Life

    async def run(self) -> None:
        """Run the pod; returns when it was deleted and its object is gone.

        When cancelled, it stops the containers and leaves the object alone.
        """
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(work) for work in (self._live(), self._refresh(), self._report())]
                await self._deleted.wait()
                # Without anyone who restarts it, a container that stops stays stopped.
                await self._stop_containers(self._grace())
                for task in tasks:
                    task.cancel()
            await self._write_status()
            await self._delete_object()
        finally:
            self.kill()
            await asyncio.shield(self._reap())

    def _grace(self) -> float:
        metadata = self.pod["metadata"]
        default = self.pod["spec"].get("terminationGracePeriodSeconds", 30)
        return float(metadata.get("deletionGracePeriodSeconds", default))

    async def _stop_containers(self, grace: float) -> None:
        for container in (*self.init, *self.containers):
            container.stop_restarting()
        await asyncio.gather(*(each.stop(grace) for each in (*self.init, *self.containers)))

    async def _reap(self) -> None:
        await asyncio.gather(*(each.stop(0) for each in (*self.init, *self.containers)))
        await asyncio.to_thread(shutil.rmtree, self.directory, ignore_errors=True)

    async def _live(self) -> None:
        self.changed()
        await self._wait_for_volumes()
        for container in self.init:
            if await container.run() != 0:
                return
        async with asyncio.TaskGroup() as group:
            for container in self.containers:
                group.create_task(container.run())

    async def _wait_for_volumes(self) -> None:
        told = ""
        while True:
            change = asyncio.create_task(self.objects.changed())  # before looking, so that none is missed
            try:
                await self.volumes.refresh(self.pod)
                return
            except (MissingError, *CONNECTION_ERRORS) as error:
                if str(error) != told:
                    told = str(error)
                    await self.event("Warning", "FailedMount", f"MountVolume.SetUp failed: {error}")
                await asyncio.wait([change], timeout=RETRY_SECONDS)
            finally:
                change.cancel()

    async def _refresh(self) -> None:
        """Follow Secrets, ConfigMaps and the pod's own labels while the pod lives."""
        while True:
            # Not `wait_for`: before Python 3.12 it loses a cancellation that comes together with the change.
            with suppress(TimeoutError):
                async with asyncio.timeout(REFRESH_SECONDS):
                    await self.objects.changed()
            try:
                await self.volumes.refresh(self.pod)
            except MissingError:
                continue  # mounted files stay as they were, as on a real node
            except CONNECTION_ERRORS as error:
                log.warning("volumes of %s not refreshed: %s", self.pod["metadata"]["name"], error)

    # Status

    def _addresses(self) -> Object:
        return {"hostIP": self.settings.address, "podIP": self.address, "podIPs": [{"ip": self.address}]}

    def _addressed(self, pod: Object) -> Object:
        """Return the pod as its own containers see it: they may ask for an address that nobody has written down yet."""
        return {**pod, "status": {**(pod.get("status") or {}), **self._addresses()}}

    async def _report(self) -> None:
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            try:
                await self._write_status()
            except (aiohttp.ClientError, TimeoutError, ApiError) as error:
                log.warning("status of %s not written: %s", self.pod["metadata"]["name"], error)
                await asyncio.sleep(RETRY_SECONDS)
                self._dirty.set()

    def _status(self) -> Object:
        self._conditions = conditions(self.init, self.containers, self._conditions)
        return {
            "phase": phase(self.init, self.containers),
            "conditions": self._conditions,
            "initContainerStatuses": [each.state.status(each.spec) for each in self.init],
            "containerStatuses": [each.state.status(each.spec) for each in self.containers],
            **self._addresses(),
            "startTime": self._started_at,
        }

    async def _write_status(self) -> None:
        status = self._status()
        if status == self._written:
            return
        try:
            # The uid keeps this from reaching a new pod of the same name.
            body = {"metadata": {"uid": self.pod["metadata"]["uid"]}, "status": status}
            await self._cluster.request("PATCH", f"{self._path}/status", body, MERGE_PATCH)
        except ApiError as error:
            if error.status not in {404, 409}:
                raise
        self._written = status

    async def _delete_object(self) -> None:
        body = {"gracePeriodSeconds": 0, "preconditions": {"uid": self.pod["metadata"]["uid"]}}
        while True:
            try:
                await self._cluster.request("DELETE", self._path, body)
                return
            except ApiError as error:
                if error.status in {404, 409}:
                    return
                log.warning("pod %s not deleted: %s", self.pod["metadata"]["name"], error)
            except (aiohttp.ClientError, TimeoutError) as error:
                log.warning("pod %s not deleted: %s", self.pod["metadata"]["name"], error)
            await asyncio.sleep(RETRY_SECONDS)

    @property
    def _path(self) -> str:
        metadata = self.pod["metadata"]
        return f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
