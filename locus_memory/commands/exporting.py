"""`export` and `import`: a store as a file that can be checked, carried and read back."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Annotated

import typer

from locus_memory.adapter import StorageBackendAdapter
from locus_memory.commands import options
from locus_memory.commands.documents import ExportDocument, ImportDocument, reasons_listed
from locus_memory.commands.exit_codes import ExitCode
from locus_memory.commands.export_format import Header, LineWriter, Trailer
from locus_memory.commands.export_reader import ExportFile, partial_path
from locus_memory.commands.output import Output, counted, shown_bytes
from locus_memory.commands.running import Calls, Failure, run_on_store
from locus_memory.commands.transfer import OnConflict, Tally, Transfer, for_each_thread
from locus_memory.commands.transfer_readers import StoreReader
from locus_memory.errors import InvalidArgumentError
from locus_memory.history import matches_pattern

_STANDARD = Path("-")

ExportTo = Annotated[
    Path, typer.Argument(metavar="FILE", help="File to write; - is standard output.", show_default=False)
]
ImportFrom = Annotated[
    Path, typer.Argument(metavar="FILE", help="File that export has written; - is standard input.", show_default=False)
]


def export_command(
    file: ExportTo,
    pattern: Annotated[str, typer.Option(help="Only threads whose id matches; * is any run of characters.")] = "*",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace FILE if it exists.")] = False,
    store: options.Store = None,
    url: options.Url = None,
    timeout: options.Timeout = 60,
    as_json: options.Json = False,
) -> None:
    """Write all threads, with their history and times, into a file of JSON Lines.

    The file gets its name when it is whole: an export that was killed leaves FILE.partial, which the next one
    overwrites. Encrypted states stay encrypted. The file holds conversations: it is readable by its owner alone.
    """

    async def work(output: Output, checkpointer: StorageBackendAdapter) -> None:
        calls = Calls.on(checkpointer, timeout)
        with _destination(file, overwrite=overwrite) as stream:
            trailer = await _export(output, calls, stream, pattern)
        if file == _STANDARD:
            output.note(f"exported {_counts(trailer)}")
        elif as_json:
            output.document(ExportDocument(file=str(file), **trailer.model_dump(exclude={"record"})))
        else:
            output.line(f"exported {_counts(trailer)} to {file}")

    if file == _STANDARD and as_json:
        # One of the two would have to go elsewhere.
        raise typer.BadParameter("standard output cannot take both the export and a JSON document", param_hint="--json")
    run_on_store(work, store=store, url=url, timeout=timeout, as_json=as_json)


def import_command(
    file: ImportFrom,
    on_conflict: Annotated[
        OnConflict,
        typer.Option(
            help="What becomes of a thread that is not the beginning of the one in the file: fail writes nothing at "
            "all, skip leaves it alone, replace deletes it first."
        ),
    ] = OnConflict.FAIL,
    clients: options.Clients = 8,
    store: options.Store = None,
    url: options.Url = None,
    timeout: options.Timeout = 60,
    as_json: options.Json = False,
) -> None:
    """Read threads from a file that export has written, with their history and times.

    Every hash in the file is checked before anything is written. What is there already is not written again, so an
    import that was stopped goes on when it is started again.
    """

    async def work(output: Output, checkpointer: StorageBackendAdapter) -> None:
        calls = Calls.on(checkpointer, timeout)
        await checkpointer.storage.discover()
        StoreReader(calls)  # refuses a store that cannot take threads, before the file is read
        with _source(file) as stream:
            exported = ExportFile(stream, str(file) if file != _STANDARD else "standard input")
            transfer = Transfer(exported, calls, on_conflict=on_conflict, store_text=not checkpointer.codec.encrypts)
            if on_conflict is OnConflict.FAIL:
                await _refuse_conflicts(exported, transfer)
            with output.progress("importing threads", exported.trailer.threads) as meter:

                async def move(thread_id: str) -> None:
                    await transfer.move(thread_id)
                    meter.advance()

                await for_each_thread(exported.threads(), move, workers=clients)
        _report_import(output, transfer.tally, on_conflict)

    run_on_store(work, store=store, url=url, timeout=timeout, as_json=as_json)


async def _export(output: Output, calls: Calls, stream: IO[bytes], pattern: str) -> Trailer:
    await calls("look-up of capabilities", lambda storage: storage.discover())
    reader, writer = StoreReader(calls), LineWriter()
    stream.write(Header().line())
    with output.progress("exporting threads", None) as meter:
        async for thread_id in reader.threads():
            if not matches_pattern(thread_id, pattern):
                continue
            outline = await reader.outline(thread_id)
            found = False
            for namespace, summaries in outline.items():
                known_parts: set[str] = set()
                position = 0
                async for stored in reader.checkpoints(
                    thread_id, namespace, [summary.checkpoint_id for summary in summaries]
                ):
                    stream.writelines(writer.checkpoint(position, stored, known_parts))
                    position, found = position + 1, True
            # It may have been deleted since it was listed.
            if found:
                writer.thread()
            meter.advance()
    trailer = writer.trailer()
    stream.write(trailer.line())
    stream.flush()
    return trailer


@contextmanager
def _destination(file: Path, *, overwrite: bool) -> Iterator[IO[bytes]]:
    if file == _STANDARD:
        yield sys.stdout.buffer
        return
    if file.exists() and not overwrite:
        raise InvalidArgumentError(f"{file} exists already: write --overwrite to replace it")
    partial = partial_path(file)
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    except OSError as error:
        raise InvalidArgumentError(f"{partial}: {error.strerror}") from error
    try:
        with os.fdopen(descriptor, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(file)
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise


@contextmanager
def _source(file: Path) -> Iterator[IO[bytes]]:
    try:
        if file != _STANDARD:
            with file.open("rb") as stream:
                yield stream
            return
    except OSError as error:
        raise InvalidArgumentError(f"{file}: {error.strerror}") from error
    # A pipe cannot be read twice, and nothing is written before all of it was checked.
    with tempfile.TemporaryFile() as stream:
        shutil.copyfileobj(sys.stdin.buffer, stream)
        stream.seek(0)
        yield stream


async def _refuse_conflicts(exported: ExportFile, transfer: Transfer) -> None:
    conflicts = {
        thread_id: reason
        async for thread_id in exported.threads()
        if (reason := await transfer.conflict(thread_id)) is not None
    }
    if conflicts:
        first, reason = next(iter(conflicts.items()))
        raise Failure(
            ExitCode.CONFLICT,
            "conflict",
            f"nothing was imported: {counted(len(conflicts), 'thread')} of the store stand in the way; thread "
            f"{first!r}: {reason}. --on-conflict skip leaves them alone, replace deletes them",
        )


def _report_import(output: Output, tally: Tally, on_conflict: OnConflict) -> None:
    if output.as_json:
        output.document(
            ImportDocument(
                threads=tally.threads,
                checkpoints_written=tally.written,
                checkpoints_present=tally.present,
                threads_replaced=tally.replaced,
                conflicts=reasons_listed(tally.conflicts),
            )
        )
    else:
        output.line(
            f"imported {counted(tally.written, 'checkpoint')} of {counted(tally.threads, 'thread')}; "
            f"{tally.present:,} were there already"
        )
        for thread_id, reason in tally.conflicts.items():
            output.line(f"left alone: thread {thread_id!r}: {reason}")
    if tally.conflicts and on_conflict is not OnConflict.SKIP:
        raise typer.Exit(ExitCode.CONFLICT)


def _counts(trailer: Trailer) -> str:
    return (
        f"{counted(trailer.threads, 'thread')}, {counted(trailer.checkpoints, 'checkpoint')}, "
        f"{shown_bytes(trailer.payload_bytes)}"
    )
