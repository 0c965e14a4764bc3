"""`locus-operator guard-uninstall` and `check-installation`, the commands that the chart runs in pods of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from http import HTTPStatus
from typing import Any, Final

import typer
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.config import ConfigException

from locus_operator.installation_check import CheckFailedError, check
from locus_operator.kube import Kubernetes
from locus_operator.listing import API_FAILURES, reason_of
from locus_operator.settings import read_settings
from locus_operator.uninstall_guard import find_guarded, refusal

_OK: Final = 0
_FAILED: Final = 1
_REFUSED: Final = 3
_UNAVAILABLE: Final = 4


def guard_uninstall(*, every: bool) -> int:
    """Print the stores that are in the way of an uninstallation, and return the exit code.

    Args:
        every: All stores are, whatever their policy: the CRDs go, too.
    """
    return _run(_guard(read_settings().watch_namespaces, every=every))


def check_installation(webhook_configuration: str) -> int:
    """Print what is in order and what is not, and return the exit code.

    Args:
        webhook_configuration: Name of the `MutatingWebhookConfiguration`; empty where there is no webhook.
    """
    return _run(_check(webhook_configuration))


async def _guard(namespaces: tuple[str, ...], *, every: bool) -> int:
    async with Kubernetes.connect() as kubernetes:
        stores = await find_guarded(kubernetes.client, namespaces, every=every)
    if stores:
        typer.echo(refusal(stores, every=every), err=True)
        return _REFUSED
    typer.echo("no store is in the way")
    return _OK


async def _check(webhook_configuration: str) -> int:
    async with Kubernetes.connect() as kubernetes:
        try:
            async for line in check(kubernetes.client, webhook_configuration):
                typer.echo(f"ok: {line}")
        except CheckFailedError as error:
            typer.echo(f"error: {error}", err=True)
            return _FAILED
    return _OK


def _run(work: Coroutine[Any, Any, int]) -> int:
    try:
        return asyncio.run(work)
    except ConfigException as error:
        typer.echo(f"error: there is no cluster to ask ({error}): run it in a pod, or set KUBECONFIG", err=True)
        return _UNAVAILABLE
    except API_FAILURES as error:
        typer.echo(f"error: {reason_of(error)}", err=True)
        forbidden = isinstance(error, ApiException) and error.status == HTTPStatus.FORBIDDEN
        return _REFUSED if forbidden else _UNAVAILABLE
