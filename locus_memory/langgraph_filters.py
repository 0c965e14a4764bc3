"""What of a LangGraph store's namespaces and values a query is after; the rules are those of its `InMemoryStore`."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from langgraph.store.base import ListNamespacesOp, MatchCondition

from locus_memory.errors import InvalidArgumentError
from locus_memory.store import Namespace

_COMPARISONS: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "$gt": operator.gt,
    "$gte": operator.ge,
    "$lt": operator.lt,
    "$lte": operator.le,
}


def check_filter(wanted: object) -> None:
    """Refuse operators that there are not, before anything is read.

    Raises:
        InvalidArgumentError: As said.
    """
    if isinstance(wanted, Mapping):
        operators = [key for key in wanted if isinstance(key, str) and key.startswith("$")]
        unknown = [key for key in operators if key not in ("$eq", "$ne", *_COMPARISONS)]
        if unknown or (operators and len(operators) != len(wanted)):
            known = ", ".join(("$eq", "$ne", *_COMPARISONS))
            raise InvalidArgumentError(f"filter: write {known}, or field names, but not both, for {dict(wanted)!r}")
        for inner in wanted.values():
            check_filter(inner)
    elif isinstance(wanted, (list, tuple)):
        for inner in wanted:
            check_filter(inner)


def matches(value: object, wanted: Mapping[str, Any]) -> bool:
    """Tell whether a stored value has all the fields; one that is not there counts as None."""
    fields = value if isinstance(value, Mapping) else {}
    return all(_fits(fields.get(name), each) for name, each in wanted.items())


def literal_prefix(conditions: Sequence[MatchCondition]) -> Namespace:
    """Return the longest beginning, without wildcards, that the conditions ask namespaces to have."""
    beginnings = [_until_wildcard(each.path) for each in conditions if each.match_type == "prefix"]
    return max(beginnings, key=len, default=())


def is_literal(op: ListNamespacesOp) -> bool:
    """Tell whether all namespaces below `literal_prefix` are listed, whole."""
    conditions = op.match_conditions or ()
    return op.max_depth is None and all(
        each.match_type == "prefix" and "*" not in each.path and len(conditions) == 1 for each in conditions
    )


def namespace_matches(namespace: Namespace, condition: MatchCondition) -> bool:
    """Tell whether a namespace begins or ends as a condition says; `*` stands for any one part.

    Raises:
        InvalidArgumentError: It says neither.
    """
    path = condition.path
    if condition.match_type not in ("prefix", "suffix"):
        raise InvalidArgumentError(f"match_type: write 'prefix' or 'suffix', not {condition.match_type!r}")
    parts = namespace[: len(path)] if condition.match_type == "prefix" else namespace[len(namespace) - len(path) :]
    return len(namespace) >= len(path) and all(wanted in ("*", part) for part, wanted in zip(parts, path, strict=True))


def _until_wildcard(path: Sequence[str]) -> Namespace:
    return tuple(path[: path.index("*")] if "*" in path else path)


def _fits(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, Mapping):
        if any(key.startswith("$") for key in wanted):
            return all(_compares(value, name, operand) for name, operand in wanted.items())
        return isinstance(value, Mapping) and matches(value, wanted)
    if isinstance(wanted, (list, tuple)):
        return isinstance(value, list) and len(value) == len(wanted) and all(map(_fits, value, wanted))
    return bool(value == wanted)


def _compares(value: Any, name: str, operand: Any) -> bool:
    if name in ("$eq", "$ne"):
        return bool(value == operand) is (name == "$eq")
    try:
        return _COMPARISONS[name](float(value), float(operand))
    except (TypeError, ValueError):
        # What is no number is neither more nor less: as in SQL, where InMemoryStore raises.
        return False
