"""What a store gets from its class: the backend, defaults, and bounds. Pure functions."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, Final, NamedTuple

from pydantic.alias_generators import to_camel

from locus_operator.api import CheckpointStore, CheckpointStoreClass, CheckpointStoreSpec, InvalidSpecError
from locus_operator.api.rules import FieldError, broken_rules
from locus_operator.constants import ANNOTATION_DEFAULT_CLASS, ConditionReason
from locus_operator.errors import LimitExceededError, RefusedError

_GROUPS: Final = ("retention", "credentials")
"""Parts of a spec that are inherited field by field; a class has them below `defaults`."""
_TTL: Final = "spec.backend.redis.ttl.onWrite"


class _Limit(NamedTuple):
    """An upper bound of a class, and the field of a store that it bounds."""

    name: str
    group: str
    field: str

    @property
    def path(self) -> str:
        return f"spec.{self.group}.{to_camel(self.field)}"


_LIMITS: Final = (
    _Limit("max_retention", "retention", "max_age"),
    _Limit("max_checkpoints_per_thread", "retention", "max_checkpoints_per_thread"),
    _Limit("max_rotation_period", "credentials", "rotation_period"),
)


def effective_spec(store: CheckpointStore, store_class: CheckpointStoreClass | None = None) -> CheckpointStoreSpec:
    """Return the store's spec with what it gets from its class: backend, defaults, and limits where it says nothing.

    Args:
        store: The store.
        store_class: The class that `spec.className` names; None when there is no such class.

    Raises:
        RefusedError: The store names a class and there is none, or it names neither a class nor a backend.
        LimitExceededError: The store asks for more than its class allows.
        InvalidSpecError: What the store says and what its class says do not go together.
    """
    merged = spec_to_release(store, store_class)
    if store_class is None:
        return merged
    if exceeded := tuple(_exceeded(merged, store_class)):
        raise LimitExceededError(exceeded)
    merged = _with_limits(merged, store_class)
    if errors := tuple(_for_the_tenant(error, store.spec, merged) for error in _broken(merged)):
        raise InvalidSpecError(errors)
    return merged


def spec_to_release(store: CheckpointStore, store_class: CheckpointStoreClass | None = None) -> CheckpointStoreSpec:
    """Return the spec that a store leaves its backend with: merged, but not judged, for it must be able to leave.

    Args:
        store: The store.
        store_class: The class that `spec.className` names; None when there is no such class.

    Raises:
        RefusedError: The store names a class and there is none, or it names neither a class nor a backend.
    """
    spec = store.spec
    if spec.class_name is None:
        if spec.backend is None:
            default_class(())
        return spec
    if store_class is None:
        raise RefusedError(
            ConditionReason.CLASS_NOT_FOUND,
            f"there is no CheckpointStoreClass {spec.class_name!r} (spec.className): `kubectl get cpsclass` lists "
            "those that exist; ask the platform team to create it, or write spec.backend instead",
            for_tenants=True,
        )
    defaults = store_class.spec.defaults
    inherited = {group: _merge(getattr(spec, group), getattr(defaults, group)) for group in _GROUPS}
    policy = spec.deletion_policy or defaults.deletion_policy
    return spec.model_copy(update={"backend": store_class.spec.backend, "deletion_policy": policy, **inherited})


def check_class(store_class: CheckpointStoreClass) -> None:
    """Judge what a store of the class gets that says nothing itself.

    Raises:
        InvalidSpecError: Backend, defaults and limits of the class do not go together.
    """
    errors = _broken(_with_limits(spec_of_class(store_class), store_class))
    if found := tuple(FieldError(_path_in_class(error.path), error.message) for error in errors):
        raise InvalidSpecError(found)


def spec_of_class(store_class: CheckpointStoreClass) -> CheckpointStoreSpec:
    """Return what a store of the class gets that says nothing itself, before limits."""
    defaults = store_class.spec.defaults
    return CheckpointStoreSpec(
        backend=store_class.spec.backend,
        retention=defaults.retention,
        deletion_policy=defaults.deletion_policy,
        credentials=defaults.credentials,
    )


def is_default(annotations: dict[str, str]) -> bool:
    """Tell whether a class with these annotations is for stores that name neither a class nor a backend."""
    return annotations.get(ANNOTATION_DEFAULT_CLASS) == "true"


def default_class(names: Collection[str]) -> str:
    """Return the class of a store that names neither a class nor a backend.

    Args:
        names: Default classes that the store's namespace may use.

    Raises:
        RefusedError: There is none, or there are several.
    """
    if len(names) == 1:
        return next(iter(names))
    found = f"there are several: {', '.join(sorted(names))}" if names else "there is no default class for it"
    raise RefusedError(
        ConditionReason.CLASS_NOT_FOUND,
        f"the store names neither a class nor a backend, and {found}: write spec.className or spec.backend, or ask the "
        f'platform team to annotate one class that this namespace may use {ANNOTATION_DEFAULT_CLASS}="true"',
        for_tenants=True,
    )


def _merge(own: Any, defaults: Any) -> Any:
    """Return the store's own values, and the class's where the store has none."""
    missing = {name: getattr(defaults, name) for name in type(own).model_fields if getattr(own, name) is None}
    return own.model_copy(update=missing)


def _exceeded(spec: CheckpointStoreSpec, store_class: CheckpointStoreClass) -> Iterator[FieldError]:
    for limit in _LIMITS:
        bound, value = getattr(store_class.spec.limits, limit.name), getattr(getattr(spec, limit.group), limit.field)
        if bound is not None and value is not None and value > bound:
            advice = f"write {bound} or less: {value} is more than CheckpointStoreClass"
            yield FieldError(limit.path, f"{advice} {store_class.metadata.name!r} allows")


def _with_limits(spec: CheckpointStoreSpec, store_class: CheckpointStoreClass) -> CheckpointStoreSpec:
    """Put the limits of a class where neither the store nor the class's defaults say anything."""
    groups = {group: getattr(spec, group) for group in _GROUPS}
    for limit in _LIMITS:
        bound, group = getattr(store_class.spec.limits, limit.name), groups[limit.group]
        if bound is not None and getattr(group, limit.field) is None:
            groups[limit.group] = group.model_copy(update={limit.field: bound})
    return spec.model_copy(update=groups)


def _broken(merged: CheckpointStoreSpec) -> Iterator[FieldError]:
    """Judge a merged spec by the rules of one that is written out: with the backend in it instead of the class."""
    return broken_rules(merged.model_copy(update={"class_name": None}), "spec")


def _for_the_tenant(error: FieldError, own: CheckpointStoreSpec, merged: CheckpointStoreSpec) -> FieldError:
    """Say what is wrong about a field that the tenant can write, and what of it came from the class."""
    if error.path == _TTL:
        redis = merged.backend.redis if merged.backend else None
        assert redis is not None  # noqa: S101 - the rule is about it
        advice = f"write {redis.ttl.on_write} or more: the class keeps a thread that long after its last write"
        return FieldError("spec.retention.maxAge", advice)
    inherited = [
        f"{to_camel(name)} is {getattr(merged_group, name)}"
        for group, own_group, merged_group in _groups(own, merged)
        for name in type(own_group).model_fields
        if error.path.startswith(f"spec.{group}.") and getattr(own_group, name) is None
        if getattr(merged_group, name) is not None
    ]
    suffix = f" (from the class: {', '.join(inherited)})" if inherited else ""
    return FieldError(error.path, error.message + suffix)


def _groups(own: CheckpointStoreSpec, merged: CheckpointStoreSpec) -> Iterator[tuple[str, Any, Any]]:
    return ((group, getattr(own, group), getattr(merged, group)) for group in _GROUPS)


def _path_in_class(path: str) -> str:
    for group in _GROUPS:
        path = path.replace(f"spec.{group}", f"spec.defaults.{group}", 1)
    return path
