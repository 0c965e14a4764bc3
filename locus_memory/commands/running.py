"""Runs a command: errors become messages and exit codes, and a signal lets it clean up first."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import typer

from locus_memory.adapter import StorageBackendAdapter
from locus_memory.commands.documents import ErrorDocument, Failed
from locus_memory.commands.exit_codes import ExitCode, exit_code_of
from locus_memory.commands.output import Output, printable
from locus_memory.commands.targets import find_target, shows_password
from locus_memory.errors import CheckpointError, InvalidArgumentError
from locus_memory.retry import RetryPolicy
from locus_memory.storage import StorageBackend

T = TypeVar("T")


class Failure(Exception):  # noqa: N818 - no error: what a command found
    """Ends a command with a message and an exit code.

    Attributes:
        code: What the process ends with.
        name: Stable name for programs.
        message: For people.
    """

    def __init__(self, code: ExitCode, name: str, message: str) -> None:
        super().__init__(message)
        self.code, self.name, self.message = code, name, message


def run(
    command: Callable[[Output], Awaitable[None]],
    *,
    as_json: bool,
    arguments: tuple[str | None, ...] = (),
    before: Callable[[Output], None] | None = None,
) -> None:
    """Run a command to its end, and leave with its exit code.

    Args:
        command: The work; it prints its own result.
        as_json: Print errors as a JSON document, too.
        arguments: Those that may be URLs.
        before: Done before there is an event loop, such as asking a question: within one, Ctrl-C would wait for the
            answer.
    """
    output = Output(as_json=as_json)
    if any(map(shows_password, arguments)):
        output.note("note: other users of this machine can read the password in this command's arguments: use @FILE")
    code = ExitCode.OK
    try:
        if before is not None:
            before(output)
        code = asyncio.run(_until_signalled(command(output)))
        if code:
            report(output, code, "interrupted", "stopped before the end")
    except (KeyboardInterrupt, typer.Abort):
        code = ExitCode.INTERRUPTED
        report(output, code, "interrupted", "stopped before the end")
    except Failure as failure:
        code = failure.code
        report(output, code, failure.name, failure.message)
    except CheckpointError as error:
        code = exit_code_of(error)
        report(output, code, type(error).__name__, str(error))
    except BrokenPipeError:
        # Whoever read the output has enough. Python would complain when it flushes what is left.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = ExitCode.FAILED
    if code:
        raise typer.Exit(code)


def report(output: Output, code: ExitCode, name: str, message: str) -> None:
    """Print an error as the caller wants it."""
    if output.as_json:
        output.document(ErrorDocument(error=Failed(name=name, message=message, exit_code=code)))
    else:
        output.error(message)


def run_on_store(
    command: Callable[[Output, StorageBackendAdapter], Awaitable[None]],
    *,
    store: str | None,
    url: str | None,
    timeout: float,
    as_json: bool,
    question: str | None = None,
) -> None:
    """Run a command on the store of `--store` or `--url`, or on the bound one.

    Args:
        command: The work; the checkpointer is closed behind it.
        store, url: The options.
        timeout: Seconds for each call of the checkpointer.
        as_json: Print JSON, errors too.
        question: Asked first, with the store's name behind it; None to ask nothing.
    """
    opened: list[StorageBackendAdapter] = []

    def open_and_ask(output: Output) -> None:
        opened.append(find_target(store, url).open(timeout))
        if question is not None:
            _confirm(f"{question} In {opened[0].storage!r}", output)

    async def on_store(output: Output) -> None:
        async with opened[0] as checkpointer:
            await command(output, checkpointer)

    run(on_store, as_json=as_json, arguments=(url,), before=open_and_ask)


def _confirm(question: str, output: Output) -> None:
    if output.as_json or not sys.stdin.isatty():
        raise InvalidArgumentError("nobody can be asked here: write --yes")
    # Python can miss a signal that comes just before it waits for input. Nothing is open yet: let it end the process.
    handler = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        agreed = typer.confirm(printable(question), err=True)
    finally:
        signal.signal(signal.SIGINT, handler)
    if not agreed:
        raise Failure(ExitCode.FAILED, "declined", "nothing was deleted")


async def _until_signalled(work: Awaitable[None]) -> ExitCode:
    """Do the work; SIGTERM ends it as Ctrl-C does, with everything cleaned up."""
    task = asyncio.ensure_future(work)
    terminated = False

    def terminate() -> None:
        nonlocal terminated
        terminated = True
        task.cancel()

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, terminate)
    try:
        await task
    except asyncio.CancelledError:
        if not terminated:
            raise
        return ExitCode.TERMINATED
    return ExitCode.OK


@dataclass(frozen=True, slots=True)
class Calls:
    """Calls a storage backend, retrying within a deadline as the checkpointer does."""

    storage: StorageBackend
    policy: RetryPolicy

    @classmethod
    def on(cls, checkpointer: StorageBackendAdapter, timeout: float) -> Calls:
        """Call the backend below a checkpointer."""
        return cls(checkpointer.storage, RetryPolicy(deadline=timeout))

    async def __call__(self, description: str, operation: Callable[[StorageBackend], Awaitable[T]]) -> T:
        """Run an operation; the description is for the message of a timeout."""
        return await self.policy.run(lambda _: operation(self.storage), self.storage, description)
