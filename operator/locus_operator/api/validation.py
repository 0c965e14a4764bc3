"""The controller's own validation: what a current API server checks by schema and CEL, and in words.

API servers older than CEL store objects that break the rules, and `locus-operator apply` reads files that
no API server has seen. Here both are judged, and every error says where it is and what to write instead.
"""

import json
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any, Final, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from locus_operator.api.rules import FieldError, broken_rules, broken_transitions
from locus_operator.api.status import CheckpointStoreClassStatus, CheckpointStoreStatus, CommonStatus
from locus_operator.api.store import CheckpointStore
from locus_operator.api.store_class import CheckpointStoreClass

ObjectT = TypeVar("ObjectT", CheckpointStore, CheckpointStoreClass)
StatusT = TypeVar("StatusT", bound=CommonStatus)

_WORDS: Final = {
    "bool_type": "write true or false",
    "dict_type": "write a map, one `key: value` a line",
    "model_type": "write an object, one `field: value` a line",
    "string_type": "write a string",
    "tuple_type": "write a list, one `- item` a line",
    "too_long": "write at most {max_length} items",
    "too_short": "write at least {min_length} of them",
    "enum": "write {expected}",
    "literal_error": "write {expected}",
}
_LONGEST_VALUE: Final = 60


class InvalidSpecError(ValueError):
    """The spec is wrong: nothing is tried again before it changes.

    Attributes:
        errors: every one, with the path of its field (`spec.retention.maxAge`) and what to write instead.
    """

    def __init__(self, errors: tuple[FieldError, ...]) -> None:
        self.errors = errors
        super().__init__("; ".join(map(str, errors)))


def parse_store(body: Mapping[str, Any]) -> CheckpointStore:
    """Read a `CheckpointStore` as it comes from the API server or from a YAML file.

    Raises:
        InvalidSpecError: it breaks the schema or a rule; all errors at once.
    """
    return _parse(CheckpointStore, CheckpointStoreStatus, body)


def parse_store_class(body: Mapping[str, Any]) -> CheckpointStoreClass:
    """Read a `CheckpointStoreClass` as it comes from the API server or from a YAML file.

    Raises:
        InvalidSpecError: it breaks the schema or a rule; all errors at once.
    """
    return _parse(CheckpointStoreClass, CheckpointStoreClassStatus, body)


def check_update(new: CheckpointStore, old: CheckpointStore) -> None:
    """Compare a store with what it was.

    Raises:
        InvalidSpecError: something was changed that is fixed at creation.
    """
    _raise_for(broken_transitions(new.spec, old.spec, "spec"))


def check_class_update(new: CheckpointStoreClass, old: CheckpointStoreClass) -> None:
    """Compare a class with what it was.

    Raises:
        InvalidSpecError: something was changed that is fixed at creation.
    """
    _raise_for(broken_transitions(new.spec, old.spec, "spec"))


def _parse(kind: type[ObjectT], status_kind: type[StatusT], body: Mapping[str, Any]) -> ObjectT:
    document = _without_nulls(body)
    status = document.pop("status", None)
    try:
        # Strict, as the API server converts nothing; JSON, where a strict model still reads enums and times.
        found = kind.model_validate_json(json.dumps(document, default=str), strict=True, by_alias=True, by_name=False)
    except ValidationError as error:
        raise InvalidSpecError(tuple(_explain(each, kind) for each in _own_errors(error))) from None
    _raise_for(broken_rules(found.spec, "spec"))
    return found.model_copy(update={"status": _parse_status(status_kind, status)})


def _parse_status(kind: type[StatusT], status: object) -> StatusT:
    # A status is a report and can be made again: one that cannot be read must not stop the object.
    try:
        return kind.model_validate_json(json.dumps(status or {}, default=str), by_alias=True, by_name=False)
    except ValidationError:
        return kind()


def _raise_for(errors: Iterator[FieldError]) -> None:
    if found := tuple(errors):
        raise InvalidSpecError(found)


def _without_nulls(value: Mapping[str, Any]) -> dict[str, Any]:
    """As the API server does with fields that are not nullable: `field:` with nothing after it is absent."""
    return {
        key: _without_nulls(each) if isinstance(each, Mapping) else each
        for key, each in value.items()
        if each is not None
    }


def _own_errors(error: ValidationError) -> Iterator[ErrorDetails]:
    """Without lists that pydantic finds too short only because it left out their invalid items."""
    found = error.errors()
    for each in found:
        depth = len(each["loc"])
        has_invalid_item = any(len(other["loc"]) > depth and other["loc"][:depth] == each["loc"] for other in found)
        if each["type"] != "too_short" or not has_invalid_item:
            yield each


def _explain(error: ErrorDetails, root: type[BaseModel]) -> FieldError:
    location = error["loc"]
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")
    name, parent = str(location[-1]) if location else "", _model_at(root, location[:-1])
    if error["type"] == "missing":
        return FieldError(path, f"is required: {_fields(parent).get(name) or 'write it'}")
    if error["type"] == "extra_forbidden":
        return FieldError(path, f"there is no such field: {_correction(name, sorted(_fields(parent)))}")
    message = _WORDS.get(error["type"], "").format(**error.get("ctx", {})) or error["msg"]
    return FieldError(path, message + _instead_of(error["input"]))


def _correction(name: str, fields: list[str]) -> str:
    if close := get_close_matches(name, fields, n=1):
        return f"write {close[0]}"
    return f"remove it, or write one of {', '.join(fields)}" if fields else "remove it"


def _instead_of(value: object) -> str:
    # A URL or DSN with a login in it must not be copied to conditions and Events.
    if not isinstance(value, str | int | float) or "@" in str(value):
        return ""
    text = json.dumps(value, ensure_ascii=False)
    return f" (not {text if len(text) <= _LONGEST_VALUE else text[:_LONGEST_VALUE] + '…'})"


def _fields(model: type[BaseModel] | None) -> dict[str, str]:
    if model is None:
        return {}
    return {field.alias or name: field.description or "" for name, field in model.model_fields.items()}


def _model_at(root: type[BaseModel], location: tuple[int | str, ...]) -> type[BaseModel] | None:
    model: type[BaseModel] | None = root
    for part in location:
        if isinstance(part, str) and model is not None:
            fields = {field.alias or name: field for name, field in model.model_fields.items()}
            model = next(_models(fields[part].annotation), None) if part in fields else None
    return model


def _models(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)
