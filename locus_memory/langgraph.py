"""LangGraph's checkpoint saver on every storage backend.

    from locus_memory.langgraph import saver

    graph = builder.compile(checkpointer=saver("support"))

The value of a channel is a part of its own, named after the channel and its version, so what did not change between
two checkpoints is stored once.
"""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, Unpack, cast

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    get_serializable_checkpoint_metadata,
)
from langgraph.checkpoint.serde.base import SerializerProtocol

from locus_memory.adapter import AdapterOptions, StorageBackendAdapter
from locus_memory.arguments import checked_metadata
from locus_memory.background import BackgroundLoop
from locus_memory.binding import find_binding
from locus_memory.envelope import Kind
from locus_memory.errors import BindingError, InvalidArgumentError, MissingPartsError
from locus_memory.langgraph_store import LangGraphStore, store
from locus_memory.opening import open_checkpointer
from locus_memory.saver import History, naming
from locus_memory.storage import CheckpointSummary, NewCheckpoint, PendingWrite, StoredCheckpoint

__all__ = ["LangGraphSaver", "LangGraphStore", "saver", "store"]

LARGEST_BATCH = 32
"""Checkpoints that `list` reads at once, with all that belongs to them."""
_LONGEST_INLINE = 256
"""Characters of a text that stands in the checkpoint itself rather than in a part."""


def saver(
    store: str | None = None, *, serde: SerializerProtocol | None = None, **options: Unpack[AdapterOptions]
) -> LangGraphSaver:
    """Make the saver of the store that is bound to this process; see `locus_memory.checkpointer`.

    Args:
        store: Name of the `CheckpointStore`, where several are bound.
        serde: LangGraph's serialiser; its own by default.
        options: `retry`, `compression`, `encryption_key`; see `locus_memory.adapter.AdapterOptions`.

    Raises:
        BindingNotFoundError: Nothing was found; the message says what was looked for and where.
        BindingError: A binding was found, but cannot be used.
        MissingDriverError: The driver of the backend is not installed.
    """
    checkpointer = open_checkpointer(find_binding(store), **options)
    if not isinstance(checkpointer, StorageBackendAdapter):
        raise BindingError(f"{checkpointer!r} keeps states of agents only: choose another backend")
    return LangGraphSaver(checkpointer, serde=serde)


class LangGraphSaver(BaseCheckpointSaver[str]):
    """Keeps the checkpoints and pending writes of graphs; has LangGraph's whole interface, sync and async.

    Args:
        checkpointer: Says where it all goes, and with which deadline, compression and encryption:
            `LangGraphSaver(postgresql_checkpointer(...))`.
        serde: LangGraph's serialiser; its own by default.
    """

    def __init__(self, checkpointer: StorageBackendAdapter, *, serde: SerializerProtocol | None = None) -> None:
        super().__init__(serde=serde)
        self._history = History(checkpointer.storage, checkpointer.retry)
        self._envelope = checkpointer.codec.envelope
        self._background = BackgroundLoop()

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        thread_id, namespace, parent_id = _place(config)
        values, versions = checkpoint["channel_values"], checkpoint["channel_versions"]
        inline = {channel: value for channel, value in values.items() if _is_small(value)}
        names = {channel: _part_name(channel, versions.get(channel)) for channel in values if channel not in inline}
        exact = get_serializable_checkpoint_metadata(config, metadata)
        queryable = _queryable(exact)
        body: dict[str, Any] = {
            "checkpoint": {key: value for key, value in checkpoint.items() if key != "channel_values"},
            "values": inline,
            "parts": names,
        }
        if queryable != exact:
            body["metadata"] = exact

        def with_parts(channels: Sequence[str]) -> NewCheckpoint:
            return NewCheckpoint(
                thread_id,
                checkpoint["id"],
                payload,
                queryable,
                namespace,
                parent_id,
                parts={names[channel]: self._seal(values[channel]) for channel in channels},
                part_names=tuple(names.values()),
            )

        payload = self._seal(body)
        try:
            await self._history.put(
                with_parts([channel for channel in names if channel in new_versions or channel not in versions])
            )
        except MissingPartsError:
            # The checkpoint that had the others was deleted meanwhile, or this one continues none.
            await self._history.put(with_parts(list(names)))
        return _config(thread_id, namespace, checkpoint["id"])

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        thread_id, namespace, checkpoint_id = _place(config)
        if checkpoint_id is None:
            raise InvalidArgumentError("config: write configurable.checkpoint_id, which the writes are on top of")
        pending = [
            PendingWrite(task_id, WRITES_IDX_MAP.get(channel, index), channel, self._seal(value), task_path)
            for index, (channel, value) in enumerate(writes)
        ]
        await self._history.put_writes(thread_id, checkpoint_id, pending, namespace)

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        thread_id, namespace, checkpoint_id = _place(config)
        ids = None if checkpoint_id is None else [checkpoint_id]
        found = await self._history.get_complete(thread_id, ids, namespace)
        return await self._tuple(found[0]) if found else None

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002 - LangGraph's name
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        if limit is not None and limit <= 0:
            return
        given = 0
        async for batch in self._batches(config, filter or {}, before):
            place = batch[0]
            ids = [summary.checkpoint_id for summary in batch]
            for stored in await self._history.get_complete(place.thread_id, ids, place.namespace):
                yield await self._tuple(stored)
                given += 1
                if given == limit:
                    return

    async def adelete_thread(self, thread_id: str) -> None:
        await self._history.delete_thread(str(thread_id))

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Delete the checkpoints of runs, with their pending writes; looks through all threads."""
        wanted = set(map(str, run_ids))
        async for thread_id in self._history.threads():
            for namespace in await self._history.namespaces(thread_id):
                found = [each async for each in self._history.newest_first(thread_id, namespace)]
                await self._delete([each for each in found if each.metadata.get("run_id") in wanted])

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        await self._history.copy_thread(str(source_thread_id), str(target_thread_id))

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Delete all checkpoints of threads, or all but the latest of each namespace.

        Graphs with delta channels need the ancestors of their latest checkpoint: do not prune their threads.
        """
        if strategy not in ("keep_latest", "delete"):
            raise InvalidArgumentError(f"strategy: write 'keep_latest' or 'delete', not {strategy!r}")
        for thread_id in map(str, thread_ids):
            if strategy == "delete":
                await self._history.delete_thread(thread_id)
                continue
            for namespace in await self._history.namespaces(thread_id):
                found = [each async for each in self._history.newest_first(thread_id, namespace)]
                await self._delete(found[1:])

    def get_next_version(self, current: str | int | float | None, channel: None) -> str:
        """Return a version that is greater than the current one, and unlike that of a fork from the same one."""
        number = int(str(current).partition(".")[0]) if current is not None else 0
        return f"{number + 1:020}.{random.getrandbits(48):012x}"

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        return self._background.run(self.aget_tuple(config))

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002 - LangGraph's name
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        walk = aiter(self.alist(config, filter=filter, before=before, limit=limit))

        async def step() -> CheckpointTuple | None:
            return await anext(walk, None)

        while (found := self._background.run(step())) is not None:
            yield found

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        return self._background.run(self.aput(config, checkpoint, metadata, new_versions))

    def put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        self._background.run(self.aput_writes(config, writes, task_id, task_path))

    def delete_thread(self, thread_id: str) -> None:
        self._background.run(self.adelete_thread(thread_id))

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        self._background.run(self.adelete_for_runs(run_ids))

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        self._background.run(self.acopy_thread(source_thread_id, target_thread_id))

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        self._background.run(self.aprune(thread_ids, strategy=strategy))

    async def aclose(self) -> None:
        """Release the connections of the running event loop. Idempotent; a later call reopens."""
        await self._history.storage.close()

    def close(self) -> None:
        """Release the connections of the sync methods. Idempotent; a later call reopens."""
        self._background.run(self.aclose())
        self._background.stop()

    async def _batches(
        self, config: RunnableConfig | None, wanted: Mapping[str, Any], before: RunnableConfig | None
    ) -> AsyncIterator[Sequence[CheckpointSummary]]:
        """Group neighbours of one thread and namespace: few round trips for all of them, few for who stops early."""
        batch: list[CheckpointSummary] = []
        size = 1
        async for summary in self._summaries(config, before):
            if not all(summary.metadata.get(key) == value for key, value in wanted.items()):
                continue
            is_elsewhere = bool(batch) and _place_of(batch[0]) != _place_of(summary)
            if is_elsewhere or len(batch) == size:
                yield batch
                batch, size = [], min(2 * size, LARGEST_BATCH)
            batch.append(summary)
        if batch:
            yield batch

    async def _summaries(
        self, config: RunnableConfig | None, before: RunnableConfig | None
    ) -> AsyncIterator[CheckpointSummary]:
        configurable = (config or {}).get("configurable", {})
        before_id = before["configurable"].get("checkpoint_id") if before else None
        thread_id, namespace = configurable.get("thread_id"), configurable.get("checkpoint_ns")
        wanted = configurable.get("checkpoint_id")
        if thread_id is not None and namespace is not None:
            async for summary in self._history.newest_first(str(thread_id), namespace):
                if _matches(summary, wanted, before_id):
                    yield summary
            return
        summaries = [
            summary
            async for each_thread, each_namespace in self._places(thread_id, namespace)
            async for summary in self._history.newest_first(each_thread, each_namespace)
            if _matches(summary, wanted, before_id)
        ]
        # Between threads and namespaces LangGraph's ids, which begin with the time, are all the order there is.
        for summary in sorted(summaries, key=lambda each: each.checkpoint_id, reverse=True):
            yield summary

    async def _places(self, thread_id: object, namespace: str | None) -> AsyncIterator[tuple[str, str]]:
        threads = [str(thread_id)] if thread_id is not None else [each async for each in self._history.threads()]
        for each in threads:
            for found in await self._history.namespaces(each):
                if namespace in (None, found):
                    yield each, found

    async def _delete(self, summaries: Sequence[CheckpointSummary]) -> None:
        for summary in summaries:
            await self._history.delete_checkpoint(summary.thread_id, summary.checkpoint_id, summary.namespace)

    async def _tuple(self, stored: StoredCheckpoint) -> CheckpointTuple:
        summary = stored.summary

        async def opened(payload: bytes) -> Any:
            with naming(summary.thread_id, summary.checkpoint_id):
                return await self._envelope.read(self._open, payload)

        body = await opened(stored.payload)
        parts = {channel: await opened(stored.parts[name]) for channel, name in body["parts"].items()}
        parent_id = summary.parent_id
        return CheckpointTuple(
            config=_config(summary.thread_id, summary.namespace, summary.checkpoint_id),
            checkpoint=cast("Checkpoint", {**body["checkpoint"], "channel_values": {**body["values"], **parts}}),
            metadata=body.get("metadata", summary.metadata),
            parent_config=_config(summary.thread_id, summary.namespace, parent_id) if parent_id else None,
            pending_writes=[(write.task_id, write.channel, await opened(write.payload)) for write in stored.writes],
        )

    def _seal(self, value: Any) -> bytes:
        kind, data = self.serde.dumps_typed(value)
        return self._envelope.seal(Kind.TYPED, kind.encode() + b"\0" + data)

    def _open(self, payload: bytes) -> Any:
        data, _ = self._envelope.open(Kind.TYPED, payload)
        kind, _, value = data.partition(b"\0")
        return self.serde.loads_typed((kind.decode(), value))


def _place(config: RunnableConfig) -> tuple[str, str, str | None]:
    configurable = config.get("configurable", {})
    if "thread_id" not in configurable:
        raise InvalidArgumentError("config: write configurable.thread_id, the conversation that this belongs to")
    checkpoint_id = configurable.get("checkpoint_id")
    return str(configurable["thread_id"]), configurable.get("checkpoint_ns") or "", checkpoint_id or None


def _place_of(summary: CheckpointSummary) -> tuple[str, str]:
    return summary.thread_id, summary.namespace


def _config(thread_id: str, namespace: str, checkpoint_id: str) -> RunnableConfig:
    return {
        "configurable": {"thread_id": thread_id, "checkpoint_ns": namespace, "checkpoint_id": checkpoint_id},
    }


def _part_name(channel: str, version: object) -> str:
    return json.dumps([channel, version], separators=(",", ":"))


def _is_small(value: object) -> bool:
    return (
        value is None
        or isinstance(value, (bool, int, float))
        or (isinstance(value, str) and len(value) <= _LONGEST_INLINE)
    )


def _queryable(metadata: CheckpointMetadata) -> dict[str, Any]:
    """Return what of the metadata JSON can hold, within the bounds of a checkpoint's metadata."""
    try:
        return dict(checked_metadata(cast("dict[str, Any]", metadata)))
    except InvalidArgumentError:
        return {key: value for key, value in metadata.items() if _is_small(value)}


def _matches(summary: CheckpointSummary, wanted: str | None, before: str | None) -> bool:
    return (wanted is None or summary.checkpoint_id == wanted) and (before is None or summary.checkpoint_id < before)
