"""OCI Object Storage: no database to run; retention by lifecycle rules, access by IAM."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, TypeVar, Unpack

from pydantic import JsonValue, ValidationError

from locus_memory.adapter import AdapterOptions, StorageBackendAdapter
from locus_memory.backends.oci_bucket_client import ObjectStore
from locus_memory.backends.oci_bucket_histories import History
from locus_memory.backends.oci_bucket_layout import Layout
from locus_memory.backends.oci_bucket_listing import latest_of_threads, thread_ids, thread_ids_after
from locus_memory.backends.oci_bucket_maintenance import copy, sweep
from locus_memory.backends.oci_bucket_parts import read_parts
from locus_memory.backends.oci_bucket_records import (
    Entry,
    Head,
    decode_header,
    split_payload,
)
from locus_memory.backends.oci_bucket_saving import save
from locus_memory.backends.oci_bucket_threads import Changed, Threads, VanishedError
from locus_memory.backends.oci_bucket_writes import Target, list_writes, put_writes, read_writes, version
from locus_memory.checkpointer import UNCHECKED, CheckpointerCapabilities, Unchecked
from locus_memory.connection import OCIBucketConnection, describe
from locus_memory.diagnosis import Diagnosis
from locus_memory.errors import BindingError, MissingDriverError
from locus_memory.retry import RetryPolicy
from locus_memory.storage import CheckpointSummary, NewCheckpoint, PendingWrite, StorageBackend, StoredCheckpoint

T = TypeVar("T")

AuthType = Literal["api_key", "session_token", "instance_principal", "resource_principal", "workload_identity"]

_LARGE_BYTES: Final = 2**20
"""From here on copying bytes would hold up the event loop."""

_FOREVER: Final = datetime.min.replace(tzinfo=UTC)

_SHARED_FRACTION: Final = 10
"""For this part of the retention, parts that expire with checkpoints are shared; then they are written again."""


class OCIBucketStorage(StorageBackend):
    """Stores checkpoints as objects below a prefix of a bucket.

    Args:
        source: Returns the connection document as it is now; changed credentials are picked up when the old ones
            stop working.
        timeout: Seconds that one request may wait for the network; above 0.
    """

    factory = "oci_bucket_checkpointer"

    def __init__(self, source: Callable[[], OCIBucketConnection], *, timeout: float = RetryPolicy().deadline) -> None:
        # Importing it takes a third of a second: that is done where it blocks nobody.
        if importlib.util.find_spec("oci") is None:
            raise MissingDriverError("oci", "oci")
        self._source = source
        connection = source()
        Layout(connection.prefix)
        self._store = ObjectStore(connection, timeout)
        self._threads = Threads(self._store)

    @property
    def capabilities(self) -> CheckpointerCapabilities:
        return CheckpointerCapabilities(
            vacuum=True,
            branching=True,
            ttl=self._max_age is not None,
            list_threads=True,
            list_with_metadata=True,
            persistent_checkpoint_ids=True,
        )

    async def put(
        self, checkpoint: NewCheckpoint, *, expected_checkpoint_id: str | Unchecked | None = UNCHECKED
    ) -> None:
        await save(self._threads, checkpoint, expected_checkpoint_id, self._history, self._shared_since())

    async def get(
        self, thread_id: str, checkpoint_id: str | None = None, *, namespace: str = ""
    ) -> StoredCheckpoint | None:
        async def search(head: Head) -> StoredCheckpoint | None:
            entry = await self._history(head).find(checkpoint_id, namespace)
            return await self._stored(thread_id, entry) if entry else None

        return await self._threads.look(thread_id, search, None)

    async def get_complete(
        self, thread_id: str, checkpoint_ids: Sequence[str] | None = None, *, namespace: str = ""
    ) -> list[StoredCheckpoint]:
        async def search(head: Head) -> list[StoredCheckpoint]:
            history = self._history(head)
            wanted = [None] if checkpoint_ids is None else checkpoint_ids
            entries = [entry for each in wanted if (entry := await history.find(each, namespace))]
            parts, stored, writes = await asyncio.gather(
                read_parts(self._threads, head, entries),
                asyncio.gather(*(self._stored(thread_id, entry) for entry in entries)),
                asyncio.gather(
                    *(read_writes(self._threads, head, namespace, entry.checkpoint_id) for entry in entries)
                ),
            )
            return [
                replace(one, parts=dict(parts[part] for part in entry.parts), writes=on_it)
                for entry, one, on_it in zip(entries, stored, writes, strict=True)
            ]

        return await self._threads.look(thread_id, search, [])

    async def put_writes(
        self, thread_id: str, checkpoint_id: str, writes: Sequence[PendingWrite], *, namespace: str = ""
    ) -> None:
        if writes:
            await put_writes(self._threads, Target(thread_id, namespace, checkpoint_id), writes)

    async def get_writes(self, thread_id: str, checkpoint_id: str, *, namespace: str = "") -> list[PendingWrite]:
        async def search(head: Head) -> list[PendingWrite]:
            return list(await read_writes(self._threads, head, namespace, checkpoint_id))

        return await self._threads.look(thread_id, search, [])

    async def get_summary(
        self, thread_id: str, checkpoint_id: str | None = None, *, namespace: str = ""
    ) -> CheckpointSummary | None:
        async def search(head: Head) -> CheckpointSummary | None:
            entry = await self._history(head).find(checkpoint_id, namespace)
            return await self._summary(thread_id, entry) if entry else None

        return await self._threads.look(thread_id, search, None)

    async def list_checkpoints(self, thread_id: str, limit: int, *, namespace: str = "") -> list[CheckpointSummary]:
        async def search(head: Head) -> list[CheckpointSummary]:
            entries: list[Entry] = []
            async for entry in self._history(head).newest_first(namespace):
                entries.append(entry)
                if len(entries) == limit:
                    break
            return list(await asyncio.gather(*(self._summary(thread_id, entry) for entry in entries)))

        return await self._threads.look(thread_id, search, [])

    async def delete_checkpoint(self, thread_id: str, checkpoint_id: str, *, namespace: str = "") -> bool:
        async def edit(head: Head | None) -> Changed[bool]:
            if head is None:
                return Changed(None, False)
            history = self._history(head)
            removed = await history.remove(checkpoint_id, namespace)
            await history.drop_parts()
            writes = await list_writes(self._threads, head, namespace, checkpoint_id)
            history.discard(version(name, listed) for name, listed in writes)
            return Changed(history.head, removed)

        return await self._threads.update(thread_id, edit)

    async def delete_thread(self, thread_id: str) -> bool:
        return await self._threads.delete(thread_id)

    async def copy_thread(self, source_thread_id: str, dest_thread_id: str) -> bool:
        async def search(head: Head) -> bool:
            return await copy(self._threads, self._history(head), dest_thread_id)

        return await self._threads.look(source_thread_id, search, False)

    async def list_threads(self, limit: int, pattern: str = "*") -> list[str]:
        return await thread_ids(self._threads, limit, pattern, self._since())

    @property
    def transfers(self) -> bool:
        return True

    async def list_threads_after(self, thread_id: str | None, limit: int) -> list[str]:
        return await thread_ids_after(self._threads, thread_id, limit, self._since())

    async def list_namespaces(self, thread_id: str) -> list[str]:
        async def search(head: Head) -> list[str]:
            entries = self._history(head).newest_first()
            return sorted({entry.namespace async for entry in entries}, key=str.encode)

        return await self._threads.look(thread_id, search, [])

    async def list_latest(self, limit: int) -> list[CheckpointSummary]:
        return await latest_of_threads(self._threads, limit, self._since(), self._latest)

    async def vacuum(self, before: datetime) -> int:
        return await sweep(self._threads, before)

    async def diagnose(self) -> Diagnosis:
        from locus_memory.backends.oci_bucket_diagnosis import diagnose

        return await diagnose(self._store)

    @property
    def connection_version(self) -> int:
        return self._store.version

    async def refresh(self) -> None:
        version = self._store.version
        # The source may be a file on a slow volume.
        await self._store.use(await asyncio.to_thread(self._source))
        if self._store.version != version:
            self._threads.forget()

    async def close(self) -> None:
        await self._threads.close()
        await self._store.close()

    def __repr__(self) -> str:
        connection = self._store.connection
        return f"OCIBucketStorage({connection.bucket!r} in {connection.namespace!r}, {connection.prefix!r})"

    @property
    def _max_age(self) -> timedelta | None:
        retention = self._store.connection.retention
        seconds = retention.max_age_seconds if retention else None
        return None if seconds is None else timedelta(seconds=seconds)

    def _since(self) -> datetime:
        """What is older has expired: a lifecycle rule deletes it, now or soon."""
        age = self._max_age
        return _FOREVER if age is None else datetime.now(UTC) - age

    def _part_age(self) -> timedelta | None:
        seconds = self._store.connection.part_age_seconds
        return self._max_age if seconds is None else timedelta(seconds=seconds)

    def _shared_since(self) -> datetime:
        """What was stored earlier may be gone before a checkpoint of now expires, or leaves too little of its time."""
        age, part_age = self._max_age, self._part_age()
        if age is None or part_age is None:
            return _FOREVER
        return datetime.now(UTC) - (part_age - age if part_age > age else age / _SHARED_FRACTION)

    def _history(self, head: Head) -> History:
        age = self._part_age()
        parts_since = None if age is None else datetime.now(UTC) - age
        return History(self._threads, head, self._since(), parts_since)

    async def _stored(self, thread_id: str, entry: Entry) -> StoredCheckpoint:
        body = await self._read(thread_id, entry)
        if len(body) > _LARGE_BYTES:
            payload = await asyncio.to_thread(split_payload, body, entry, thread_id)
        else:
            payload = split_payload(body, entry, thread_id)
        return StoredCheckpoint(entry.summary(thread_id, decode_header(body, entry, thread_id)), payload)

    async def _read(self, thread_id: str, entry: Entry, first_bytes: int | None = None) -> bytes:
        name = self._threads.layout.data_of(thread_id) + entry.name
        found = await self._store.get(name, first_bytes)
        if found is None:
            raise VanishedError(name)
        return found.body

    async def _summary(self, thread_id: str, entry: Entry) -> CheckpointSummary:
        metadata: dict[str, JsonValue] | None = entry.metadata
        if metadata is None:
            metadata = decode_header(await self._read(thread_id, entry, entry.header_bytes), entry, thread_id)
        return entry.summary(thread_id, metadata)

    async def _latest(self, thread_id: str) -> CheckpointSummary | None:
        return await self.get_summary(thread_id)


class OCIBucketBackend(StorageBackendAdapter):
    """A checkpointer in a bucket of OCI Object Storage.

    Args:
        bucket_name: The bucket.
        namespace: Object Storage namespace of the tenancy.
        compartment_id: Create the bucket there if it is missing, unless `tables` is `provisioned`.
        prefix: What the names of all objects start with, such as `prod/`; at most 256 bytes.
        region: Region identifier; by default that of the configuration file or of the principal.
        auth_type: How requests are signed.
        config_file: Configuration of the OCI SDK; `~/.oci/config` by default.
        profile_name: Its profile; `DEFAULT` by default.
        tenancy, user, fingerprint, private_key: An API key, instead of the file; the key is PEM text.
        service_endpoint: Instead of the region's endpoint, such as a private one.
        retention_days: Age at which a lifecycle rule of the bucket deletes objects below the prefix: older
            checkpoints count as gone from then on, whether or not the rule has run already.
        pool_max_size: Requests at once; at least 1.
        tables: `provisioned` when the bucket is there and must not be created.
        options: `state_type`, `retry`, `compression`, `encryption_key`; see `locus_memory.adapter.AdapterOptions`.

    Raises:
        MissingDriverError: The OCI SDK is not installed.
        BindingError: An argument makes no sense.
    """

    def __init__(
        self,
        bucket_name: str,
        namespace: str,
        compartment_id: str | None = None,
        prefix: str = "",
        region: str | None = None,
        auth_type: AuthType = "api_key",
        config_file: str | None = None,
        profile_name: str | None = None,
        *,
        tenancy: str | None = None,
        user: str | None = None,
        fingerprint: str | None = None,
        private_key: str | None = None,
        service_endpoint: str | None = None,
        retention_days: int | None = None,
        pool_max_size: int = 16,
        tables: Literal["auto", "provisioned"] = "auto",
        **options: Unpack[AdapterOptions],
    ) -> None:
        fields: dict[str, Any] = {
            "bucket": bucket_name,
            "namespace": namespace,
            "compartment_id": compartment_id,
            "prefix": prefix,
            "region": region,
            "auth": auth_type,
            "config_file": config_file,
            "profile_name": profile_name,
            "tenancy": tenancy,
            "user": user,
            "fingerprint": fingerprint,
            "private_key": private_key,
            "service_endpoint": service_endpoint,
            "retention": None if retention_days is None else {"max_age_seconds": retention_days * 86_400},
            "pool_max_size": pool_max_size,
            "tables": tables,
        }
        try:
            connection = OCIBucketConnection.model_validate(fields)
        except ValidationError as error:
            raise BindingError(f"oci_bucket_checkpointer: {describe(error)}") from None
        super().__init__(_storage(lambda: connection, options), **options)


oci_bucket_checkpointer = OCIBucketBackend
"""The class, by a name like those of the other factories."""


def from_connection(
    source: Callable[[], OCIBucketConnection], **options: Unpack[AdapterOptions]
) -> StorageBackendAdapter:
    """Make a checkpointer from a binding; `source` returns its document as it is now."""
    return StorageBackendAdapter(_storage(source, options), **options)


def _storage(source: Callable[[], OCIBucketConnection], options: AdapterOptions) -> OCIBucketStorage:
    retry = options.get("retry") or RetryPolicy()
    return OCIBucketStorage(source, timeout=retry.deadline)
