"""Fetches from Kubernetes what the engine needs to know about one store."""

from __future__ import annotations

from dataclasses import dataclass

from locus_operator.api import CheckpointStore, CheckpointStoreSpec
from locus_operator.connections import Connections
from locus_operator.constants import ANNOTATION_ADOPT, ConditionReason
from locus_operator.engine import StoreRequest, required_secrets
from locus_operator.errors import RefusedError
from locus_operator.kube import BindingSecret, Kubernetes, StoreIdentity
from locus_operator.kube_volumes import KubernetesVolumeClaims
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
                for_tenants=True,
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

    async def inputs(self, identity: StoreIdentity, store: CheckpointStore, spec: CheckpointStoreSpec) -> Inputs:
        """Fetch what the effective spec refers to, and the existing binding.

        Secrets and ConfigMaps of a class are in the operator's namespace, those of an inline backend in the store's:
        never in the other one, whatever has the same name there.
        """
        namespace = identity.namespace if spec.class_name is None else self._namespace
        sources = {source: await self._kubernetes.source(namespace, source) for source in required_secrets(spec)}
        adopt = store.metadata.annotations.get(ANNOTATION_ADOPT) == "true"
        binding = await self._kubernetes.binding(identity.namespace, store.binding_secret_name)
        request = StoreRequest(
            owner=Owner(self._cluster, identity.uid, identity.namespace, identity.name),
            spec=spec,
            sources=sources,
            binding=binding.data if binding is not None else None,
            adopt=adopt,
            may_change=self._kubernetes.may_change,
            connections=self._connections,
            volumes=KubernetesVolumeClaims(
                self._kubernetes.client,
                identity.namespace,
                known=store.status.claims.volume_claim if store.status.claims else None,
            ),
        )
        return Inputs(request, binding)
