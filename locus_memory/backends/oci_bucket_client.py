"""Requests to Object Storage: the SDK on threads of its own, errors translated, nothing retried."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final, TypeVar

from locus_memory.backends.oci_bucket_errors import BucketMissingError, absent, translated
from locus_memory.backends.oci_bucket_login import Login, make_signer, read_login
from locus_memory.backends.oci_bucket_workers import Workers, sdk
from locus_memory.connection import OCIBucketConnection
from locus_memory.errors import BindingError

T = TypeVar("T")

PAGE: Final = 1000
"""Names that the service returns at once, at most."""

_FIELDS: Final = "name,size,timeModified,etag"

_EXPECT_BYTES: Final = 2**20
"""Bodies from this size on are sent only when the service has agreed to take them."""

INCARNATION: Final = "incarnation"
"""Key of the metadata of an object that marks a deleted thread."""

BORN: Final = "born"
"""Key of the metadata of an object that marks a thread without checkpoints: its incarnation."""


@dataclass(frozen=True, slots=True)
class Found:
    """An object that was read."""

    body: bytes
    etag: str
    incarnation: str | None
    born: str | None


@dataclass(frozen=True, slots=True)
class Listed:
    """An object's name, size in bytes, time of its last change, and ETag."""

    name: str
    size: int
    modified: datetime
    etag: str


class ObjectStore:
    """The objects of one bucket.

    Requests run on daemon threads, at most `pool_max_size` at once, each with a client of the SDK to itself: the SDK
    replaces a client's session after some errors, under the feet of whoever else is using it. Clients that nobody
    uses are kept for the next request until `close`.

    Args:
        connection: The document.
        timeout: Seconds that a request may wait for the network, at each step.
    """

    def __init__(self, connection: OCIBucketConnection, timeout: float) -> None:
        self.connection = connection
        self.version = 0
        """How often the login has changed."""
        self._timeout = timeout
        self._seen = False
        self._login: Login | None = None
        self._signer: Any = None
        self._signing = threading.Lock()
        self._start()
        # Loaded by the time that somebody calls, and not at the cost of the deadline.
        self._workers.submit(sdk)

    def _start(self) -> None:
        self._process = os.getpid()
        self._workers = Workers(self.connection.pool_max_size)
        self._idle: list[tuple[int, Any]] = []

    async def get(self, name: str, first_bytes: int | None = None) -> Found | None:
        """Read an object, or its beginning; None when there is none."""

        def request(client: Any) -> Found | None:
            options = {} if first_bytes is None else {"range": f"bytes=0-{first_bytes - 1}"}
            try:
                response = client.get_object(*self._place, name, **options)
                marks = [response.headers.get(f"opc-meta-{key}") for key in (INCARNATION, BORN)]
                return Found(response.data.content, response.headers["etag"], *marks)
            except Exception as error:
                if absent(error):
                    return None
                raise

        return await self.run(request)

    async def etag(self, name: str) -> str | None:
        """Return the ETag of an object; None where there may be none."""

        def request(client: Any) -> str | None:
            try:
                return str(client.head_object(*self._place, name).headers["etag"])
            except Exception as error:
                # Nothing says which of object and bucket is missing.
                if getattr(error, "status", None) == 404:
                    return None
                raise

        return await self.run(request)

    async def put(
        self,
        name: str,
        parts: Sequence[bytes],
        *,
        if_match: str | None = None,
        if_absent: bool = False,
        marks: Mapping[str, str | None] = MappingProxyType({}),
    ) -> str:
        """Write an object whose body consists of some parts; return its ETag.

        Raises:
            ChangedError: The object is not the one with the ETag `if_match`, or is there in spite of `if_absent`.
        """
        conditions = {"if_match": if_match, "if_none_match": "*" if if_absent else None}
        options = {key: value for key, value in conditions.items() if value is not None}
        metadata = {key: mark for key, mark in marks.items() if mark is not None}

        def request(client: Any) -> str:
            body = b"".join(parts)
            # The signature of this request does not cover the body.
            digest = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
            response = client.put_object(
                *self._place,
                name,
                body,
                content_md5=digest,
                content_type="application/octet-stream",
                opc_meta=metadata,
                **options,
            )
            return str(response.headers["etag"])

        return await self.run(request)

    async def delete(self, name: str, if_match: str | None = None) -> bool:
        """Delete an object; tell whether it was there.

        Raises:
            ChangedError: It is not the one with the ETag `if_match`.
        """

        def request(client: Any) -> bool:
            try:
                client.delete_object(*self._place, name, **({"if_match": if_match} if if_match else {}))
            except Exception as error:
                if absent(error):
                    return False
                raise
            return True

        return await self.run(request)

    async def list_level(self, prefix: str, page: int = PAGE, start: str | None = None) -> AsyncIterator[list[Listed]]:
        """List objects in the order of their names, page by page; none with a further slash after the prefix.

        Args:
            prefix: What names begin with.
            page: How many at once, at most `PAGE`.
            start: The first name that may be listed.
        """
        start = start or prefix
        while start is not None:
            found = await self._page(prefix, page, start, delimiter="/", fields=_FIELDS)
            yield [_listed(each) for each in found.objects]
            start = found.next_start_with

    async def list_all(self, prefix: str) -> AsyncIterator[list[Listed]]:
        """List all objects with a prefix, page by page."""
        start: str | None = prefix
        while start is not None:
            found = await self._page(prefix, PAGE, start, fields=_FIELDS)
            yield [_listed(each) for each in found.objects]
            start = found.next_start_with

    async def list_directories(self, prefix: str) -> AsyncIterator[list[str]]:
        """List what names have between a prefix and the next slash, page by page."""
        start: str | None = prefix
        while start is not None:
            found = await self._page(prefix, PAGE, start, delimiter="/")
            yield list(found.prefixes or ())
            start = found.next_start_with

    async def _page(self, prefix: str, limit: int, start: str, **options: str) -> Any:
        return await self.run(
            lambda client: client.list_objects(*self._place, prefix=prefix, limit=limit, start=start, **options).data
        )

    def _create_bucket(self, client: Any) -> None:
        oci = sdk()
        details = oci.object_storage.models.CreateBucketDetails(
            name=self.connection.bucket,
            compartment_id=self.connection.compartment_id,
            public_access_type="NoPublicAccess",
        )
        try:
            client.create_bucket(self.connection.namespace, details)
        except oci.exceptions.ServiceError as error:
            if error.code != "BucketAlreadyExists":
                raise

    async def run(self, request: Callable[[Any], T]) -> T:
        """Call a function with a client of the SDK, on another thread.

        When the caller is cancelled, a request that has begun comes to its end unobserved.
        """
        try:
            result = await self._run(request)
        except BucketMissingError:
            connection = self.connection
            # A bucket that was there is not replaced: what it held is missed, and nobody must start afresh.
            if self._seen or connection.compartment_id is None or connection.tables == "provisioned":
                raise
            await self._run(self._create_bucket)
            result = await self._run(request)
        self._seen = True
        return result

    async def inspect(self, request: Callable[[Any], T]) -> T:
        """Like `run`, but a bucket that is missing is not created."""
        return await self._run(request)

    async def _run(self, request: Callable[[Any], T]) -> T:
        if self._process != os.getpid():
            # Threads and connections do not survive a fork.
            self._start()
        connection = self.connection

        def call() -> T:
            with translated(connection):
                version, client = self._borrow()
                try:
                    return request(client)
                finally:
                    self._give_back(version, client)

        return await asyncio.wrap_future(self._workers.submit(call))

    @property
    def _place(self) -> tuple[str, str]:
        return self.connection.namespace, self.connection.bucket

    def _borrow(self) -> tuple[int, Any]:
        while True:
            try:
                version, client = self._idle.pop()
            except IndexError:
                return self._new_client()
            if version == self.version:
                return version, client
            _close(client)

    def _give_back(self, version: int, client: Any) -> None:
        if version == self.version:
            self._idle.append((version, client))
        else:
            _close(client)

    def _new_client(self) -> tuple[int, Any]:
        oci = sdk()
        with self._signing:
            version = self.version
            if self._login is None:
                self._login = read_login(self.connection)
            if self._signer is None:
                self._signer = make_signer(self._login)
            config, signer = dict(self._login.config), self._signer
        try:
            client = oci.object_storage.ObjectStorageClient(
                config,
                signer=signer,
                service_endpoint=self.connection.service_endpoint,
                # One place retries, within the caller's deadline; a breaker would refuse calls for a while after
                # the service is back.
                retry_strategy=oci.retry.NoneRetryStrategy(),
                circuit_breaker_strategy=oci.circuit_breaker.NoCircuitBreakerStrategy(),
                timeout=(self._timeout, self._timeout),
            )
        except (ValueError, oci.exceptions.ClientError) as error:
            raise BindingError(f"oci-bucket: the SDK refuses the configuration: {error}") from error
        for adapter in client.base_client.session.adapters.values():
            adapter.add_headers = _without_expect
        return version, client

    async def use(self, connection: OCIBucketConnection) -> None:
        """Go over to a document and to the files that it refers to, if they are not what is in use."""
        login = await asyncio.wrap_future(self._workers.submit(lambda: read_login(connection)))
        with self._signing:
            if connection == self.connection and self._login in (None, login):
                return
            self.connection, self._login, self._signer = connection, login, None
            self.version += 1

    async def close(self) -> None:
        """Close connections that are not in use."""
        while self._idle:
            _close(self._idle.pop()[1])


def _listed(summary: Any) -> Listed:
    return Listed(summary.name, summary.size, summary.time_modified, summary.etag)


def _close(client: Any) -> None:
    client.base_client.session.close()


def _without_expect(request: Any, **_: Any) -> None:
    # Asking first costs a round trip, which pays only before a large body.
    if isinstance(request.body, bytes) and len(request.body) < _EXPECT_BYTES:
        request.headers.pop("expect", None)
