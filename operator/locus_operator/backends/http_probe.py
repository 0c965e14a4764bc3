"""What a checkpoint service answers, and what its errors mean to the person who has to do something about them."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import httpx

from locus_memory.backends.http import NO_SUCH_ROUTE
from locus_memory.backends.http_client import Client
from locus_memory.backends.http_service import Service, described
from locus_memory.errors import BackendUnavailableError, CheckpointError
from locus_operator.constants import ConditionReason
from locus_operator.errors import ProvisioningError, RefusedError, UnavailableError

REQUEST_SECONDS: Final = 10.0
"""Longest that one request may take."""

_CAPABILITIES: Final = "/capabilities"
_BASIC_HEALTH: Final = "/health"
_BASIC_ROUTE: Final = "/threads/locus-operator-probe/checkpoints"
_LOGIN_STATUSES: Final = (401, 403, 407)
_PASSING_STATUSES: Final = (408, 425, 429)


@dataclass(frozen=True, slots=True)
class Observed:
    """What the service says of itself.

    Attributes:
        service: What it can do.
        now: The time there, or here if that is earlier: nothing younger than a policy may be deleted.
    """

    service: Service
    now: datetime


@dataclass(frozen=True, slots=True)
class Probe:
    """Asks one service.

    Attributes:
        client: Sends the requests.
        health_path: Path below the base URL.
        secret: Name of the Secret with the headers, or None.
    """

    client: Client
    health_path: str
    secret: str | None

    @property
    def where(self) -> str:
        """The service as messages name it."""
        return self.client.where

    async def check_health(self) -> None:
        """Ask whether the service is well.

        Raises:
            RefusedError: It is another one, wants other headers, or is not trusted.
            UnavailableError: It is away, or unwell.
        """
        answer = await self._get(self.health_path)
        if answer.status_code in NO_SUCH_ROUTE:
            raise RefusedError(
                ConditionReason.BACKEND_REFUSED,
                f"{self.where}: {answer.status_code} to GET {self.health_path}: correct spec.backend.http.healthPath "
                "or baseUrl",
            )
        self._check(answer, self.health_path)

    async def observe(self) -> Observed:
        """Ask how it is, what it can do, and whether it takes the headers; errors as `check_health`."""
        await self.check_health()
        answer = await self._get(_CAPABILITIES)
        health = None
        if answer.status_code in NO_SUCH_ROUTE:
            health = await self._get(_BASIC_HEALTH)
            if health.status_code not in NO_SUCH_ROUTE:
                self._check(health, _BASIC_HEALTH)
                await self._check_basic_route()
        else:
            self._check(answer, _CAPABILITIES)
        try:
            service = described(self.client, answer, health, None, (0, 0))
        except CheckpointError as error:
            # Its text quotes nothing of the answer but the media type.
            raise RefusedError(ConditionReason.BACKEND_REFUSED, f"{error} (spec.backend.http.baseUrl)") from error
        return Observed(service, _earliest_now(answer))

    @contextmanager
    def explaining(self, purpose: str) -> Iterator[None]:
        """Turn the library's errors into provisioning errors.

        Args:
            purpose: What was being done, for the message.
        """
        try:
            yield
        except CheckpointError as error:
            # Without its text, in which the service may have repeated a header.
            raise UnavailableError(f"{self.where}: cannot {purpose} ({type(error).__name__})") from error
        except TimeoutError:
            raise UnavailableError(f"{self.where}: did not {purpose} within {REQUEST_SECONDS:g} seconds") from None

    async def _check_basic_route(self) -> None:
        """Read a thread that nobody has: the health of such a service is open to everyone, its threads are not."""
        answer = await self._get(_BASIC_ROUTE)
        if answer.status_code not in NO_SUCH_ROUTE:
            self._check(answer, _BASIC_ROUTE)

    async def _get(self, path: str) -> httpx.Response:
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                return await self.client.request("GET", path)
        except TimeoutError:
            raise UnavailableError(
                f"{self.where}: no answer to GET {path} within {REQUEST_SECONDS:g} seconds"
            ) from None
        except BackendUnavailableError as error:
            raise self._unreachable(error) from error
        except CheckpointError as error:
            raise RefusedError(
                ConditionReason.BACKEND_REFUSED, f"{self.where}: no HTTP answer to GET {path} ({type(error).__name__})"
            ) from error

    def _unreachable(self, error: BackendUnavailableError) -> ProvisioningError:
        if not _is_untrusted(error):
            return UnavailableError(str(error))
        return RefusedError(
            ConditionReason.BACKEND_REFUSED,
            f"{error}: no trusted TLS connection. Correct spec.backend.http.ca, or the host in baseUrl",
        )

    def _check(self, answer: httpx.Response, path: str) -> None:
        """Explain an answer that is no success; its body stays out, since it may repeat what was sent."""
        status = answer.status_code
        what = f"{self.where}: {status} to GET {path}"
        if answer.is_success:
            return
        if answer.is_redirect:
            raise RefusedError(
                ConditionReason.BACKEND_REFUSED,
                f"{what}: it redirects to {_target(answer)}, which agents do not follow: write the URL that it leads "
                "to into spec.backend.http.baseUrl",
            )
        if status in _LOGIN_STATUSES:
            advice = (
                f"correct the headers in Secret {self.secret!r} (spec.backend.http.headersSecretRef)"
                if self.secret
                else "write a Secret with the headers that it wants into spec.backend.http.headersSecretRef"
            )
            raise RefusedError(ConditionReason.AUTHENTICATION_FAILED, f"{what}: the service rejects us: {advice}")
        if status in _PASSING_STATUSES or answer.is_server_error:
            raise UnavailableError(f"{what}: the service is not well")
        raise RefusedError(
            ConditionReason.BACKEND_REFUSED,
            f"{what}: no checkpoint service answers so: correct spec.backend.http.baseUrl",
        )


def _is_untrusted(error: BaseException | None) -> bool:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, ssl.SSLError):
            # Other TLS errors, such as a connection that was cut, may pass.
            return isinstance(error, ssl.SSLCertVerificationError)
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return False


def _target(answer: httpx.Response) -> str:
    """Where a redirect leads, without what its query may hold."""
    try:
        parts = urlsplit(answer.headers.get("location", ""))
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", "")) or "nowhere"
    except ValueError:
        return "no URL"


def _earliest_now(answer: httpx.Response) -> datetime:
    """Return the time by our clock, or by the service's own if that is behind."""
    here = datetime.now(UTC)
    try:
        there = parsedate_to_datetime(answer.headers.get("date", ""))
    except ValueError:
        return here
    return min(here, there if there.tzinfo is not None else there.replace(tzinfo=UTC))
