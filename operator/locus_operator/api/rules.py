"""Cross-field rules, each declared once: as CEL for the API server and as Python for the controller.

A rule is a method of the model that it judges. The decorator carries the CEL expression, the message and
the field that the message is about; the method body is the same rule in Python. The CRD generator collects
the first, `broken_rules` and `broken_transitions` run the second, because API servers older than CEL
ignore the first. A test runs both on the same samples.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

_ATTRIBUTE: Final = "__cel_rule__"

# Reserved words of CEL that are also field names: the API server offers them under this other name.
_CEL_ESCAPES: Final = {"namespace": "__namespace__"}

Predicate = TypeVar("Predicate", bound=Callable[..., bool])


@dataclass(frozen=True)
class Rule:
    """One rule of `x-kubernetes-validations` with its twin in Python.

    Attributes:
        cel: expression over `self` (and `oldSelf` in a transition rule); true means valid.
        message: what is wrong and what to write instead.
        field_path: the field that the message is about, relative to the model, such as `.className`;
            empty for the model itself.
        transition: the rule compares with the object before the update.
        holds: `(model) -> bool`, or `(new, old) -> bool` in a transition rule.
    """

    cel: str
    message: str
    field_path: str
    transition: bool
    holds: Callable[..., bool]

    def manifest(self) -> dict[str, str]:
        """The rule as an entry of `x-kubernetes-validations`."""
        entry = {"rule": self.cel, "message": self.message}
        return entry | {"fieldPath": self.field_path} if self.field_path else entry


class FieldError(NamedTuple):
    """One thing that is wrong with an object: where, and what to write instead."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


def rule(cel: str, message: str, field: str = "") -> Callable[[Predicate], Predicate]:
    """Declare a method `(self) -> bool` as a rule on its model.

    Args:
        cel: the same rule in CEL.
        message: what to write instead.
        field: path of the field that the message is about, relative to the model, without leading dot.
    """
    return _declare(cel, message, field, transition=False)


def transition_rule(cel: str, message: str, field: str = "") -> Callable[[Predicate], Predicate]:
    """Declare a method `(self, old) -> bool` as a rule on updates of its model; arguments as in `rule`."""
    return _declare(cel, message, field, transition=True)


def _declare(cel: str, message: str, field: str, *, transition: bool) -> Callable[[Predicate], Predicate]:
    def attach(predicate: Predicate) -> Predicate:
        path = f".{field}" if field else ""
        setattr(predicate, _ATTRIBUTE, Rule(cel, message, path, transition, predicate))
        return predicate

    return attach


def cel_absent(path: str) -> str:
    """CEL that is true when the field, or an object on the way to it, is not there.

    Args:
        path: the field, relative to `self`, such as `retention.maxAge`.
    """
    names = path.split(".")
    return " || ".join(f"!has(self.{'.'.join(names[:end])})" for end in range(1, len(names) + 1))


def fixed_at_creation(attribute: str, field: str, advice: str) -> Callable[[BaseModel, BaseModel], bool]:
    """A transition rule: the field keeps the value, or the absence, that the object was created with.

    Adding a name later is refused like changing it: the objects on the backend already have a derived
    name, and a store that looked elsewhere would have forgotten every conversation without an error.

    Args:
        attribute: name in the model.
        field: name in YAML.
        advice: what to do instead, appended to the message.
    """
    cel = _CEL_ESCAPES.get(field, field)

    @transition_rule(
        cel=f"has(self.{cel}) == has(oldSelf.{cel}) && (!has(self.{cel}) || self.{cel} == oldSelf.{cel})",
        message=f"{field} is fixed when the object is created: put back the old value, or {advice}",
        field=field,
    )
    def unchanged(self: BaseModel, old: BaseModel) -> bool:
        return bool(_comparable(getattr(self, attribute)) == _comparable(getattr(old, attribute)))

    return unchanged


def _comparable(value: Any) -> Any:
    # Lists of plain values are sets here, and the API server compares sets without their order.
    return frozenset(value) if isinstance(value, tuple) else value


def _describe_rules(schema: dict[str, Any], model: type[BaseModel]) -> None:
    if issubclass(model, SpecModel) and (found := model.rules()):
        schema["x-kubernetes-validations"] = [each.manifest() for each in found]


class ApiModel(BaseModel):
    """Base of all models here: frozen, camelCase in YAML, snake_case in Python.

    Unknown fields are ignored: an object's status may have been written by a newer operator.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=to_camel, populate_by_name=True)


class SpecModel(ApiModel):
    """Base of everything under `spec`: unknown fields are errors, rules are collected."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=_describe_rules)

    @classmethod
    def rules(cls) -> tuple[Rule, ...]:
        """The rules declared on this model, in the order of their declaration."""
        return tuple(
            getattr(member, _ATTRIBUTE)
            for owner in reversed(cls.__mro__)
            for member in vars(owner).values()
            if hasattr(member, _ATTRIBUTE)
        )


def broken_rules(model: SpecModel, path: str) -> Iterator[FieldError]:
    """Run the rules of a model and of everything in it.

    Args:
        model: what to judge.
        path: where it stands, such as `spec`.
    """
    for each in model.rules():
        if not each.transition and not each.holds(model):
            yield FieldError(path + each.field_path, each.message)
    for name, value in _fields(model).items():
        for suffix, child in _children(value):
            yield from broken_rules(child, f"{path}.{name}{suffix}")


def broken_transitions(new: SpecModel, old: SpecModel, path: str) -> Iterator[FieldError]:
    """Run the transition rules of a model and of everything in it that was there before.

    Items of lists are not compared, as in the API server: they have no identity.
    """
    for each in new.rules():
        if each.transition and not each.holds(new, old):
            yield FieldError(path + each.field_path, each.message)
    before = _fields(old)
    for name, value in _fields(new).items():
        was = before[name]
        if isinstance(value, SpecModel) and isinstance(was, SpecModel):
            yield from broken_transitions(value, was, f"{path}.{name}")


def _fields(model: SpecModel) -> Mapping[str, Any]:
    return {field.alias or name: getattr(model, name) for name, field in type(model).model_fields.items()}


def _children(value: Any) -> Iterator[tuple[str, SpecModel]]:
    if isinstance(value, SpecModel):
        yield "", value
    elif isinstance(value, tuple):
        yield from ((f"[{index}]", item) for index, item in enumerate(value) if isinstance(item, SpecModel))
