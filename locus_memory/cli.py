"""The command `locus-memory`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from locus_memory.drivers import require
from locus_memory.errors import BindingError, CheckpointError, InvalidArgumentError, MissingDriverError

try:
    require("typer", "cli")
except MissingDriverError as error:
    sys.exit(str(error))

import typer

from locus_memory.commands.application import main as run_application
from locus_memory.commands.application import register

if TYPE_CHECKING:
    from locus_memory.adapter import StorageBackendAdapter
    from locus_memory.server.tokens import Tokens

TOKENS_VARIABLE = "LOCUS_SERVE_TOKENS"
URL_VARIABLE = "LOCUS_CHECKPOINT_URL"

EXIT_USAGE = 2
"""Something cannot be used as it was given; nothing was started."""

app = typer.Typer(
    name="locus-memory",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Durable memory for AI agents.",
)


register(app)


@app.command()
def serve(
    store: Annotated[str | None, typer.Option(help="Name of the CheckpointStore, where several are bound.")] = None,
    url: Annotated[
        str | None,
        typer.Option(help=f"URL of the store. One with a password belongs into ${URL_VARIABLE}: arguments are public."),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")] = 8750,
    token_file: Annotated[
        Path | None,
        typer.Option(help=f"Bearer tokens, one a line; read again when it changes. Or set ${TOKENS_VARIABLE}."),
    ] = None,
    no_auth: Annotated[bool, typer.Option("--no-auth", help="Let everybody in; on this machine only.")] = False,
    no_auth_from_anywhere: Annotated[
        bool, typer.Option("--no-auth-from-anywhere", help="Let everybody in, whatever --host is.")
    ] = False,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate chain, PEM file.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its private key, PEM file.")] = None,
    max_body_bytes: Annotated[int, typer.Option(min=1024, help="Largest request.")] = 128 * 1024 * 1024,
    request_timeout: Annotated[float, typer.Option(min=0.1, help="Seconds for the backend's work.")] = 8.0,
    transfer_timeout: Annotated[float, typer.Option(min=0.1, help="Seconds for a request to come in.")] = 60.0,
    head_timeout: Annotated[float, typer.Option(min=0.1, help="Seconds for the head of a request.")] = 10.0,
    keep_alive: Annotated[int, typer.Option(min=1, help="Seconds that a connection may be idle.")] = 75,
    max_connections: Annotated[int, typer.Option(min=1, help="Connections at once; more get 503.")] = 1000,
    shutdown_timeout: Annotated[int, typer.Option(min=1, help="Seconds for requests under way on SIGTERM.")] = 25,
) -> None:
    """Serve a store over HTTP, to `HTTPCheckpointer` and to whoever speaks the six basic routes."""
    require("fastapi", "server")
    require("uvicorn", "server")
    from locus_memory.server.app import create_app
    from locus_memory.server.run import run, uvicorn_config
    from locus_memory.server.settings import Limits

    tokens = _tokens(token_file, no_auth, no_auth_from_anywhere, host)
    if (tls_cert is None) != (tls_key is None):
        raise InvalidArgumentError("--tls-cert and --tls-key: write both, or none")
    limits = Limits(
        max_body_bytes=max_body_bytes,
        request_timeout=request_timeout,
        transfer_timeout=transfer_timeout,
        head_timeout=head_timeout,
        keep_alive=keep_alive,
        max_connections=max_connections,
        shutdown_timeout=shutdown_timeout,
    )
    gate = create_app(_checkpointer(store, url, request_timeout), tokens=tokens, limits=limits)
    run(uvicorn_config(gate, limits, host=host, port=port, certificate=tls_cert, key=tls_key))


def _tokens(file: Path | None, no_auth: bool, from_anywhere: bool, host: str) -> Tokens | None:
    from locus_memory.server.run import is_loopback
    from locus_memory.server.tokens import Tokens

    text = os.environ.get(TOKENS_VARIABLE, "")
    if no_auth or from_anywhere:
        if file or text:
            raise InvalidArgumentError(f"--no-auth: leave out --token-file and ${TOKENS_VARIABLE}, or this option")
        if not (from_anywhere or is_loopback(host)):
            raise InvalidArgumentError(
                f"--no-auth: {host} can be reached from other machines; if that is meant, write --no-auth-from-anywhere"
            )
        return None
    if file is None and not text:
        raise InvalidArgumentError(f"write --token-file, or set ${TOKENS_VARIABLE}; --no-auth serves without")
    return Tokens(file=file, text=text)


def _checkpointer(store: str | None, url: str | None, request_timeout: float) -> StorageBackendAdapter:
    from locus_memory.adapter import StorageBackendAdapter
    from locus_memory.binding import URLBinding, find_binding
    from locus_memory.opening import open_checkpointer
    from locus_memory.retry import RetryPolicy

    if store and url:
        raise InvalidArgumentError("--store and --url: write one of them")
    binding = URLBinding(url, "--url") if url else find_binding(store)
    opened = open_checkpointer(binding, retry=RetryPolicy(deadline=request_timeout))
    if not isinstance(opened, StorageBackendAdapter):
        raise BindingError(f"a store of type {type(opened).__name__} cannot be served")
    return opened


def main() -> None:
    """Run the command; errors of ours are one line each."""
    try:
        run_application(app)
    except CheckpointError as error:
        typer.echo(f"locus-memory: {error}", err=True)
        sys.exit(EXIT_USAGE)


if __name__ == "__main__":
    main()
