"""Fetches from Kubernetes what the engine needs to know about one store."""

from __future__ import annotations

from dataclasses import dataclass

from locus_operator.api import (
    CheckpointStore,
    CheckpointStoreClass,
    CheckpointStoreSpec,
    InvalidSpecError,
    parse_store_class,
)
from locus_operator.api.store_class import NamespacesFrom
from locus_operator.connections import Connections
from locus_operator.constants import ANNOTATION_ADOPT, ConditionReason
from locus_operator.engine import StoreRequest, effective_spec, required_secrets
from locus_operator.errors import RefusedError
from locus_operator.kube import BindingSecret, Kubernetes, StoreIdentity
from locus_operator.provisioner import Owner


@dataclass(frozen=True, slots=True)
class Inputs:
    """Everything about one store.

    Attributes:
        request: What the engine is given.
        binding: The existing binding Secret.
    """

    request: StoreRequest
    binding: BindingSecret | None

    def check_binding(self, name: str) -> None:
        """Look at the place of the binding before anything is changed.

        Args:
            name: Name of the binding Secret.

        Raises:
            RefusedError: It is taken by somebody else's Secret.
        """
        is_free = self.binding is None or self.binding.controller == self.request.owner.uid
        if not is_free and not self.request.adopt:
            raise RefusedError(
                ConditionReason.CONFLICT,
                f"Secret {name!r} exists and does not belong to this store: delete it, write another name into "
                f'spec.bindingSecretName, or annotate the store {ANNOTATION_ADOPT}="true" to have it overwritten',
            )


class Fetcher:
    """Fetches inputs.

    Args:
        kubernetes: The API server.
        cluster: Identity of the cluster, for claims on backends.
        namespace: The operator's own namespace, where classes have their Secrets.
        connections: Administrators' connections, shared by all stores.
    """

    def __init__(self, kubernetes: Kubernetes, cluster: str, namespace: str, connections: Connections) -> None:
        self._kubernetes = kubernetes
        self._cluster = cluster
        self._namespace = namespace
        self._connections = connections

    async def spec(self, store: CheckpointStore, *, deleting: bool = False) -> CheckpointStoreSpec:
        """Return the store's effective spec.

        Args:
            store: The store.
            deleting: Do not ask whether the class still allows the store: it must be able to leave.

        Raises:
            RefusedError: Its class is missing, invalid, or not for this namespace.
        """
        if store.spec.class_name is None:
            return effective_spec(store)
        found = await self._class(store.spec.class_name)
        if found is not None and not deleting:
            await self._check_allowed(found, store)
        return effective_spec(store, found)

    async def inputs(self, identity: StoreIdentity, store: CheckpointStore, spec: CheckpointStoreSpec) -> Inputs:
        """Fetch what the spec refers to, and the existing binding."""
        of_class = store.spec.class_name is not None
        namespace = self._namespace if of_class else identity.namespace
        sources = {source: await self._kubernetes.source(namespace, source) for source in required_secrets(spec)}
        adopt = store.metadata.annotations.get(ANNOTATION_ADOPT) == "true"
        binding = await self._kubernetes.binding(identity.namespace, store.binding_secret_name)
        request = StoreRequest(
            owner=Owner(self._cluster, identity.uid, identity.namespace, identity.name),
            spec=spec,
            sources=sources,
            binding=binding.data if binding is not None else None,
            adopt=adopt,
            connections=self._connections,
        )
        return Inputs(request, binding)

    async def _class(self, name: str) -> CheckpointStoreClass | None:
        body = await self._kubernetes.store_class(name)
        if body is None:
            return None
        try:
            return parse_store_class(body)
        except InvalidSpecError as error:
            raise RefusedError(
                ConditionReason.INVALID_SPEC, f"CheckpointStoreClass {name!r} is invalid: {error}"
            ) from None

    async def _check_allowed(self, store_class: CheckpointStoreClass, store: CheckpointStore) -> None:
        allowed, namespace = store_class.spec.allowed_namespaces, store.metadata.namespace or ""
        selects = allowed.from_ is NamespacesFrom.SELECTOR
        labels = await self._kubernetes.namespace_labels(namespace) if selects else {}
        if not allowed.allow(labels):
            raise RefusedError(
                ConditionReason.NAMESPACE_NOT_ALLOWED,
                f"CheckpointStoreClass {store_class.metadata.name!r} does not allow stores of namespace {namespace!r} "
                f"(its spec.allowedNamespaces.from is {allowed.from_}): ask the platform team to allow it",
            )
