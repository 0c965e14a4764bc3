"""`locus-operator webhook`."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from kubernetes.aio.config import ConfigException

from locus_operator import logs
from locus_operator.kube import Kubernetes
from locus_operator.settings import Settings, read_settings
from locus_operator.telemetry import WebhookMetrics, serving
from locus_operator.webhook.server import NoStores, Stores, missing_files, serve
from locus_operator.webhook.stores import StoreCache


def run(settings: Settings | None = None) -> None:
    """Serve admission reviews until SIGTERM or SIGINT.

    Args:
        settings: By default those of the environment.

    Raises:
        SystemExit: Stores are to be watched, and there is no cluster.
    """
    settings = settings or read_settings()
    logs.configure(settings.log_format, settings.log_level)
    asyncio.run(_run(settings))


async def _run(settings: Settings) -> None:
    stop, listening = asyncio.Event(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    metrics = WebhookMetrics()
    async with _stores(settings) as stores:

        def not_ready() -> str:
            if stop.is_set():
                return "stopping"
            if not listening.is_set():
                return missing_files(settings.webhook_certificate, settings.webhook_key) or "starting"
            return stores.not_ready

        address = settings.health_host, settings.webhook_health_port
        async with serving(*address, metrics.registry, alive=lambda: "", ready=not_ready):
            await serve(
                settings.webhook_host,
                settings.webhook_port,
                settings.webhook_certificate,
                settings.webhook_key,
                stores,
                metrics=metrics,
                listening=listening,
                stop=stop,
                farewell=settings.webhook_farewell_seconds,
            )


@asynccontextmanager
async def _stores(settings: Settings) -> AsyncIterator[Stores]:
    if not settings.webhook_watch:
        yield NoStores()
        return
    async with AsyncExitStack() as stack:
        try:
            kubernetes = await stack.enter_async_context(Kubernetes.connect())
        except ConfigException as error:
            raise SystemExit(
                f"error: there is no cluster to watch stores in ({error}): run in a pod with a service account, set "
                "KUBECONFIG, or set LOCUS_OPERATOR_WEBHOOK_WATCH=false to inject without knowing the stores"
            ) from None
        cache = StoreCache(kubernetes.client, settings.watch_namespaces)
        watching = asyncio.create_task(cache.run(), name="stores")
        stack.push_async_callback(_end, watching)
        yield cache


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])
