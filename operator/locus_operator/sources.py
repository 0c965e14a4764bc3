"""Secrets and ConfigMaps that a backend refers to: which ones, and what a provisioner reads out of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from pydantic.alias_generators import to_camel, to_snake

from locus_memory.errors import BindingError
from locus_memory.urls import parse_url
from locus_operator.api import CheckpointStoreSpec
from locus_operator.api.references import AdminSecretRef, CertificateAuthority, KeyRef, SecretRef
from locus_operator.api.rules import SpecModel
from locus_operator.constants import ConditionReason
from locus_operator.errors import RefusedError
from locus_operator.provisioner import Request

SourceData = Mapping[str, str]
"""Decoded data of one Secret or ConfigMap; entries that are no UTF-8 are left out."""

ADMIN: Final = "adminSecretRef"
CA: Final = "ca"
_CA_KEY: Final = "pem"


@dataclass(frozen=True, slots=True)
class Source:
    """A Secret or ConfigMap that the spec refers to.

    It is in the store's namespace, or in the operator's when the backend came from a class.

    Attributes:
        kind: What it is.
        name: Its name.
        path: The field that names it, such as `spec.backend.postgresql.adminSecretRef`.
    """

    kind: Literal["Secret", "ConfigMap"]
    name: str
    path: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name!r} ({self.path})"


def required_secrets(spec: CheckpointStoreSpec) -> tuple[Source, ...]:
    """Return what has to be fetched before the store can be reconciled or released.

    Args:
        spec: The effective spec: its backend is set.
    """
    return tuple(source for _, _, source in _references(spec))


def resolve_secrets(spec: CheckpointStoreSpec, fetched: Mapping[Source, SourceData | None]) -> dict[str, SourceData]:
    """Return the fetched data by the path of the referring field, as `provisioner.Request.secrets` wants it.

    Raises:
        RefusedError: Something does not exist, or lacks the key that the spec names.
    """
    return {name: _resolve(reference, source, fetched.get(source)) for name, reference, source in _references(spec)}


@dataclass(frozen=True, slots=True)
class AdminCredentials:
    """What the operator logs in with.

    Attributes:
        username: None where the backend has a default user.
        certificates: PEM bundle to trust, if the Secret has one.
        secret: Name of the Secret, for messages.
    """

    username: str | None
    password: str = field(repr=False)
    certificates: str | None
    secret: str


def admin_credentials(
    request: Request[Any], *, default_user: str | None = None, field_name: str = ADMIN
) -> AdminCredentials:
    """Read the administrator's login out of the Secret that a field names.

    Args:
        request: What the provisioner was given.
        default_user: User name where the Secret has none; None makes it required.
        field_name: The field of the backend's member, an `AdminSecretRef`.

    Raises:
        RefusedError: A key is missing; the message names Secret, key and what would be accepted.
    """
    reference: AdminSecretRef = getattr(request.backend, to_snake(field_name))
    return _admin_credentials(reference, request.secrets[field_name], _path(request, field_name), default_user)


def check_references(
    spec: CheckpointStoreSpec, fetched: Mapping[Source, SourceData | None], *, default_user: str | None = None
) -> None:
    """Look whether everything that a backend refers to is there and holds what is needed, without connecting.

    Args:
        spec: The effective spec.
        fetched: Decoded data of each of `required_secrets(spec)`; None for one that does not exist.
        default_user: As in `admin_credentials`.

    Raises:
        RefusedError: Something does not exist, or lacks a key.
    """
    secrets = resolve_secrets(spec, fetched)
    for name, reference, source in _references(spec):
        if isinstance(reference, AdminSecretRef):
            _admin_credentials(reference, secrets[name], source.path, default_user)


def _admin_credentials(
    reference: AdminSecretRef, data: SourceData, path: str, default_user: str | None
) -> AdminCredentials:
    keys = reference.keys
    username, password = data.get(keys.username), data.get(keys.password)
    if username is None and keys.uri in data:
        from_uri = _login_of(data[keys.uri], reference)
        username, password = from_uri[0], password or from_uri[1]
    username = username or default_user
    missing = [
        f"{each} (key {key!r})"
        for each, key, value in (("user name", keys.username, username), ("password", keys.password, password))
        if not value
    ]
    if missing or not password:
        raise RefusedError(
            ConditionReason.SECRET_INVALID,
            f"Secret {reference.name!r} ({path}) has no {' and no '.join(missing)}; it has "
            f"{_list(data)}. Write the keys {keys.username!r} and {keys.password!r}, or {keys.uri!r} with a URI that "
            f"holds both, or say in {path}.keys which keys hold them",
        )
    return AdminCredentials(username, password, data.get(keys.certificates), reference.name)


def certificates(request: Request[Any]) -> str | None:
    """Return the PEM bundle that the spec's `ca` names, or the one in the administrator's Secret, or None."""
    if CA in request.secrets:
        return request.secrets[CA][_CA_KEY]
    if ADMIN not in request.secrets:
        return None
    reference: AdminSecretRef = request.backend.admin_secret_ref
    return request.secrets[ADMIN].get(reference.keys.certificates)


def _references(spec: CheckpointStoreSpec) -> Iterator[tuple[str, SpecModel, Source]]:
    assert spec.backend is not None  # noqa: S101 - the effective spec has one
    return _references_below(spec.backend.member, f"spec.backend.{spec.backend.kind}")


def _references_below(model: SpecModel, path: str, name: str = "") -> Iterator[tuple[str, SpecModel, Source]]:
    """Find references in a model and in the models that it holds, each with its path below the member."""
    for field_name in type(model).model_fields:
        reference = getattr(model, field_name)
        alias = to_camel(field_name)
        here, below = f"{path}.{alias}", f"{name}.{alias}" if name else alias
        match reference:
            case AdminSecretRef() | SecretRef():
                yield below, reference, Source("Secret", reference.name, here)
            case CertificateAuthority(secret_key_ref=KeyRef() as key):
                yield below, reference, Source("Secret", key.name, f"{here}.secretKeyRef")
            case CertificateAuthority(config_map_key_ref=KeyRef() as key):
                yield below, reference, Source("ConfigMap", key.name, f"{here}.configMapKeyRef")
            case SpecModel():
                yield from _references_below(reference, here, below)


def _resolve(reference: SpecModel, source: Source, data: SourceData | None) -> SourceData:
    if data is None:
        raise RefusedError(
            ConditionReason.SECRET_NOT_FOUND,
            f"{source} does not exist: create it, or correct the name",
        )
    if not isinstance(reference, CertificateAuthority):
        return data
    key_ref = reference.secret_key_ref or reference.config_map_key_ref
    assert key_ref is not None  # noqa: S101 - a rule of the spec
    if not data.get(key_ref.key):
        raise RefusedError(
            ConditionReason.SECRET_INVALID,
            f"{source} has no key {key_ref.key!r}; it has {_list(data)}. Write the key that holds the PEM "
            f"certificates into {source.path}.key",
        )
    return {_CA_KEY: data[key_ref.key]}


def _login_of(uri: str, reference: AdminSecretRef) -> tuple[str | None, str | None]:
    try:
        connection = parse_url(uri)
    except BindingError as error:
        raise RefusedError(
            ConditionReason.SECRET_INVALID, f"Secret {reference.name!r}, key {reference.keys.uri!r}: {error}"
        ) from None
    password = getattr(connection, "password", None)
    return getattr(connection, "username", None), password.get_secret_value() if password else None


def _path(request: Request[Any], field_name: str) -> str:
    kind = request.spec.backend.kind if request.spec.backend else "backend"
    return f"spec.backend.{kind}.{field_name}"


def _list(data: SourceData) -> str:
    return ", ".join(sorted(data)) or "no keys"
