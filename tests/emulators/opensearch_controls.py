"""What tests do to the front of OpenSearch: read its log, fail requests, close connections."""

import asyncio
import re
from typing import Any

from aiohttp import web


class Controls:
    """The log, the faults to come, and the connections."""

    def __init__(self) -> None:
        self.log: list[dict[str, Any]] = []
        self.faults: list[dict[str, Any]] = []
        self.connections: set[asyncio.Transport] = set()

    def remember(self, transport: asyncio.Transport) -> None:
        self.connections = {each for each in self.connections if not each.is_closing()} | {transport}

    def write_down(self, request: web.Request, response: web.StreamResponse, sent: int) -> None:
        self.log.append(
            {
                "method": request.method,
                "path": request.path,
                "query": dict(request.query),
                "status": response.status,
                "sent": sent,
                "received": response.content_length or 0,
            }
        )

    def take_fault(self, request: web.Request) -> dict[str, Any] | None:
        for fault in self.faults:
            if re.search(fault["path"], f"{request.method} {request.path}") and fault["times"] > 0:
                fault["times"] -= 1
                return fault
        return None

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/_front/log", self.read_log),
            web.post("/_front/faults", self.add_fault),
            web.delete("/_front/faults", self.clear_faults),
            web.post("/_front/drop_connections", self.drop_connections),
        ]

    async def read_log(self, request: web.Request) -> web.Response:
        log, self.log = self.log, []
        return web.json_response(log)

    async def add_fault(self, request: web.Request) -> web.Response:
        self.faults.append(await request.json())
        return web.json_response({})

    async def clear_faults(self, request: web.Request) -> web.Response:
        self.faults.clear()
        return web.json_response({})

    async def drop_connections(self, request: web.Request) -> web.Response:
        dropped = [each for each in self.connections if each is not request.transport and not each.is_closing()]
        for transport in dropped:
            transport.abort()
        return web.json_response({"dropped": len(dropped)})
