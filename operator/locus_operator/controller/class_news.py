"""Tells the platform team, on the class, what tenants are not told on their stores."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from locus_operator.constants import ConditionReason
from locus_operator.controller import events
from locus_operator.controller.events import Poster
from locus_operator.engine import Failure
from locus_operator.errors import ProvisioningError
from locus_operator.kube import Kubernetes, StoreIdentity

QUIET_SECONDS: Final = 600.0
"""What all stores of a class meet, such as a server that is away, is told once in this time."""

_log = logging.getLogger(__name__)


class ClassNews:
    """Writes Events about classes.

    Args:
        kubernetes: The API server.
        post: Writes an Event about an object.
    """

    def __init__(self, kubernetes: Kubernetes, post: Poster) -> None:
        self._kubernetes = kubernetes
        self._post = post
        self._told: dict[tuple[str, ConditionReason, str], float] = {}

    async def tell(self, class_name: str | None, store: StoreIdentity, failure: Failure) -> None:
        """Tell what a store has met, unless the store's own Events say it all."""
        if class_name is None or failure.detail == failure.message or not self._is_new(class_name, failure):
            return
        try:
            body = await self._kubernetes.store_class(class_name)
        except ProvisioningError as error:
            _log.warning("cannot write an Event about %s: %s", class_name, error)
            return
        if body is not None:
            self._post(body, events.of_class(store, failure))

    def _is_new(self, class_name: str, failure: Failure) -> bool:
        now = asyncio.get_running_loop().time()
        self._told = {news: then for news, then in self._told.items() if now - then < QUIET_SECONDS}
        news = (class_name, failure.reason, failure.detail)
        if news in self._told:
            return False
        self._told[news] = now
        return True
