"""`threads`, `copy`, `delete` and `vacuum`: threads as a whole."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

import typer

from locus_memory.adapter import StorageBackendAdapter
from locus_memory.commands import options
from locus_memory.commands.documents import (
    CopyDocument,
    DeleteDocument,
    LatestCheckpoint,
    ListedThread,
    ThreadsDocument,
    VacuumDocument,
)
from locus_memory.commands.exit_codes import ExitCode
from locus_memory.commands.output import Output, counted, shown_time
from locus_memory.commands.running import Calls, Failure, run_on_store
from locus_memory.errors import CapabilityNotSupportedError
from locus_memory.storage import CheckpointSummary

_LOOKUPS: Final = 8
"""Summaries asked for at once."""

_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def threads_command(
    pattern: Annotated[str, typer.Option(help="Only ids that match; * is any run of characters.")] = "*",
    limit: Annotated[int, typer.Option(min=1, help="At most this many.")] = 100,
    metadata: Annotated[
        bool, typer.Option("--metadata", "-m", help="With the latest checkpoint of each, its time and its metadata.")
    ] = False,
    store: options.Store = None,
    url: options.Url = None,
    timeout: options.Timeout = 10,
    as_json: options.Json = False,
) -> None:
    """List threads, in the order of their ids."""

    async def work(output: Output, checkpointer: StorageBackendAdapter) -> None:
        found = await checkpointer.list_threads(limit + 1, pattern)
        more, found = len(found) > limit, found[:limit]
        latest = await _latest(Calls.on(checkpointer, timeout), found) if metadata else {}
        if output.as_json:
            threads = [ListedThread(thread_id=thread, latest=_latest_of(latest.get(thread))) for thread in found]
            output.document(ThreadsDocument(threads=threads, more=more))
            return
        if metadata:
            output.table(
                ("thread", "latest checkpoint", "saved (UTC)", "metadata"), [_row(name, latest[name]) for name in found]
            )
        else:
            for thread in found:
                output.line(_one_line(thread))
        if not found:
            output.note("there are no such threads")
        if more:
            output.note(f"there are more than {limit:,}: write a --pattern, or a larger --limit")

    run_on_store(work, store=store, url=url, timeout=timeout, as_json=as_json)


def copy_command(
    source: Annotated[str, typer.Argument(help="Id of the thread.", show_default=False)],
    destination: Annotated[str, typer.Argument(help="Id of the copy, which must not exist.", show_default=False)],
    store: options.Store = None,
    url: options.Url = None,
    timeout: options.Timeout = 300,
    as_json: options.Json = False,
) -> None:
    """Copy a thread with its history, byte by byte, within the store."""

    async def work(output: Output, checkpointer: StorageBackendAdapter) -> None:
        if not await checkpointer.copy_thread(source, destination):
            raise not_found(source)
        if output.as_json:
            output.document(CopyDocument(source=source, destination=destination))
        else:
            output.line(f"copied thread {source!r} to {destination!r}")

    run_on_store(work, store=store, url=url, timeout=timeout, as_json=as_json)


def delete_command(
    thread: options.Thread,
    checkpoint: Annotated[
        str | None, typer.Argument(help="Only this checkpoint; by default the whole thread.", show_default=False)
    ] = None,
    yes: options.Yes = False,
    store: options.Store = None,
    url: options.Url = None,
    timeout: options.Timeout = 60,
    as_json: options.Json = False,
) -> None:
    """Delete a thread with its whole history, or one checkpoint. This cannot be undone."""

    what = f"thread {thread!r}, all of it" if checkpoint is None else f"checkpoint {checkpoint!r} of {thread!r}"

    async def work(output: Output, checkpointer: StorageBackendAdapter) -> None:
        if not await checkpointer.delete(thread, checkpoint):
            raise not_found(thread, checkpoint)
        if output.as_json:
            output.document(DeleteDocument(thread_id=thread, checkpoint_id=checkpoint))
        else:
            output.line(f"deleted {what}")

    question = None if yes else f"Delete {what}?"
    run_on_store(work, store=store, url=url, timeout=timeout, as_json=as_json, question=question)


def vacuum_command(
    older_than: Annotated[
        str,
        typer.Option(help="Age from which checkpoints go, such as 30d, 12h or 2w.", show_default=False),
    ],
    yes: options.Yes = False,
    store: options.Store = None,
    url: options.Url = None,
    timeout: options.Timeout = 3600,
    as_json: options.Json = False,
) -> None:
    """Delete old checkpoints, the latest of a thread included: a conversation that rested for longer is gone."""

    async def work(output: Output, checkpointer: StorageBackendAdapter) -> None:
        before = datetime.now(UTC) - span
        calls = Calls.on(checkpointer, timeout)
        await calls("look-up of capabilities", lambda storage: storage.discover())
        if not checkpointer.capabilities.vacuum:
            raise CapabilityNotSupportedError(type(checkpointer).__name__, "vacuum")
        deleted = await calls("vacuum", lambda storage: storage.vacuum(before))
        if output.as_json:
            output.document(VacuumDocument(before=before, checkpoints_deleted=deleted))
        else:
            output.line(f"deleted {counted(deleted, 'checkpoint')}, written before {shown_time(before)} UTC")

    span = parse_age(older_than)
    question = None if yes else f"Delete all checkpoints that were written over {older_than} ago?"
    run_on_store(work, store=store, url=url, timeout=timeout, as_json=as_json, question=question)


def parse_age(text: str) -> timedelta:
    """Read an age such as `30d`.

    Raises:
        typer.BadParameter: It is none, or before the calendar.
    """
    found = re.fullmatch(r"(\d{1,9})([smhdw])", text)
    if not found:
        raise typer.BadParameter(
            f"{text!r}: write a number and s, m, h, d or w, such as 30d", param_hint="--older-than"
        )
    try:
        span = timedelta(**{_UNITS[found[2]]: int(found[1])})
        _ = datetime.now(UTC) - span
    except OverflowError:
        raise typer.BadParameter(f"{text} ago is before the calendar", param_hint="--older-than") from None
    return span


def not_found(thread_id: str, checkpoint_id: str | None = None) -> Failure:
    """End a command on a thread or a checkpoint that is not there."""
    what = f"thread {thread_id!r}" if checkpoint_id is None else f"checkpoint {checkpoint_id!r} of thread {thread_id!r}"
    return Failure(ExitCode.NOT_FOUND, "not-found", f"there is no {what}")


async def _latest(calls: Calls, thread_ids: list[str]) -> dict[str, CheckpointSummary | None]:
    slots = asyncio.Semaphore(_LOOKUPS)

    async def look_up(thread_id: str) -> tuple[str, CheckpointSummary | None]:
        async with slots:
            return thread_id, await calls(
                f"look-up of thread {thread_id!r}", lambda storage: storage.get_summary(thread_id)
            )

    return dict(await asyncio.gather(*map(look_up, thread_ids)))


def _latest_of(summary: CheckpointSummary | None) -> LatestCheckpoint | None:
    if summary is None:
        return None
    return LatestCheckpoint(
        checkpoint_id=summary.checkpoint_id, created_at=summary.created_at, metadata=summary.metadata
    )


def _row(thread_id: str, summary: CheckpointSummary | None) -> tuple[object, ...]:
    if summary is None:
        return (thread_id, "-", "-", "only in namespaces")
    return (
        thread_id,
        summary.checkpoint_id,
        shown_time(summary.created_at),
        json.dumps(summary.metadata, ensure_ascii=False),
    )


def _one_line(text: str) -> str:
    return text.replace("\n", "\\n").replace("\t", "\\t")
