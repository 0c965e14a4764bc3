"""The generated definitions: what API servers demand of a structural schema and of CEL rules.

One invalid rule makes a current API server refuse the whole definition, and none can be asked here.
"""

import functools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import celpy
import jsonschema
import pytest
import yaml

from locus_operator.api.crd import crd_manifests, file_name, render, write

REPOSITORY = Path(__file__).resolve().parents[3]
MANIFESTS = crd_manifests()
SCHEMAS = {
    manifest["spec"]["names"]["kind"]: manifest["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    for manifest in MANIFESTS
}
# Reserved words of the CEL specification; an API server offers a field of such a name as `__name__`.
CEL = celpy.Environment()
RESERVED = {
    "as",
    "break",
    "const",
    "continue",
    "else",
    "false",
    "for",
    "function",
    "if",
    "import",
    "in",
    "let",
    "loop",
    "package",
    "namespace",
    "null",
    "return",
    "true",
    "var",
    "void",
    "while",
}
ALLOWED_KEYWORDS = {
    "object": {
        "properties",
        "additionalProperties",
        "required",
        "maxProperties",
        "x-kubernetes-validations",
        "default",
    },
    "array": {"items", "minItems", "maxItems", "x-kubernetes-list-type", "x-kubernetes-list-map-keys"},
    "string": {"pattern", "enum", "format", "minLength", "maxLength", "default"},
    "integer": {"minimum", "maximum", "format", "default"},
    "boolean": {"default"},
}


def nodes(schema: Any, path: str) -> Iterator[tuple[str, Any]]:
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    for key, mark in (("items", "[]"), ("additionalProperties", "{}")):
        if key in schema:
            yield from nodes(schema[key], path + mark)


NODES = [found for kind, schema in SCHEMAS.items() for found in nodes(schema, kind)]
RULES = [
    pytest.param(schema, rule, id=f"{path}{rule.get('fieldPath', '')}-{index}")
    for path, schema in NODES
    for index, rule in enumerate(schema.get("x-kubernetes-validations", ()))
]


def test_each_node_has_a_type_and_only_keywords_of_that_type() -> None:
    wrong = {path: set(node) - {"type", "description"} - ALLOWED_KEYWORDS[node["type"]] for path, node in NODES}
    assert {path: keywords for path, keywords in wrong.items() if keywords} == {}


def test_properties_and_additional_properties_exclude_each_other() -> None:
    assert [path for path, node in NODES if "properties" in node and "additionalProperties" in node] == []


def test_required_fields_are_declared() -> None:
    assert [path for path, node in NODES if not set(node.get("required", ())) <= set(node.get("properties", ()))] == []


def test_metadata_limits_nothing_but_the_name() -> None:
    for schema in SCHEMAS.values():
        metadata = schema["properties"]["metadata"]
        assert set(metadata) == {"type", "properties"}
        assert set(metadata["properties"]) == {"name"}


def test_each_field_of_a_spec_is_described() -> None:
    spec = [(path, node) for path, node in NODES if ".spec" in path and path[-1] not in "]}"]
    assert [path for path, node in spec if len(node.get("description", "")) < len("TCP port.")] == []


def test_descriptions_name_values_and_defaults() -> None:
    # kubectl explain shows neither before 1.28.
    for path, node in NODES:
        if ".spec" in path and path[-1] not in "]}":
            assert [value for value in node.get("enum", ()) if value not in node["description"]] == [], path
            if "default" in node:
                default = json.dumps(node["default"]).strip('"')
                assert node["description"].endswith(f" Default: {default}."), path


def test_each_value_is_bounded() -> None:
    unbounded = [
        path
        for path, node in NODES
        if not re.search(r"^\w+(\.(apiVersion|kind))?$", path)
        and (
            (node["type"] == "string" and not node.keys() & {"maxLength", "enum"} and node.get("format") != "date-time")
            or (node["type"] == "array" and "maxItems" not in node)
            or ("additionalProperties" in node and "maxProperties" not in node)
            or (node["type"] == "integer" and not {"minimum", "maximum"} <= node.keys())
        )
    ]
    assert unbounded == []


def test_each_list_says_how_it_merges() -> None:
    types = {path: node.get("x-kubernetes-list-type") for path, node in NODES if node["type"] == "array"}
    assert set(types.values()) == {"atomic", "set", "map"}
    assert types["CheckpointStore.status.conditions"] == "map"
    conditions = SCHEMAS["CheckpointStore"]["properties"]["status"]["properties"]["conditions"]
    assert conditions["x-kubernetes-list-map-keys"] == ["type"]
    assert "type" in conditions["items"]["required"]


def test_defaults_fit_their_field() -> None:
    python = {"object": dict, "string": str, "integer": int, "boolean": bool}
    defaults = [(path, node) for path, node in NODES if "default" in node]
    assert defaults
    for path, node in defaults:
        assert type(node["default"]) is python[node["type"]], path
        assert re.search(node.get("pattern", ""), str(node["default"])), path
        assert node["default"] in node.get("enum", [node["default"]]), path


def test_stores_inherit_from_their_class_what_has_no_default_of_its_own() -> None:
    # A default in the schema would be written into each store, and the class's could never apply.
    inherited = re.compile(r"CheckpointStore\.spec\.(deletionPolicy|retention|credentials)\b")
    found = [node for path, node in NODES if inherited.match(path)]
    assert len(found) > len(["deletionPolicy", "retention", "credentials"])
    assert [node for node in found if "default" in node] == []


def test_a_status_says_by_default_that_nobody_has_looked_and_nothing_else() -> None:
    # kstatus, and Flux with it, takes an object without any status for ready.
    found = {path: node["default"] for path, node in NODES if ".status" in path and "default" in node}
    assert found == {f"{kind}.status": {"observedGeneration": -1} for kind in SCHEMAS}
    for schema in SCHEMAS.values():
        jsonschema.Draft7Validator(schema["properties"]["status"]).validate({"observedGeneration": -1})


def field(schema: Any, path: list[str]) -> Any:
    """The node of a field, None where the schema declares no such field."""
    for name in path:
        properties = (schema or {}).get("properties", {})
        schema = properties.get(unescape(name))
    return schema


def unescape(name: str) -> str:
    assert name not in RESERVED, f"CEL reserves {name}: write __{name}__"
    found = re.fullmatch("__(.+)__", name)
    return found[1] if found else name


@functools.cache
def selections(expression: str) -> set[str]:
    """The fields that an expression selects, such as `self.backend.redis`, calls not included."""
    CEL.compile(expression)
    without_text = re.sub(r"'[^']*'", "''", expression)
    return set(re.findall(r"\b(?:self|oldSelf)(?:\.[A-Za-z_]\w*)+\b(?!\()", without_text)) | set(
        re.findall(r"\b((?:self|oldSelf)(?:\.[A-Za-z_]\w*)*)\.\w+\(", without_text)
    )


@pytest.mark.parametrize(("schema", "rule"), RULES)
def test_a_rule_selects_declared_fields(schema: Any, rule: dict[str, str]) -> None:
    selected = selections(rule["rule"])
    assert selected
    assert [each for each in selected if field(schema, each.split(".")[1:]) is None] == []


@pytest.mark.parametrize(("schema", "rule"), RULES)
def test_a_rule_asks_for_optional_fields_before_it_reads_them(schema: Any, rule: dict[str, str]) -> None:
    asked = set(re.findall(r"has\(([\w.]+)\)", rule["rule"]))
    # What is inside has() is read up to its last field only.
    read = selections(re.sub(r"has\(([\w.]+)\.\w+\)", r"\1", rule["rule"])) - {"self", "oldSelf"}
    for each in read:
        root, *names = each.split(".")
        for end in range(1, len(names) + 1):
            parent, node = field(schema, names[: end - 1]), field(schema, names[:end])
            certain = unescape(names[end - 1]) in parent.get("required", ()) or "default" in node
            assert certain or ".".join([root, *names[:end]]) in asked, f"{each} without has()"


@pytest.mark.parametrize(("schema", "rule"), RULES)
def test_a_rule_has_a_message_in_one_line_about_a_declared_field(schema: Any, rule: dict[str, str]) -> None:
    assert set(rule) <= {"rule", "message", "fieldPath"}
    assert "\n" not in rule["message"] + rule["rule"]
    assert len(rule["message"]) <= 2048
    path = rule.get("fieldPath", "")
    assert path == "" or path.startswith(".")
    names = path.split(".")[1:]
    found = schema
    for name in names:
        found = found["properties"][name]


def test_rules_use_functions_that_api_servers_with_cel_have() -> None:
    text = " ".join(rule["rule"] for _, node in NODES for rule in node.get("x-kubernetes-validations", ()))
    called = set(re.findall(r"(\w+)\(", text))
    assert called <= {"has", "duration", "replace", "getSeconds", "endsWith", "startsWith", "size", "exists_one"}


def test_definitions_without_rules_differ_in_nothing_else() -> None:
    def without_rules(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: without_rules(each) for key, each in value.items() if key != "x-kubernetes-validations"}
        return [without_rules(each) for each in value] if isinstance(value, list) else value

    plain = crd_manifests(cel=False)
    assert "x-kubernetes-validations" not in str(plain)
    assert plain == without_rules(MANIFESTS)


def test_committed_files_are_fresh() -> None:
    for manifest in MANIFESTS:
        file = REPOSITORY / "crds" / file_name(manifest)
        assert file.read_text(encoding="utf-8") == render(manifest), f"{file.name} is stale: run `make crds`"


def test_written_files_are_what_they_describe(tmp_path: Path) -> None:
    # The C loader: the Python one takes longer than all other tests here.
    found = [yaml.load(file.read_text(encoding="utf-8"), yaml.CSafeLoader) for file in write(tmp_path)]
    assert found == MANIFESTS


def test_definitions_are_small_enough_for_client_side_apply() -> None:
    # kubectl and GitOps tools keep a copy in an annotation of at most 262,144 bytes.
    assert [len(render(manifest)) < 100_000 for manifest in MANIFESTS] == [True, True]


def test_stores_are_provisioned_services() -> None:
    store, store_class = MANIFESTS
    assert store["metadata"]["labels"] == {"servicebinding.io/provisioned-service": "true"}
    assert "labels" not in store_class["metadata"]


def test_names_scope_and_columns() -> None:
    store, store_class = (manifest["spec"] for manifest in MANIFESTS)
    assert store["names"]["shortNames"] == ["cps"]
    assert store_class["names"]["shortNames"] == ["cpsclass"]
    assert store["names"]["categories"] == ["locus"]
    assert (store["scope"], store_class["scope"]) == ("Namespaced", "Cluster")
    assert store["versions"][0]["subresources"] == {"status": {}}
    columns = [column["name"] for column in store["versions"][0]["additionalPrinterColumns"]]
    assert columns == ["Backend", "Class", "Ready", "Reason", "Binding", "Age"]
