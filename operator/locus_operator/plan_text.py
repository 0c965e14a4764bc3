"""Plans as people read them on a terminal, in the marks of a diff.

+ create role locus_agents_support_owner: missing
~ grant table locus_threads: privileges of locus_agents_support_app differ
- drop role locus_agents_support_b: store deleted
! drop schema locus_agents_support: store deleted, deletionPolicy: Delete (destructive)
"""

from __future__ import annotations

from typing import Final

from locus_operator.provisioner import Action, Plan

_ADDS: Final = frozenset({"create"})
_REMOVES: Final = frozenset({"delete", "disable", "drop", "remove", "revoke"})


def mark(action: Action) -> str:
    """Return `+` for what is new, `-` for what goes, `~` for what changes, and `!` where data may be lost."""
    if action.destructive:
        return "!"
    return "+" if action.verb in _ADDS else "-" if action.verb in _REMOVES else "~"


def line(action: Action) -> str:
    """Return one action as a line."""
    return f"  {mark(action)} {action}"


def summary(plan: Plan) -> str:
    """Count what a plan does, in one line."""
    if not plan:
        return "  nothing to do"
    marks = [mark(action) for action in plan.actions]
    counts = f"{marks.count('+')} to create, {marks.count('~')} to change, {marks.count('-')} to remove"
    destructive = marks.count("!")
    return f"  plan: {counts}" + (f", {destructive} destructive" if destructive else "")


def text(plan: Plan) -> str:
    """Return a plan with all of its actions and their count."""
    return "\n".join([*map(line, plan.actions), summary(plan)])
