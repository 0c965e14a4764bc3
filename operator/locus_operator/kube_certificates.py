"""What keeping the webhook's certificate needs of the API server: one Secret, and one webhook configuration."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from kubernetes.aio.client import (
    AdmissionregistrationV1Api,
    AdmissionregistrationV1WebhookClientConfig,
    ApiClient,
    CoreV1Api,
    V1ObjectMeta,
    V1Secret,
)

from locus_operator.constants import LABEL_MANAGED_BY, MANAGER
from locus_operator.errors import UnavailableError
from locus_operator.kube import ask

TLS_SECRET_TYPE: Final = "kubernetes.io/tls"  # noqa: S105 - a type, no secret
_JSON_PATCH: Final = "application/json-patch+json"


@dataclass(frozen=True, slots=True)
class CertificateSecret:
    """The Secret as it was read.

    Attributes:
        metadata: Its metadata; others may have added to it.
        is_ours: It has our label and the right type; what has not is somebody else's.
        entries: Its decoded entries; those that are no text are left out.
    """

    metadata: V1ObjectMeta
    is_ours: bool
    entries: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Registration:
    """The `MutatingWebhookConfiguration` as it was read.

    Attributes:
        names: Names of its webhooks, in their order.
        bundles: The decoded `caBundle` of each; empty where there is none.
        hosts: Where the API server calls webhooks that have a `url`.
    """

    names: tuple[str, ...]
    bundles: tuple[str, ...]
    hosts: frozenset[str]


class KubernetesCertificates:
    """Reads and writes the two objects.

    All methods raise `RefusedError` where a permission is missing, `UnavailableError` where the API server does not
    answer, or where the object has changed since it was read.

    Args:
        client: The API server.
        namespace: Namespace of the Secret.
        secret: Name of the Secret.
        configuration: Name of the `MutatingWebhookConfiguration`.
    """

    def __init__(self, client: ApiClient, namespace: str, secret: str, configuration: str) -> None:
        self._core = CoreV1Api(client)
        self._admission = AdmissionregistrationV1Api(client)
        self._namespace = namespace
        self._secret = secret
        self._configuration = configuration

    @property
    def secret_name(self) -> str:
        """What the Secret is called in messages."""
        return f"Secret {self._namespace}/{self._secret}"

    @property
    def registration_name(self) -> str:
        """What the configuration is called in messages."""
        return f"MutatingWebhookConfiguration {self._configuration}"

    async def secret(self) -> CertificateSecret | None:
        """Return the Secret, or None."""
        call = self._core.read_namespaced_secret(self._secret, self._namespace)
        found = await ask(f"get {self.secret_name}", call)
        if found is None or found.metadata is None:
            return None
        labels = found.metadata.labels or {}
        return CertificateSecret(
            metadata=found.metadata,
            is_ours=labels.get(LABEL_MANAGED_BY) == MANAGER and found.type == TLS_SECRET_TYPE,
            entries={key: _decoded(value) for key, value in (found.data or {}).items()},
        )

    async def write_secret(self, entries: Mapping[str, str], existing: CertificateSecret | None) -> None:
        """Write the Secret.

        Args:
            entries: All its entries.
            existing: What `secret` returned.
        """
        labels = {LABEL_MANAGED_BY: MANAGER}
        metadata = existing.metadata if existing else V1ObjectMeta(name=self._secret, labels=labels)
        body = V1Secret(metadata=metadata, type=TLS_SECRET_TYPE, data=_encoded(entries))
        if existing is None:
            verb, call = "create", self._core.create_namespaced_secret(self._namespace, body)
        else:
            verb, call = "update", self._core.replace_namespaced_secret(self._secret, self._namespace, body)
        if await ask(f"{verb} {self.secret_name}", call) is None:
            raise UnavailableError(f"{self.secret_name} is gone, or its namespace")

    async def registration(self) -> Registration | None:
        """Return the configuration, or None."""
        call = self._admission.read_mutating_webhook_configuration(self._configuration)
        found = await ask(f"get {self.registration_name}", call)
        if found is None:
            return None
        webhooks = found.webhooks or []
        hosts = (_host(each.client_config) for each in webhooks)
        return Registration(
            names=tuple(each.name for each in webhooks),
            bundles=tuple(_decoded(each.client_config.ca_bundle or "") for each in webhooks),
            hosts=frozenset(filter(None, hosts)),
        )

    async def write_bundle(self, bundle: str, existing: Registration) -> None:
        """Write `caBundle` into each webhook of the configuration.

        Args:
            bundle: CAs, PEM.
            existing: What `registration` returned; nothing is written if its webhooks have changed places since.
        """
        value = base64.b64encode(bundle.encode()).decode()
        patch: list[dict[str, Any]] = []
        for index, name in enumerate(existing.names):
            patch += [
                {"op": "test", "path": f"/webhooks/{index}/name", "value": name},
                {"op": "add", "path": f"/webhooks/{index}/clientConfig/caBundle", "value": value},
            ]
        call = self._admission.patch_mutating_webhook_configuration(
            self._configuration, patch, _content_type=_JSON_PATCH
        )
        if await ask(f"patch {self.registration_name}", call) is None:
            raise UnavailableError(f"{self.registration_name} is gone")


def _host(config: AdmissionregistrationV1WebhookClientConfig) -> str:
    return (urlsplit(config.url).hostname or "") if config.url else ""


def _encoded(entries: Mapping[str, str]) -> dict[str, str]:
    return {key: base64.b64encode(value.encode()).decode() for key, value in entries.items()}


def _decoded(value: str | bytes) -> str:
    try:
        return base64.b64decode(value).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""
