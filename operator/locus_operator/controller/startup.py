"""How kopf is told to behave."""

from __future__ import annotations

from typing import Final

import kopf

from locus_operator.constants import FINALIZER, KOPF_PREFIX, LABEL_STORE
from locus_operator.settings import Settings

_WATCH_SECONDS: Final = 300  # whole: it goes into the query as it is
_CONNECT_SECONDS: Final = 10.0
_REQUEST_SECONDS: Final = 30.0


def kopf_settings(settings: Settings) -> kopf.OperatorSettings:
    """Return kopf's settings.

    No `queueing.worker_limit`: kopf's workers sleep between the tries of a blocked deletion, and a few of those would
    keep all other stores waiting. `Settings.workers` bounds the work itself.
    """
    configured = kopf.OperatorSettings()
    configured.persistence.finalizer = FINALIZER
    configured.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=KOPF_PREFIX, v1=False)
    configured.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix=KOPF_PREFIX, v1=False)
    # We write Events ourselves: log lines of kopf mean nothing to users.
    configured.posting.enabled = False
    # A watch that ends on the server's side is reopened; one that hangs must not last for ever.
    configured.watching.server_timeout = _WATCH_SECONDS
    configured.watching.connect_timeout = _CONNECT_SECONDS
    # Of all the pods of the cluster, the API server sends those that ask for a store.
    configured.watching.label_selectors["v1", "pods"] = LABEL_STORE
    configured.networking.request_timeout = _REQUEST_SECONDS
    configured.networking.connect_timeout = _CONNECT_SECONDS
    configured.execution.default_backoff = settings.refused_retry_seconds
    # Watching CRDs and namespaces would need permissions that nothing else needs.
    configured.scanning.disabled = True
    return configured
