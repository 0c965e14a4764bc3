"""Startup, readiness and liveness probes."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import Protocol

import aiohttp

from tests.e2e.test_node.cluster import Object


class Probed(Protocol):
    """What a probe needs to know of a running container."""

    @property
    def spec(self) -> Object:
        """The container as the pod's spec has it."""

    @property
    def address(self) -> str:
        """The pod's IP address."""

    async def execute(self, command: list[str]) -> bool:
        """Run ``command`` in the container; true if it exits with 0."""


async def watch_probes(
    container: Probed,
    session: aiohttp.ClientSession,
    set_ready: Callable[[bool], None],
    unhealthy: Callable[[str], Awaitable[None]],
) -> None:
    """Probe ``container`` until cancelled.

    Args:
        set_ready: called with the container's readiness whenever it may have changed.
        unhealthy: called with a message when the container must be restarted.
    """
    spec = container.spec
    startup = spec.get("startupProbe")
    if startup and not await _until(container, session, startup, succeeds=True):
        await unhealthy("Startup probe failed")
        return
    async with asyncio.TaskGroup() as group:
        group.create_task(_readiness(container, session, spec.get("readinessProbe"), set_ready))
        if liveness := spec.get("livenessProbe"):
            group.create_task(_liveness(container, session, liveness, unhealthy))


async def _readiness(
    container: Probed,
    session: aiohttp.ClientSession,
    probe: Object | None,
    set_ready: Callable[[bool], None],
) -> None:
    if probe is None:
        set_ready(True)
        return
    await asyncio.sleep(probe.get("initialDelaySeconds", 0))
    # Tests wait for readiness; it is looked for more often than a chart for production asks.
    eager = probe | {"periodSeconds": 1}
    while True:
        await _until(container, session, eager, succeeds=True, for_ever=True)
        set_ready(True)
        await _until(container, session, probe, succeeds=False, for_ever=True)
        set_ready(False)


async def _liveness(
    container: Probed,
    session: aiohttp.ClientSession,
    probe: Object,
    unhealthy: Callable[[str], Awaitable[None]],
) -> None:
    await asyncio.sleep(probe.get("initialDelaySeconds", 0))
    await _until(container, session, probe, succeeds=False, for_ever=True)
    await unhealthy("Liveness probe failed")


async def _until(
    container: Probed,
    session: aiohttp.ClientSession,
    probe: Object,
    *,
    succeeds: bool,
    for_ever: bool = False,
) -> bool:
    """Probe until it has succeeded (or failed) as often in a row as its threshold says.

    Returns whether that happened; without ``for_ever``, the opposite ends it as well.
    """
    thresholds = {True: probe.get("successThreshold", 1), False: probe.get("failureThreshold", 3)}
    last, in_a_row = None, 0
    while True:
        result = await _once(container, session, probe)
        in_a_row = in_a_row + 1 if result == last else 1
        last = result
        if in_a_row >= thresholds[result] and (result == succeeds or not for_ever):
            return result == succeeds
        await asyncio.sleep(probe.get("periodSeconds", 10))


async def _once(container: Probed, session: aiohttp.ClientSession, probe: Object) -> bool:
    try:
        async with asyncio.timeout(probe.get("timeoutSeconds", 1)):
            if "exec" in probe:
                return await container.execute(probe["exec"]["command"])
            if "httpGet" in probe:
                return await _http_get(container, session, probe["httpGet"])
            if "tcpSocket" in probe:
                host = probe["tcpSocket"].get("host") or container.address
                port = _port(container, probe["tcpSocket"]["port"])
                _, writer = await asyncio.open_connection(host, port)
                writer.close()
                return True
    except (OSError, TimeoutError, aiohttp.ClientError, ssl.SSLError):
        return False
    raise ValueError(f"container {container.spec['name']}: the test node knows no such probe: {probe}")


async def _http_get(container: Probed, session: aiohttp.ClientSession, action: Object) -> bool:
    scheme = action.get("scheme", "HTTP").lower()
    host = action.get("host") or container.address
    url = f"{scheme}://{host}:{_port(container, action['port'])}{action.get('path') or '/'}"
    headers = {header["name"]: header["value"] for header in action.get("httpHeaders") or []}
    # A kubelet does not verify certificates of probes either.
    async with session.get(url, headers=headers, ssl=False, allow_redirects=False) as response:
        return 200 <= response.status < 400


def _port(container: Probed, port: int | str) -> int:
    if isinstance(port, int):
        return port
    for entry in container.spec.get("ports") or []:
        if entry.get("name") == port:
            return int(entry["containerPort"])
    return int(port)
