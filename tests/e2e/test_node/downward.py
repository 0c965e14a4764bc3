"""The downward API: what a pod can learn about itself."""

import math
import os
import re

from kubernetes.utils.quantity import parse_quantity

from tests.e2e.test_node.cluster import Object

SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")


def field_value(pod: Object, path: str) -> str:
    """Return the field of ``pod`` that a ``fieldRef`` with ``fieldPath: path`` names, as text."""
    metadata = pod["metadata"]
    if found := SUBSCRIPT.fullmatch(path):
        return str((metadata.get(found[1]) or {}).get(found[2], ""))
    if path in {"metadata.labels", "metadata.annotations"}:
        entries = metadata.get(path.removeprefix("metadata.")) or {}
        return "\n".join(f'{key}="{_escape(value)}"' for key, value in sorted(entries.items()))
    value: object = pod
    for part in path.split("."):
        value = value.get(part, "") if isinstance(value, dict) else ""
    return ",".join(entry["ip"] for entry in value) if isinstance(value, list) else str(value)


def resource_value(container: Object, reference: Object) -> str:
    """Return what a ``resourceFieldRef`` names, in its divisor, rounded up as Kubernetes does."""
    group, _, resource = reference["resource"].partition(".")
    resources = container.get("resources") or {}
    amount = (resources.get(group) or {}).get(resource)
    if amount is None:  # without a limit, it is what the node has
        amount = os.cpu_count() if resource == "cpu" else os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    divisor = parse_quantity(reference.get("divisor") or 1) or 1  # type: ignore[no-untyped-call]
    return str(math.ceil(parse_quantity(amount) / divisor))  # type: ignore[no-untyped-call]


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
