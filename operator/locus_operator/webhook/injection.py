"""What injection does to a pod: a pure function from pod to pod.

What the user wrote stays as it is, with a warning; what is there already from an earlier call stays silently.
"""

from __future__ import annotations

import copy
import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from locus_memory.binding import ROOT_VARIABLE, STORE_VARIABLE
from locus_operator.constants import ANNOTATION_INJECTED
from locus_operator.webhook.opt_in import Binding, read_opt_in

DEFAULT_ROOT: Final = "/bindings"
"""Where bindings are mounted in containers that do not set `SERVICE_BINDING_ROOT`."""

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Injection:
    """The outcome.

    Attributes:
        pod: The pod as it shall be.
        stores: The stores whose binding is mounted in at least one container.
        warnings: What was left alone, and what to write instead.
    """

    pod: Object
    stores: tuple[str, ...]
    warnings: tuple[str, ...]


def inject(pod: Object) -> Injection:
    """Mount the bindings that the pod asks for into all of its containers; the argument is not changed."""
    opt_in = read_opt_in(pod.get("metadata") or {})
    pod = copy.deepcopy(pod)
    warnings = list(opt_in.warnings)
    free = [binding for binding in opt_in.bindings if _volume_is_ours(pod, binding, warnings)]
    for container in _containers(pod):
        warnings += _inject_container(container, free, default=opt_in.bindings[0].store if free else "")
    mounted = [binding for binding in free if _is_mounted(pod, binding)]
    for binding in mounted:
        _add_volume(pod, binding)
    stores = tuple(binding.store for binding in mounted)
    if stores:
        _annotations(pod)[ANNOTATION_INJECTED] = ",".join(stores)
    return Injection(pod, stores, tuple(warnings))


def _inject_container(container: Object, bindings: Sequence[Binding], default: str) -> Iterator[str]:
    """Change one container in place; yields warnings."""
    if not bindings:
        return
    where = f"container {container.get('name')}"
    root = _binding_root(container)
    if root is None:
        yield (
            f"{where}: {ROOT_VARIABLE} has no value that is known before the container runs, so nothing is "
            "injected: write an absolute path as its value"
        )
        return
    for binding in bindings:
        yield from _add_mount(container, binding, posixpath.join(root, binding.store), where)
    _add_variable(container, ROOT_VARIABLE, root)
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


def _add_mount(container: Object, binding: Binding, path: str, where: str) -> Iterator[str]:
    wanted = {"name": binding.volume, "mountPath": path, "readOnly": True}
    mounts: list[Object] = _list(container, "volumeMounts")
    for mount in mounts:
        if posixpath.normpath(mount["mountPath"]) == posixpath.normpath(path):
            # Comparing what we would write: the API server may have added defaults to an earlier injection.
            if any(mount.get(key) != value for key, value in wanted.items() if key != "mountPath"):
                yield f"{where}: its own mount at {path} is left alone; remove it to get {binding.store}"
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


def _volume_is_ours(pod: Object, binding: Binding, warnings: list[str]) -> bool:
    """Tell whether the volume's name is free or our own; anything else is the user's."""
    for volume in pod["spec"].get("volumes") or []:
        if volume["name"] == binding.volume:
            if (volume.get("secret") or {}).get("secretName") == binding.secret:
                return True
            warnings.append(
                f"the pod's own volume {binding.volume} is left alone, so store {binding.store} is not "
                "injected: rename the volume"
            )
            return False
    return True


def _add_volume(pod: Object, binding: Binding) -> None:
    volumes: list[Object] = _list(pod["spec"], "volumes")
    if all(volume["name"] != binding.volume for volume in volumes):
        volumes.append({"name": binding.volume, "secret": {"secretName": binding.secret}})


def _is_mounted(pod: Object, binding: Binding) -> bool:
    return any(
        mount["name"] == binding.volume
        for container in _containers(pod)
        for mount in container.get("volumeMounts") or []
    )


def _containers(pod: Object) -> list[Object]:
    return [*(pod["spec"].get("initContainers") or []), *(pod["spec"].get("containers") or [])]


def _annotations(pod: Object) -> Object:
    metadata = pod["metadata"]
    metadata["annotations"] = metadata.get("annotations") or {}
    annotations: Object = metadata["annotations"]
    return annotations


def _list(parent: Object, key: str) -> list[Object]:
    """The list under `key`, made where there is none or null."""
    parent[key] = parent.get(key) or []
    items: list[Object] = parent[key]
    return items
