"""The commands, put together."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final

from locus_memory.drivers import require
from locus_memory.errors import MissingDriverError

try:
    require("typer", "cli")
except MissingDriverError as error:
    sys.exit(str(error))

import typer

from locus_memory.commands.bench import bench_command
from locus_memory.commands.doctor import doctor_command
from locus_memory.commands.exit_codes import EPILOG, ExitCode
from locus_memory.commands.exporting import export_command, import_command
from locus_memory.commands.migrating import migrate_command
from locus_memory.commands.output import Output
from locus_memory.commands.running import report
from locus_memory.commands.show import show_command
from locus_memory.commands.threads import copy_command, delete_command, threads_command, vacuum_command

COMMANDS: Final[dict[str, Callable[..., Any]]] = {
    "doctor": doctor_command,
    "threads": threads_command,
    "show": show_command,
    "copy": copy_command,
    "delete": delete_command,
    "vacuum": vacuum_command,
    "export": export_command,
    "import": import_command,
    "migrate": migrate_command,
    "bench": bench_command,
}


# What click calls UsageError; newer versions of typer have a copy of click of their own.
USAGE_ERROR: Final[Any] = typer.BadParameter.__bases__[0]


def register(app: typer.Typer) -> None:
    """Add the commands to an application."""
    for name, command in COMMANDS.items():
        app.command(name, epilog=EPILOG)(command)


def make_app() -> typer.Typer:
    """Make an application of these commands alone."""
    app = typer.Typer(
        name="locus-memory",
        help="Durable memory for AI agents.",
        no_args_is_help=True,
        # Tracebacks with local variables would show passwords.
        pretty_exceptions_enable=False,
        add_completion=False,
    )
    register(app)
    return app


def main(app: typer.Typer | None = None) -> None:
    """Run the command of this process's arguments.

    A wrong command line is an error like any other: a JSON document where `--json` was asked for.
    """
    try:
        code = (app or make_app())(standalone_mode=False)
    except USAGE_ERROR as error:
        if "--json" in sys.argv:
            report(Output(as_json=True), ExitCode.USAGE, "usage", error.format_message())
        else:
            error.show()
        sys.exit(ExitCode.USAGE)
    except typer.Abort:
        sys.exit(ExitCode.INTERRUPTED)
    sys.exit(code if isinstance(code, int) else ExitCode.OK)
