"""Writes docs/crd-reference.md from the models of the custom resources: `python -m hack.crd_reference`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from locus_operator.api.crd import crd_manifests

PAGE: Final = Path(__file__).parents[1] / "docs/crd-reference.md"

_HEAD: Final = """\
<!-- Written by `python -m hack.crd_reference` from locus_operator.api: change the models. -->

# Custom resources

Every field of `memory.locus.dev/v1alpha1`, as `kubectl explain` shows them, with the rules across fields. Unknown
fields, broken bounds and broken rules are refused by API servers from 1.25 on; where an older one stores them, the
controller reports `Ready=False, reason=InvalidSpec` with the field's path.

Durations are a whole number and one unit of `d`, `h`, `m` and `s`: `90d`, `12h`, `30m`.
"""

Schema = dict[str, Any]


def page() -> str:
    """Return the page as it should be."""
    return "\n".join([_HEAD, *(line for manifest in crd_manifests() for line in _Kind(manifest).lines())])


@dataclass
class _Kind:
    """One custom resource. An object that was written already is referred to, not written again."""

    manifest: Schema
    written: dict[str, str] = field(default_factory=dict)

    def lines(self) -> Iterator[str]:
        names, scope = self.manifest["spec"]["names"], self.manifest["spec"]["scope"]
        version = self.manifest["spec"]["versions"][0]
        schema = version["schema"]["openAPIV3Schema"]
        yield f"## {names['kind']}\n"
        yield f"{schema['description']} {scope}; short name `{names['shortNames'][0]}`.\n"
        columns = ", ".join(column["name"] for column in version["additionalPrinterColumns"])
        yield f"`kubectl get {names['shortNames'][0]}` shows {columns}.\n"
        for part in ("spec", "status"):
            yield from self.object(f"{names['kind']}.{part}", schema["properties"][part])

    def object(self, path: str, schema: Schema) -> Iterator[str]:
        content = json.dumps(schema, sort_keys=True)
        self.written[content] = path
        yield f"### {path}\n"
        yield f"{schema['description']}\n"
        below = []
        yield "| Field | Type | Default | |\n|---|---|---|---|"
        for name, value in schema["properties"].items():
            inner = value["items"] if value.get("type") == "array" else value
            if inner.get("properties"):
                below.append((f"{path}.{name}", inner))
            yield self.row(name, value, required=name in schema.get("required", ()))
        yield ""
        rules = [_cell(rule["message"]) for rule in schema.get("x-kubernetes-validations", ())]
        if rules:
            yield "Rules:\n"
            yield from (f"* {rule}" for rule in dict.fromkeys(rules))
            yield ""
        for inner_path, inner in below:
            known = self.written.get(json.dumps(inner, sort_keys=True))
            if known is None:
                yield from self.object(inner_path, inner)
            else:
                yield f"### {inner_path}\n\nAs [{known}](#{_anchor(known)}).\n"

    def row(self, name: str, schema: Schema, *, required: bool) -> str:
        default = f"`{json.dumps(schema['default'])}`" if "default" in schema else "required" if required else ""
        return f"| `{name}` | {_type(schema)} | {default} | {_cell(schema.get('description', ''))} |"


def _type(schema: Schema) -> str:
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    match schema["type"]:
        case "array":
            return f"list of {_type(schema['items'])}{_bounds(schema, 'Items')}"
        case "integer" | "number":
            return f"{schema['type']}{_bounds(schema, '')}"
        case "object" if "properties" not in schema:
            return "map"
        case "string" if schema.get("format") == "date-time":
            return "time"
        case other:
            return str(other)


def _bounds(schema: Schema, suffix: str) -> str:
    least = schema.get("minItems" if suffix else "minimum")
    most = schema.get("maxItems" if suffix else "maximum")
    if least is not None and most is not None:
        return f", {least} to {most}"
    return f", at most {most}" if most is not None else ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def _anchor(heading: str) -> str:
    return re.sub(r"[^-a-z0-9_]", "", heading.lower())


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
