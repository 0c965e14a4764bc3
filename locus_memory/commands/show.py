"""`show`: what a thread holds, readable by a person."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Annotated

import typer
from pydantic import JsonValue

from locus_memory.adapter import StorageBackendAdapter
from locus_memory.commands import options
from locus_memory.commands.conversation import Turn, conversation
from locus_memory.commands.documents import DescribedCheckpoint, HistoryDocument, ShowDocument
from locus_memory.commands.exit_codes import ExitCode
from locus_memory.commands.output import Output, counted, shown_bytes, shown_time
from locus_memory.commands.running import Calls, Failure, run_on_store
from locus_memory.commands.threads import not_found
from locus_memory.commands.transfer_readers import complete
from locus_memory.envelope import is_encrypted
from locus_memory.errors import CorruptCheckpointError
from locus_memory.storage import CheckpointSummary, StoredCheckpoint


def show_command(
    thread: options.Thread,
    checkpoint: Annotated[
        str | None, typer.Argument(help="Which checkpoint; by default the latest.", show_default=False)
    ] = None,
    history: Annotated[bool, typer.Option("--history", help="List the checkpoints instead.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="With --history: at most this many, newest first.")] = 20,
    raw: Annotated[bool, typer.Option("--raw", help="Print the state as JSON, and nothing else.")] = False,
    namespace: options.Namespace = "",
    store: options.Store = None,
    url: options.Url = None,
    timeout: options.Timeout = 10,
    as_json: options.Json = False,
) -> None:
    """Show a checkpoint: the conversation where it is one, else its JSON; or the history of the thread.

    Encrypted states are decrypted with the keys of the binding.
    """

    async def work(output: Output, checkpointer: StorageBackendAdapter) -> None:
        calls = Calls.on(checkpointer, timeout)
        if history:
            await _show_history(output, calls, thread, namespace, limit)
            return
        stored = await calls(
            f"load of thread {thread!r}", lambda storage: storage.get(thread, checkpoint, namespace=namespace)
        )
        if stored is None:
            raise not_found(thread, checkpoint)
        state = _decoded(checkpointer, stored)
        if raw:
            sys.stdout.write(json.dumps(state, ensure_ascii=True) + "\n")
        elif output.as_json:
            output.document(ShowDocument(checkpoint=_described(stored), state=state))
        else:
            _show_checkpoint(output, stored, state)

    if history and (raw or checkpoint is not None):
        raise typer.BadParameter("lists all checkpoints: leave out --raw and CHECKPOINT", param_hint="--history")
    run_on_store(work, store=store, url=url, timeout=timeout, as_json=as_json)


async def _show_history(output: Output, calls: Calls, thread: str, namespace: str, limit: int) -> None:
    description = f"listing of thread {thread!r}"
    summaries: list[CheckpointSummary] = await calls(
        description, lambda storage: storage.list_checkpoints(thread, limit + 1, namespace=namespace)
    )
    if not summaries:
        raise not_found(thread)
    more, summaries = len(summaries) > limit, summaries[:limit]
    rows: list[DescribedCheckpoint] = []
    for summary in summaries:
        # One at a time: only the sizes are kept.
        rows += [_described(stored) for stored in await _one(calls, summary)]
    if output.as_json:
        output.document(HistoryDocument(thread_id=thread, namespace=namespace, checkpoints=rows, more=more))
        return
    output.table(
        ("checkpoint", "saved (UTC)", "size", "parent", "writes", "metadata"),
        [
            (
                row.checkpoint_id,
                shown_time(row.created_at),
                shown_bytes(row.payload_bytes + row.part_bytes),
                row.parent_id or "-",
                row.pending_writes,
                json.dumps(row.metadata, ensure_ascii=False),
            )
            for row in rows
        ],
    )
    if more:
        output.note(f"there are more than {limit:,}: write a larger --limit")


async def _one(calls: Calls, summary: CheckpointSummary) -> list[StoredCheckpoint]:
    return await calls(
        f"reading thread {summary.thread_id!r}",
        lambda storage: complete(storage, summary.thread_id, [summary.checkpoint_id], summary.namespace),
    )


def _decoded(checkpointer: StorageBackendAdapter, stored: StoredCheckpoint) -> JsonValue:
    where = f"thread {stored.summary.thread_id!r}, checkpoint {stored.summary.checkpoint_id!r}"
    try:
        return checkpointer.codec.decode_json(stored.payload)
    except CorruptCheckpointError as error:
        raise Failure(ExitCode.FAILED, type(error).__name__, f"{where}: {error}") from error


def _described(stored: StoredCheckpoint) -> DescribedCheckpoint:
    summary = stored.summary
    return DescribedCheckpoint(
        thread_id=summary.thread_id,
        namespace=summary.namespace,
        checkpoint_id=summary.checkpoint_id,
        parent_id=summary.parent_id,
        created_at=summary.created_at,
        metadata=summary.metadata,
        payload_bytes=len(stored.payload),
        part_bytes=sum(map(len, stored.parts.values())),
        pending_writes=len(stored.writes),
        encrypted=is_encrypted(stored.payload),
    )


def _show_checkpoint(output: Output, stored: StoredCheckpoint, state: JsonValue) -> None:
    summary = stored.summary
    output.line(f"thread {summary.thread_id}", style="bold")
    facts: dict[str, object] = {
        "checkpoint": summary.checkpoint_id,
        "saved": f"{shown_time(summary.created_at)} UTC",
        "stored": f"{shown_bytes(len(stored.payload))}{', encrypted' if is_encrypted(stored.payload) else ''}",
    }
    if summary.namespace:
        facts["namespace"] = summary.namespace
    if summary.parent_id:
        facts["parent"] = summary.parent_id
    if summary.metadata:
        facts["metadata"] = json.dumps(summary.metadata, ensure_ascii=False)
    turns = conversation(state)
    if turns is None:
        output.facts(facts)
        output.line()
        output.line(json.dumps(state, ensure_ascii=False, indent=2))
        return
    output.facts(facts | {"messages": counted(len(turns), "message")})
    _show_turns(output, turns)


def _show_turns(output: Output, turns: Sequence[Turn]) -> None:
    for turn in turns:
        output.line()
        output.line(turn.heading, style="bold cyan")
        for line in turn.text.splitlines():
            output.line(f"  {line}")
        for call in turn.calls:
            output.line(f"  -> {call}", style="dim")
