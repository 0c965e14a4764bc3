"""`AdmissionReview` in, `AdmissionReview` out: a pure function, safe for dry runs, that never denies."""

from __future__ import annotations

import base64
import json
import logging
from types import MappingProxyType
from typing import Any, Final

import jsonpatch

from locus_operator.injection.known_stores import Snapshot
from locus_operator.injection.pod import inject

API_VERSION: Final = "admission.k8s.io/v1"
KIND: Final = "AdmissionReview"

_FAULT: Final = "locus-operator: internal fault, no store was injected; see the webhook's log"

_NO_STORES: Final[Snapshot] = MappingProxyType({})

_log = logging.getLogger(__name__)


class NotAReviewError(ValueError):
    """The document is no `AdmissionReview` request of the version that this webhook speaks."""


def review(document: Any, snapshot: Snapshot = _NO_STORES, *, selects: bool = False) -> dict[str, Any]:
    """Answer one admission review: always allowed, with a JSON patch where the pod gets stores.

    A fault of ours must not keep anybody's pod from starting: it becomes a warning and a line in the log.

    Args:
        document: The request as the API server sent it.
        snapshot: The stores as they are known now; a pod that asks for another one is injected with the defaults.
        selects: The pod's namespace has opted in, so stores select pods that do not ask.

    Raises:
        NotAReviewError: The document is none.
    """
    request = _request(document)
    response: dict[str, Any] = {"uid": request["uid"], "allowed": True}
    try:
        response |= _mutation(request, snapshot, selects=selects)
    except Exception:  # noqa: BLE001 - see above; the pod is not logged: its variables may be secrets
        _log.exception("fault while injecting, pod left as it is", extra=_identity(request))
        response["warnings"] = [_FAULT]
    return {"apiVersion": API_VERSION, "kind": KIND, "response": response}


def outcome_of(answer: dict[str, Any]) -> str:
    """Say what an answer of `review` does, for metrics: `fault`, `warned`, `injected` or `unchanged`."""
    response = answer["response"]
    warnings = response.get("warnings", ())
    if _FAULT in warnings:
        return "fault"
    if warnings:
        return "warned"
    return "injected" if "patch" in response else "unchanged"


def _request(document: Any) -> dict[str, Any]:
    if not isinstance(document, dict) or document.get("kind") != KIND:
        raise NotAReviewError(f"expected a JSON object of kind {KIND}")
    if document.get("apiVersion") != API_VERSION:
        raise NotAReviewError(f"expected apiVersion {API_VERSION}: set admissionReviewVersions to [v1]")
    request = document.get("request")
    if not isinstance(request, dict) or not isinstance(request.get("uid"), str):
        raise NotAReviewError("expected a request with a uid")
    return request


def _mutation(request: dict[str, Any], snapshot: Snapshot, *, selects: bool) -> dict[str, Any]:
    """The part of the response that says what to change and what to tell the user."""
    pod = request.get("object") or {}
    if request.get("operation") != "CREATE" or request.get("subResource") or pod.get("kind") != "Pod":
        return {}
    injection = inject(pod, snapshot.get(request.get("namespace") or "", {}), selects=selects)
    operations = jsonpatch.JsonPatch.from_diff(pod, injection.pod).patch
    _log.info("reviewed a pod", extra=_identity(request) | {"stores": list(injection.stores)})
    mutation: dict[str, Any] = {}
    if injection.warnings:
        mutation["warnings"] = list(injection.warnings)
    if operations:
        mutation["patchType"] = "JSONPatch"
        mutation["patch"] = base64.b64encode(json.dumps(operations).encode()).decode()
    return mutation


def _identity(request: dict[str, Any]) -> dict[str, Any]:
    """Which pod it is: pods of a controller have no name yet, and no namespace but the request's."""
    pod = request.get("object")
    metadata = pod.get("metadata") if isinstance(pod, dict) else None
    name = metadata.get("name") or metadata.get("generateName") if isinstance(metadata, dict) else None
    return {"namespace": request.get("namespace"), "pod": name, "review": request["uid"]}
