"""What a service says of itself."""

from __future__ import annotations

from dataclasses import dataclass, fields

import httpx

from locus_memory.backends.http_basic import BasicRoutes
from locus_memory.backends.http_client import Client, json_of
from locus_memory.backends.http_operations import Operations
from locus_memory.checkpointer import CheckpointerCapabilities
from locus_memory.errors import BackendUnavailableError, BindingError
from locus_memory.wire import HISTORY, PROTOCOL, TRANSFERS


@dataclass(frozen=True, slots=True)
class Service:
    """What a service can do.

    Attributes:
        name: What it calls itself, with its version.
        capabilities: As it declares them.
        deletes_single_checkpoints: As it declares it.
        extras: Of `HISTORY` and `TRANSFERS` of `locus_memory.wire`, those that it has.
        speaks: How it is spoken to.
        learnt_at: When this was learnt: at which version of the connection, after how many failures.
    """

    name: str
    capabilities: CheckpointerCapabilities
    deletes_single_checkpoints: bool
    extras: frozenset[str]
    speaks: Operations | BasicRoutes
    learnt_at: tuple[int, int]

    @property
    def operations(self) -> Operations | None:
        """The operations, where it has more than the basic routes."""
        return self.speaks if isinstance(self.speaks, Operations) else None


def described(
    client: Client,
    answer: httpx.Response,
    health: httpx.Response | None,
    known: Service | None,
    learnt_at: tuple[int, int],
) -> Service:
    """Read the answer to `GET /capabilities`.

    Args:
        client: Speaks to the service.
        answer: The answer.
        health: The answer to `GET /health`, asked where there are no `/capabilities`: it tells a service with the
            basic routes from a wrong base URL.
        known: What was known so far.
        learnt_at: See `Service`.

    Raises:
        BackendUnavailableError: Whatever answers is no checkpoint service, or not the one that was there before.
        BindingError: It speaks none of our versions.
    """
    if health is not None:
        _require_basic_service(client, health, known, learnt_at)
        return Service(
            "a checkpoint service", CheckpointerCapabilities(), True, frozenset(), BasicRoutes(client), learnt_at
        )
    if not answer.is_success:
        raise client.error(answer)
    try:
        said = json_of(answer, client.where)
        protocols, declared = list(said["protocols"]), dict(said["capabilities"])
        extras = frozenset(name for name in (HISTORY, TRANSFERS) if said.get(name) is True)
        deletes, limit = bool(said["deletes_single_checkpoints"]), int(said["limits"]["max_body_bytes"])
    except (KeyError, TypeError, ValueError) as error:
        raise BackendUnavailableError(
            f"{client.where}: /capabilities is not what a checkpoint service answers: check the base URL"
        ) from error
    if PROTOCOL not in protocols:
        raise BindingError(f"{client.where}: speaks versions {protocols} of the protocol, this locus-memory {PROTOCOL}")
    capabilities = {field.name: declared.get(field.name) is True for field in fields(CheckpointerCapabilities)}
    name = str(said.get("server", "a checkpoint service"))
    return Service(
        name, CheckpointerCapabilities(**capabilities), deletes, extras, Operations(client, limit), learnt_at
    )


def _require_basic_service(
    client: Client, health: httpx.Response, known: Service | None, learnt_at: tuple[int, int]
) -> None:
    if health.status_code in (404, 405):
        raise BackendUnavailableError(
            f"{client.where}: neither /capabilities nor /health is there: check the base URL, and what stands before "
            "the service"
        )
    if not health.is_success:
        raise client.error(health)
    # States must not go out as JSON because a proxy has lost the server that took sealed payloads.
    if known is not None and known.operations and known.learnt_at[0] == learnt_at[0]:
        raise BackendUnavailableError(f"{client.where}: /capabilities is gone: something else answers in its place")
