"""Generates the CustomResourceDefinitions from the models.

The models are the one description; `crds/` and the chart hold what this module makes of them.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import BaseModel

from locus_operator.api.status import UNSEEN, CheckpointStoreClassStatus, CheckpointStoreStatus
from locus_operator.api.store import CheckpointStore, CheckpointStoreSpec
from locus_operator.api.store_class import CheckpointStoreClass, CheckpointStoreClassSpec
from locus_operator.constants import (
    CATEGORY,
    CLASS_KIND,
    CLASS_PLURAL,
    CLASS_SHORT_NAME,
    CLASS_SINGULAR,
    GROUP,
    LABEL_PROVISIONED_SERVICE,
    STORE_KIND,
    STORE_PLURAL,
    STORE_SHORT_NAME,
    STORE_SINGULAR,
    VERSION,
)

HEADER: Final = "# Generated from locus_operator.api: do not edit, run `make crds`.\n"

_RULES: Final = "x-kubernetes-validations"
_LIST_TYPE: Final = "x-kubernetes-list-type"
# What a structural schema may hold; pydantic's `title` and `additionalProperties: false` go.
_KEYWORDS: Final = (
    "description",
    "type",
    "format",
    "pattern",
    "enum",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    _LIST_TYPE,
    "x-kubernetes-list-map-keys",
)
_INT32_MAX: Final = 2**31 - 1

Schema = dict[str, Any]


def crd_manifests(*, cel: bool = True) -> list[Schema]:
    """Build the CustomResourceDefinitions of stores and classes, in this order.

    Args:
        cel: with `x-kubernetes-validations`. API servers before 1.25 do not know them, and before 1.28 not
            their `fieldPath`, which server-side apply and strict clients refuse there.
    """
    store = _manifest(
        names=_names(STORE_KIND, STORE_SINGULAR, STORE_PLURAL, STORE_SHORT_NAME),
        scope="Namespaced",
        # Tools of the Service Binding specification look for this label.
        labels={LABEL_PROVISIONED_SERVICE: "true"},
        columns=[
            _column("Backend", ".status.backend", "Kind of the backend."),
            _column("Class", ".spec.className", "The CheckpointStoreClass, if there is one."),
            _column("Ready", '.status.conditions[?(@.type=="Ready")].status', "Whether agents can use it."),
            _column("Reason", '.status.conditions[?(@.type=="Ready")].reason', "Why it is ready, or not."),
            _column("Binding", ".status.binding.name", "The Secret with the connection."),
        ],
        schema=_root(CheckpointStore, CheckpointStoreSpec, CheckpointStoreStatus, cel=cel),
    )
    store_class = _manifest(
        names=_names(CLASS_KIND, CLASS_SINGULAR, CLASS_PLURAL, CLASS_SHORT_NAME),
        scope="Cluster",
        labels={},
        columns=[
            _column("Backend", ".status.backend", "Kind of the backend."),
            _column("Stores", ".status.boundStores", "Stores that were provisioned with it.", "integer"),
            _column("Ready", '.status.conditions[?(@.type=="Ready")].status', "Whether stores can use it."),
            _column("Reason", '.status.conditions[?(@.type=="Ready")].reason', "Why it is ready, or not."),
        ],
        schema=_root(CheckpointStoreClass, CheckpointStoreClassSpec, CheckpointStoreClassStatus, cel=cel),
    )
    return [store, store_class]


def file_name(manifest: Mapping[str, Any]) -> str:
    """Name of a definition's file in `crds/`: `<group>_<plural>.yaml`."""
    return f"{GROUP}_{manifest['spec']['names']['plural']}.yaml"


def render(manifest: Mapping[str, Any]) -> str:
    """Write a definition as YAML: the same text for the same models, always."""
    return HEADER + yaml.dump(
        dict(manifest),
        Dumper=_Dumper,
        sort_keys=True,
        allow_unicode=True,
        default_flow_style=False,
        width=110,
    )


def write(directory: Path, *, cel: bool = True) -> list[Path]:
    """Write both definitions into a directory that exists.

    Returns:
        The files written.
    """
    files = []
    for manifest in crd_manifests(cel=cel):
        files.append(directory / file_name(manifest))
        files[-1].write_text(render(manifest), encoding="utf-8")
    return files


class _Dumper(yaml.SafeDumper):
    """Without anchors: a reader, and a chart that cuts pieces out, see everything in place."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _names(kind: str, singular: str, plural: str, short: str) -> Schema:
    return {
        "kind": kind,
        "listKind": f"{kind}List",
        "singular": singular,
        "plural": plural,
        "shortNames": [short],
        "categories": [CATEGORY],
    }


def _column(name: str, path: str, description: str, type_: str = "string") -> Schema:
    return {"name": name, "type": type_, "jsonPath": path, "description": description}


def _manifest(names: Schema, scope: str, labels: dict[str, str], columns: list[Schema], schema: Schema) -> Schema:
    age = _column("Age", ".metadata.creationTimestamp", "Time since it was created.", "date")
    metadata: Schema = {"name": f"{names['plural']}.{GROUP}"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": metadata | ({"labels": labels} if labels else {}),
        "spec": {
            "group": GROUP,
            "names": names,
            "scope": scope,
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [*columns, age],
                    "schema": {"openAPIV3Schema": schema},
                }
            ],
        },
    }


def _root(kind: type[BaseModel], spec: type[BaseModel], status: type[BaseModel], *, cel: bool) -> Schema:
    name = kind.model_json_schema()["$defs"][_metadata_name(kind)]["properties"]["name"]
    return {
        "description": _description(kind),
        "type": "object",
        "required": ["metadata", "spec"],
        "properties": {
            "apiVersion": {"type": "string", "description": f"{GROUP}/{VERSION}"},
            "kind": {"type": "string", "description": kind.__name__},
            # Nothing but the name may be limited here, and nothing described.
            "metadata": {"type": "object", "properties": {"name": _structural(name, {}, cel=cel)}},
            "spec": _model(spec, cel=cel),
            # Further defaults in a status would claim what nobody has found.
            "status": {**_without_defaults(_model(status, cel=cel)), "default": {"observedGeneration": UNSEEN}},
        },
    }


def _metadata_name(kind: type[BaseModel]) -> str:
    reference: str = kind.model_json_schema()["properties"]["metadata"]["$ref"]
    return reference.rpartition("/")[2]


def _description(model: type[BaseModel]) -> str:
    return " ".join((model.__doc__ or "").split())


def _model(model: type[BaseModel], *, cel: bool) -> Schema:
    schema = model.model_json_schema(by_alias=True)
    return _structural(schema, schema.get("$defs", {}), cel=cel)


def _structural(node: Schema, definitions: Mapping[str, Schema], *, cel: bool) -> Schema:
    """Turn pydantic's JSON schema into a structural one: everything in place, one type at each node."""
    node = _resolve(node, definitions)
    schema: Schema = {key: node[key] for key in _KEYWORDS if key in node}
    # Objects get no default: `pods: {}` in every object would tell its reader nothing.
    if isinstance(node.get("default"), str | int):
        schema["default"] = node["default"]
    if "description" in schema:
        schema["description"] = _full_description(schema)
    if cel and _RULES in node:
        schema[_RULES] = node[_RULES]
    if "properties" in node:
        schema["properties"] = {
            name: _structural(child, definitions, cel=cel) for name, child in node["properties"].items()
        }
    if node.get("required"):
        schema["required"] = sorted(node["required"])
    if "items" in node:
        schema["items"] = _structural(node["items"], definitions, cel=cel)
        schema.setdefault(_LIST_TYPE, "atomic")
    if isinstance(node.get("additionalProperties"), dict):
        schema["additionalProperties"] = _structural(node["additionalProperties"], definitions, cel=cel)
    if schema["type"] == "integer":
        schema["format"] = "int32" if schema.get("maximum", _INT32_MAX + 1) <= _INT32_MAX else "int64"
    return schema


def _full_description(schema: Schema) -> str:
    """The description with the values and the default, which older versions of `kubectl explain` do not show."""
    sentences = [" ".join(schema["description"].split())]
    if not all(value in sentences[0] for value in schema.get("enum", ())):
        sentences.append(f"One of {', '.join(schema['enum'])}.")
    if "default" in schema:
        default = schema["default"]
        sentences.append(f"Default: {str(default).lower() if isinstance(default, bool) else default}.")
    return " ".join(sentences)


def _resolve(node: Schema, definitions: Mapping[str, Schema]) -> Schema:
    """Put references and `X | None` in place; what the field says about itself wins over its type's words."""
    if "anyOf" in node:
        [inner] = [each for each in node["anyOf"] if each.get("type") != "null"]
        return _resolve(inner, definitions) | {key: node[key] for key in node if key != "anyOf"}
    if "$ref" in node:
        target = definitions[node["$ref"].rpartition("/")[2]]
        return _resolve(target, definitions) | {key: node[key] for key in node if key != "$ref"}
    return node


def _without_defaults(schema: Schema) -> Schema:
    return {
        key: {name: _without_defaults(child) for name, child in value.items()}
        if key == "properties"
        else _without_defaults(value)
        if key in ("items", "additionalProperties")
        else value
        for key, value in schema.items()
        if key != "default"
    }
