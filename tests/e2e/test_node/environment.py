"""A container's environment and command line."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from tests.e2e.test_node.cluster import Object
from tests.e2e.test_node.downward import field_value, resource_value
from tests.e2e.test_node.images import ImageRoot
from tests.e2e.test_node.objects import MissingError, ObjectStore
from tests.e2e.test_node.service_links import service_links

# "$$" is an escaped "$"; "$(NAME)" is replaced if NAME is known and stays as it is if not.
REFERENCE = re.compile(r"\$\$|\$\(([A-Za-z_.\-][A-Za-z0-9_.\-]*)\)")
VARIABLE_NAME = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")


@dataclass(frozen=True)
class Invocation:
    """What to execute."""

    command: tuple[str, ...]
    env: Mapping[str, str]
    working_dir: str


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Replace ``$(NAME)`` in ``text`` by Kubernetes' rules."""

    def replace(found: re.Match[str]) -> str:
        name = found[1]
        return "$" if name is None else variables.get(name, found[0])

    return REFERENCE.sub(replace, text)


def invocation(
    pod: Object, container: Object, image: ImageRoot, objects: ObjectStore, node_env: Mapping[str, str]
) -> Invocation:
    """Work out what ``container`` of ``pod`` executes.

    Args:
        node_env: variables that the node sets in every container.

    Raises:
        MissingError: a Secret or ConfigMap, or a key in it, is not there and is not optional.
    """
    node_env = {**service_links(objects.all("service"), pod), **node_env}
    own = _own_environment(pod, container, objects, node_env)
    env = {"HOSTNAME": pod["metadata"]["name"], **image.env, **node_env, **own}
    command = [expand(part, env) for part in container.get("command") or image.entrypoint]
    default_arguments = () if container.get("command") else image.cmd
    arguments = [expand(part, env) for part in container.get("args") or default_arguments]
    if not command and not arguments:
        raise MissingError(f"image {container['image']} has no entrypoint, and the container no command")
    return Invocation((*command, *arguments), env, container.get("workingDir") or image.working_dir)


def _own_environment(
    pod: Object, container: Object, objects: ObjectStore, node_env: Mapping[str, str]
) -> dict[str, str]:
    env: dict[str, str] = {}
    for source in container.get("envFrom") or []:
        env |= _from_source(pod, source, objects)
    for entry in container.get("env") or []:
        if "valueFrom" in entry:
            value = _referenced(pod, container, entry["valueFrom"], objects)
            if value is not None:
                env[entry["name"]] = value
        else:
            env[entry["name"]] = expand(entry.get("value") or "", {**node_env, **env})
    return env


def _from_source(pod: Object, source: Object, objects: ObjectStore) -> dict[str, str]:
    kind, reference = ("secret", "secretRef") if "secretRef" in source else ("configmap", "configMapRef")
    name, optional = source[reference]["name"], source[reference].get("optional", False)
    data = objects.data(kind, pod["metadata"]["namespace"], name)
    if data is None:
        if optional:
            return {}
        raise MissingError(f'{kind} "{name}" not found')
    prefixed = {source.get("prefix", "") + key: value.decode() for key, value in data.items()}
    return {key: value for key, value in prefixed.items() if VARIABLE_NAME.fullmatch(key)}


def _referenced(pod: Object, container: Object, source: Object, objects: ObjectStore) -> str | None:
    if "fieldRef" in source:
        return field_value(pod, source["fieldRef"]["fieldPath"])
    if "resourceFieldRef" in source:
        return resource_value(container, source["resourceFieldRef"])
    kind, name_of = ("secret", "secretKeyRef") if "secretKeyRef" in source else ("configmap", "configMapKeyRef")
    reference = source[name_of]
    name, key, optional = reference["name"], reference["key"], reference.get("optional", False)
    data = objects.data(kind, pod["metadata"]["namespace"], name)
    if data is None:
        if optional:
            return None
        raise MissingError(f'{kind} "{name}" not found')
    if key not in data:
        if optional:
            return None
        raise MissingError(f"couldn't find key {key} in {kind} {pod['metadata']['namespace']}/{name}")
    return data[key].decode()
