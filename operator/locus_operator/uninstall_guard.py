"""`locus-operator guard-uninstall`: tells which stores would be left with a promise that nobody keeps any more.

A store with `deletionPolicy: Delete` promises that its data goes with it. Without an operator it cannot be deleted at
all: its finalizer waits for ever. The chart asks this before it is uninstalled. Where the CRDs go with the chart, so
do all stores, and every one of them counts.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Final

from kubernetes.aio.client import ApiClient, CustomObjectsApi
from kubernetes.aio.client.exceptions import ApiException

from locus_operator.constants import ANNOTATION_ABANDON, CLASS_PLURAL, GROUP, STORE_PLURAL, VERSION
from locus_operator.listing import Call, Object, pages

_SHOWN: Final = 20
_DELETE: Final = "Delete"


@dataclass(frozen=True, slots=True, order=True)
class GuardedStore:
    """A store that needs the operator to go.

    Attributes:
        namespace: Its namespace.
        name: Its name.
        class_name: The class that its policy comes from; empty if it is the store's own, or does not matter.
    """

    namespace: str
    name: str
    class_name: str = ""

    def __str__(self) -> str:
        origin = f" (deletionPolicy of the class {self.class_name})" if self.class_name else ""
        return f"{self.namespace}/{self.name}{origin}"


async def find_guarded(client: ApiClient, namespaces: Sequence[str] = (), *, every: bool = False) -> list[GuardedStore]:
    """List the stores on the API server whose data is to be deleted with them.

    Args:
        client: The API server.
        namespaces: Namespaces to look at; empty for all.
        every: List all stores, whatever their policy.

    Raises:
        Exception: One of `listing.API_FAILURES`.
    """
    api = CustomObjectsApi(client)
    classes = partial(api.list_cluster_custom_object_without_preload_content, GROUP, VERSION, plural=CLASS_PLURAL)
    defaults = {each["metadata"]["name"]: _default_policy(each) async for each in _all(classes)}
    found: list[GuardedStore] = []
    for namespace in tuple(namespaces) or (None,):
        stores = [each async for each in _all(_stores(api, namespace))]
        found += guarded(stores, defaults, every=every)
    return sorted(found)


def guarded(
    stores: Iterable[Object], class_policies: Mapping[str, str | None], *, every: bool = False
) -> list[GuardedStore]:
    """Choose the stores whose data is to be deleted with them; those that are to be abandoned keep it.

    Args:
        stores: Stores as the API server has them; their specs may be invalid.
        class_policies: `spec.defaults.deletionPolicy` by the class's name.
        every: Choose all.
    """
    found = []
    for store in stores:
        metadata, spec = store["metadata"], store.get("spec") or {}
        if every:
            found.append(GuardedStore(metadata["namespace"], metadata["name"]))
            continue
        if (metadata.get("annotations") or {}).get(ANNOTATION_ABANDON) == "true":
            continue
        own, class_name = spec.get("deletionPolicy"), spec.get("className") or ""
        if (own or class_policies.get(class_name)) == _DELETE:
            found.append(GuardedStore(metadata["namespace"], metadata["name"], "" if own else class_name))
    return found


def refusal(stores: Sequence[GuardedStore], *, every: bool = False) -> str:
    """Say what is in the way, and both ways on.

    Args:
        stores: At least one.
        every: They are all there are.
    """
    shown = "\n".join(f"  {each}" for each in stores[:_SHOWN])
    more = f"\n  and {len(stores) - _SHOWN} more" if len(stores) > _SHOWN else ""
    if every:
        trouble = "would be deleted with the CRDs (crds.keep: false), and wait for an operator that is gone"
        ways = "or keep them: helm upgrade --reuse-values --set crds.keep=true."
    else:
        trouble = "have deletionPolicy Delete. Without the operator their data stays, and they cannot be deleted"
        ways = "or keep their data with spec.deletionPolicy: Retain."
    delete = f"kubectl delete cps {stores[0].name} --namespace={stores[0].namespace}"
    return (
        f"not uninstalled: {len(stores)} CheckpointStore(s) {trouble}:\n{shown}{more}\n"
        f"Delete them ({delete}), {ways}\n"
        "To uninstall all the same: helm upgrade --reuse-values --set uninstallGuard.enabled=false, and uninstall "
        "again; or helm uninstall --no-hooks."
    )


def _default_policy(store_class: Object) -> str | None:
    policy: str | None = ((store_class.get("spec") or {}).get("defaults") or {}).get("deletionPolicy")
    return policy


def _stores(api: CustomObjectsApi, namespace: str | None) -> Call:
    if namespace is None:
        return partial(api.list_cluster_custom_object_without_preload_content, GROUP, VERSION, plural=STORE_PLURAL)
    return partial(api.list_namespaced_custom_object_without_preload_content, GROUP, VERSION, namespace, STORE_PLURAL)


async def _all(call: Call) -> AsyncIterator[Object]:
    """Yield all objects of a kind; none where the kind is not installed."""
    try:
        async for page in pages(call):
            for item in page.items:
                yield item
    except ApiException as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
