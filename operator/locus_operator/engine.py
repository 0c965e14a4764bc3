"""Reconciles one store with its backend. No Kubernetes in here: the caller fetches, and writes what comes back.

    spec = effective_spec(store, store_class)
    sources = required_secrets(spec)                    # fetch them
    done = await reconcile(StoreRequest(owner, spec, fetched, binding=existing_secret_data))
    done.binding, done.conditions, done.claims …        # write them

Errors are those of `failure`, which says what they mean.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic.alias_generators import to_snake

from locus_memory.errors import MissingDriverError
from locus_operator.api import CheckpointStoreSpec
from locus_operator.api.status import Claims
from locus_operator.binding import Binding, binding_of, password_for
from locus_operator.conditions import ConditionState, Failure, Retry, deletion_blocked, failure, success
from locus_operator.connections import Connections
from locus_operator.constants import ConditionReason
from locus_operator.errors import RefusedError, UnavailableError, UnsupportedError
from locus_operator.inheritance import effective_spec, spec_to_release
from locus_operator.names import RoleNames
from locus_operator.provisioner import RETENTION_SECONDS, Action, Owner, Plan, Provisioner, Request
from locus_operator.sources import Source, SourceData, check_references, required_secrets, resolve_secrets
from locus_operator.volumes import VolumeClaims

__all__ = [
    "Binding",
    "ConditionState",
    "Failure",
    "Reconciled",
    "Released",
    "Retry",
    "Source",
    "StoreRequest",
    "UnsupportedError",
    "check_sources",
    "deletion_blocked",
    "effective_spec",
    "failure",
    "needs_release",
    "plan",
    "reconcile",
    "release",
    "required_secrets",
    "spec_to_release",
]

TIMEOUT_SECONDS: Final = 60.0
"""Longest that one run may take: a server that hangs must not hold its caller for ever."""

LEAVES_NOTHING: Final = frozenset({"http", "memory"})
"""Kinds of backends on which a store makes nothing, so that its deletion has nothing to clean up."""

_EXTRAS: Final = {"ociBucket": "oci"}
"""Extras of the distribution that are not called like their backend."""

Progress = Callable[[int, Action], None]
"""Called after each action with its index, from 0."""


@dataclass(frozen=True, slots=True)
class StoreRequest:
    """Everything about one store that the caller fetched.

    Attributes:
        owner: Who owns what exists on the backend.
        spec: The effective spec, see `effective_spec`.
        sources: Decoded data of each of `required_secrets(spec)`; None for one that does not exist.
        binding: Decoded data of the existing binding Secret, or None.
        adopt: The store carries the annotation `memory.locus.dev/adopt: "true"`.
        allow_destructive: Go on where correcting the backend destroys data.
        may_change: Called before each change on the backend; what it raises is the run's end.
        enforce_retention: Delete what retention no longer allows, once the backend is as desired.
        connections: Administrators' connections that are kept for other stores; None to close them at the end.
        volumes: The store's PersistentVolumeClaims; None where there is no place for them.
    """

    owner: Owner
    spec: CheckpointStoreSpec
    sources: Mapping[Source, SourceData | None] = field(repr=False)
    binding: Mapping[str, str] | None = field(default=None, repr=False)
    adopt: bool = False
    allow_destructive: bool = False
    may_change: Callable[[], None] = field(default=lambda: None, repr=False)
    enforce_retention: bool = False
    connections: Connections | None = field(default=None, repr=False)
    volumes: VolumeClaims | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What a reconcile did and found.

    Attributes:
        plan: What was done; empty when nothing was.
        binding: What the binding Secret shall hold.
        backend: Kind of the backend, such as `postgresql`.
        login: The login in the binding; None where the backend has none.
        claims: What exists on the backend, for `status.claims`.
        capabilities: Names of what checkpointers can do there, sorted.
        conditions: Ready, Provisioned, CredentialsReady and RetentionEnforced.
        warnings: What will give trouble, for Warning Events.
        iam_statements: Statements that somebody else has to add, because the operator may not.
        expired: Checkpoints that retention has deleted; None when it was not asked to.
        class_name: The class that the backend came from, or None.
    """

    plan: Plan
    binding: Binding
    backend: str
    login: str | None
    claims: Claims
    capabilities: tuple[str, ...]
    conditions: tuple[ConditionState, ...]
    warnings: tuple[str, ...] = ()
    iam_statements: tuple[str, ...] = ()
    expired: int | None = None
    class_name: str | None = None


@dataclass(frozen=True, slots=True)
class Released:
    """What a release did; an empty plan means that everything was gone already."""

    plan: Plan


def needs_release(spec: CheckpointStoreSpec) -> bool:
    """Tell whether there is something to clean up on the backend, hence whether the store needs a finalizer."""
    return spec.backend is not None and spec.backend.kind not in LEAVES_NOTHING


def check_sources(spec: CheckpointStoreSpec, sources: Mapping[Source, SourceData | None]) -> None:
    """Look whether all that a backend refers to is there and holds what is needed, without connecting to it.

    Args:
        spec: The effective spec.
        sources: As in `StoreRequest`.

    Raises:
        RefusedError: Something does not exist, or lacks a key.
        UnsupportedError: This version of the operator does not know the backend.
    """
    assert spec.backend is not None  # noqa: S101 - the effective spec has one
    module = _backend_module(spec.backend.kind)
    check_references(spec, sources, default_user=getattr(module, "DEFAULT_ADMIN", None))


async def reconcile(request: StoreRequest, *, progress: Progress | None = None) -> Reconciled:
    """Make the backend as the spec says, and return what agents need to reach it.

    Raises:
        RefusedError: The backend refuses, or something that the spec names is missing.
        UnavailableError: The backend is away.
        UnsupportedError: This version of the operator cannot do it.
    """
    async with _provisioner(request) as provisioner:
        todo = provisioner.plan(await provisioner.observe())
        _check_destructive(todo, request, "correcting the backend", "Repair it by hand or from a backup")
        await _apply(provisioner, todo, request.may_change, progress)
        expired = None
        if request.enforce_retention:
            request.may_change()
            expired = await provisioner.enforce_retention()
        return await _reconciled(request.spec, todo, provisioner, expired)


async def plan(request: StoreRequest) -> Plan:
    """Return what `reconcile` would do, changing nothing; same errors."""
    async with _provisioner(request) as provisioner:
        return provisioner.plan(await provisioner.observe())


async def release(request: StoreRequest, *, progress: Progress | None = None) -> Released:
    """Take the store off its backend, as its deletion policy says; what is gone already is done; same errors.

    Data is destroyed where both the policy and the request say so.
    """
    async with _provisioner(request) as provisioner:
        todo = provisioner.plan_release(await provisioner.observe())
        _check_destructive(todo, request, "deleting the store", "Write deletionPolicy: Retain")
        await _apply(provisioner, todo, request.may_change, progress)
        return Released(todo)


@asynccontextmanager
async def _provisioner(request: StoreRequest) -> AsyncIterator[Provisioner[Any, Any]]:
    spec = request.spec
    assert spec.backend is not None  # noqa: S101 - the effective spec has one
    module = _backend_module(spec.backend.kind)
    logins = RoleNames.of(request.owner.namespace, request.owner.name).logins
    seconds = TIMEOUT_SECONDS + (RETENTION_SECONDS if request.enforce_retention else 0)
    async with _connections(request) as connections:
        resolved = Request(
            owner=request.owner,
            spec=spec,
            backend=spec.backend.member,
            secrets=resolve_secrets(spec, request.sources),
            password=password_for(logins, module.CONNECTION_TYPE, request.binding, module.PROVISIONER.passwords),
            connections=connections,
            volumes=request.volumes,
            adopt=request.adopt,
        )
        try:
            provisioner: Provisioner[Any, Any] = module.PROVISIONER(resolved)
            async with asyncio.timeout(seconds), provisioner:
                yield provisioner
        except MissingDriverError:
            raise _without_driver(spec.backend.kind) from None
        except TimeoutError:
            raise UnavailableError(
                f"{spec.backend.kind}: not done within {seconds:g} seconds; the server does not answer, or "
                "something holds a lock on the store's objects"
            ) from None


@asynccontextmanager
async def _connections(request: StoreRequest) -> AsyncIterator[Connections]:
    if request.connections is not None:
        yield request.connections
        return
    connections = Connections()
    try:
        yield connections
    finally:
        await connections.close()


def _backend_module(kind: str) -> Any:
    """Import `locus_operator.backends.<kind>`: adding a backend changes nothing here."""
    try:
        return importlib.import_module(f"locus_operator.backends.{to_snake(kind)}")
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("locus"):
            raise
        raise _without_driver(kind) from None


def _without_driver(kind: str) -> UnsupportedError:
    extra = _EXTRAS.get(kind, kind)
    return UnsupportedError(
        ConditionReason.NOT_SUPPORTED,
        f"spec.backend.{kind}: this installation of the operator lacks the driver; use an image that has it "
        f'(`pip install "locus-memory[operator,{extra}]"`, or the build argument EXTRAS=operator,{extra})',
    )


async def _apply(
    provisioner: Provisioner[Any, Any], todo: Plan, may_change: Callable[[], None], progress: Progress | None
) -> None:
    for index, action in enumerate(todo.actions):
        may_change()
        await provisioner.apply(action)
        if progress is not None:
            progress(index, action)


def _check_destructive(todo: Plan, request: StoreRequest, purpose: str, advice: str) -> None:
    destructive = [str(action) for action in todo.actions if action.destructive]
    if destructive and not request.allow_destructive:
        raise RefusedError(
            ConditionReason.CONFLICT,
            f"{purpose} would destroy data, so nothing was done: {'; '.join(destructive)}. {advice}, or "
            "let it happen with `locus-operator` and its option --allow-destructive",
        )


async def _reconciled(
    spec: CheckpointStoreSpec, done: Plan, provisioner: Provisioner[Any, Any], expired: int | None
) -> Reconciled:
    connection, report = provisioner.connection(), provisioner.report()
    login = getattr(connection, "username", None)
    assert spec.backend is not None  # noqa: S101 - the effective spec has one
    return Reconciled(
        plan=done,
        binding=binding_of(connection, provisioner.files()),
        backend=spec.backend.kind,
        login=login,
        claims=Claims.model_validate(provisioner.claims()),
        capabilities=await provisioner.capabilities(),
        conditions=success(spec, report, login=login),
        warnings=report.warnings,
        iam_statements=report.iam_statements,
        expired=expired,
        class_name=spec.class_name,
    )
