"""Errors of the SDK, in this library's terms."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from locus_memory.backends.oci_bucket_workers import sdk
from locus_memory.connection import OCIBucketConnection
from locus_memory.drivers import require
from locus_memory.errors import AuthenticationError, BackendUnavailableError, CheckpointError, StateTooLargeError

_RACE_CODES = frozenset({"IfMatchFailed", "IfNoneMatchFailed", "ConcurrentObjectUpdate"})
_PASSING_STATUS = frozenset({408, 429})


class ChangedError(Exception):
    """An object is not as a condition of the request demands; nothing was done."""


class BucketMissingError(AuthenticationError):
    """The bucket does not exist, or the principal may not see it: the service does not say which."""


def absent(error: BaseException) -> bool:
    """Tell whether an error means that the bucket is there and the object is not."""
    return getattr(error, "status", None) == 404 and getattr(error, "code", None) == "ObjectNotFound"


@contextmanager
def translated(connection: OCIBucketConnection) -> Iterator[None]:
    """Raise errors of the SDK as errors of this library."""
    exceptions = sdk().exceptions
    transport = require("oci._vendor.requests", "oci").exceptions
    http = require("urllib3.exceptions", "oci")
    try:
        yield
    except exceptions.ServiceError as error:
        raise _translate(error, connection) from error
    except (exceptions.RequestException, exceptions.ConnectTimeout, transport.RequestException) as error:
        raise BackendUnavailableError(f"{place(connection)}: {_reason(error)}") from error
    except (http.HTTPError, OSError) as error:
        raise BackendUnavailableError(f"{place(connection)}: {_reason(error)}") from error


def place(connection: OCIBucketConnection) -> str:
    """Name the bucket, for messages."""
    return f"OCI bucket {connection.bucket!r} in namespace {connection.namespace!r}"


def _translate(error: Any, connection: OCIBucketConnection) -> Exception:
    text = f"{place(connection)}: {error.status} {error.code}: {error.message} (opc-request-id {error.request_id})"
    if error.status == 412 or error.code in _RACE_CODES:
        return ChangedError(text)
    if error.status == 401:
        return AuthenticationError(
            f"{text}. The login with auth {connection.auth!r} is rejected: see docs/backends/oci-bucket.md"
        )
    if error.status == 404:
        return BucketMissingError(
            f"{text}. The bucket does not exist, or the principal may not see it: check its name, namespace and "
            "region, and that a policy allows the principal to manage objects in it"
        )
    if error.status == 403:
        return AuthenticationError(f"{text}. The principal lacks a permission")
    if error.status == 413:
        return StateTooLargeError(text)
    if error.status >= 500 or error.status in _PASSING_STATUS:
        return BackendUnavailableError(text)
    if error.code == "NotRestored":
        return CheckpointError(f"{text}. A lifecycle rule has archived it: restore it, and let the rule delete instead")
    return CheckpointError(text)


def _reason(error: BaseException) -> str:
    # The SDK's own text is several lines of advice around this one.
    cause: Any = error
    while cause.args and isinstance(cause.args[0], BaseException):
        cause = cause.args[0]
    return f"{type(cause).__name__}: {cause.args[0] if cause.args else cause}"
