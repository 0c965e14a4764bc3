"""Stores under test: what the controller keeps between two runs of the engine, without a controller."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from locus_memory.checkpointer import BaseCheckpointer
from locus_memory.connection import Connection, parse_document
from locus_memory.opening import open_checkpointer
from locus_operator import engine
from locus_operator.api import parse_store
from locus_operator.engine import Reconciled, Released, StoreRequest
from locus_operator.names import RoleNames
from locus_operator.provisioner import Action, Owner
from locus_operator.volume_directories import VolumeDirectories
from locus_operator.volumes import VolumeClaims
from tests.servers.postgresql import Database, TLSPostgreSQLServer
from tests.servers.redis import RedisServer, TLSRedisServer

NAMESPACE = "agents"
CA = {"secretKeyRef": {"name": "server-ca"}}


class InterruptedRunError(Exception):
    """Stands for the end of the process between two actions."""


@dataclass
class Store:
    """One store; `changes` of its methods are fields of the spec, or of this class."""

    backend: dict[str, Any]
    sources: dict[str, dict[str, str]]
    name: str = field(default_factory=lambda: f"s{secrets.token_hex(4)}")
    uid: str = "uid-1"
    spec: dict[str, Any] = field(default_factory=dict)
    adopt: bool = False
    allow_destructive: bool = False
    binding: Mapping[str, str] | None = None
    volumes: VolumeClaims | None = None

    @property
    def names(self) -> RoleNames:
        return RoleNames.of(NAMESPACE, self.name)

    def request(self) -> StoreRequest:
        manifest = {
            "apiVersion": "memory.locus.dev/v1alpha1",
            "kind": "CheckpointStore",
            "metadata": {"namespace": NAMESPACE, "name": self.name, "uid": self.uid},
            "spec": {"backend": self.backend, **self.spec},
        }
        spec = engine.effective_spec(parse_store(manifest))
        return StoreRequest(
            owner=Owner("test-cluster", self.uid, NAMESPACE, self.name),
            spec=spec,
            sources={source: self.sources.get(source.name) for source in engine.required_secrets(spec)},
            binding=self.binding,
            adopt=self.adopt,
            allow_destructive=self.allow_destructive,
            volumes=self.volumes,
        )

    async def reconcile(self) -> Reconciled:
        done = await engine.reconcile(self.request())
        self.binding = done.binding.data
        return done

    async def reconcile_until(self, last: int) -> None:
        """Reconcile as a process that ends right after the action of this index."""

        def end(index: int, action: Action) -> None:
            if index == last:
                raise InterruptedRunError(str(action))

        await engine.reconcile(self.request(), progress=end)

    async def release(self, policy: str = "Retain") -> Released:
        self.spec = {**self.spec, "deletionPolicy": policy}
        return await engine.release(replace(self.request(), allow_destructive=True))

    async def release_until(self, last: int, policy: str) -> None:
        """Release as a process that ends right after the action of this index."""
        self.spec = {**self.spec, "deletionPolicy": policy}

        def end(index: int, action: Action) -> None:
            if index == last:
                raise InterruptedRunError(str(action))

        await engine.release(replace(self.request(), allow_destructive=True), progress=end)

    def successor(self) -> Store:
        """A store of the same name that was created after this one was deleted."""
        return Store(self.backend, self.sources, name=self.name, uid="uid-2", volumes=self.volumes)

    def sibling(self) -> Store:
        """Another store on the same server."""
        return Store(self.backend, self.sources, volumes=self.volumes)

    def connection(self) -> Connection:
        assert self.binding is not None
        return parse_document(self.binding["connection.json"])

    def checkpointer(self) -> BaseCheckpointer:
        """What an agent gets from the binding."""
        return open_checkpointer(self, state_type=dict)


def postgresql_backend(database: Database, admin: str, password: str) -> Store:
    """A store on PostgreSQL that this administrator provisions."""
    server = database.server
    backend = {
        "adminSecretRef": {"name": "admin"},
        "host": server.host,
        "port": server.port,
        "database": database.name,
    }
    sources = {"admin": {"username": admin, "password": password}}
    if isinstance(server, TLSPostgreSQLServer):
        backend |= {"sslMode": "verify-full", "ca": CA}
        sources["server-ca"] = {"ca.crt": server.ca_file.read_text()}
    else:
        backend |= {"sslMode": "disable"}
    return Store({"postgresql": backend}, sources)


def connect_as_agent(database: Database, store: Store) -> psycopg.Connection[tuple[object, ...]]:
    """Log in as an agent does."""
    assert store.binding is not None
    login, password = store.binding["username"], store.binding["password"]
    return psycopg.connect(database.dsn(login, password), autocommit=True)


def redis_backend(server: RedisServer) -> Store:
    """A store on Redis or Valkey that the default user provisions."""
    backend: dict[str, Any] = {"adminSecretRef": {"name": "admin"}, "addresses": [f"{server.host}:{server.port}"]}
    sources = {"admin": {"password": server.password}}
    if isinstance(server, TLSRedisServer):
        backend |= {"tls": True, "ca": CA}
        sources["server-ca"] = {"ca.crt": server.ca_file.read_text()}
    return Store({"redis": backend}, sources)


def file_backend(volume_dir: Path) -> Store:
    """A store of files, on directories in place of PersistentVolumeClaims."""
    return Store({"file": {"size": "1Gi"}}, {}, volumes=VolumeDirectories(volume_dir, NAMESPACE))


def drop_roles(database: Database) -> None:
    """Drop the database and all roles of stores and administrators that tests have left in no other."""
    database.drop()
    left = sql.SQL(
        r"""SELECT rolname FROM pg_roles r WHERE (rolname LIKE 'locus\_%' OR rolname LIKE 'admin\_%') AND NOT EXISTS (
            SELECT 1 FROM pg_shdepend d JOIN pg_database b ON b.oid IN (d.dbid, d.objid)
            WHERE d.refobjid = r.oid AND b.datname <> current_database())"""
    )
    for (role,) in database.server.execute(left):
        database.server.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(role)))
        database.server.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))
