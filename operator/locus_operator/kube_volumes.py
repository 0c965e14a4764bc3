"""PersistentVolumeClaims on the API server, for the backend `file`."""

from __future__ import annotations

import json
from collections.abc import Awaitable
from typing import Any, Final, TypeVar

from kubernetes.aio.client import (
    ApiClient,
    CoreV1Api,
    StorageV1Api,
    V1DeleteOptions,
    V1ObjectMeta,
    V1PersistentVolumeClaim,
    V1PersistentVolumeClaimSpec,
    V1Preconditions,
    V1VolumeResourceRequirements,
)
from kubernetes.aio.client.exceptions import ApiException

from locus_operator.constants import (
    ANNOTATION_CLAIM,
    LABEL_MANAGED_BY,
    LABEL_STORE,
    LABEL_STORE_UID,
    MANAGER,
    ConditionReason,
)
from locus_operator.errors import RefusedError, UnavailableError
from locus_operator.kube import Object, ask
from locus_operator.names import files_directory
from locus_operator.volumes import Mark, MountingPod, NewClaim, Phase, StorageClass, VolumeClaim

_MERGE: Final = "application/merge-patch+json"
_PAGE: Final = 500
_ENDED: Final = ("Succeeded", "Failed")

T = TypeVar("T")


class KubernetesVolumeClaims:
    """The PersistentVolumeClaims of one namespace.

    No owner reference: garbage collection would delete what `deletionPolicy: Retain` keeps.

    Args:
        client: The API server.
        namespace: The stores' namespace.
        known: The claim that the store had when it was ready last.
    """

    def __init__(self, client: ApiClient, namespace: str, known: str | None) -> None:
        self._client = client
        self._core = CoreV1Api(client)
        self._storage = StorageV1Api(client)
        self._namespace = namespace
        self.known = known

    def directory(self, store: str, claim: str) -> str:
        """Return where the webhook mounts it."""
        return files_directory(store)

    async def find(self, name: str) -> VolumeClaim | None:
        """Return a claim, whoever owns it."""
        call = self._core.read_namespaced_persistent_volume_claim(name, self._namespace)
        found = await ask(f"get PersistentVolumeClaim {self._namespace}/{name}", call)
        return None if found is None else self._read(found)

    async def storage_class(self, name: str) -> StorageClass | None:
        """Return a StorageClass."""
        found = await ask(f"get StorageClass {name}", self._storage.read_storage_class(name))
        if found is None:
            return None
        waits = found.volume_binding_mode == "WaitForFirstConsumer"
        return StorageClass(name, grows=bool(found.allow_volume_expansion), waits=waits)

    async def mounting(self, name: str) -> tuple[MountingPod, ...]:
        """Return the pods that mount a claim and have not ended; one page after the other."""
        found: list[Object] = []
        next_page: str | None = None
        while True:
            call = self._core.list_namespaced_pod(self._namespace, limit=_PAGE, _continue=next_page)
            page = await ask(f"list Pods {self._namespace}", call)
            body = self._json(page) if page is not None else {}
            found += [pod for pod in body.get("items") or [] if _mounts(pod, name)]
            next_page = (body.get("metadata") or {}).get("continue")
            if not next_page:
                break
        pods = (MountingPod(pod["metadata"]["name"], pod["spec"].get("nodeName")) for pod in found)
        return tuple(sorted(pods, key=lambda pod: pod.name))

    async def create(self, new: NewClaim, mark: Mark) -> VolumeClaim:
        """Make a claim, marked from the beginning."""
        body = V1PersistentVolumeClaim(
            metadata=V1ObjectMeta(
                name=new.name,
                annotations={ANNOTATION_CLAIM: mark.text},
                labels={LABEL_MANAGED_BY: MANAGER, LABEL_STORE: mark.store, LABEL_STORE_UID: mark.uid},
            ),
            spec=V1PersistentVolumeClaimSpec(
                access_modes=list(new.access_modes),
                resources=V1VolumeResourceRequirements(requests={"storage": new.size}),
                storage_class_name=new.storage_class,
            ),
        )
        call = self._core.create_namespaced_persistent_volume_claim(self._namespace, body)
        return self._read(await self._there("create", new.name, call))

    async def mark(self, claim: VolumeClaim, mark: Mark | None) -> VolumeClaim:
        """Write the mark, or remove it."""
        return await self._patch(
            claim,
            {
                "metadata": {
                    "annotations": {ANNOTATION_CLAIM: mark.text if mark else None},
                    "labels": {
                        LABEL_STORE: mark.store if mark else None,
                        LABEL_STORE_UID: (mark.uid or None) if mark else None,
                    },
                }
            },
        )

    async def grow(self, claim: VolumeClaim, size: str) -> VolumeClaim:
        """Ask for a larger volume."""
        return await self._patch(claim, {"spec": {"resources": {"requests": {"storage": size}}}})

    async def delete(self, claim: VolumeClaim) -> None:
        """Delete this very claim."""
        options = V1DeleteOptions(preconditions=V1Preconditions(resource_version=claim.version))
        call = self._core.delete_namespaced_persistent_volume_claim(claim.name, self._namespace, body=options)
        await self._sent("delete", claim.name, call)

    def _read(self, found: V1PersistentVolumeClaim) -> VolumeClaim:
        return _claim(self._json(found))

    def _json(self, found: Any) -> Object:
        body: Object = self._client.sanitize_for_serialization(found)  # type: ignore[no-untyped-call]
        return body

    async def _patch(self, claim: VolumeClaim, change: dict[str, Any]) -> VolumeClaim:
        # With its version in it, the API server refuses a patch of what has changed meanwhile.
        body = change | {"metadata": {**change.get("metadata", {}), "resourceVersion": claim.version}}
        call = self._core.patch_namespaced_persistent_volume_claim(
            claim.name, self._namespace, body, _content_type=_MERGE
        )
        return self._read(await self._there("patch", claim.name, call))

    async def _there(self, verb: str, name: str, call: Awaitable[V1PersistentVolumeClaim]) -> V1PersistentVolumeClaim:
        found = await self._sent(verb, name, call)
        if found is None:
            raise UnavailableError(f"the PersistentVolumeClaim {self._namespace}/{name} was deleted meanwhile")
        return found

    async def _sent(self, verb: str, name: str, call: Awaitable[T]) -> T | None:
        """Wait for the answer to a change; a refusal of admission or validation is passed on with its reason."""
        what = f"{verb} PersistentVolumeClaim {self._namespace}/{name}"

        async def refusal_explained() -> T:
            try:
                return await call
            except ApiException as error:
                if error.status in (403, 422) and (why := _refusal(error)):
                    raise RefusedError(
                        ConditionReason.BACKEND_REFUSED,
                        f"the API server refuses to {what}: {why}",
                        for_tenants=True,
                    ) from None
                raise

        return await ask(what, refusal_explained())


def _claim(body: Object) -> VolumeClaim:
    metadata, spec, status = body["metadata"], body["spec"], body.get("status") or {}
    labels = metadata.get("labels") or {}
    return VolumeClaim(
        name=metadata["name"],
        version=metadata["resourceVersion"],
        mark=(metadata.get("annotations") or {}).get(ANNOTATION_CLAIM),
        marked_uid=labels.get(LABEL_STORE_UID, ""),
        ours=labels.get(LABEL_MANAGED_BY) == MANAGER,
        phase=Phase(status.get("phase") or Phase.PENDING),
        ending="deletionTimestamp" in metadata,
        size=((spec.get("resources") or {}).get("requests") or {}).get("storage"),
        capacity=(status.get("capacity") or {}).get("storage"),
        storage_class=spec.get("storageClassName"),
        access_modes=tuple(spec.get("accessModes") or ()),
    )


def _mounts(pod: Object, claim: str) -> bool:
    if "deletionTimestamp" in pod["metadata"] or (pod.get("status") or {}).get("phase") in _ENDED:
        return False
    claims = (volume.get("persistentVolumeClaim") or {} for volume in pod["spec"].get("volumes") or [])
    return any(each.get("claimName") == claim for each in claims)


def _refusal(error: ApiException) -> str:
    """Return why admission or validation refuses; nothing for a permission that the operator lacks."""
    try:
        message = str(json.loads(error.body or "")["message"])
    except (ValueError, KeyError, TypeError):
        return ""
    return "" if "User " in message and "cannot " in message else message
