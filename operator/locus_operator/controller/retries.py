"""When a store is tried again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from locus_operator.constants import ConditionReason
from locus_operator.engine import Failure, Retry, Source
from locus_operator.settings import Settings
from locus_operator.sources import SourceData

_JITTER: Final = 0.2
MISSING: Final = {
    ConditionReason.CLASS_NOT_FOUND,
    ConditionReason.SECRET_NOT_FOUND,
    ConditionReason.SECRET_INVALID,
    ConditionReason.VOLUME_CLAIM_NOT_FOUND,
}


@dataclass(frozen=True, slots=True)
class Backoff:
    """Pauses that double.

    Attributes:
        first: Seconds of the first pause.
        longest: Seconds that no pause exceeds, up to the jitter.
    """

    first: float
    longest: float

    def pause(self, failures: int) -> float:
        """Return seconds until the next try, a fifth more or less so that stores that failed together spread out.

        Args:
            failures: How often it has failed in a row, at least 1.
        """
        doubled = self.first * 2.0 ** min(failures - 1, 32)
        return min(doubled, self.longest) * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - no secret


def backoff_of(failure: Failure, settings: Settings) -> Backoff | None:
    """Return how to try again after a failure; None when only a change of the spec helps."""
    if failure.retry is Retry.ON_CHANGE:
        return None
    if failure.retry is Retry.SOON:
        return Backoff(settings.unavailable_retry_seconds, settings.unavailable_retry_max_seconds)
    if failure.reason in MISSING:
        return Backoff(settings.missing_retry_seconds, settings.missing_retry_max_seconds)
    return patient(settings)


def patient(settings: Settings) -> Backoff:
    """Return the slow pauses, for what waits until a person acts."""
    return Backoff(settings.refused_retry_seconds, settings.refused_retry_max_seconds)


@dataclass(slots=True)
class Work:
    """What the process remembers of one store.

    Attributes:
        lock: Held by whoever works on the store.
        failures: Tries that have failed in a row.
        backend: Kind of its backend, once it is known.
        sources: Secrets and ConfigMaps that the last reconcile was done with. They outlive their namespace here: it
            takes them along before its stores could be released with them.
    """

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    failures: int = 0
    backend: str = ""
    sources: Mapping[Source, SourceData] = field(default_factory=dict, repr=False)
    _timer: asyncio.TimerHandle | None = None

    def wake_after(self, seconds: float, wake: Callable[[], None]) -> None:
        """Have `wake` called, once, instead of any call that was planned before."""
        self.stay_asleep()
        self._timer = asyncio.get_running_loop().call_later(seconds, wake)

    def stay_asleep(self) -> None:
        """Forget the planned call."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
