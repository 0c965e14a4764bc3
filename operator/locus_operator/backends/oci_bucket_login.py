"""Who the operator and the agents are to OCI: from the spec and its Secrets to fields of a connection document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from locus_operator.api.backends import OCIAuthType, OCIBucketBackend, OCIPrincipal
from locus_operator.backends.oci_bucket_access import AGENTS_SECRET
from locus_operator.constants import ConditionReason
from locus_operator.errors import RefusedError
from locus_operator.provisioner import Request

OPERATOR_SECRET: Final = "auth.operator.secretRef"  # noqa: S105 - a path, no secret

_AUTH: Final = {
    OCIAuthType.WORKLOAD_IDENTITY: "workload_identity",
    OCIAuthType.INSTANCE_PRINCIPAL: "instance_principal",
    OCIAuthType.RESOURCE_PRINCIPAL: "resource_principal",
    OCIAuthType.API_KEY: "api_key",
}
_KEYS: Final = {
    "tenancy": "tenancy",
    "user": "user",
    "fingerprint": "fingerprint",
    "privateKey": "private_key",
    "passphrase": "pass_phrase",
}
_OPTIONAL: Final = frozenset({"passphrase"})


def operator_login(request: Request[OCIBucketBackend]) -> dict[str, Any]:
    """Return how the operator signs.

    Raises:
        RefusedError: Its Secret lacks a key.
    """
    return _fields(request.backend.auth.operator, request.secrets.get(OPERATOR_SECRET, {}), OPERATOR_SECRET)


def agents_login(request: Request[OCIBucketBackend]) -> dict[str, Any]:
    """Return how the agents sign; no secret but for `apiKey`.

    Raises:
        RefusedError: Their Secret lacks a key.
    """
    return _fields(request.backend.auth.agents, request.secrets.get(AGENTS_SECRET, {}), AGENTS_SECRET)


def describe(principal: OCIPrincipal) -> str:
    """Name a login, for messages."""
    if principal.type is OCIAuthType.API_KEY and principal.secret_ref is not None:
        return f"the API key of Secret {principal.secret_ref.name!r}"
    return {
        OCIAuthType.WORKLOAD_IDENTITY: "the pod's service account (workloadIdentity)",
        OCIAuthType.INSTANCE_PRINCIPAL: "the node (instancePrincipal)",
        OCIAuthType.RESOURCE_PRINCIPAL: "the resource (resourcePrincipal)",
    }[principal.type]


def _fields(principal: OCIPrincipal, secret: Mapping[str, str], path: str) -> dict[str, Any]:
    fields: dict[str, Any] = {"auth": _AUTH[principal.type]}
    if principal.type is not OCIAuthType.API_KEY:
        return fields
    missing = [key for key in _KEYS if key not in _OPTIONAL and not secret.get(key)]
    if missing:
        name = principal.secret_ref.name if principal.secret_ref else ""
        raise RefusedError(
            ConditionReason.SECRET_INVALID,
            f"Secret {name!r} (spec.backend.ociBucket.{path}) has no {', no '.join(missing)}; it has "
            f"{', '.join(sorted(secret)) or 'no keys'}. Write the keys tenancy, user, fingerprint, privateKey (PEM) "
            "and, for an encrypted key, passphrase",
        )
    return fields | {field: secret[key] for key, field in _KEYS.items() if secret.get(key)}
