"""Provisions claims: a PersistentVolume with a local directory for each one that wants the node's class."""

import asyncio
import logging
import shutil
from pathlib import Path

import aiohttp

from tests.e2e.test_node.cluster import ApiError, Cluster, Object
from tests.e2e.test_node.objects import ObjectStore

PROVISIONER = "test-node.local/directory"
STORAGE_CLASS = "local-directory"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"

log = logging.getLogger(__name__)


class ClaimProvisioner:
    """Makes volumes for claims of its class (the cluster's default), and removes what was released."""

    def __init__(self, cluster: Cluster, objects: ObjectStore, directory: Path) -> None:
        self._cluster = cluster
        self._objects = objects
        self._directory = directory

    async def run(self) -> None:
        """Serve claims for ever."""
        await self._create("/apis/storage.k8s.io/v1/storageclasses", _storage_class())
        while True:
            try:
                await self._pass()
            except (ApiError, aiohttp.ClientError, TimeoutError) as error:
                log.warning("claims not served, trying again: %s", error)
                await asyncio.sleep(0.5)
            else:
                await self._objects.changed()

    async def _pass(self) -> None:
        volumes = {volume["metadata"]["name"]: volume for volume in self._objects.all("volume")}
        for claim in self._objects.all("claim"):
            wanted = claim["spec"].get("storageClassName") == STORAGE_CLASS
            if wanted and not claim["spec"].get("volumeName") and _volume_name(claim) not in volumes:
                await self._provision(claim)
        for name, volume in volumes.items():
            annotations = volume["metadata"].get("annotations") or {}
            released = (volume.get("status") or {}).get("phase") == "Released"
            delete = volume["spec"].get("persistentVolumeReclaimPolicy") == "Delete"
            if annotations.get(PROVISIONED_BY) == PROVISIONER and released and delete:
                await self._remove(name, Path(volume["spec"]["hostPath"]["path"]))

    async def _provision(self, claim: Object) -> None:
        path = self._directory / claim["metadata"]["uid"]
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(0o777)
        await self._create("/api/v1/persistentvolumes", _volume(claim, path))

    async def _remove(self, name: str, path: Path) -> None:
        await asyncio.to_thread(shutil.rmtree, path, ignore_errors=True)
        try:
            await self._cluster.request("DELETE", f"/api/v1/persistentvolumes/{name}")
        except ApiError as error:
            if error.status != 404:
                raise

    async def _create(self, path: str, body: Object) -> None:
        try:
            await self._cluster.request("POST", path, body)
        except ApiError as error:
            if error.status != 409:
                raise


def _volume_name(claim: Object) -> str:
    return f"pvc-{claim['metadata']['uid']}"


def _storage_class() -> Object:
    return {
        "metadata": {
            "name": STORAGE_CLASS,
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": PROVISIONER,
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "Immediate",
    }


def _volume(claim: Object, path: Path) -> Object:
    return {
        "metadata": {"name": _volume_name(claim), "annotations": {PROVISIONED_BY: PROVISIONER}},
        "spec": {
            "accessModes": claim["spec"]["accessModes"],
            "capacity": {"storage": claim["spec"]["resources"]["requests"]["storage"]},
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "name": claim["metadata"]["name"],
                "namespace": claim["metadata"]["namespace"],
                "uid": claim["metadata"]["uid"],
            },
            "hostPath": {"path": str(path), "type": "Directory"},
            "persistentVolumeReclaimPolicy": "Delete",
            "storageClassName": STORAGE_CLASS,
        },
    }
