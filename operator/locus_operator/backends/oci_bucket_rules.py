"""Lifecycle rules of a bucket: which ones a store needs, which of those that are there are its own. Pure.

A rule goes by the age of an object, so what it may delete follows from how the library lays out a thread:

* A thread's head changes with each save, so it is as young as the thread's newest checkpoint; checkpoints, pages and
  pending writes never change, and are older than the head that names them. Deleting all of them at the same age leaves
  nothing that is missed: the library treats what is older as gone (`retention` of the binding).
* A part is as old as the first checkpoint that needs it, and younger ones share it. So parts have a rule of their own
  that keeps them longer, and the library stores a part again that would not last (`part_age_seconds` of the binding).
* Archived objects cannot be read. Heads, pages and parts are read by those who write, so checkpoints alone are
  archived.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from locus_memory.backends.oci_bucket_layout import Layout
from locus_operator.api.store import Retention

_DAY: Final = 86_400
_YEAR_DAYS: Final = 365
_PREFIX: Final = "locus-memory-"
_HASH_LENGTH: Final = 10
_STALE_UPLOAD_DAYS: Final = 7
_PART_FRACTION: Final = 10
"""Parts live this part longer than checkpoints, and a day at least: for so long they are shared."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A lifecycle rule; names, actions and units as the service writes them."""

    name: str
    action: str
    amount: int
    target: str = "objects"
    unit: str = "DAYS"
    enabled: bool = True
    prefixes: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()
    exclusions: tuple[str, ...] = ()

    @property
    def days(self) -> int:
        """Age of what it covers."""
        return self.amount * (_YEAR_DAYS if self.unit == "YEARS" else 1)


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """The lifecycle policy of a bucket; without ETag there is none."""

    etag: str | None = None
    rules: tuple[Rule, ...] = ()


@dataclass(frozen=True, slots=True)
class Wanted:
    """What rules are made from.

    Attributes:
        prefix: Of the store; empty where the whole bucket is its own.
        keeps_versions: The bucket keeps previous versions, or did.
        infrequent_access: Checkpoints that are a day old move to that tier.
    """

    prefix: str
    retention: Retention
    keeps_versions: bool
    infrequent_access: bool


def expiry_days(retention: Retention) -> int | None:
    """Return the whole days after which a rule deletes what is older than `maxAge`; None to keep it."""
    return None if retention.max_age is None else -(-retention.max_age.seconds // _DAY)


def is_exact(retention: Retention) -> bool:
    """Tell whether a rule, which counts days, can keep to `maxAge`."""
    return retention.max_age is None or retention.max_age.seconds % _DAY == 0


def part_days(days: int) -> int:
    """Return the days after which a rule deletes parts, where it deletes checkpoints after some days."""
    return days + max(1, days // _PART_FRACTION)


def desired_rules(wanted: Wanted) -> tuple[Rule, ...]:
    """Return the rules that a store needs."""
    layout, retention, days = Layout(wanted.prefix), wanted.retention, expiry_days(wanted.retention)
    checkpoints, parts = f"{layout.data}*/*/c/*", f"{layout.data}*/*/b/*"
    everything = (f"{layout.heads}*", f"{layout.data}*")
    rules = []

    def add(purpose: str, action: str, amount: int, *patterns: str, **fields: str | tuple[str, ...]) -> None:
        rules.append(Rule(rule_name(purpose, wanted.prefix), action, amount, patterns=patterns, **fields))  # type: ignore[arg-type]

    if wanted.infrequent_access:
        add("infrequent-access", "INFREQUENT_ACCESS", 1, checkpoints, parts)
    if retention.archive_after is not None:
        add("archive", "ARCHIVE", retention.archive_after.seconds // _DAY, checkpoints)
    if days is not None:
        add("checkpoints", "DELETE", days, *everything, exclusions=(parts,))
        add("parts", "DELETE", part_days(days), parts)
        if wanted.keeps_versions:
            add("versions", "DELETE", days, *everything, target="previous-object-versions")
    if rules and not wanted.prefix:
        # These rules cannot be limited to a prefix.
        add("uploads", "ABORT", _STALE_UPLOAD_DAYS, target="multipart-uploads")
    return tuple(rules)


def rule_name(purpose: str, prefix: str) -> str:
    """Return the name of a store's rule: it belongs to the place, whose claim says whose the place is."""
    if not prefix:
        return _PREFIX + purpose
    digest = base64.b32encode(hashlib.sha256(prefix.encode()).digest()).decode().lower()[:_HASH_LENGTH]
    return f"{_PREFIX}{purpose}-{digest}"


def is_own(rule: Rule, prefix: str) -> bool:
    """Tell whether a rule of a bucket is that of the store with a prefix."""
    purposes = ("infrequent-access", "archive", "checkpoints", "parts", "versions", "uploads")
    return rule.name in {rule_name(purpose, prefix) for purpose in purposes}


def merged(current: Iterable[Rule], desired: Iterable[Rule], prefix: str) -> tuple[Rule, ...]:
    """Return the rules of a bucket with those of one store replaced, and all others as they are."""
    return (*(rule for rule in current if not is_own(rule, prefix)), *desired)


def differences(current: Iterable[Rule], desired: Iterable[Rule], prefix: str) -> list[str]:
    """Say what is to change about a store's rules, one text a rule."""
    there = {rule.name: rule for rule in current if is_own(rule, prefix)}
    wanted = {rule.name: rule for rule in desired}
    found = []
    for name in sorted(there.keys() | wanted.keys()):
        if name not in there:
            found.append(f"{name} is missing")
        elif name not in wanted:
            found.append(f"{name} is not wanted")
        elif fields := _differing(there[name], wanted[name]):
            found.append(f"{name} differs: {', '.join(fields)}")
    return found


def dangers(current: Iterable[Rule], retention: Retention, prefix: str) -> list[str]:
    """Say which rules of others delete or archive the store's objects earlier than its own do."""
    layout, days = Layout(prefix), expiry_days(retention)
    found = []
    for rule in current:
        if is_own(rule, prefix) or not rule.enabled or rule.target not in ("", "objects"):
            continue
        if not _may_cover(rule, layout):
            continue
        if rule.action == "DELETE" and (days is None or rule.days < days):
            found.append(
                f"lifecycle rule {rule.name!r}, which is not the operator's, may delete objects of the store after "
                f"{rule.days} days, before retention allows it: exclude {prefix or 'them'}, or remove it"
            )
        elif rule.action == "ARCHIVE":
            found.append(
                f"lifecycle rule {rule.name!r}, which is not the operator's, may archive objects of the store after "
                f"{rule.days} days; then nobody can load or save: exclude {prefix or 'them'}, or remove it"
            )
    return found


def _may_cover(rule: Rule, layout: Layout) -> bool:
    places = (layout.heads, layout.data)
    if any(pattern in (f"{layout.prefix}*", "*") for pattern in rule.exclusions):
        return False
    if not rule.prefixes and not rule.patterns:
        return True
    begins = (*rule.prefixes, *(_literal(pattern) for pattern in rule.patterns))
    return any(place.startswith(begin) or begin.startswith(place) for begin in begins for place in places)


def _literal(pattern: str) -> str:
    """Return what all names begin with that a pattern matches."""
    for position, char in enumerate(pattern):
        if char in "*?[\\":
            return pattern[:position]
    return pattern


def _differing(there: Rule, wanted: Rule) -> list[str]:
    compared = {
        "action": (there.action, wanted.action),
        "age": (there.days, wanted.days),
        "target": (there.target or "objects", wanted.target),
        "disabled": (there.enabled, wanted.enabled),
        "objects covered": (_filter(there), _filter(wanted)),
    }
    return [name for name, (one, other) in compared.items() if one != other]


def _filter(rule: Rule) -> tuple[frozenset[str], ...]:
    return frozenset(rule.prefixes), frozenset(rule.patterns), frozenset(rule.exclusions)
