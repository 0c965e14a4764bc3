"""`locus-operator controller`: waits for its turn, then works."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import uuid
from typing import NoReturn

from kubernetes.aio.client import ApiClient
from kubernetes.aio.config import ConfigException

from locus_operator import logs
from locus_operator.controller.index import StoreIndex
from locus_operator.controller.leadership import Leadership, Timing
from locus_operator.controller.work import Controller
from locus_operator.engine import Progress
from locus_operator.kube import Kubernetes
from locus_operator.settings import Settings, read_settings
from locus_operator.telemetry import ControllerMetrics, serving

EXIT_LOST = 75
"""Exit status of a process that has lost its Lease: EX_TEMPFAIL of sysexits.h, another one may have it."""

_log = logging.getLogger(__name__)


def run(settings: Settings | None = None, *, progress: Progress | None = None) -> None:
    """Run the controller until SIGTERM or SIGINT.

    Args:
        settings: By default those of the environment.
        progress: Called after each action on a backend, with its index in its plan.

    Raises:
        SystemExit: There is no cluster.
    """
    settings = settings or read_settings()
    logs.configure(settings.log_format, settings.log_level)
    try:
        asyncio.run(_run(settings, progress))
    except ConfigException as error:
        raise SystemExit(
            f"error: there is no cluster to work in ({error}): run in a pod with a service account, or set KUBECONFIG"
        ) from None


async def _run(settings: Settings, progress: Progress | None) -> None:
    index = StoreIndex()
    metrics = ControllerMetrics(index.counts)
    controller = Controller(settings, index, metrics, progress)
    address = settings.health_host, settings.health_port
    # Who waits for the Lease is alive and ready: a rollout must not wait for it.
    async with serving(*address, metrics.registry, alive=controller.trouble, ready=lambda: ""):
        if not settings.leader_election:
            metrics.leader.set(1)
            await controller.go_on()
            return
        async with Kubernetes.connect() as kubernetes:
            leadership = _leadership(kubernetes.client, settings)
            metrics.leader.set_function(lambda: leadership.is_held)
            await _lead(leadership, controller)


async def _lead(leadership: Leadership, controller: Controller) -> None:
    if not await _acquired(leadership):
        return
    holding = asyncio.create_task(leadership.hold(), name="lease")
    try:
        await controller.go_on(leadership.check)
    finally:
        holding.cancel()
        await asyncio.wait([holding])
        await leadership.release()


async def _acquired(leadership: Leadership) -> bool:
    """Wait for the Lease; false when the process shall end instead."""
    waiting = asyncio.create_task(leadership.acquire(), name="waiting for the lease")
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, waiting.cancel)
    await asyncio.wait([waiting])
    if waiting.cancelled():
        return False
    waiting.result()
    return True


def _leadership(client: ApiClient, settings: Settings) -> Leadership:
    # In a pod the host's name is the pod's; a restarted container is another process in it.
    identity = f"{socket.gethostname()}_{uuid.uuid4()}"
    timing = Timing.of(settings.lease_seconds)
    return Leadership(client, settings.namespace, settings.lease_name, identity, timing=timing, lost=_end_at_once)


def _end_at_once() -> NoReturn:
    # Nothing may be changed any more, not even in a `finally`.
    logging.shutdown()
    os._exit(EXIT_LOST)
