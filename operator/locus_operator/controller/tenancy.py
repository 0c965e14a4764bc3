"""Which class a store gets, and what it may know of it: asked before anything else of the class is looked at."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from locus_operator.api import (
    CheckpointStore,
    CheckpointStoreClass,
    CheckpointStoreSpec,
    InvalidSpecError,
    parse_store_class,
)
from locus_operator.api.backends import OCIAuthType
from locus_operator.api.rules import FieldError
from locus_operator.api.store_class import AllowedNamespaces, NamespacesFrom
from locus_operator.constants import ConditionReason
from locus_operator.errors import RefusedError
from locus_operator.inheritance import default_class, effective_spec, is_default, spec_to_release
from locus_operator.kube import Kubernetes, Object, StoreIdentity


def allowed_namespaces(store_class: Mapping[str, Any]) -> AllowedNamespaces:
    """Read who may use a class out of its manifest, whose other parts may be invalid; nobody if this part is."""
    spec = store_class.get("spec")
    written = spec.get("allowedNamespaces") if isinstance(spec, Mapping) else None
    try:
        return AllowedNamespaces.model_validate_json(json.dumps(written or {}), strict=True, by_name=False)
    except ValidationError:
        return AllowedNamespaces()


def check_identity(spec: CheckpointStoreSpec, *, allowed: bool) -> None:
    """Keep tenants from working with the operator's own identity at a cloud.

    A store that brings its own backend brings the login as well. With the operator's identity it could take over, or
    delete, whatever the operator may, in any team's name; a class is how a platform team lends that out.

    Args:
        spec: The effective spec.
        allowed: The platform team trusts everybody who may create stores.

    Raises:
        InvalidSpecError: The store has no class, and names an identity instead of a key.
    """
    bucket = spec.backend.oci_bucket if spec.backend is not None else None
    if allowed or spec.class_name is not None or bucket is None:
        return
    if bucket.auth.operator.type is not OCIAuthType.API_KEY:
        advice = (
            f"{bucket.auth.operator.type} is the operator's own identity, which only a CheckpointStoreClass may use: "
            "write type: apiKey with secretRef, or className instead of backend"
        )
        raise InvalidSpecError((FieldError("spec.backend.ociBucket.auth.operator.type", advice),))


class Tenancy:
    """Resolves the classes of stores.

    Args:
        kubernetes: The API server.
    """

    def __init__(self, kubernetes: Kubernetes) -> None:
        self._kubernetes = kubernetes

    async def give_default_class(self, identity: StoreIdentity, store: CheckpointStore) -> str:
        """Write the default class into a store that names neither a class nor a backend.

        Once, so that a later change of the default moves nobody.

        Returns:
            The name of the class.

        Raises:
            RefusedError: The store's namespace may use no default class, or several.
        """
        labels = await self._kubernetes.namespace_labels(identity.namespace)
        candidates = [
            each["metadata"]["name"]
            for each in await self._kubernetes.store_classes()
            if is_default(each["metadata"].get("annotations") or {})
            if not each["metadata"].get("deletionTimestamp") and allowed_namespaces(each).allow(labels)
        ]
        name = default_class(candidates)
        await self._kubernetes.write_class_name(identity, name, store.metadata.resource_version or "")
        return name

    async def spec(self, store: CheckpointStore) -> CheckpointStoreSpec:
        """Return the store's effective spec.

        Raises:
            RefusedError: Its class is missing, invalid, or not for this namespace.
            LimitExceededError: It asks for more than its class allows.
            InvalidSpecError: What it says and what its class says do not go together.
        """
        name = store.spec.class_name
        found = await self._kubernetes.store_class(name) if name is not None else None
        if found is None:
            return effective_spec(store)
        await self._check_allowed(found, store)
        if found["metadata"].get("deletionTimestamp") and store.status.backend is None:
            message = f"CheckpointStoreClass {name!r} is being deleted: choose another one"
            raise RefusedError(ConditionReason.CLASS_NOT_READY, message, for_tenants=True)
        return effective_spec(store, _parsed(found))

    async def spec_to_release(self, store: CheckpointStore) -> CheckpointStoreSpec:
        """Return the spec that a store leaves its backend with, whether or not its class still allows it.

        Raises:
            RefusedError: Its class is missing or invalid.
        """
        # API servers without CEL let the name be changed: the status knows where the store is.
        name = store.status.class_name or store.spec.class_name
        if name is None:
            return spec_to_release(store)
        found = await self._kubernetes.store_class(name)
        bound = store.model_copy(update={"spec": store.spec.model_copy(update={"class_name": name})})
        return spec_to_release(bound, _parsed(found) if found is not None else None)

    async def _check_allowed(self, store_class: Object, store: CheckpointStore) -> None:
        allowed, namespace = allowed_namespaces(store_class), store.metadata.namespace or ""
        selects = allowed.from_ is NamespacesFrom.SELECTOR
        labels = await self._kubernetes.namespace_labels(namespace) if selects else {}
        if not allowed.allow(labels):
            raise RefusedError(
                ConditionReason.NAMESPACE_NOT_ALLOWED,
                f"CheckpointStoreClass {store.spec.class_name!r} does not allow stores of namespace {namespace!r}: ask "
                "the platform team to allow it",
                for_tenants=True,
            )


def _parsed(store_class: Object) -> CheckpointStoreClass:
    try:
        return parse_store_class(store_class)
    except InvalidSpecError as error:
        name = store_class["metadata"]["name"]
        message = f"CheckpointStoreClass {name!r} is invalid: {error}"
        raise RefusedError(ConditionReason.CLASS_NOT_READY, message) from None
