"""Options that commands share, each described once."""

from __future__ import annotations

from typing import Annotated

import typer

from locus_memory.commands.targets import URL_FORMS

Store = Annotated[
    str | None, typer.Option("--store", help="Name of the bound CheckpointStore, where there are several.")
]
Url = Annotated[
    str | None,
    typer.Option("--url", help=f"Use this store instead of the bound one: {URL_FORMS}."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text; errors, too.")]
Timeout = Annotated[
    float, typer.Option("--timeout", min=0.1, help="Seconds for each call of the backend, retries included.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Namespace = Annotated[str, typer.Option("--namespace", help="Namespace within the thread.")]
Thread = Annotated[str, typer.Argument(help="Id of the thread.", show_default=False)]
Clients = Annotated[int, typer.Option(min=1, max=256, help="Threads that are worked on at once.")]
