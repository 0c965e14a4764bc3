"""The few calls to the Kubernetes API that the operator makes beside kopf's watches.

They raise `RefusedError` where the operator lacks a permission, and `UnavailableError` where the API server does not
answer; neither shows the body of a request or of an answer, which may be a Secret.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Self, TypeVar, cast

import aiohttp
from kubernetes.aio.client import (
    ApiClient,
    Configuration,
    CoreV1Api,
    CustomObjectsApi,
    V1DeleteOptions,
    V1ObjectMeta,
    V1OwnerReference,
    V1Preconditions,
    V1Secret,
)
from kubernetes.aio.client.exceptions import ApiException, ForbiddenException, NotFoundException
from kubernetes.aio.config import ConfigException, load_incluster_config, load_kube_config

from locus_operator.binding import Binding
from locus_operator.constants import (
    API_VERSION,
    CLASS_PLURAL,
    GROUP,
    LABEL_MANAGED_BY,
    LABEL_STORE,
    MANAGER,
    STORE_KIND,
    STORE_PLURAL,
    VERSION,
    ConditionReason,
)
from locus_operator.errors import RefusedError, UnavailableError
from locus_operator.sources import Source

TIMEOUT_SECONDS: Final = 30.0
"""Longest that one request may take."""
USER_AGENT: Final = "locus-operator"
"""What audit logs and `managedFields` call us."""

PAGE_SIZE: Final = 500
"""Stores that are listed with one request."""
_JSON_PATCH: Final = "application/json-patch+json"

Object = dict[str, Any]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StoreIdentity:
    """Which `CheckpointStore`: the UID tells a store from a later one of the same name."""

    namespace: str
    name: str
    uid: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class BindingSecret:
    """A Secret at the place of a store's binding.

    Attributes:
        uid: Its own UID.
        version: Its `resourceVersion`.
        controller: UID of the object that controls it, or None.
        type: Its type, such as `servicebinding.io/postgresql`.
        labels: Its labels.
        data: Its decoded entries; those that are no UTF-8 are left out.
        encoded: Its entries as they are.
    """

    uid: str
    version: str
    controller: str | None
    type: str
    labels: Mapping[str, str]
    data: Mapping[str, str] = field(repr=False)
    encoded: Mapping[str, str] = field(repr=False)

    def holds(self, wanted: V1Secret) -> bool:
        """Tell whether it is already as it shall be; labels that others added are theirs."""
        labels = wanted.metadata.labels if wanted.metadata else None
        return (
            self.type == wanted.type and self.encoded == wanted.data and self.labels.items() >= (labels or {}).items()
        )


class _GuardedClient(ApiClient):
    """Asks before it changes anything."""

    def __init__(self, configuration: Configuration, may_change: Callable[[], None]) -> None:
        super().__init__(configuration)
        self._may_change = may_change

    async def call_api(self, method: str, *arguments: Any, **options: Any) -> Any:
        if method != "GET":
            self._may_change()
        return await super().call_api(method, *arguments, **options)


class Kubernetes:
    """A connection to the API server.

    Attributes:
        client: The client that all requests go through.
        may_change: To be called before anything else is changed, such as a backend.
    """

    def __init__(self, client: ApiClient, may_change: Callable[[], None] = lambda: None) -> None:
        self.client = client
        self.may_change = may_change
        self._core = CoreV1Api(client)
        self._custom = CustomObjectsApi(client)

    @classmethod
    @asynccontextmanager
    async def connect(cls, may_change: Callable[[], None] | None = None) -> AsyncIterator[Self]:
        """Connect with the pod's service account, or with the kubeconfig outside of a cluster.

        Args:
            may_change: Called before each request that changes something; what it raises is the request's end.

        Raises:
            ConfigException: There is neither.
        """
        configuration = Configuration()
        try:
            load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        except ConfigException:
            await load_kube_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        may_change = may_change or (lambda: None)
        async with _GuardedClient(configuration, may_change) as client:
            client.user_agent = USER_AGENT
            yield cls(client, may_change)

    async def cluster_id(self) -> str:
        """Return the UID of the namespace `kube-system`, which identifies the cluster for as long as it lives."""
        namespace = await ask("get Namespace kube-system", self._core.read_namespace("kube-system"))
        if namespace is None or namespace.metadata is None or namespace.metadata.uid is None:
            raise UnavailableError("the cluster has no namespace kube-system, whose UID identifies it")
        return namespace.metadata.uid

    async def namespace_labels(self, name: str) -> dict[str, str]:
        """Return the labels of a namespace."""
        namespace = await ask(f"get Namespace {name}", self._core.read_namespace(name))
        return dict((namespace.metadata.labels if namespace and namespace.metadata else None) or {})

    async def namespace_is_ending(self, name: str) -> bool:
        """Tell whether a namespace is being deleted, or gone: nothing can be created in it any more."""
        namespace = await ask(f"get Namespace {name}", self._core.read_namespace(name))
        return namespace is None or (
            namespace.metadata is not None and namespace.metadata.deletion_timestamp is not None
        )

    async def store(self, namespace: str, name: str) -> Object | None:
        """Return a `CheckpointStore` as it is now, or None."""
        call = self._custom.get_namespaced_custom_object(GROUP, VERSION, namespace, STORE_PLURAL, name)
        return cast("Object | None", await ask(f"get {STORE_PLURAL} {namespace}/{name}", call))

    async def store_class(self, name: str) -> Object | None:
        """Return a `CheckpointStoreClass`, or None."""
        call = self._custom.get_cluster_custom_object(GROUP, VERSION, CLASS_PLURAL, name)
        return cast("Object | None", await ask(f"get {CLASS_PLURAL} {name}", call))

    async def store_classes(self) -> list[Object]:
        """Return all `CheckpointStoreClass` objects."""
        call = self._custom.list_cluster_custom_object(GROUP, VERSION, CLASS_PLURAL)
        found = cast("Object", await ask(f"list {CLASS_PLURAL}", call) or {})
        return cast("list[Object]", found.get("items", []))

    async def stores(self) -> list[Object]:
        """Return all `CheckpointStore` objects of the cluster as they are now."""
        found: list[Object] = []
        token: str | None = None
        while True:
            call = self._custom.list_cluster_custom_object(
                GROUP, VERSION, STORE_PLURAL, limit=PAGE_SIZE, _continue=token
            )
            page = cast("Object", await ask(f"list {STORE_PLURAL}", call) or {})
            found += page.get("items", [])
            token = page.get("metadata", {}).get("continue")
            if not token:
                return found

    async def write_class_name(self, store: StoreIdentity, class_name: str, version: str) -> None:
        """Write `spec.className` into a store, unless it has changed since it was read.

        Args:
            store: The store.
            class_name: The class.
            version: The `resourceVersion` that was read.

        Raises:
            UnavailableError: It has changed, or the API server does not answer.
        """
        patch: list[Object] = [
            {"op": "test", "path": "/metadata/uid", "value": store.uid},
            {"op": "test", "path": "/metadata/resourceVersion", "value": version},
            {"op": "add", "path": "/spec/className", "value": class_name},
        ]
        call = self._custom.patch_namespaced_custom_object(
            GROUP, VERSION, store.namespace, STORE_PLURAL, store.name, patch, _content_type=_JSON_PATCH
        )
        await ask(f"patch {STORE_PLURAL} {store}", call)

    async def write_class_status(self, name: str, uid: str, status: Object) -> None:
        """Replace a class's whole status; nothing happens if the class is gone or is another one by now."""
        patch: list[Object] = [
            {"op": "test", "path": "/metadata/uid", "value": uid},
            {"op": "add", "path": "/status", "value": status},
        ]
        call = self._custom.patch_cluster_custom_object_status(
            GROUP, VERSION, CLASS_PLURAL, name, patch, _content_type=_JSON_PATCH
        )
        await ask(f"patch the status of {CLASS_PLURAL} {name}", call)

    async def write_status(self, store: StoreIdentity, status: Object) -> None:
        """Replace a store's whole status; nothing happens if the store is gone or is another one by now."""
        patch: list[Object] = [
            {"op": "test", "path": "/metadata/uid", "value": store.uid},
            {"op": "add", "path": "/status", "value": status},
        ]
        call = self._custom.patch_namespaced_custom_object_status(
            GROUP,
            VERSION,
            store.namespace,
            STORE_PLURAL,
            store.name,
            patch,
            _content_type=_JSON_PATCH,
        )
        await ask(f"patch the status of {STORE_PLURAL} {store}", call)

    async def source(self, namespace: str, source: Source) -> dict[str, str] | None:
        """Return the decoded data of a Secret or ConfigMap, or None; entries that are no UTF-8 are left out."""
        what = f"get {source.kind} {namespace}/{source.name}"
        if source.kind == "ConfigMap":
            config_map = await ask(what, self._core.read_namespaced_config_map(source.name, namespace))
            return None if config_map is None else dict(config_map.data or {})
        secret = await ask(what, self._core.read_namespaced_secret(source.name, namespace))
        return None if secret is None else _decode(_encoded(secret))

    async def binding(self, namespace: str, name: str) -> BindingSecret | None:
        """Return the Secret of this name, whoever owns it, or None."""
        secret = await ask(f"get Secret {namespace}/{name}", self._core.read_namespaced_secret(name, namespace))
        if secret is None or secret.metadata is None:
            return None
        metadata, encoded = secret.metadata, _encoded(secret)
        owners = metadata.owner_references or []
        return BindingSecret(
            uid=metadata.uid or "",
            version=metadata.resource_version or "",
            controller=next((owner.uid for owner in owners if owner.controller), None),
            type=secret.type or "",
            labels=dict(metadata.labels or {}),
            data=_decode(encoded),
            encoded=encoded,
        )

    async def write_binding(
        self, store: StoreIdentity, name: str, binding: Binding, existing: BindingSecret | None
    ) -> bool:
        """Make the Secret as the binding says, owned by the store.

        Args:
            store: The owner.
            name: Name of the Secret, in the store's namespace.
            binding: Its content.
            existing: What `binding` returned; if it has changed since, `UnavailableError` is raised.

        Returns:
            Whether anything had to be written.
        """
        wanted = _secret(store, name, binding)
        if existing is not None and existing.type != wanted.type:
            # The API server refuses to change a Secret's type.
            await self.delete_binding(store.namespace, name, existing)
            existing = None
        if existing is None:
            call = self._core.create_namespaced_secret(store.namespace, wanted)
            await ask(f"create Secret {store.namespace}/{name}", call)
            return True
        if existing.controller == store.uid and existing.holds(wanted):
            return False
        assert wanted.metadata is not None  # noqa: S101 - made above
        wanted.metadata.resource_version = existing.version
        wanted.metadata.labels = {**existing.labels, **(wanted.metadata.labels or {})}
        replace = self._core.replace_namespaced_secret(name, store.namespace, wanted)
        await ask(f"update Secret {store.namespace}/{name}", replace)
        return True

    async def delete_binding(self, namespace: str, name: str, existing: BindingSecret) -> None:
        """Delete this very Secret; one that is gone already is done."""
        options = V1DeleteOptions(preconditions=V1Preconditions(uid=existing.uid))
        call = self._core.delete_namespaced_secret(name, namespace, body=options)
        await ask(f"delete Secret {namespace}/{name}", call)


async def ask(what: str, call: Awaitable[T]) -> T | None:
    """Wait for an answer; None when there is no such object.

    Args:
        what: Verb and object, for messages.
        call: The request.
    """
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            return await call
    except NotFoundException:
        return None
    except ForbiddenException:
        raise RefusedError(
            ConditionReason.MISSING_PRIVILEGES,
            f"the operator may not {what}: its ClusterRole lacks it, or the namespace is being deleted",
        ) from None
    except ApiException as error:
        raise UnavailableError(
            f"the Kubernetes API server answered {error.status} to: {what}{_why(what, error)}"
        ) from None
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise UnavailableError(
            f"the Kubernetes API server did not answer to: {what} ({type(error).__name__})"
        ) from None


def _why(what: str, error: ApiException) -> str:
    """What the API server says, unless it may repeat what a Secret holds."""
    if "Secret" in what:
        return ""
    try:
        return f" ({json.loads(error.body or '')['message']})"
    except (ValueError, KeyError, TypeError):
        return ""


def _secret(store: StoreIdentity, name: str, binding: Binding) -> V1Secret:
    owner = V1OwnerReference(
        api_version=API_VERSION,
        kind=STORE_KIND,
        name=store.name,
        uid=store.uid,
        controller=True,
        block_owner_deletion=True,
    )
    labels = {LABEL_MANAGED_BY: MANAGER, LABEL_STORE: store.name}
    return V1Secret(
        metadata=V1ObjectMeta(name=name, namespace=store.namespace, labels=labels, owner_references=[owner]),
        type=binding.secret_type,
        data={key: base64.b64encode(value.encode()).decode() for key, value in binding.data.items()},
    )


def _encoded(secret: V1Secret) -> dict[str, str]:
    return {key: value.decode() if isinstance(value, bytes) else value for key, value in (secret.data or {}).items()}


def _decode(encoded: Mapping[str, str]) -> dict[str, str]:
    decoded: dict[str, str] = {}
    for key, value in encoded.items():
        try:
            decoded[key] = base64.b64decode(value).decode()
        except UnicodeDecodeError:
            continue
    return decoded
