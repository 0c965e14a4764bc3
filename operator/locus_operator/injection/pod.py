"""What injection does to a pod: a pure function from pod to pod.

What the user wrote stays as it is, with a warning; what is there already from an earlier call stays silently.
"""

from __future__ import annotations

import copy
import posixpath
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from locus_memory.binding import ROOT_VARIABLE, STORE_VARIABLE
from locus_operator.constants import ANNOTATION_INJECTED
from locus_operator.injection.known_stores import KnownStore, StoresByName
from locus_operator.injection.opt_in import binding_volume, files_volume, read_opt_in
from locus_operator.names import files_directory

DEFAULT_ROOT: Final = "/bindings"
"""Where bindings are mounted in containers that do not set `SERVICE_BINDING_ROOT`."""

_MIRROR: Final = "kubernetes.io/config.mirror"
"""Annotation of the API server's image of a static pod; one that mounted a Secret would be refused."""

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Injection:
    """The outcome.

    Attributes:
        pod: The pod as it shall be.
        stores: The stores whose binding is mounted in at least one container.
        added: Those of them that were not, or not wholly, before.
        left_out: Why the pod does not get something that it asks for.
        warnings: Whatever the user should know, `left_out` included, and what to write instead.
    """

    pod: Object
    stores: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Volume:
    """A volume that a store needs in its containers."""

    name: str
    source: Object
    path: str
    """Where it is mounted, below the root of the bindings unless it is absolute."""
    read_only: bool = False

    def mount(self, root: str) -> Object:
        mount = {"name": self.name, "mountPath": posixpath.join(root, self.path)}
        return mount | {"readOnly": True} if self.read_only else mount


def inject(pod: Object, known: StoresByName = MappingProxyType({}), *, selects: bool = False) -> Injection:
    """Mount what the pod asks for, and what selects it; the argument is not changed.

    Args:
        pod: The pod.
        known: The stores of its namespace.
        selects: The namespace has opted in, so stores select pods that do not ask.
    """
    metadata = pod.get("metadata") or {}
    if _MIRROR in (metadata.get("annotations") or {}):
        return Injection(pod)
    opt_in = read_opt_in(metadata, known, selects=selects)
    before = _mounted(pod)
    pod = copy.deepcopy(pod)
    left_out, warnings = list(opt_in.left_out), list(opt_in.warnings)
    volumes = {store.name: list(_free_volumes(pod, store, left_out, warnings)) for store in opt_in.stores}
    for container in _containers(pod):
        wanted = [store for store in opt_in.stores if _wants(store, container)]
        warnings += _inject_container(container, wanted, volumes)
    after = _mounted(pod)
    for needed in volumes.values():
        _add_volumes(pod, [volume for volume in needed if volume.name in after])
    stores = tuple(store.name for store in opt_in.stores if binding_volume(store.name) in after and volumes[store.name])
    added = tuple(name for name in stores if any(each.name in after - before for each in volumes[name]))
    left_out += _nowhere(pod, opt_in.stores)
    warnings += _undecided(opt_in.stores)
    if stores:
        _annotate(pod, stores)
    return Injection(pod, stores, added, tuple(left_out), (*left_out, *warnings))


def _wants(store: KnownStore, container: Object) -> bool:
    return store.containers is None or container.get("name") in store.containers


def _nowhere(pod: Object, stores: Iterable[KnownStore]) -> Iterator[str]:
    names = {container.get("name") for container in _containers(pod)}
    for store in stores:
        if store.containers is not None and not store.containers & names:
            listed = ", ".join(sorted(store.containers))
            yield (
                f"store {store.name} is not injected: its spec.pods.containers names {listed}, and the pod has no "
                "such container"
            )


def _undecided(stores: Iterable[KnownStore]) -> Iterator[str]:
    for store in stores:
        if store.is_undecided:
            yield (
                f"store {store.name} is not provisioned yet: should its class keep files, this pod has no volume for "
                "them, so create the pod again when the store is Ready"
            )


# Containers


def _inject_container(
    container: Object, stores: Sequence[KnownStore], volumes: dict[str, list[_Volume]]
) -> Iterator[str]:
    """Change one container in place; yields warnings."""
    needed = [(store, volume) for store in stores for volume in volumes[store.name]]
    if not needed:
        return
    where = f"container {container.get('name')}"
    root = _binding_root(container)
    if root is None:
        yield (
            f"{where}: {ROOT_VARIABLE} has no value that is known before the container runs, so nothing is "
            "injected: write an absolute path as its value"
        )
        return
    for store, volume in needed:
        yield from _add_mount(container, store, volume.mount(root), where)
    _add_variable(container, ROOT_VARIABLE, root)
    default = stores[0].name
    existing = _add_variable(container, STORE_VARIABLE, default)
    if existing != {"name": STORE_VARIABLE, "value": default}:
        yield f"{where}: its own {STORE_VARIABLE} is left alone; remove it to get {default}"


def _binding_root(container: Object) -> str | None:
    """The directory of the container's bindings; None when only the kubelet will know."""
    variable = _find_variable(container, ROOT_VARIABLE)
    if variable is None:
        return DEFAULT_ROOT
    value = variable.get("value") or ""
    # `$(NAME)` is expanded in variables but not in mount paths, and a colon is refused in the latter.
    usable = value.startswith("/") and "$(" not in value and ":" not in value
    return value if usable else None


def _add_mount(container: Object, store: KnownStore, wanted: Object, where: str) -> Iterator[str]:
    path = wanted["mountPath"]
    mounts: list[Object] = _list(container, "volumeMounts")
    for mount in mounts:
        if posixpath.normpath(mount["mountPath"]) == posixpath.normpath(path):
            # Comparing what we would write: the API server may have added defaults to an earlier injection.
            if any(mount.get(key) != value for key, value in wanted.items() if key != "mountPath"):
                yield f"{where}: its own mount at {path} is left alone; remove it to get {store.name}"
            return
    mounts.append(wanted)


def _add_variable(container: Object, name: str, value: str) -> Object:
    """Return the container's variable, which is added if there is none."""
    existing = _find_variable(container, name)
    if existing is None:
        existing = {"name": name, "value": value}
        _list(container, "env").append(existing)
    return existing


def _find_variable(container: Object, name: str) -> Object | None:
    # The last one of a name is the one that counts.
    found = [each for each in container.get("env") or [] if each["name"] == name]
    return found[-1] if found else None


# Volumes


def _free_volumes(pod: Object, store: KnownStore, left_out: list[str], warnings: list[str]) -> Iterator[_Volume]:
    """The volumes of a store whose names are free or our own; without its binding it gets none."""
    secret = {"secret": {"secretName": store.secret}}
    binding = _Volume(binding_volume(store.name), secret, store.name, read_only=True)
    if not _is_ours(pod, store, binding):
        left_out.append(
            f"the pod's own volume {binding.name} is left alone, so store {store.name} is not injected: rename the "
            "volume"
        )
        return
    yield binding
    if store.claim is None:
        return
    claim = {"persistentVolumeClaim": {"claimName": store.claim}}
    files = _Volume(files_volume(store.name), claim, files_directory(store.name))
    if _is_ours(pod, store, files):
        yield files
    else:
        warnings.append(
            f"the pod's own volume {files.name} is left alone, so the files of store {store.name} are not mounted: "
            "rename the volume"
        )


def _is_ours(pod: Object, store: KnownStore, wanted: _Volume) -> bool:
    """Tell whether the volume's name is free or our own; anything else is the user's."""
    (kind,) = wanted.source
    for volume in pod["spec"].get("volumes") or []:
        if volume["name"] == wanted.name:
            given, asked = volume.get(kind) or {}, wanted.source[kind]
            # An earlier call may have known another name of Secret or claim: spec.bindingSecretName can change.
            return (store.name in _injected(pod) and bool(given)) or given.items() >= asked.items()
    return True


def _add_volumes(pod: Object, needed: Iterable[_Volume]) -> None:
    names = {volume["name"] for volume in pod["spec"].get("volumes") or []}
    for volume in needed:
        if volume.name not in names:
            _list(pod["spec"], "volumes").append({"name": volume.name, **volume.source})


def _mounted(pod: Object) -> set[str]:
    return {mount["name"] for container in _containers(pod) for mount in container.get("volumeMounts") or []}


# The pod


def _containers(pod: Object) -> list[Object]:
    return [*(pod["spec"].get("initContainers") or []), *(pod["spec"].get("containers") or [])]


def _injected(pod: Object) -> list[str]:
    """The stores that an earlier call has left its mark for."""
    text: str = (pod["metadata"].get("annotations") or {}).get(ANNOTATION_INJECTED) or ""
    return text.split(",") if text else []


def _annotate(pod: Object, stores: Iterable[str]) -> None:
    """Add the stores to those of earlier calls: that for labelled pods and that for selected ones know different ones.

    A mark without a mount is somebody's invention.
    """
    mounted = _mounted(pod)
    earlier = [name for name in _injected(pod) if binding_volume(name) in mounted]
    metadata = pod["metadata"]
    metadata["annotations"] = metadata.get("annotations") or {}
    metadata["annotations"][ANNOTATION_INJECTED] = ",".join(dict.fromkeys([*earlier, *stores]))


def _list(parent: Object, key: str) -> list[Object]:
    """The list under `key`, made where there is none or null."""
    parent[key] = parent.get(key) or []
    items: list[Object] = parent[key]
    return items
