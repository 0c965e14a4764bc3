"""Backends that stores of the tests ask for, and what is left on them."""

import secrets
from dataclasses import dataclass, field
from typing import Any

from psycopg import sql

from locus_memory.connection import Connection, parse_document
from locus_memory.opening import open_checkpointer
from tests.servers.postgresql import Database
from tests.servers.redis import RedisServer

ADMIN = {"adminSecretRef": {"name": "admin"}}
WINDOW = 4.0
"""Seconds over which is watched that something does not happen."""

Spec = dict[str, Any]


@dataclass(frozen=True)
class Admin:
    """A provisioning login on the tests' own database."""

    database: Database
    name: str = field(default_factory=lambda: f"admin_{secrets.token_hex(4)}")
    password: str = field(default_factory=lambda: secrets.token_urlsafe(12))

    def spec(self, **member: Any) -> Spec:
        """Spec of a store on this database."""
        server = self.database.server
        place = {"host": server.host, "port": server.port, "database": self.database.name, "sslMode": "disable"}
        return {"backend": {"postgresql": {**ADMIN, **place, **member}}}

    def objects(self, namespace: str) -> set[str]:
        """Roles and schemas of the stores of a namespace."""
        query = sql.SQL("SELECT rolname FROM pg_roles UNION SELECT nspname FROM pg_namespace")
        return {name for (name,) in self.database.execute(query) if namespace.replace("-", "_") in name}


def redis_spec(server: RedisServer) -> Spec:
    """Spec of a store on this server."""
    return {"backend": {"redis": {**ADMIN, "addresses": [f"{server.host}:{server.port}"]}}}


@dataclass(frozen=True)
class _Bound:
    data: dict[str, str]
    name: str = "bound"

    def connection(self) -> Connection:
        return parse_document(self.data["connection.json"])


async def assert_usable(binding: dict[str, str]) -> None:
    """Save and load with what the binding holds, as an agent does."""
    async with open_checkpointer(_Bound(binding), state_type=dict) as checkpointer:
        await checkpointer.save({"topic": "roses"}, "thread")
        assert await checkpointer.load("thread") == {"topic": "roses"}
