"""What redis-py's errors mean for a store: refused, or away."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from redis import exceptions

from locus_memory.connection import HostAddress
from locus_operator.constants import ConditionReason
from locus_operator.errors import ProvisioningError, RefusedError, UnavailableError

# Replies of a server that cannot serve now, and may be able to in a moment.
_PASSING: Final = (
    "LOADING",
    "BUSY",
    "MISCONF",
    "NOREPLICAS",
    "OOM",
    "MASTERDOWN",
    "CLUSTERDOWN",
    "TRYAGAIN",
    "READONLY",
    "UNBLOCKED",
)


@dataclass(frozen=True, slots=True)
class Place:
    """A server, and who the operator is there; for messages.

    Attributes:
        name: What it is called, such as `Redis Sentinel`.
        admin: The administrator, with the Secret that names it.
        mode: `spec.backend.redis.mode`.
    """

    name: str
    address: HostAddress
    admin: str
    mode: str

    def __str__(self) -> str:
        return f"{self.name} at {self.address}"


@contextmanager
def explained(place: Place, purpose: str) -> Iterator[None]:
    """Turn redis-py's errors into those of `locus_operator.errors`."""
    try:
        yield
    except (exceptions.RedisError, OSError) as error:
        raise _explain(error, place, purpose) from error


def _explain(error: Exception, place: Place, purpose: str) -> ProvisioningError:
    text = str(error) or type(error).__name__
    reason = ConditionReason.BACKEND_REFUSED
    match error:
        case exceptions.AuthenticationError() | exceptions.AuthorizationError():
            reason = ConditionReason.AUTHENTICATION_FAILED
            message = f"the server rejects {place.admin}: {text}. Correct user name and password in the Secret"
            if place.mode != "standalone":
                message += ", and create the user on every server: they do not tell each other of users"
        case exceptions.NoPermissionError():
            reason = ConditionReason.MISSING_PRIVILEGES
            message = f"cannot {purpose}: {place.admin} lacks a privilege: {text}"
        case exceptions.WatchError():
            reason = ConditionReason.CONFLICT
            message = f"cannot {purpose}: somebody else has just changed the claim"
        case exceptions.MovedError() if place.mode != "cluster":
            message = "the server belongs to a Cluster: write mode: cluster into spec.backend.redis"
        case exceptions.MovedError() | exceptions.AskError():
            return UnavailableError(f"{place}: cannot {purpose}: a slot has just moved to another server: {text}")
        case _ if "CERTIFICATE" in text or "SSL" in text:
            message = f"no trusted TLS connection: {text}. Correct tls and ca in spec.backend.redis"
        case exceptions.ConnectionError() | exceptions.TimeoutError() | OSError():
            return UnavailableError(f"{place}: {text}")
        case _ if isinstance(error, exceptions.ReadOnlyError) or text.startswith(_PASSING):
            return UnavailableError(f"{place}: cannot {purpose}: {text}")
        case _ if "cluster support disabled" in text:
            message = "the server belongs to no Cluster: write mode: standalone or mode: sentinel"
        case _:
            message = f"cannot {purpose}: {text}"
    return RefusedError(reason, f"{place}: {message}")
