"""Which one of several controllers works: the holder of a Lease (`coordination.k8s.io`).

A holder that cannot renew stops before anybody may take over, and a process that was paused for longer than that finds
out before its next change: `check` compares with a clock that goes on while a process is stopped. `kubernetes` has a
leader election, too; it neither gives the Lease back on a clean stop, nor can anybody ask it before a change.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, NoReturn, Self

from kubernetes.aio.client import ApiClient, CoordinationV1Api, V1Lease, V1LeaseSpec, V1ObjectMeta

from locus_operator.errors import ProvisioningError
from locus_operator.kube import ask

_JITTER: Final = 0.2

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Timing:
    """Durations of an election, in seconds.

    Attributes:
        lease: A Lease that was not renewed for this long, as its observer sees it, may be taken.
        deadline: A holder that could not renew for this long stops; less than `lease`.
        pause: Between two tries to renew, or to take over.
    """

    lease: int
    deadline: float
    pause: float

    @classmethod
    def of(cls, lease: int) -> Self:
        """Derive the others: a holder gives up after two thirds, and tries five times before that."""
        return cls(lease, deadline=lease * 2 / 3, pause=lease * 2 / 15)


class Leadership:
    """Takes part in the election.

    Args:
        client: The API server.
        namespace: Namespace of the Lease.
        name: Its name.
        identity: What this process is called, unlike any other that ever was.
        timing: Durations.
        lost: Called when this process has lost the Lease; it must end the process, and does not return.
    """

    def __init__(
        self,
        client: ApiClient,
        namespace: str,
        name: str,
        identity: str,
        *,
        timing: Timing,
        lost: Callable[[], NoReturn],
    ) -> None:
        self._api = CoordinationV1Api(client)
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._timing = timing
        self._lost = lost
        self._valid_until = 0.0
        # What was seen of another holder, and since when it has not changed.
        self._seen: tuple[str | None, datetime | None] = (None, None)
        self._seen_since = 0.0

    @property
    def is_held(self) -> bool:
        """Whether this process may work now."""
        return _now() < self._valid_until

    def check(self) -> None:
        """Ask before a change; the process ends here when it does not hold the Lease, or may have lost it."""
        if not self.is_held:
            _log.error("the Lease %s/%s is lost, another controller may be working", self._namespace, self._name)
            self._lost()

    async def acquire(self) -> None:
        """Wait until this process holds the Lease."""
        _log.info("waiting for the Lease %s/%s as %s", self._namespace, self._name, self._identity)
        while not await self._try():
            await self._pause()
        _log.info("holding the Lease %s/%s", self._namespace, self._name)

    async def hold(self) -> None:
        """Renew the Lease for ever; the process ends when that fails for too long."""
        while True:
            await self._pause()
            await self._try()
            self.check()

    async def release(self) -> None:
        """Give the Lease back, so that another controller need not wait for its end."""
        if not self.is_held:
            return
        self._valid_until = 0.0
        try:
            lease = await self._read()
            if lease is not None and lease.spec is not None and lease.spec.holder_identity == self._identity:
                lease.spec.holder_identity = ""
                await self._write(lease)
        except ProvisioningError as error:
            _log.warning("the Lease ends by itself, it could not be given back: %s", error)

    async def _try(self) -> bool:
        """Take or renew the Lease, if that can be; errors are for the next try."""
        begin = _now()
        try:
            async with asyncio.timeout(self._timing.deadline / 2):
                taken = await self._take()
        except (ProvisioningError, TimeoutError) as error:
            # A conflict, too: somebody else was faster.
            _log.warning("the Lease could not be taken or renewed: %s", str(error) or "no answer")
            return False
        if taken:
            # From before the request: the API server counts from when it got it.
            self._valid_until = begin + self._timing.deadline
        return taken

    async def _take(self) -> bool:
        lease = await self._read()
        if lease is None:
            create = self._api.create_namespaced_lease(self._namespace, self._new())
            return await ask(f"create Lease {self._namespace}/{self._name}", create) is not None
        spec = lease.spec or V1LeaseSpec()
        if spec.holder_identity and spec.holder_identity != self._identity and not self._is_over(spec):
            self._valid_until = 0.0
            return False
        now = datetime.now(UTC)
        if spec.holder_identity != self._identity:
            spec.lease_transitions = (spec.lease_transitions or 0) + 1
            spec.acquire_time = now
        spec.holder_identity, spec.renew_time = self._identity, now
        spec.lease_duration_seconds = self._timing.lease
        lease.spec = spec
        return await self._write(lease)

    def _is_over(self, spec: V1LeaseSpec) -> bool:
        """Tell whether another holder's time is over, by our own clock: its times may be of a clock that is wrong."""
        seen = (spec.holder_identity, spec.renew_time)
        if seen != self._seen:
            self._seen, self._seen_since = seen, _now()
        return _now() >= self._seen_since + (spec.lease_duration_seconds or self._timing.lease)

    async def _read(self) -> V1Lease | None:
        what = f"get Lease {self._namespace}/{self._name}"
        return await ask(what, self._api.read_namespaced_lease(self._name, self._namespace))

    async def _write(self, lease: V1Lease) -> bool:
        """Replace the Lease as it was read: of two that try, one gets a conflict."""
        replace = self._api.replace_namespaced_lease(self._name, self._namespace, lease)
        return await ask(f"update Lease {self._namespace}/{self._name}", replace) is not None

    def _new(self) -> V1Lease:
        now = datetime.now(UTC)
        spec = V1LeaseSpec(
            holder_identity=self._identity,
            lease_duration_seconds=self._timing.lease,
            acquire_time=now,
            renew_time=now,
            lease_transitions=0,
        )
        return V1Lease(metadata=V1ObjectMeta(name=self._name, namespace=self._namespace), spec=spec)

    async def _pause(self) -> None:
        pause = self._timing.pause * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - no secret
        await asyncio.sleep(pause)


def _now() -> float:
    """Seconds on a clock that nobody sets and that goes on while the process, or the machine, sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
