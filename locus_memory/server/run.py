"""Runs the application on uvicorn."""

from __future__ import annotations

import json
import logging
import signal
import socket
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn

from locus_memory.server.connections import protocol
from locus_memory.server.gate import Gate
from locus_memory.server.settings import Limits


class _JsonLines(logging.Formatter):
    """One JSON object a line: access entries as they are, everything else with its level and message."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {"time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"), "level": record.levelname}
        if record.name == "locus_memory.access":
            entry |= json.loads(record.getMessage())
        else:
            entry |= {"logger": record.name, "message": record.getMessage()}
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry)


def uvicorn_config(
    app: Gate,
    limits: Limits,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    certificate: Path | None = None,
    key: Path | None = None,
) -> uvicorn.Config:
    """Configure uvicorn for the application."""
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        loop="asyncio",
        http=protocol(limits),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        # One connection is one request at a time, so this bounds the requests as well.
        limit_concurrency=limits.max_connections,
        timeout_keep_alive=limits.keep_alive,
        timeout_graceful_shutdown=limits.shutdown_timeout,
        ssl_certfile=certificate,
        ssl_keyfile=key,
    )


def run(config: uvicorn.Config) -> None:
    """Serve until SIGTERM or SIGINT: then no connection is accepted any more, and requests under way are finished."""
    _log_to_stderr()
    # uvicorn ends gracefully, and then raises the signal again for whoever was there before: that is this.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)
    uvicorn.Server(config).run()


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(0)


def _log_to_stderr() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    # One line for each request of the client of a store behind another service would be noise.
    logging.getLogger("httpx").setLevel(logging.WARNING)


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach a server on that host."""
    try:
        addresses = {info[4][0] for info in socket.getaddrinfo(host, None)}
    except OSError:
        return False
    return bool(addresses) and all(str(each).startswith("127.") or each == "::1" for each in addresses)
