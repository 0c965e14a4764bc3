"""Provisions a checkpoint service that exists already: nothing is made, everything is checked."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import asdict
from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlsplit

from pydantic import SecretStr

from locus_memory.backends.http_client import Client
from locus_memory.connection import HTTPConnection
from locus_memory.errors import BindingError
from locus_operator.api.backends import HTTPBackend
from locus_operator.backends.http_probe import REQUEST_SECONDS, Observed, Probe
from locus_operator.binding import retention_of
from locus_operator.connections import Opener
from locus_operator.constants import ConditionReason
from locus_operator.errors import RefusedError, UnavailableError
from locus_operator.provisioner import Action, Plan, Provisioner, Report, Request
from locus_operator.sources import CA, certificates

CONNECTION_TYPE: Final = "http"

_HEADERS: Final = "headersSecretRef"
_BASIC: Final = (
    "the service has the six basic routes alone: no search, no listing of threads, no compare-and-set, no retention by "
    "the operator; `locus-memory serve` has all of them"
)
# httpx writes them itself; another value would break the request.
_OWN_HEADERS: Final = {"connection", "content-length", "content-type", "host", "transfer-encoding", "upgrade"}


class HTTPProvisioner(Provisioner[HTTPBackend, Observed]):
    """Checks one service, and tells agents of it."""

    def __init__(self, request: Request[HTTPBackend]) -> None:
        super().__init__(request)
        reference = request.backend.headers_secret_ref
        self._secret = reference.name if reference else None
        self._document = HTTPConnection(
            store=request.owner.store,
            tables="provisioned",
            retention=retention_of(request.spec),
            base_url=request.backend.base_url,
            headers={name: SecretStr(value) for name, value in self._headers().items()},
            ca=certificates(request) if CA in request.secrets else None,
        )
        self._probe: Probe
        self._observed: Observed
        self._not_enforced = ""

    async def open(self, session: AsyncExitStack) -> None:
        """Borrow a client; a new one has asked whether the service is well."""
        parts = urlsplit(self._document.base_url)
        opener = Opener(open=self._open, reset=_reset, close=_close)
        key = (self._secret, self.request.backend.health_path, _identity(self._document))
        lent = self.request.connections.lend((parts.hostname, parts.port or parts.scheme), key, opener)
        self._probe = self._probe_with(await session.enter_async_context(lent))

    async def observe(self) -> Observed:
        """Ask what the service can do."""
        self._observed = await self._probe.observe()
        return self._observed

    def plan(self, observed: Observed) -> Plan:
        """Plan nothing: what the service stores is the service's matter."""
        return Plan()

    def plan_release(self, observed: Observed) -> Plan:
        """Plan nothing."""
        return Plan()

    async def apply(self, action: Action) -> None:
        """Refuse: no plan of this backend has an action."""
        raise TypeError(f"no action of this backend: {action}")

    def connection(self) -> HTTPConnection:
        """Return the binding document, with the headers."""
        return self._document

    def claims(self) -> dict[str, Any]:
        """Return nothing: nothing is made."""
        return {}

    async def capabilities(self) -> tuple[str, ...]:
        """Return what the service itself has said."""
        capabilities = self._observed.service.capabilities
        return tuple(sorted(name for name, there in asdict(capabilities).items() if there))

    def report(self) -> Report:
        """Say what the service is, and what becomes of retention there."""
        service, max_age = self._observed.service, self.request.spec.retention.max_age
        note = f"the service calls itself {service.name!r}" if service.operations else _BASIC
        retention = {}
        if self._not_enforced:
            note += f". Retention was not enforced: {self._not_enforced}"
        elif max_age is not None and self._vacuums():
            retention = {
                "maxAge": f"the operator has the service delete checkpoints older than {max_age}, whoever saved them"
            }
        elif max_age is not None and self.request.spec.class_name is not None:
            note += ". Retention is not enforced at the service of a class: it would reach all its stores' checkpoints"
        login = (
            "the headers in the binding" if self._secret else "nothing: the service is open to everyone who reaches it"
        )
        return Report(note=note, no_login=f"agents log in with {login}", retention=retention)

    async def enforce_retention(self) -> int:
        """Have the service delete what is too old."""
        operations, max_age = self._observed.service.operations, self.request.spec.retention.max_age
        if operations is None or max_age is None or not self._vacuums():
            return 0
        before = self._observed.now - timedelta(seconds=max_age.seconds)
        try:
            with self._probe.explaining("delete old checkpoints"):
                async with asyncio.timeout(REQUEST_SECONDS):
                    return await operations.vacuum(before)
        except UnavailableError as error:
            # Agents can use the service all the same.
            self._not_enforced = str(error)
            return 0

    def _vacuums(self) -> bool:
        # One service is one tenant: a class's is that of all its stores, and so would be the shortest maxAge.
        return self.request.spec.class_name is None and self._observed.service.capabilities.vacuum

    def _headers(self) -> Mapping[str, str]:
        """Return the headers of the Secret.

        Raises:
            RefusedError: There are none, or some that cannot be sent; their values are not shown.
        """
        if self._secret is None:
            return {}
        headers = self.request.secrets[_HEADERS]
        where = f"Secret {self._secret!r} (spec.backend.http.{_HEADERS})"
        names = [name.lower() for name in headers]
        wrong = sorted(name for name in headers if name.lower() in _OWN_HEADERS or names.count(name.lower()) > 1)
        if not headers or wrong:
            why = f"{', '.join(wrong)} cannot be set, or is there twice" if wrong else "it is empty"
            raise RefusedError(
                ConditionReason.SECRET_INVALID,
                f"{where}: {why}. Each of its entries is sent as a header: write the name as the key, such as "
                "Authorization, and the value as it is sent, such as Bearer and the token",
            )
        return headers

    async def _open(self) -> Client:
        try:
            client = Client(self._document.model_copy(update={"timeout_seconds": REQUEST_SECONDS}), None)
        except BindingError as error:
            reason = ConditionReason.SECRET_INVALID if "headers" in str(error) else ConditionReason.BACKEND_REFUSED
            source = f"Secret {self._secret!r}: " if self._secret else ""
            raise RefusedError(reason, f"{source}{error}") from None
        try:
            await self._probe_with(client).check_health()
        except BaseException:
            await client.close()
            raise
        return client

    def _probe_with(self, client: Client) -> Probe:
        return Probe(client, self.request.backend.health_path, self._secret)


async def _reset(client: Client) -> None:
    if client.failures:
        raise UnavailableError(f"{client.where}: was away")


async def _close(client: Client) -> None:
    await client.close()


def _identity(document: HTTPConnection) -> tuple[str, str | None, tuple[tuple[str, str], ...]]:
    headers = tuple(sorted((name, value.get_secret_value()) for name, value in document.headers.items()))
    return document.base_url, document.ca, headers


PROVISIONER: Final = HTTPProvisioner
