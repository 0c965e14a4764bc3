"""The operator's way to OCI: the SDK on threads of its own, one request after the other tried once."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from locus_memory.backends.oci_bucket_login import Login, make_signer, read_login
from locus_memory.backends.oci_bucket_workers import Workers, sdk
from locus_memory.connection import OCIBucketConnection
from locus_memory.drivers import require
from locus_memory.errors import BackendUnavailableError, CheckpointError, MissingDriverError
from locus_operator.constants import ConditionReason
from locus_operator.errors import RefusedError, UnavailableError

T = TypeVar("T")

TIMEOUT_SECONDS: Final = 10
AT_ONCE: Final = 16
"""Requests that one store has under way; deletions need as many as they can get."""


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach OCI as the operator.

    Attributes:
        document: Bucket, namespace, region, endpoint and login, as the library has them.
        identity_endpoint: Of the Identity API; None for the region's own.
        who: The login, for messages.
    """

    document: OCIBucketConnection
    identity_endpoint: str | None
    who: str

    @property
    def endpoint(self) -> str:
        """What requests go to, for messages and for counting connections."""
        document = self.document
        return document.service_endpoint or f"Object Storage in {document.region}"

    @property
    def key(self) -> Hashable:
        """What makes two connections interchangeable."""
        secrets = (self.document.private_key, self.document.pass_phrase)
        digest = hashlib.sha256(repr([each.get_secret_value() for each in secrets if each]).encode()).hexdigest()
        document = self.document
        return document.auth, document.tenancy, document.user, document.fingerprint, self.identity_endpoint, digest


@dataclass(slots=True)
class Service:
    """Clients of both services; those that nobody uses are kept for the next request.

    Each request has a client to itself: the SDK replaces a client's session after some errors.

    Attributes:
        namespace: Object Storage namespace of the operator's tenancy.
    """

    access: Access
    login: Login = field(repr=False)
    signer: Any = field(repr=False)
    workers: Workers = field(repr=False)
    namespace: str = ""
    _idle: dict[str, list[Any]] = field(default_factory=lambda: {"objects": [], "identity": []}, repr=False)

    async def objects(self, request: Callable[[Any], T]) -> T:
        """Call a function with a client of Object Storage, on another thread.

        Raises:
            oci.exceptions.ServiceError: The service refuses.
            UnavailableError: The service does not answer.
        """
        return await self._call("objects", request)

    async def identity(self, request: Callable[[Any], T]) -> T:
        """Call a function with a client of the Identity API; raises the same."""
        return await self._call("identity", request)

    async def close(self) -> None:
        """Close connections that are not in use."""
        for clients in self._idle.values():
            while clients:
                clients.pop().base_client.session.close()

    async def _call(self, kind: str, request: Callable[[Any], T]) -> T:
        def call() -> T:
            client = self._idle[kind].pop() if self._idle[kind] else self._new_client(kind)
            try:
                return request(client)
            finally:
                self._idle[kind].append(client)

        try:
            return await asyncio.wrap_future(self.workers.submit(call))
        except transport_errors() as error:
            raise UnavailableError(f"{self.access.endpoint}: {_root(error)}") from error

    def _new_client(self, kind: str) -> Any:
        oci, document = sdk(), self.access.document
        if kind == "objects":
            make, endpoint = oci.object_storage.ObjectStorageClient, document.service_endpoint
        else:
            make, endpoint = require("oci.identity", "oci").IdentityClient, self.access.identity_endpoint
        return make(
            dict(self.login.config),
            signer=self.signer,
            service_endpoint=endpoint,
            # The controller decides when to try again, and a breaker would refuse other stores' calls.
            retry_strategy=oci.retry.NoneRetryStrategy(),
            circuit_breaker_strategy=oci.circuit_breaker.NoCircuitBreakerStrategy(),
            timeout=(TIMEOUT_SECONDS, TIMEOUT_SECONDS),
        )


async def connect(access: Access) -> Service:
    """Make clients and ask for the namespace, which needs no permission: it proves login and reachability.

    Raises:
        RefusedError: The login is rejected, or makes no sense.
        UnavailableError: OCI does not answer.
    """
    workers = Workers(AT_ONCE)
    try:
        # The SDK waits up to a minute for the token of a principal.
        async with asyncio.timeout(2 * TIMEOUT_SECONDS):
            login, signer = await asyncio.wrap_future(workers.submit(lambda: _signer(access.document)))
            service = Service(access, login, signer, workers)
            service.namespace = await service.objects(lambda client: str(client.get_namespace().data))
    except TimeoutError:
        raise UnavailableError(f"{access.endpoint}: no token for {access.who} within {2 * TIMEOUT_SECONDS} s") from None
    except BackendUnavailableError as error:
        raise UnavailableError(f"{access.endpoint}: {error}") from error
    except MissingDriverError:
        raise
    except CheckpointError as error:
        raise RefusedError(
            ConditionReason.AUTHENTICATION_FAILED, f"{access.endpoint}: cannot sign as {access.who}: {error}"
        ) from error
    return service


def service_error() -> type[Exception]:
    """Return the class of the SDK's errors that are answers of a service."""
    found: type[Exception] = sdk().exceptions.ServiceError
    return found


def transport_errors() -> tuple[type[Exception], ...]:
    """Return the classes of errors that are no answers."""
    exceptions = sdk().exceptions
    transport = require("oci._vendor.requests", "oci").exceptions
    http = require("urllib3.exceptions", "oci")
    return (
        exceptions.RequestException,
        exceptions.ConnectTimeout,
        transport.RequestException,
        http.HTTPError,
        OSError,
    )


def _signer(document: OCIBucketConnection) -> tuple[Login, Any]:
    login = read_login(document)
    return login, make_signer(login)


def _root(error: BaseException) -> str:
    # The SDK's own text is several lines of advice around this one.
    cause: Any = error
    while cause.args and isinstance(cause.args[0], BaseException):
        cause = cause.args[0]
    return f"{type(cause).__name__}: {cause.args[0] if cause.args else cause}"
