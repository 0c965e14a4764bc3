"""Compares the schema of a released CRD with today's: what was valid before has to stay valid, and mean the same.

Structural schemas alone, as API servers enforce them: one type at each node, no `anyOf`. CEL rules are compared by
their text, since nothing can tell whether one implies another.
"""

from collections.abc import Iterator
from typing import Any

Schema = dict[str, Any]

# Keyword -> whether its value may grow or shrink: a greater minimum refuses what was valid.
_LOWER_BOUNDS = ("minimum", "minLength", "minItems", "minProperties")
_UPPER_BOUNDS = ("maximum", "maxLength", "maxItems", "maxProperties")
_RULES = "x-kubernetes-validations"
# What clients and stored objects depend on.
_FIXED = ("type", "x-kubernetes-list-type", "x-kubernetes-list-map-keys")


def breaks(released: Schema, today: Schema, path: str) -> Iterator[str]:
    """Name everything that an object may run into that was valid under `released`."""
    for keyword in _FIXED:
        if released.get(keyword) != today.get(keyword):
            yield f"{path}: {keyword} was {released.get(keyword)!r} and is {today.get(keyword)!r}"
    yield from _tightened(released, today, path)
    yield from _demanded(released, today, path)
    if released.get("default") != today.get("default"):
        before, now = released.get("default"), today.get("default")
        yield f"{path}: the default was {before!r} and is {now!r}: objects that leave it out change their meaning"
    yield from _below(released, today, path)


def _tightened(released: Schema, today: Schema, path: str) -> Iterator[str]:
    for keyword in (*_LOWER_BOUNDS, *_UPPER_BOUNDS):
        before, now = released.get(keyword), today.get(keyword)
        if now is None or now == before:
            continue
        tighter = before is None or (now > before if keyword in _LOWER_BOUNDS else now < before)
        if tighter:
            yield f"{path}: {keyword} was {before} and is {now}"
    for keyword in ("pattern", "format"):
        if today.get(keyword) not in (None, released.get(keyword)):
            yield f"{path}: {keyword} was {released.get(keyword)!r} and is {today[keyword]!r}: does it match as much?"
    if "enum" in today:
        if "enum" not in released:
            yield f"{path}: any value was allowed, and now only {today['enum']}"
        for value in released.get("enum", ()):
            if value not in today["enum"]:
                yield f"{path}: {value!r} is no longer allowed"


def _demanded(released: Schema, today: Schema, path: str) -> Iterator[str]:
    for name in sorted(set(today.get("required", ())) - set(released.get("required", ()))):
        yield f"{path}.{name}: was optional and is required"
    before = {rule["rule"] for rule in released.get(_RULES, ())}
    for rule in today.get(_RULES, ()):
        if rule["rule"] not in before:
            yield f"{path}: a new rule may refuse what was valid: {rule['rule']}"


def _below(released: Schema, today: Schema, path: str) -> Iterator[str]:
    for name, child in released.get("properties", {}).items():
        if name in today.get("properties", {}):
            yield from breaks(child, today["properties"][name], f"{path}.{name}")
        else:
            # API servers drop what a schema does not declare, without a word.
            yield f"{path}.{name}: was removed, and stored objects lose it"
    for keyword, mark in (("items", "[]"), ("additionalProperties", "{}")):
        if keyword in released and keyword in today:
            yield from breaks(released[keyword], today[keyword], path + mark)
        elif keyword in released:
            yield f"{path}{mark}: was removed, and stored objects lose it"


def of_definitions(released: Schema, today: Schema) -> Iterator[str]:
    """The same for whole CustomResourceDefinitions: names, scope, versions and their schemas."""
    before, now = released["spec"], today["spec"]
    kind = before["names"]["kind"]
    for name in ("group", "scope"):
        if before[name] != now[name]:
            yield f"{kind}: {name} was {before[name]} and is {now[name]}"
    for name in ("kind", "plural", "singular", "listKind"):
        if before["names"][name] != now["names"][name]:
            yield f"{kind}: names.{name} was {before['names'][name]} and is {now['names'][name]}"
    for name in sorted(set(before["names"]["shortNames"]) - set(now["names"]["shortNames"])):
        yield f"{kind}: the short name {name} is gone"
    served = {version["name"]: version for version in now["versions"] if version["served"]}
    for version in before["versions"]:
        where = f"{kind} {version['name']}"
        if version["name"] not in served:
            yield f"{where}: is no longer served"
            continue
        current = served[version["name"]]
        if version.get("subresources") != current.get("subresources"):
            yield f"{where}: subresources were {version.get('subresources')} and are {current.get('subresources')}"
        yield from breaks(version["schema"]["openAPIV3Schema"], current["schema"]["openAPIV3Schema"], where)
