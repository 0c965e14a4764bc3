"""What lifecycle rules cannot do: ages that are no whole days, and so many checkpoints of a thread."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from locus_memory.backends.oci_bucket_client import ObjectStore
from locus_memory.backends.oci_bucket_listing import thread_ids_after
from locus_memory.backends.oci_bucket_maintenance import Limits, expire
from locus_memory.backends.oci_bucket_threads import Threads
from locus_memory.connection import OCIBucketConnection
from locus_memory.errors import AuthenticationError, BackendUnavailableError, CheckpointError
from locus_operator.api.store import Retention
from locus_operator.backends.oci_bucket_client import AT_ONCE, TIMEOUT_SECONDS
from locus_operator.backends.oci_bucket_rules import is_exact
from locus_operator.provisioner import RETENTION_SECONDS

_FOREVER: Final = datetime.min.replace(tzinfo=UTC)
_RESERVE_SECONDS: Final = 5.0
"""A batch that has begun comes to its end."""

_BATCH: Final = 4 * AT_ONCE
_SHOWN: Final = 3


@dataclass(slots=True)
class Swept:
    """What a run has done.

    Attributes:
        deleted: Checkpoints.
        next: The thread behind which the next run goes on; None for the beginning.
        damaged: Threads that could not be swept, each with why; the first ones.
    """

    deleted: int = 0
    next: str | None = None
    damaged: list[str] = field(default_factory=list)


def is_needed(retention: Retention) -> bool:
    """Tell whether rules alone cannot keep to a retention."""
    return retention.max_checkpoints_per_thread is not None or not is_exact(retention)


def limits_now(retention: Retention, now: datetime) -> Limits:
    """Return what threads may keep; what is exactly as old as `maxAge` stays."""
    before = _FOREVER
    if retention.max_age is not None and not is_exact(retention):
        before = now - timedelta(seconds=retention.max_age.seconds)
    return Limits(before, retention.max_checkpoints_per_thread)


async def sweep(document: OCIBucketConnection, retention: Retention, start: str | None) -> Swept:
    """Delete what threads may not keep, thread by thread from one on, for as long as a run may take.

    Args:
        document: The store's place with the operator's login.
        retention: Of the spec.
        start: The thread behind which to begin; None for the first.

    Raises:
        BackendUnavailableError: OCI does not answer.
        AuthenticationError: The operator may not read or delete objects.
    """
    limits, end = limits_now(retention, datetime.now(UTC)), time.monotonic() + RETENTION_SECONDS - _RESERVE_SECONDS
    store = ObjectStore(document.model_copy(update={"pool_max_size": AT_ONCE}), TIMEOUT_SECONDS)
    threads, swept = Threads(store), Swept(next=start)
    try:
        while time.monotonic() < end:
            batch = await thread_ids_after(threads, swept.next, _BATCH, _FOREVER)
            await asyncio.gather(*(_expire(threads, thread_id, limits, swept) for thread_id in batch))
            swept.next = batch[-1] if len(batch) == _BATCH else None
            if swept.next is None:
                break
    finally:
        await threads.close()
        await store.close()
    return swept


async def _expire(threads: Threads, thread_id: str, limits: Limits, swept: Swept) -> None:
    try:
        deleted = await expire(threads, thread_id, limits)
    except (BackendUnavailableError, AuthenticationError):
        raise
    except CheckpointError as error:
        # One damaged thread must not keep the others for ever.
        if len(swept.damaged) < _SHOWN:
            swept.damaged.append(str(error))
    else:
        swept.deleted += deleted
