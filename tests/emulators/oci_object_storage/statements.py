"""Policy statements of IAM, as far as this project and its documentation write them: read, and evaluated.

    Allow any-user to {OBJECT_READ, OBJECT_CREATE} in compartment id ocid1… where all {target.bucket.name='b', …}
    Allow group operators to manage buckets in tenancy

A condition on a variable that a request does not have is false, as "Conditions" in the service's documentation says;
comparison ignores case, and a value with `*` is a pattern.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tests.emulators.oci_object_storage.errors import ServiceError

_STATEMENT = re.compile(
    r"allow\s+(?P<subject>.+?)\s+to\s+(?P<what>\{[^}]*\}|\w+\s+[\w-]+)"
    r"\s+in\s+(?P<place>tenancy|compartment\s+id\s+\S+)(?:\s+where\s+(?P<condition>.+))?",
    re.IGNORECASE | re.DOTALL,
)
_TOKEN = re.compile(
    r"\s*(?:(?P<open>(?:all|any)\s*\{)|(?P<mark>[},])|(?P<test>[\w.-]+\s*!?=\s*(?:'[^']*'|/[^/]*/)))", re.IGNORECASE
)
_SUBJECT = re.compile(r"(any-user|any-group|(?:group|dynamic-group|service)\s+.+)", re.IGNORECASE)

_VERBS = ("inspect", "read", "use", "manage")
# Permissions of each verb beyond those of the verbs before it: "Details for Object Storage", "Details for IAM".
_PERMISSIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "buckets": {
        "inspect": ("BUCKET_INSPECT",),
        "read": ("BUCKET_READ",),
        "use": ("BUCKET_UPDATE",),
        "manage": ("BUCKET_CREATE", "BUCKET_DELETE", "PAR_MANAGE", "RETENTION_RULE_MANAGE"),
    },
    "objects": {
        "inspect": ("OBJECT_INSPECT",),
        "read": ("OBJECT_READ",),
        "use": ("OBJECT_OVERWRITE",),
        "manage": ("OBJECT_CREATE", "OBJECT_DELETE", "OBJECT_VERSION_DELETE", "OBJECT_RESTORE", "OBJECT_UPDATE_TIER"),
    },
    "policies": {"inspect": ("POLICY_READ",), "manage": ("POLICY_CREATE", "POLICY_UPDATE", "POLICY_DELETE")},
    "keys": {"use": ("KEY_ENCRYPT", "KEY_DECRYPT")},
}
_FAMILIES = {"object-family": ("buckets", "objects")}


@dataclass(frozen=True)
class Principal:
    """Who asks: what conditions can say of it, and its names as a subject such as `group operators`."""

    variables: Mapping[str, str]
    subjects: frozenset[str]


@dataclass(frozen=True)
class Statement:
    """A statement that was read."""

    subject: str
    permissions: frozenset[str]
    compartment: str | None
    holds: Callable[[Mapping[str, str]], bool]

    def grants(self, principal: Principal, permission: str, compartment: str, target: Mapping[str, str]) -> bool:
        """Tell whether it grants a permission on a target."""
        variables = {**principal.variables, **target, "request.permission": permission}
        return (
            (self.subject in ("any-user", "any-group") or self.subject in principal.subjects)
            and permission in self.permissions
            and self.compartment in (None, compartment)
            and self.holds(variables)
        )


def parse(text: str) -> Statement:
    """Read a statement.

    Raises:
        ServiceError: 400, for what is none.
    """
    match = _STATEMENT.fullmatch(text.strip())
    if match is None or not _SUBJECT.fullmatch(match["subject"]):
        raise _invalid(text)
    place = match["place"].split()
    condition = match["condition"]
    return Statement(
        " ".join(match["subject"].lower().split()),
        _permissions(match["what"], text),
        None if len(place) == 1 else place[2],
        _condition(condition, text) if condition else lambda _: True,
    )


def _permissions(what: str, text: str) -> frozenset[str]:
    if what.startswith("{"):
        return frozenset(each.strip() for each in what[1:-1].split(","))
    verb, kind = what.lower().split()
    kinds = _FAMILIES.get(kind, (kind,))
    if verb not in _VERBS or not set(kinds) <= _PERMISSIONS.keys():
        raise _invalid(text)
    verbs = _VERBS[: _VERBS.index(verb) + 1]
    return frozenset(each for kind in kinds for verb in verbs for each in _PERMISSIONS[kind].get(verb, ()))


def _condition(text: str, statement: str) -> Callable[[Mapping[str, str]], bool]:
    tokens, position = [], 0
    while text[position:].strip():
        token = _TOKEN.match(text, position)
        if token is None:
            raise _invalid(statement)
        tokens.append(token)
        position = token.end()
    tokens.reverse()
    found = _read(tokens, statement)
    if tokens:
        raise _invalid(statement)
    return found


def _read(tokens: list[re.Match[str]], statement: str) -> Callable[[Mapping[str, str]], bool]:
    if not tokens:
        raise _invalid(statement)
    token = tokens.pop()
    if token["test"]:
        return _test(token["test"])
    if not token["open"]:
        raise _invalid(statement)
    combine = all if token["open"].lower().startswith("all") else any
    parts = [_read(tokens, statement)]
    while True:
        mark = tokens.pop()["mark"] if tokens else None
        if mark == "}":
            return lambda variables: combine(part(variables) for part in parts)
        if mark != ",":
            raise _invalid(statement)
        parts.append(_read(tokens, statement))


def _test(text: str) -> Callable[[Mapping[str, str]], bool]:
    variable, operator, quoted = re.fullmatch(r"([\w.-]+)\s*(!?=)\s*(.*)", text).groups()  # type: ignore[union-attr]
    value = quoted[1:-1].lower()
    pattern = re.sub(r"([?\[])", r"[\1]", value)

    def holds(variables: Mapping[str, str]) -> bool:
        found = variables.get(variable)
        return found is not None and fnmatch.fnmatchcase(found.lower(), pattern) == (operator == "=")

    return holds


def _invalid(text: str) -> ServiceError:
    return ServiceError(400, "InvalidParameter", f"Unable to parse policy statement: {text}")
