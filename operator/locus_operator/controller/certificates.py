"""Keeps the webhook's certificate: made, renewed before it ends, and trusted by the API server at every moment.

The order is what matters. The API server first trusts the new CA beside the old one; only then do the webhook's pods
get the new certificate, some of them a minute or two after others; the old CA is trusted until the old certificate
ends, when no pod can serve with it any more. A controller that dies in between has lost nothing: the next one begins
anew, with another certificate. What is trusted stands in the Secret's `ca.crt`; `caBundle` follows it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Self

from cryptography import x509

from locus_operator import logs
from locus_operator.certificates import ServingCertificate, UnusableError, authorities_in, is_ours, issue, read
from locus_operator.constants import LABEL_MANAGED_BY, MANAGER, ConditionReason
from locus_operator.errors import ProvisioningError, RefusedError
from locus_operator.kube_certificates import (
    TLS_SECRET_TYPE,
    CertificateSecret,
    KubernetesCertificates,
    Registration,
)
from locus_operator.settings import Settings

_LONGEST_CHECK: Final = 10.0
_LONGEST_SETTLE: Final = 5.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Timing:
    """Durations, in seconds.

    Attributes:
        check: Pause between two looks at the Secret and the webhook's configuration.
        settle: From `caBundle` to the Secret: how long API servers may take to see a new CA.
    """

    check: float
    settle: float

    @classmethod
    def of(cls, validity: timedelta) -> Self:
        """Derive them from a validity: shorter only where that is minutes, as in tests."""
        twentieth = validity.total_seconds() / 20
        return cls(check=min(_LONGEST_CHECK, twentieth), settle=min(_LONGEST_SETTLE, twentieth))


class WebhookCertificate:
    """Keeps one Secret, and the `caBundle` of one `MutatingWebhookConfiguration`.

    Args:
        cluster: The two objects.
        names: DNS names of the webhook; hosts of URLs in the configuration are added to them.
        validity: Of each certificate.
        on_expiry: Called with the POSIX time at which the certificate ends that the Secret has.
    """

    def __init__(
        self,
        cluster: KubernetesCertificates,
        names: frozenset[str],
        validity: timedelta,
        on_expiry: Callable[[float], None],
    ) -> None:
        self._cluster = cluster
        self._names = names
        self._validity = validity
        self._timing = Timing.of(validity)
        self._on_expiry = on_expiry
        self._told = ""

    async def run(self) -> None:
        """Look after it for ever."""
        while True:
            self._tell(await self._trouble())
            await asyncio.sleep(self._timing.check)

    async def once(self) -> None:
        """Renew the certificate if it is time, and correct `caBundle` if it differs.

        Raises:
            ProvisioningError: It cannot be done now; nothing that works has been taken away.
        """
        registration, secret = await self._cluster.registration(), await self._cluster.secret()
        if secret is not None and not secret.is_ours:
            raise self._not_ours()
        names = self._names | (registration.hosts if registration else frozenset())
        served, reason = self._judge(secret, names)
        if served is None or reason:
            served = await self._replace(served, secret, registration, names, reason)
        else:
            await self._publish(served.bundle(_now()), registration)
        self._on_expiry(served.expiry.timestamp())
        if registration is None:
            raise RefusedError(
                ConditionReason.BACKEND_REFUSED,
                f"there is no {self._cluster.registration_name}: the API server does not call the webhook",
            )

    def _judge(self, secret: CertificateSecret | None, names: frozenset[str]) -> tuple[ServingCertificate | None, str]:
        """Return what the Secret has, and why it must be replaced; no reason if it need not."""
        if secret is None:
            return None, "there is none"
        try:
            served = read(secret.entries)
        except UnusableError as error:
            return None, str(error)
        return served, served.why_replace(names, self._validity, _now())

    async def _replace(
        self,
        served: ServingCertificate | None,
        secret: CertificateSecret | None,
        registration: Registration | None,
        names: frozenset[str],
        reason: str,
    ) -> ServingCertificate:
        # A Secret that was deleted or spoilt is still what the webhook's pods serve with, and `caBundle` remembers it.
        earlier = served.authorities if served else _ours_in(registration)
        new = issue(sorted(names), self._validity, _now()).trusting(earlier)
        await self._publish(new.bundle(_now()), registration)
        if earlier:
            await asyncio.sleep(self._timing.settle)
        await self._cluster.write_secret(new.entries(_now()), secret)
        _log.info(
            "wrote a new webhook certificate into %s, valid until %s; of the one before: %s",
            self._cluster.secret_name,
            new.expiry.isoformat(),
            reason,
        )
        return new

    async def _publish(self, bundle: str, registration: Registration | None) -> None:
        if registration is None or all(each == bundle for each in registration.bundles):
            return
        await self._cluster.write_bundle(bundle, registration)
        _log.info("wrote caBundle into %s", self._cluster.registration_name)

    async def _trouble(self) -> str:
        try:
            await self.once()
        except ProvisioningError as error:
            return f"the webhook certificate cannot be kept: {error}"
        except Exception as error:  # noqa: BLE001 - the next look may go well
            return f"the webhook certificate cannot be kept: unexpected {logs.where_it_happened(error)}"
        return ""

    def _tell(self, trouble: str) -> None:
        """Log what is wrong once, not at each look."""
        if trouble and trouble != self._told:
            _log.error("%s", trouble)
        self._told = trouble

    def _not_ours(self) -> RefusedError:
        return RefusedError(
            ConditionReason.CONFLICT,
            f"{self._cluster.secret_name} is not of the operator's making: it is not of type {TLS_SECRET_TYPE}, "
            f"or has no label {LABEL_MANAGED_BY}={MANAGER}. Delete it, or name another Secret in "
            "LOCUS_OPERATOR_WEBHOOK_CERTIFICATE_SECRET, or set that to nothing to bring certificates of your own",
        )


def names_of(service: str, namespace: str) -> frozenset[str]:
    """Return the DNS names of a Service: the first is what the API server asks for."""
    return frozenset({f"{service}.{namespace}.svc", f"{service}.{namespace}.svc.cluster.local"})


def webhook_certificate(
    cluster: KubernetesCertificates, settings: Settings, on_expiry: Callable[[float], None]
) -> WebhookCertificate:
    """Return what keeps the certificate that the settings ask for."""
    names = names_of(settings.webhook_service, settings.namespace)
    validity = timedelta(days=settings.webhook_certificate_days)
    return WebhookCertificate(cluster, names, validity, on_expiry)


def _ours_in(registration: Registration | None) -> tuple[x509.Certificate, ...]:
    bundles = registration.bundles if registration else ()
    return tuple(each for bundle in bundles for each in authorities_in(bundle) if is_ours(each))


def _now() -> datetime:
    return datetime.now(UTC)
