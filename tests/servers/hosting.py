"""The checkpoint server in this process: on a thread, with its own event loop and a real socket."""

import asyncio
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from locus_memory.adapter import StorageBackendAdapter
from locus_memory.server.app import create_app
from locus_memory.server.run import uvicorn_config
from locus_memory.server.settings import Limits
from locus_memory.server.tokens import Tokens
from tests.servers.processes import free_port, wait_for

START_SECONDS = 10
TOKEN = "a-token-for-the-tests"


class Host:
    """Serves many stores on one port, each below a path of its own: starting a server for each test is slow."""

    def __init__(self) -> None:
        self.port = free_port()
        self._apps: dict[str, Any] = {}
        config = uvicorn_config(self, Limits(), port=self.port)  # type: ignore[arg-type]  # any ASGI application
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="checkpoint server", daemon=True)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        _, name, rest = scope["raw_path"].decode().split("/", 2)
        scope["raw_path"] = f"/{rest}".encode()
        await self._apps[name](scope, receive, send)

    async def _lifespan(self, receive: Any, send: Any) -> None:
        for kind in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{kind}.complete"})

    def _run(self) -> None:
        async def serve() -> None:
            self._loop = asyncio.get_running_loop()
            await self._server.serve()

        asyncio.run(serve())

    @contextmanager
    def running(self) -> Iterator["Host"]:
        """Start, and stop at the end."""
        self._thread.start()
        wait_for(lambda: self._server.started, timeout=START_SECONDS, what="the checkpoint server starts")
        try:
            yield self
        finally:
            self._server.should_exit = True
            self._thread.join(START_SECONDS)
            assert not self._thread.is_alive()

    @contextmanager
    def serving(
        self, checkpointer: StorageBackendAdapter, tokens: Tokens | None = None, limits: Limits | None = None
    ) -> Iterator[str]:
        """Serve a store, and return its base URL; the checkpointer is closed at the end."""
        name = secrets.token_hex(4)
        self._apps[name] = create_app(checkpointer, tokens=tokens, limits=limits)
        try:
            yield f"http://127.0.0.1:{self.port}/{name}"
        finally:
            del self._apps[name]
            asyncio.run_coroutine_threadsafe(checkpointer.close(), self._loop).result(START_SECONDS)
