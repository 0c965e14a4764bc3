"""What stores have, in the cluster and on their backends: an upgrade must leave each of it as it is."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from locus_memory.connection import PostgreSQLConnection, RedisConnection, parse_document
from tests.e2e.chart.release import AGENTS
from tests.e2e.operator_process import Stores
from tests.servers.postgresql import Database
from tests.servers.redis import RedisServer

Object = dict[str, Any]


@dataclass(frozen=True)
class Possessions:
    """Looks at stores as an administrator of cluster and backends does."""

    stores: Stores
    database: Database
    redis: RedisServer

    def of(self, *names: str) -> dict[str, Object]:
        """All that the stores have, by store."""
        return {name: self._of(name) for name in names}

    def _of(self, name: str) -> Object:
        store = self.stores.get(name)
        binding = self.stores.control_plane.get("secret", store["status"]["binding"]["name"], AGENTS)
        # A transition in between would have left another time.
        ready = self.stores.conditions(name)["Ready"]
        return {
            "uid": store["metadata"]["uid"],
            "Ready": (ready["status"], ready["lastTransitionTime"]),
            "claims": store["status"]["claims"],
            "events": self.stores.events(name),
            "binding": {key: binding["metadata"][key] for key in ("uid", "resourceVersion")},
            # The password is in it.
            "binding's data": _digest(binding["data"]),
            "on the backend": self._on_backend(name, store["status"]["claims"]),
        }

    def _on_backend(self, name: str, claims: Object) -> Any:
        binding = self.stores.binding(name)
        document = parse_document(binding["connection.json"])
        if isinstance(document, PostgreSQLConnection):
            return self._on_postgresql(document.schema_name, binding["username"])
        if isinstance(document, RedisConnection):
            with self.redis.client() as client:
                claim = client.get(f"{document.key_prefix}claim")
                return _digest(client.acl_getuser(binding["username"])), claim
        volume_claim = self.stores.control_plane.get("pvc", claims["volumeClaim"], AGENTS)
        return volume_claim["metadata"]["uid"], volume_claim["spec"]["volumeName"]

    def _on_postgresql(self, schema: str, login: str) -> Any:
        namespace = sql.SQL("SELECT oid, obj_description(oid) FROM pg_namespace WHERE nspname = {}")
        role = sql.SQL("SELECT oid, md5(rolpassword) FROM pg_authid WHERE rolname = {}")
        # The file changes when a table is written anew, the transaction when its definition changes.
        tables = sql.SQL("""
            SELECT relname, oid, relfilenode, xmin::text FROM pg_class
            WHERE relnamespace = {}::regnamespace AND relkind IN ('r', 'i') ORDER BY relname""")
        return {
            "schema": self.database.execute(namespace.format(sql.Literal(schema))),
            "login": self.database.execute(role.format(sql.Literal(login))),
            "tables": self.database.execute(tables.format(sql.Literal(schema))),
        }


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
