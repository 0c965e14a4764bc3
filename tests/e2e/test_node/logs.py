"""The part of a kubelet's HTTPS interface that ``kubectl logs`` needs."""

import asyncio
import ssl
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

from tests.e2e.certificates import CertificateDirectory
from tests.e2e.test_node.container import Container

CHUNK = 65536
POLL_SECONDS = 0.1

FindContainer = Callable[[str, str, str], Container | None]


@asynccontextmanager
async def log_server(address: str, directory: Path, client_ca: str | None, find: FindContainer) -> AsyncIterator[int]:
    """Serve container logs on ``address`` inside the block; yields the port.

    Args:
        directory: for the server's own certificate (an API server does not verify it by default).
        client_ca: the CA whose client certificates may read; None lets everybody on loopback read.
        find: looks a container up by namespace, pod and name.
    """
    pair = CertificateDirectory(directory).issue_server("node", (address,))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=client_ca)
    context.load_cert_chain(pair.certificate, pair.key)
    if client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED

    async def container_logs(request: web.Request) -> web.StreamResponse:
        place = request.match_info
        container = find(place["namespace"], place["pod"], place["container"])
        if container is None:
            raise web.HTTPNotFound(text=f"container {place['container']} in pod {place['pod']} is not here")
        path = container.log_path(previous=request.query.get("previous") == "true")
        if not path.exists():
            raise web.HTTPBadRequest(text=f"container {place['container']} has no such log (yet): {path}")
        return await _stream(request, container, path)

    application = web.Application()
    application.router.add_get("/containerLogs/{namespace}/{pod}/{container}", container_logs)
    runner = web.AppRunner(application, shutdown_timeout=0.5)
    await runner.setup()
    try:
        site = web.TCPSite(runner, address, 0, ssl_context=context)
        await site.start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


async def _stream(request: web.Request, container: Container, path: Path) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/plain"})
    await response.prepare(request)
    with path.open("rb") as log:
        if (tail := request.query.get("tailLines")) is not None:
            await response.write(b"".join(deque(log, maxlen=int(tail))))
        while True:
            # Asked before reading: what is written before the end is still read after it.
            over = container.log_path() != path or "running" not in container.state.state
            while chunk := log.read(CHUNK):
                await response.write(chunk)
            if over or request.query.get("follow") != "true":
                break
            await asyncio.sleep(POLL_SECONDS)
    await response.write_eof()
    return response
