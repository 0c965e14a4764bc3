"""Buckets, objects and keys in one SQLite file: what was answered survives the death of the process."""

from __future__ import annotations

import json
import sqlite3
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_TABLES = """
CREATE TABLE IF NOT EXISTS buckets (name TEXT PRIMARY KEY, details TEXT NOT NULL, policy TEXT, etag TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS objects (
    bucket TEXT NOT NULL, name TEXT NOT NULL, etag TEXT NOT NULL, size INTEGER NOT NULL, md5 TEXT NOT NULL,
    created REAL NOT NULL, modified REAL NOT NULL, tier TEXT NOT NULL, headers TEXT NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (bucket, name)
);
CREATE TABLE IF NOT EXISTS uploads (id TEXT PRIMARY KEY, bucket TEXT NOT NULL, name TEXT NOT NULL, created REAL);
CREATE TABLE IF NOT EXISTS keys (id TEXT PRIMARY KEY, user TEXT NOT NULL, public_key TEXT NOT NULL, expires REAL);
CREATE TABLE IF NOT EXISTS users (name TEXT PRIMARY KEY, buckets TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS principals (name TEXT PRIMARY KEY, variables TEXT NOT NULL, subjects TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS policies (
    id TEXT PRIMARY KEY, compartment TEXT NOT NULL, name TEXT NOT NULL UNIQUE, details TEXT NOT NULL, etag TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS replications (id TEXT PRIMARY KEY, bucket TEXT NOT NULL, details TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS versions (
    id TEXT PRIMARY KEY, bucket TEXT NOT NULL, name TEXT NOT NULL, superseded REAL NOT NULL, marker INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""

_SELECT = "SELECT name, etag, size, md5, created, modified, tier, headers FROM objects WHERE bucket = ?"


@dataclass(frozen=True)
class StoredObject:
    """An object without its body; times are seconds since the epoch, by the emulator's clock."""

    name: str
    etag: str
    size: int
    md5: str
    created: float
    modified: float
    tier: str
    headers: dict[str, str]


class Storage:
    """All state that outlives the process.

    Args:
        directory: where the file is.
    """

    def __init__(self, directory: Path) -> None:
        self._connection = sqlite3.connect(directory / "objects.sqlite", isolation_level=None)
        # What was handed to the kernel survives the process; the tests crash no machines.
        for pragma in ("journal_mode = WAL", "synchronous = OFF"):
            self._connection.execute(f"PRAGMA {pragma}")
        self._connection.executescript(_TABLES)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Apply all or nothing of what is done inside."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def rows(self, statement: str, *parameters: Any) -> list[Any]:
        """Run a statement and return its rows."""
        return self._connection.execute(statement, parameters).fetchall()

    def changed(self, statement: str, *parameters: Any) -> int:
        """Run a statement and return how many rows it changed."""
        return self._connection.execute(statement, parameters).rowcount

    def setting(self, name: str, default: Any) -> Any:
        """Return a setting."""
        found = self.rows("SELECT value FROM settings WHERE name = ?", name)
        return json.loads(found[0][0]) if found else default

    def set(self, name: str, value: Any) -> None:
        """Keep a setting."""
        self.changed("REPLACE INTO settings VALUES (?, ?)", name, json.dumps(value))

    def now(self) -> float:
        """Seconds since the epoch, as the tests have set them."""
        return time.time() + float(self.setting("clock_ahead_seconds", 0.0))

    def find(self, bucket: str, name: str) -> StoredObject | None:
        """Return an object's description."""
        found = self.rows(f"{_SELECT} AND name = ?", bucket, name)
        return _stored(found[0]) if found else None

    def body(self, bucket: str, name: str) -> bytes:
        """Return the body of an object that is there."""
        [(body,)] = self.rows("SELECT body FROM objects WHERE bucket = ? AND name = ?", bucket, name)
        return bytes(body)

    def put(
        self, bucket: str, name: str, body: bytes, md5: str, headers: dict[str, str], tier: str = "Standard"
    ) -> StoredObject:
        """Write an object in place of one of the same name."""
        now, before = self.now(), self.find(bucket, name)
        self._keep_version(bucket, before)
        created = before.created if before else now
        stored = StoredObject(name, str(uuid.uuid4()), len(body), md5, created, now, tier, headers)
        self.changed(
            "REPLACE INTO objects VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            *(bucket, name, stored.etag, stored.size, md5, created, now, tier, json.dumps(headers), body),
        )
        return stored

    def delete(self, bucket: str, name: str) -> bool:
        """Delete an object; tell whether it was there. With versioning, it becomes a previous version."""
        if self._keep_version(bucket, self.find(bucket, name)):
            marker = (str(uuid.uuid4()), bucket, name, self.now())
            self.changed("INSERT INTO versions VALUES (?, ?, ?, ?, 1)", *marker)
        return self.changed("DELETE FROM objects WHERE bucket = ? AND name = ?", bucket, name) > 0

    def _keep_version(self, bucket: str, before: StoredObject | None) -> bool:
        versioned = self.rows("SELECT details ->> '$.versioning' FROM buckets WHERE name = ?", bucket) == [("Enabled",)]
        if before is not None and versioned:
            self.changed("INSERT INTO versions VALUES (?, ?, ?, ?, 0)", before.etag, bucket, before.name, self.now())
        return before is not None and versioned

    def list(self, bucket: str, start: str, end: str, limit: int) -> list[StoredObject]:
        """Return objects with names from `start` to before `end`, in the order of their UTF-8 bytes."""
        rows = self.rows(f"{_SELECT} AND name >= ? AND name < ? ORDER BY name LIMIT ?", bucket, start, end, limit)
        return [_stored(row) for row in rows]


def _stored(row: tuple[Any, ...]) -> StoredObject:
    name, etag, size, md5, created, modified, tier, headers = row
    return StoredObject(name, etag, size, md5, created, modified, tier, json.loads(headers))
