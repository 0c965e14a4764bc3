"""A pod's volumes: directories of the host, filled, and refreshed when their sources change."""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from tests.e2e.test_node.cluster import Cluster, Object
from tests.e2e.test_node.downward import field_value, resource_value
from tests.e2e.test_node.environment import expand
from tests.e2e.test_node.objects import MissingError, ObjectStore
from tests.e2e.test_node.volume_files import VolumeFile, publish

DEFAULT_MODE = 0o644
# Kubernetes' own default for a projected token; renewed, as a kubelet does, after 80 percent of it.
TOKEN_SECONDS = 3600
TOKEN_RENEWAL = 0.8


@dataclass(frozen=True)
class Mount:
    """One path of the host, to be shown as ``target`` in a container."""

    source: str
    target: str
    read_only: bool
    open_parents: bool = False


@dataclass(frozen=True)
class _Token:
    content: bytes
    renew_at: float


class PodVolumes:
    """The volumes of one pod, below ``directory``."""

    def __init__(self, cluster: Cluster, objects: ObjectStore, directory: Path) -> None:
        self._cluster = cluster
        self._objects = objects
        self._directory = directory
        self._published: dict[str, dict[str, VolumeFile]] = {}
        self._tokens: dict[tuple[str, str], _Token] = {}

    async def refresh(self, pod: Object) -> None:
        """Bring every volume of ``pod`` up to date; volumes that are already there keep their place.

        Raises:
            MissingError: something that a volume needs is not there and is not optional.
        """
        security = pod["spec"].get("securityContext") or {}
        for volume in pod["spec"].get("volumes") or []:
            files = await self._files(pod, volume)
            if files is None:
                self._host_directory(pod, volume)
            elif files != self._published.get(volume["name"]):
                publish(self._directory / volume["name"], files, security.get("fsGroup"))
                self._published[volume["name"]] = files

    def mounts(self, pod: Object, container: Object, env: Mapping[str, str]) -> list[Mount]:
        """Return what is mounted into ``container``, outer paths first."""
        volumes = {volume["name"]: volume for volume in pod["spec"].get("volumes") or []}
        mounts = []
        for entry in container.get("volumeMounts") or []:
            volume = volumes[entry["name"]]
            source = self._source(pod, volume)
            written_by_us = volume["name"] in self._published
            if below := expand(entry.get("subPathExpr") or "", env) or entry.get("subPath"):
                source /= below
                if not written_by_us and not source.exists():
                    source.mkdir(parents=True)
            if not source.exists():
                raise MissingError(f"subPath {below!r} is not in volume {volume['name']!r}")
            read_only = bool(entry.get("readOnly")) or written_by_us or _claim_read_only(volume)
            mounts.append(Mount(os.path.realpath(source), os.path.normpath(entry["mountPath"]), read_only))
        return sorted(mounts, key=lambda mount: Path(mount.target).parts)

    def _source(self, pod: Object, volume: Object) -> Path:
        if "persistentVolumeClaim" in volume:
            return self._claimed(pod, volume["persistentVolumeClaim"]["claimName"])
        if "hostPath" in volume:
            return Path(str(volume["hostPath"]["path"]))
        return self._directory / str(volume["name"])

    def _host_directory(self, pod: Object, volume: Object) -> None:
        """Make sure that the directory of a volume without files of ours is there."""
        source = self._source(pod, volume)
        if source.exists():
            return
        if "hostPath" in volume and volume["hostPath"].get("type") != "DirectoryOrCreate":
            raise MissingError(f"hostPath {source} does not exist")
        source.mkdir(parents=True)
        source.chmod(0o777)
        group = (pod["spec"].get("securityContext") or {}).get("fsGroup")
        if group is not None:
            os.chown(source, 0, group)
            source.chmod(0o2777)

    def _claimed(self, pod: Object, name: str) -> Path:
        namespace = pod["metadata"]["namespace"]
        claim = self._objects.get("claim", namespace, name)
        if claim is None:
            raise MissingError(f'persistentvolumeclaim "{name}" not found')
        bound = (claim.get("status") or {}).get("phase") == "Bound"
        volume = self._objects.get("volume", "", claim["spec"].get("volumeName") or "") if bound else None
        if volume is None:
            raise MissingError(f'persistentvolumeclaim "{name}" is not bound')
        if "hostPath" not in volume["spec"]:
            raise MissingError(f"this node mounts hostPath volumes only, not {volume['metadata']['name']}")
        return Path(str(volume["spec"]["hostPath"]["path"]))

    # Volumes that consist of files

    async def _files(self, pod: Object, volume: Object) -> dict[str, VolumeFile] | None:
        """Return what belongs into ``volume``, or None if it is not made of files that the node writes."""
        if "secret" in volume:
            source = volume["secret"]
            return self._keys(pod, "secret", source["secretName"], source, source.get("defaultMode"))
        if "configMap" in volume:
            source = volume["configMap"]
            return self._keys(pod, "configmap", source["name"], source, source.get("defaultMode"))
        if "downwardAPI" in volume:
            source = volume["downwardAPI"]
            return _downward_files(pod, source, source.get("defaultMode"))
        if "projected" in volume:
            return await self._projected(pod, volume["projected"])
        if volume.keys() & {"emptyDir", "persistentVolumeClaim", "hostPath"}:
            return None
        kinds = ", ".join(volume.keys() - {"name"})
        raise MissingError(f"volume {volume['name']!r} is of a kind that the test node does not know: {kinds}")

    async def _projected(self, pod: Object, projected: Object) -> dict[str, VolumeFile]:
        mode = projected.get("defaultMode")
        files: dict[str, VolumeFile] = {}
        for source in projected.get("sources") or []:
            if "secret" in source:
                files |= self._keys(pod, "secret", source["secret"]["name"], source["secret"], mode)
            elif "configMap" in source:
                files |= self._keys(pod, "configmap", source["configMap"]["name"], source["configMap"], mode)
            elif "downwardAPI" in source:
                files |= _downward_files(pod, source["downwardAPI"], mode)
            elif "serviceAccountToken" in source:
                token = await self._token(pod, source["serviceAccountToken"])
                # A kubelet makes the container's user the owner; here anybody may read it.
                files[source["serviceAccountToken"]["path"]] = VolumeFile(token, mode or DEFAULT_MODE)
            else:
                raise MissingError(f"a projected source that the test node does not know: {', '.join(source)}")
        return files

    def _keys(
        self, pod: Object, kind: str, name: str, source: Object, default_mode: int | None
    ) -> dict[str, VolumeFile]:
        default = DEFAULT_MODE if default_mode is None else default_mode
        optional = source.get("optional", False)
        namespace = pod["metadata"]["namespace"]
        data = self._objects.data(kind, namespace, name)
        if data is None:
            if optional:
                return {}
            raise MissingError(f'{kind} "{name}" not found')
        if not source.get("items"):
            return {key: VolumeFile(content, default) for key, content in data.items()}
        files = {}
        for item in source["items"]:
            if item["key"] in data:
                mode = item.get("mode")
                files[item["path"]] = VolumeFile(data[item["key"]], default if mode is None else mode)
            elif not optional:
                raise MissingError(f"references non-existent {kind} key: {item['key']} of {namespace}/{name}")
        return files

    async def _token(self, pod: Object, source: Object) -> bytes:
        wanted = (source["path"], source.get("audience") or "")
        token = self._tokens.get(wanted)
        if token is None or time.time() > token.renew_at:
            token = self._tokens[wanted] = await self._request_token(pod, source)
        return token.content

    async def _request_token(self, pod: Object, source: Object) -> _Token:
        metadata = pod["metadata"]
        spec: Object = {
            "expirationSeconds": source.get("expirationSeconds") or TOKEN_SECONDS,
            "boundObjectRef": {
                "apiVersion": "v1",
                "kind": "Pod",
                "name": metadata["name"],
                "uid": metadata["uid"],
            },
            "audiences": [source["audience"]] if source.get("audience") else None,
        }
        account = pod["spec"].get("serviceAccountName") or "default"
        path = f"/api/v1/namespaces/{metadata['namespace']}/serviceaccounts/{account}/token"
        asked_at = time.time()
        answer = await self._cluster.request("POST", path, {"spec": spec})
        expiry = datetime.fromisoformat(answer["status"]["expirationTimestamp"]).timestamp()
        return _Token(answer["status"]["token"].encode(), asked_at + (expiry - asked_at) * TOKEN_RENEWAL)


def _downward_files(pod: Object, source: Object, default_mode: int | None) -> dict[str, VolumeFile]:
    default = DEFAULT_MODE if default_mode is None else default_mode
    containers = {each["name"]: each for each in pod["spec"]["containers"]}
    files = {}
    for item in source.get("items") or []:
        if "fieldRef" in item:
            value = field_value(pod, item["fieldRef"]["fieldPath"])
        else:
            reference = item["resourceFieldRef"]
            value = resource_value(containers[reference["containerName"]], reference)
        mode = item.get("mode")
        files[item["path"]] = VolumeFile(value.encode(), default if mode is None else mode)
    return files


def _claim_read_only(volume: Object) -> bool:
    return bool((volume.get("persistentVolumeClaim") or {}).get("readOnly"))
