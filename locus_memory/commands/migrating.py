"""`migrate`: move all threads from one store to another, and prove it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Annotated

import typer

from locus_memory.adapter import StorageBackendAdapter
from locus_memory.commands import options
from locus_memory.commands.documents import Copied, MigrateDocument, Side, reasons_listed
from locus_memory.commands.exit_codes import ExitCode
from locus_memory.commands.output import Output, counted
from locus_memory.commands.running import Calls, run
from locus_memory.commands.targets import URL_FORMS, target_of
from locus_memory.commands.transfer import OnConflict, Tally, Transfer, Verification, for_each_thread
from locus_memory.commands.transfer_readers import StoreReader
from locus_memory.errors import InvalidArgumentError

_SHOWN = 20
"""Threads that are named to people, at most; the JSON document names all."""


def migrate_command(
    source: Annotated[str, typer.Option("--from", help=f"Store to read; it is never changed: {URL_FORMS}.")],
    destination: Annotated[str, typer.Option("--to", help="Store to write; the same forms.")],
    verify_only: Annotated[
        bool, typer.Option("--verify-only", help="Write nothing; compare what is on both sides.")
    ] = False,
    clients: options.Clients = 8,
    timeout: options.Timeout = 60,
    as_json: options.Json = False,
) -> None:
    """Copy all threads to another store, and compare both sides by hash.

    Ids, namespaces, parents, order, times, metadata and pending writes stay as they are; payloads are copied byte by
    byte, encrypted ones without their key. What was done can be seen in the destination, so a migration that was
    stopped, killed or cut off goes on when it is started again. A thread that holds something else there is reported
    and left alone. Let agents save to neither store meanwhile.
    """

    async def work(output: Output) -> None:
        async with AsyncExitStack() as opened:
            sides = [
                await opened.enter_async_context(target_of(text, option).open(timeout))
                for text, option in ((source, "--from"), (destination, "--to"))
            ]
            for side in sides:
                await Calls.on(side, timeout)("look-up of capabilities", lambda storage: storage.discover())
            _check_sides(*sides)
            await _migrate(output, *sides, verify_only=verify_only, clients=clients, timeout=timeout)

    run(work, as_json=as_json, arguments=(source, destination))


def _check_sides(source: StorageBackendAdapter, destination: StorageBackendAdapter) -> None:
    if repr(source.storage) == repr(destination.storage):
        raise InvalidArgumentError(f"--from and --to are the same store: {source.storage!r}")
    for option, side in (("--from", source), ("--to", destination)):
        if not side.capabilities.persistent_checkpoint_ids:
            raise InvalidArgumentError(f"{option}: {side.storage!r} ends with this command")


async def _migrate(
    output: Output,
    source: StorageBackendAdapter,
    destination: StorageBackendAdapter,
    *,
    verify_only: bool,
    clients: int,
    timeout: float,
) -> None:
    reader = StoreReader(Calls.on(source, timeout))
    writer = Calls.on(destination, timeout)
    existing = StoreReader(writer)
    total = await _count(reader.threads())
    transfer = Transfer(reader, writer, on_conflict=OnConflict.FAIL, store_text=not destination.codec.encrypts)
    if not verify_only:
        with output.progress("copying threads", total) as meter:

            async def move(thread_id: str) -> None:
                await transfer.move(thread_id)
                meter.advance()

            await for_each_thread(reader.threads(), move, workers=clients)
    verification = Verification()
    with output.progress("comparing threads", total) as meter:

        async def compare(thread_id: str) -> None:
            await verification.compare(reader, existing, thread_id)
            meter.advance()

        await for_each_thread(reader.threads(), compare, workers=clients)
    sides = {"source": repr(source.storage), "destination": repr(destination.storage)}
    _report(output, sides, None if verify_only else transfer.tally, verification)


async def _count(threads: AsyncIterator[str]) -> int:
    return len([None async for _ in threads])


def _report(output: Output, sides: dict[str, str], tally: Tally | None, verification: Verification) -> None:
    same = not verification.differences
    conflicts = tally.conflicts if tally else {}
    if output.as_json:
        output.document(_documented(sides, tally, verification))
    else:
        if tally:
            output.line(
                f"copied {counted(tally.written, 'checkpoint')} of {counted(tally.threads, 'thread')}; "
                f"{tally.present:,} were there already"
            )
        output.line(
            f"compared {counted(verification.threads, 'thread')}: "
            f"{counted(verification.source.checkpoints, 'checkpoint')} in {sides['source']}, "
            f"{verification.destination.checkpoints:,} in {sides['destination']}"
        )
        output.facts({"source": f"sha256 {verification.source}", "destination": f"sha256 {verification.destination}"})
        reasons = verification.differences | conflicts
        for thread_id, reason in list(reasons.items())[:_SHOWN]:
            output.line(f"thread {thread_id!r}: {reason}", style="red")
        if len(reasons) > _SHOWN:
            output.line(f"and {counted(len(reasons) - _SHOWN, 'more thread')}: see --json", style="red")
        output.line("both sides are the same" if same else "the two sides DIFFER", style="green" if same else "red")
    if conflicts:
        raise typer.Exit(ExitCode.CONFLICT)
    if not same:
        raise typer.Exit(ExitCode.FAILED)


def _documented(sides: dict[str, str], tally: Tally | None, verification: Verification) -> MigrateDocument:
    copied = tally and Copied(
        threads=tally.threads,
        checkpoints_written=tally.written,
        checkpoints_present=tally.present,
        conflicts=reasons_listed(tally.conflicts),
    )
    source, destination = (
        Side(store=sides[name], checkpoints=fingerprint.checkpoints, sha256=str(fingerprint))
        for name, fingerprint in (("source", verification.source), ("destination", verification.destination))
    )
    return MigrateDocument(
        same=not verification.differences,
        threads=verification.threads,
        source=source,
        destination=destination,
        copied=copied,
        differences=reasons_listed(verification.differences),
    )
