"""`locus-operator controller`."""

from __future__ import annotations

import asyncio
import logging

import kopf

from locus_operator import logs
from locus_operator.connections import Connections
from locus_operator.controller import classes, pods, stores
from locus_operator.controller.class_reconciler import ClassReconciler
from locus_operator.controller.index import StoreIndex
from locus_operator.controller.pods import UninjectedPods
from locus_operator.controller.posting import EventPoster
from locus_operator.controller.reconciler import Reconciler
from locus_operator.controller.startup import kopf_settings
from locus_operator.controller.sweep import Sweep
from locus_operator.engine import Progress
from locus_operator.kube import Kubernetes
from locus_operator.kube_pods import KubernetesPods
from locus_operator.settings import Settings

_log = logging.getLogger(__name__)


def run(settings: Settings | None = None, *, progress: Progress | None = None) -> None:
    """Run the controller until SIGTERM or SIGINT.

    Args:
        settings: By default those of the environment.
        progress: Called after each action on a backend, with its index in its plan.
    """
    settings = settings or Settings()
    logs.configure(settings.log_format, settings.log_level)
    asyncio.run(_run(settings, progress))


async def _run(settings: Settings, progress: Progress | None) -> None:
    async with Kubernetes.connect() as kubernetes:
        cluster = await kubernetes.cluster_id()
        post = EventPoster(kubernetes.client)
        connections = Connections(limit=settings.connections_per_endpoint)
        reconciler = Reconciler(kubernetes, settings, cluster, post, connections, progress=progress)
        index, registry = StoreIndex(), kopf.OperatorRegistry()
        class_reconciler = ClassReconciler(kubernetes, settings, index, post, reconciler.reconcile_soon)
        index.on_bound(class_reconciler.recount)
        if not settings.watch_namespaces:
            # Or the first looks at the classes would count the stores that the watch has shown so far.
            for body in await kubernetes.stores():
                index.remember(body)
        kopf.on.login(registry=registry)(kopf.login_via_client)
        stores.register(registry, reconciler, index)
        classes.register(registry, class_reconciler)
        uninjected = UninjectedPods(KubernetesPods(kubernetes.client, settings.watch_namespaces))
        pods.register(registry, uninjected)
        sweep = Sweep(
            index,
            reconciler.sweep,
            interval=settings.drift_interval_seconds,
            workers=settings.drift_workers,
            afterwards=(connections.close_idle, class_reconciler.sweep, uninjected.report_uninjected),
        )
        _log.info("controller is starting for %s", ", ".join(settings.watch_namespaces) or "all namespaces")
        sweeping = asyncio.create_task(sweep.run(), name="drift sweep")
        try:
            await kopf.operator(
                registry=registry,
                settings=kopf_settings(settings),
                clusterwide=not settings.watch_namespaces,
                namespaces=settings.watch_namespaces,
                standalone=True,
                liveness_endpoint=f"http://0.0.0.0:{settings.health_port}/healthz",
            )
        finally:
            sweeping.cancel()
            await asyncio.wait([sweeping])
            await connections.close()
            await post.finish()
