"""Retention on OpenSearch: all threads share one index, so what is too old is deleted document by document.

The library knows how a thread is stored; here is how long to go on, and where to begin.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from datetime import UTC, datetime, timedelta
from typing import Final

from locus_memory.backends.opensearch_queries import Queries
from locus_memory.backends.opensearch_retention import Retention as Deletion
from locus_memory.backends.opensearch_threads import Threads
from locus_memory.errors import AuthenticationError, BackendUnavailableError, CheckpointError
from locus_operator.api.store import Retention
from locus_operator.backends.opensearch_connect import Cluster
from locus_operator.constants import ConditionReason
from locus_operator.errors import ProvisioningError, RefusedError, UnavailableError
from locus_operator.provisioner import RETENTION_SECONDS

_REMEMBERED: Final = 10_000

_resume: OrderedDict[tuple[tuple[str, ...], str], str] = OrderedDict()
"""Where the next run goes on to count, by hosts and index: the thread that was looked at last. A new process begins
anew, and misses nothing by that."""


async def delete_expired(cluster: Cluster, retention: Retention) -> int:
    """Delete what is too old or too much, for at most `RETENTION_SECONDS`.

    Args:
        cluster: As an administrator who may delete documents of the index.
        retention: The rules.

    Returns:
        How many checkpoints it has deleted.
    """
    deadline = time.monotonic() + RETENTION_SECONDS
    threads = Threads(cluster.client)
    deletion = Deletion(threads, Queries(cluster.client, threads))
    deleted = 0
    try:
        if retention.max_age is not None:
            before = datetime.now(UTC) - timedelta(seconds=retention.max_age.seconds)
            async for count in deletion.expire(before):
                deleted += count
                if time.monotonic() >= deadline:
                    return deleted
        if retention.max_checkpoints_per_thread is not None:
            deleted += await _trim(deletion, cluster, retention.max_checkpoints_per_thread, deadline)
    except CheckpointError as error:
        raise _explained(error, cluster) from error
    return deleted


async def _trim(deletion: Deletion, cluster: Cluster, keep: int, deadline: float) -> int:
    place, deleted = (cluster.connection.hosts, cluster.client.connection.index_name), 0
    async for thread_id, count in deletion.trim(keep, _resume.pop(place, None)):
        deleted += count
        if time.monotonic() >= deadline:
            _resume[place] = thread_id
            if len(_resume) > _REMEMBERED:
                _resume.popitem(last=False)
            break
    return deleted


def _explained(error: CheckpointError, cluster: Cluster) -> ProvisioningError:
    where = f"{cluster.where}: cannot delete expired checkpoints: {error}"
    if isinstance(error, BackendUnavailableError):
        return UnavailableError(where)
    if isinstance(error, AuthenticationError):
        return RefusedError(ConditionReason.MISSING_PRIVILEGES, where)
    return RefusedError(ConditionReason.BACKEND_REFUSED, where)
