"""Pods that are created, and what comes back from the webhook."""

import base64
import copy
import json
from typing import Any

import jsonpatch

from locus_operator.injection.known_stores import KnownStore, read_store
from locus_operator.webhook.review import review

LABEL = "memory.locus.dev/checkpoint-store"
SECRET = "memory.locus.dev/binding-secret"
INJECTED = "memory.locus.dev/injected"

Pod = dict[str, Any]


def make_pod(
    store: str | None = "support",
    *,
    annotations: dict[str, str] | None = None,
    container: dict[str, Any] | None = None,
    **spec: Any,
) -> Pod:
    labels = {"app": "agent"} | ({} if store is None else {LABEL: store})
    metadata: dict[str, Any] = {"generateName": "agent-", "labels": labels}
    if annotations is not None:
        metadata["annotations"] = annotations
    containers = [{"name": "agent", "image": "agent"} | (container or {})]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": containers, **spec}}


def make_review(pod: Any, **request: Any) -> dict[str, Any]:
    body = {"uid": "1-2-3", "operation": "CREATE", "namespace": "agents", "object": pod, "dryRun": False}
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": body | request}


def answer(pod: Pod, *stores: KnownStore, selects: bool = False) -> tuple[Pod, list[str]]:
    """The pod as the API server would make it of the response, and the warnings."""
    before = copy.deepcopy(pod)
    snapshot = {"agents": {store.name: store for store in stores}}
    response = review(make_review(pod), snapshot, selects=selects)["response"]
    assert response["allowed"] is True
    assert pod == before, "the request itself is not changed"
    patch = json.loads(base64.b64decode(response["patch"])) if "patch" in response else []
    assert ("patchType" in response) == bool(patch)
    return jsonpatch.apply_patch(pod, patch), response.get("warnings", [])


def injected(pod: Pod, *stores: KnownStore, selects: bool = False) -> Pod:
    patched, warnings = answer(pod, *stores, selects=selects)
    assert warnings == []
    return patched


def environment(container: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each["value"] for each in container.get("env") or []}


def mounts(container: dict[str, Any]) -> dict[str, str]:
    """Volumes by path."""
    return {each["mountPath"]: each["name"] for each in container.get("volumeMounts") or []}


def make_store(
    name: str, selector: dict[str, str] | None = None, containers: list[str] | None = None, **spec: Any
) -> KnownStore:
    """A store as the cache knows it; its selector as labels."""
    pods: dict[str, Any] = {} if selector is None else {"selector": {"matchLabels": selector}}
    if containers is not None:
        pods["containers"] = containers
    body = {"metadata": {"name": name}, "spec": {"backend": {"memory": {}}, "pods": pods} | spec}
    return read_store(body)


# What a labelled pod gets
