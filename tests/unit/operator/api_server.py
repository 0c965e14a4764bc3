"""What a current API server does with an object of ours: nulls, defaults, schema, CEL rules.

No API server that we can build here knows CEL; this one judges with `jsonschema` and `cel-python`.
"""

import functools
from collections.abc import Iterator, Mapping
from typing import Any

import celpy
import jsonschema
from celpy import celtypes
from celpy.adapter import json_to_cel

from locus_operator.api.rules import FieldError

Schema = Mapping[str, Any]


class ApiServer:
    """Judges objects by the schema in a CustomResourceDefinition, as with `fieldValidation=Strict`."""

    def __init__(self, manifest: Schema) -> None:
        self.schema: Schema = manifest["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        self._validator = _Validator(_strict(self.schema))

    def admit(self, body: Any, old: Any = None) -> set[FieldError]:
        """What is wrong with a new object, or with the update of an old one.

        Errors of the schema have no message: the API server's own words are not ours. As in the API
        server, rules run only on an object that the schema accepts.
        """
        body = _defaulted(_without_nulls(body), self.schema)
        if found := {error for each in self._validator.iter_errors(body) for error in _schema_errors(each)}:
            return found
        old = _defaulted(_without_nulls(old), self.schema) if old is not None else None
        return set(_rule_errors(self.schema, body, old, ""))


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(each) for key, each in value.items() if each is not None}
    return value


def _defaulted(value: Any, schema: Schema) -> Any:
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        defaults = {name: child["default"] for name, child in properties.items() if "default" in child}
        return {key: _defaulted(each, properties.get(key, {})) for key, each in (defaults | value).items()}
    if isinstance(value, list):
        return [_defaulted(each, schema.get("items", {})) for each in value]
    return value


def _strict(schema: Schema) -> dict[str, Any]:
    """The schema with unknown fields forbidden, which a structural schema does not spell out."""
    strict = dict(schema)
    if "properties" in schema:
        strict["properties"] = {name: _strict(child) for name, child in schema["properties"].items()}
        # `metadata` is described elsewhere but for its name.
        strict["additionalProperties"] = set(schema["properties"]) == {"name"} and "required" not in schema
    elif schema.get("type") == "object" and "additionalProperties" not in schema:
        strict["additionalProperties"] = False
    if "items" in schema:
        strict["items"] = _strict(schema["items"])
    return strict


def _check_list_type(validator: Any, list_type: str, value: Any, schema: Schema) -> Iterator[Any]:
    if list_type == "set" and isinstance(value, list) and len({repr(each) for each in value}) < len(value):
        yield jsonschema.ValidationError("duplicate")


_Validator = jsonschema.validators.extend(  # type: ignore[no-untyped-call]
    jsonschema.Draft202012Validator, {"x-kubernetes-list-type": _check_list_type}
)


def _schema_errors(error: Any) -> Iterator[FieldError]:
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path)
    path = path.lstrip(".")
    if error.validator == "required":
        missing = [name for name in error.validator_value if name not in error.instance]
        yield from (FieldError(f"{path}.{name}".lstrip("."), "") for name in missing)
    elif error.validator == "additionalProperties":
        known = error.schema.get("properties", {})
        yield from (FieldError(f"{path}.{name}", "") for name in error.instance if name not in known)
    else:
        yield FieldError(path, "")


def _rule_errors(schema: Schema, value: Any, old: Any, path: str) -> Iterator[FieldError]:
    for rule in schema.get("x-kubernetes-validations", ()):
        is_transition = "oldSelf" in rule["rule"]
        if (not is_transition or old is not None) and not _holds(rule["rule"], value, old):
            yield FieldError((path + rule.get("fieldPath", "")).lstrip("."), rule["message"])
    if isinstance(value, dict):
        for name, child in schema.get("properties", {}).items():
            if name in value:
                was = old.get(name) if isinstance(old, dict) else None
                yield from _rule_errors(child, value[name], was, f"{path}.{name}")
    if isinstance(value, list):
        for index, each in enumerate(value):
            yield from _rule_errors(schema["items"], each, None, f"{path}[{index}]")


def _holds(expression: str, value: Any, old: Any) -> bool:
    context = {"self": _escaped(value)} | ({"oldSelf": _escaped(old)} if old is not None else {})
    result = _program(expression).evaluate({name: json_to_cel(each) for name, each in context.items()})
    assert isinstance(result, celtypes.BoolType), f"{expression} gives {result!r}"
    return bool(result)


def _escaped(value: Any) -> Any:
    """A reserved word of CEL is offered under another name."""
    if isinstance(value, dict):
        return {"__namespace__" if key == "namespace" else key: _escaped(each) for key, each in value.items()}
    return [_escaped(each) for each in value] if isinstance(value, list) else value


@functools.cache
def _program(expression: str) -> Any:
    environment = celpy.Environment()
    return environment.program(environment.compile(expression), functions={"replace": _replace})


def _replace(text: Any, before: Any, after: Any) -> celtypes.StringType:
    """`replace` of CEL's string extension, which every API server with CEL has."""
    return celtypes.StringType(str(text).replace(str(before), str(after)))
