"""What the operator's processes tell Prometheus, and where: `/metrics`, `/healthz` and `/readyz` over plain HTTP."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

_RECONCILE_SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 90)
_ADMISSION_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5)
_ADMISSION_OUTCOMES: Final = ("injected", "unchanged", "warned", "fault")
_CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

Check = Callable[[], str]
"""Returns what is wrong; empty when all is well."""
StoreCounts = Callable[[], Mapping[tuple[str, str], int]]
"""Counts stores by backend and by the reason of their condition `Ready`."""
Validity = Callable[[], tuple[float, float]]
"""Returns from when to when a certificate is valid, as POSIX times."""


class ControllerMetrics:
    """Metrics of the controller. Of several replicas the one that leads has the figures.

    Args:
        stores: Counts the stores, when somebody asks.
    """

    def __init__(self, stores: StoreCounts) -> None:
        self.registry = CollectorRegistry()
        self._reconciles = Counter(
            "locus_operator_reconciles",
            "Reconciles of stores, by backend and outcome: Ready, or the reason of the failure.",
            ("backend", "outcome"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "locus_operator_reconcile_seconds",
            "Durations of reconciles, waiting for a connection included.",
            ("backend",),
            registry=self.registry,
            buckets=_RECONCILE_SECONDS,
        )
        self._corrections = Counter(
            "locus_operator_drift_corrections",
            "Objects on backends that had been changed behind Kubernetes' back and were corrected.",
            ("backend",),
            registry=self.registry,
        )
        self._expired = Counter(
            "locus_operator_retention_deleted_checkpoints",
            "Checkpoints that the sweep has deleted for retention.",
            ("backend",),
            registry=self.registry,
        )
        self._swept = Gauge(
            "locus_operator_last_sweep_timestamp_seconds",
            "When the last sweep over all stores ended; 0 before the first.",
            registry=self.registry,
        )
        self.uninjected = Gauge(
            "locus_operator_uninjected_pods", "Pods that lack a store that they should have.", registry=self.registry
        )
        self.leader = Gauge("locus_operator_leader", "1 for the replica that works.", registry=self.registry)
        self.certificate_expiry = Gauge(
            "locus_operator_webhook_certificate_expiry_timestamp_seconds",
            "When the webhook's certificate ends, as the controller has made it; 0 where it makes none.",
            registry=self.registry,
        )
        self.registry.register(_Stores(stores))

    def reconciled(self, backend: str, outcome: str, seconds: float) -> None:
        """Count a reconcile."""
        self._reconciles.labels(backend, outcome).inc()
        self._seconds.labels(backend).observe(seconds)

    def corrected(self, backend: str, objects: int) -> None:
        """Count corrections of drift."""
        self._corrections.labels(backend).inc(objects)

    def expired(self, backend: str, checkpoints: int) -> None:
        """Count what retention has deleted."""
        self._expired.labels(backend).inc(checkpoints)

    def swept(self) -> None:
        """Put down that a sweep has ended."""
        self._swept.set(time.time())


class WebhookMetrics:
    """Metrics of the webhook."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._admissions = Counter(
            "locus_operator_admissions",
            "Pods that were reviewed, by outcome: injected, unchanged, warned (some of it was left alone) or fault.",
            ("outcome",),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "locus_operator_admission_seconds",
            "Time that a review takes within the webhook.",
            registry=self.registry,
            buckets=_ADMISSION_SECONDS,
        )
        self._begin = Gauge(
            "locus_operator_webhook_served_certificate_start_timestamp_seconds",
            "When the certificate begins that this replica serves with; 0 before it has one.",
            registry=self.registry,
        )
        self._end = Gauge(
            "locus_operator_webhook_served_certificate_expiry_timestamp_seconds",
            "When the certificate ends that this replica serves with, whoever has made it; 0 before it has one.",
            registry=self.registry,
        )
        # Prometheus sees an increase only from a figure that was there before: the first fault would be none.
        for outcome in _ADMISSION_OUTCOMES:
            self._admissions.labels(outcome)

    def serves(self, validity: Validity) -> None:
        """Tell from now on when the certificate begins and ends.

        Args:
            validity: Of what the next handshake uses; asked whenever somebody looks.
        """
        self._begin.set_function(lambda: validity()[0])
        self._end.set_function(lambda: validity()[1])

    def reviewed(self, outcome: str, seconds: float) -> None:
        """Count a review."""
        self._admissions.labels(outcome).inc()
        self._seconds.observe(seconds)


class _Stores(Collector):
    def __init__(self, count: StoreCounts) -> None:
        self._count = count

    def collect(self) -> Iterable[GaugeMetricFamily]:
        family = GaugeMetricFamily(
            "locus_operator_stores",
            "Stores by backend and by the reason of their condition Ready.",
            labels=("backend", "reason"),
        )
        for (backend, reason), count in self._count().items():
            family.add_metric((backend, reason), count)
        yield family


@asynccontextmanager
async def serving(
    host: str, port: int, registry: CollectorRegistry, *, alive: Check, ready: Check
) -> AsyncIterator[None]:
    """Serve metrics and probes while the block runs.

    Args:
        host: Address to listen on.
        port: Port to listen on.
        registry: The metrics.
        alive: For `/healthz`: what only a restart helps against.
        ready: For `/readyz`.

    Raises:
        OSError: The port is taken.
    """

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": _CONTENT_TYPE})

    app = web.Application()
    app.add_routes(
        [web.get("/metrics", metrics), web.get("/healthz", _probe(alive)), web.get("/readyz", _probe(ready))]
    )
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield
    finally:
        await runner.cleanup()


def _probe(check: Check) -> Handler:
    async def answer(_: web.Request) -> web.Response:
        if trouble := check():
            raise web.HTTPServiceUnavailable(text=trouble)
        return web.Response(text="ok")

    return answer
