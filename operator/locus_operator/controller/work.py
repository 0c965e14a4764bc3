"""All that the controller does while it is the one that works."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, cast

import kopf

from locus_operator.connections import Connections
from locus_operator.constants import MANAGER
from locus_operator.controller import classes, pods, stores
from locus_operator.controller.certificates import webhook_certificate
from locus_operator.controller.class_reconciler import ClassReconciler
from locus_operator.controller.index import StoreIndex
from locus_operator.controller.pods import UninjectedPods
from locus_operator.controller.posting import EventPoster
from locus_operator.controller.reconciler import Reconciler
from locus_operator.controller.startup import kopf_settings
from locus_operator.controller.sweep import Sweep
from locus_operator.engine import Progress
from locus_operator.kube import Kubernetes
from locus_operator.kube_certificates import KubernetesCertificates
from locus_operator.kube_pods import KubernetesPods
from locus_operator.settings import Settings
from locus_operator.telemetry import ControllerMetrics

_log = logging.getLogger(__name__)


class Controller:
    """Watches, reconciles and sweeps.

    Args:
        settings: Settings of the process.
        index: Where the stores are kept that the watch shows.
        metrics: What is counted.
        progress: Called after each action on a backend, with its index in its plan.
    """

    def __init__(
        self, settings: Settings, index: StoreIndex, metrics: ControllerMetrics, progress: Progress | None
    ) -> None:
        self._settings = settings
        self._index = index
        self._metrics = metrics
        self._progress = progress
        self._sweep: Sweep | None = None

    def trouble(self) -> str:
        """Say what only a restart helps against; empty when all is well, or work has not begun."""
        return self._sweep.trouble() if self._sweep is not None else ""

    async def go_on(self, may_change: Callable[[], None] | None = None) -> None:
        """Work until SIGTERM or SIGINT.

        Args:
            may_change: Called before each change, in the cluster and on backends; it ends the process where there
                must be none.
        """
        settings = self._settings
        async with Kubernetes.connect(may_change) as kubernetes:
            post = EventPoster(kubernetes.client)
            connections = Connections(limit=settings.connections_per_endpoint)
            registry = kopf.OperatorRegistry()
            kopf.on.login(registry=registry)(kopf.login_via_client)
            self._sweep = await self._assemble(kubernetes, registry, connections, post)
            _log.info("controller is starting for %s", ", ".join(settings.watch_namespaces) or "all namespaces")
            tasks = [
                asyncio.create_task(self._sweep.run(), name="drift sweep"),
                *self._keep_certificate(kubernetes),
            ]
            try:
                await kopf.operator(
                    registry=registry,
                    settings=kopf_settings(settings),
                    clusterwide=not settings.watch_namespaces,
                    namespaces=settings.watch_namespaces,
                    standalone=True,
                    # Or kopf asks who the user is, and the one of a container has no name.
                    identity=cast("Any", MANAGER),
                )
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)
                await connections.close()
                await post.finish()

    def _keep_certificate(self, kubernetes: Kubernetes) -> list[asyncio.Task[None]]:
        settings = self._settings
        if not settings.webhook_certificate_secret:
            return []
        cluster = KubernetesCertificates(
            kubernetes.client,
            settings.namespace,
            settings.webhook_certificate_secret,
            settings.webhook_configuration,
        )
        certificate = webhook_certificate(cluster, settings, self._metrics.certificate_expiry.set)
        return [asyncio.create_task(certificate.run(), name="webhook certificate")]

    async def _assemble(
        self, kubernetes: Kubernetes, registry: kopf.OperatorRegistry, connections: Connections, post: EventPoster
    ) -> Sweep:
        """Register the handlers of all kinds, and return the sweep over what they see."""
        settings, index, metrics = self._settings, self._index, self._metrics
        cluster = await kubernetes.cluster_id()
        reconciler = Reconciler(kubernetes, settings, cluster, post, connections, metrics, progress=self._progress)
        class_reconciler = ClassReconciler(kubernetes, settings, index, post, reconciler.reconcile_soon)
        index.on_bound(class_reconciler.recount)
        if not settings.watch_namespaces:
            # Or the first looks at the classes would count the stores that the watch has shown so far.
            for body in await kubernetes.stores():
                index.remember(body)
        uninjected = UninjectedPods(KubernetesPods(kubernetes.client, settings.watch_namespaces))
        metrics.uninjected.set_function(lambda: uninjected.count)
        stores.register(registry, reconciler, index)
        classes.register(registry, class_reconciler)
        pods.register(registry, uninjected)

        async def note_the_end() -> None:
            metrics.swept()

        return Sweep(
            index,
            reconciler.sweep,
            interval=settings.drift_interval_seconds,
            workers=settings.drift_workers,
            afterwards=(
                connections.close_idle,
                class_reconciler.sweep,
                uninjected.report_uninjected,
                note_the_end,
            ),
        )
