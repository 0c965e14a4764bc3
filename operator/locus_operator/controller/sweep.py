"""The drift sweep: looks at every store's backend from time to time, because drift happens behind Kubernetes' back.

One loop for all stores instead of a timer for each: timers would put finalizers on all objects, and meet in herds.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

from locus_operator import logs
from locus_operator.controller.index import IndexedStore, StoreIndex
from locus_operator.kube import StoreIdentity

STORE_SECONDS: Final = 120.0
"""No store takes longer than this."""
_JITTER: Final = 0.1
_OVERDUE: Final = 3

_log = logging.getLogger(__name__)


class Sweep:
    """Calls `look` for each store, a few at a time, in another order each time.

    Args:
        index: The stores.
        look: Reconciles one store; what it raises is logged, and does not stop the sweep.
        interval: Seconds between the end of a sweep and the beginning of the next, a tenth more or less.
        workers: Stores that are looked at at the same time.
        afterwards: Called at the end of each sweep.
    """

    def __init__(
        self,
        index: StoreIndex,
        look: Callable[[StoreIdentity], Awaitable[None]],
        *,
        interval: float,
        workers: int,
        afterwards: tuple[Callable[[], Awaitable[None]], ...] = (),
    ) -> None:
        self._index = index
        self._look = look
        self._interval = interval
        self._workers = workers
        self._afterwards = afterwards
        self._last_sign = time.monotonic()

    def trouble(self) -> str:
        """Say so if the sweep has stopped; empty while it goes on, or waits for its time."""
        silent = time.monotonic() - self._last_sign
        if silent < _OVERDUE * self._interval + STORE_SECONDS:
            return ""
        return f"the drift sweep gives no sign of life for {silent:.0f} seconds"

    async def run(self) -> None:
        """Sweep for ever. The first sweep waits as well: at the start every store is reconciled anyway."""
        while True:
            await asyncio.sleep(self._interval * random.uniform(1 - _JITTER, 1 + _JITTER))  # noqa: S311 - no secret
            await self.once()

    async def once(self) -> None:
        """Look at every store that is not suspended."""
        stores = [each for each in self._index.all() if not each.is_suspended]
        random.shuffle(stores)
        waiting = iter(stores)
        async with asyncio.TaskGroup() as group:
            for _ in range(min(self._workers, len(stores))):
                group.create_task(self._work(waiting))
        for step in self._afterwards:
            await self._guarded(step(), "a step after the sweep")
        self._last_sign = time.monotonic()
        _log.info("swept %d stores", len(stores))

    async def _work(self, waiting: Iterator[IndexedStore]) -> None:
        for store in waiting:
            if store.identity.uid in self._index:
                await self._guarded(self._look(store.identity), str(store.identity))
                self._last_sign = time.monotonic()

    async def _guarded(self, step: Awaitable[None], what: str) -> None:
        try:
            await step
        except Exception as error:  # noqa: BLE001 - one store must not stop the sweep of the others
            _log.error("%s: unexpected %s", what, logs.where_it_happened(error))
