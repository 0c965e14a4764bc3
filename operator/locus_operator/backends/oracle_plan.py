"""What to do on Oracle: pure functions from what was observed to a plan."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Final

from locus_operator.backends import oracle_actions as actions
from locus_operator.backends.oracle_actions import SESSION, Target
from locus_operator.backends.oracle_observe import Grant, Observed, User
from locus_operator.backends.oracle_preflight import check_conflicts, check_dictionary, check_privileges, check_server
from locus_operator.provisioner import Action, Owner, Plan

_UNITS: Final = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_LARGEST_BLOCK: Final = 32_768
"""A quota is kept in whole blocks, of at most so many bytes."""


def plan(observed: Observed, target: Target, *, adopt: bool, admin: str, secret: str, retention: bool) -> Plan:
    """Decide what makes the backend as desired.

    Args:
        observed: What was observed.
        target: What it was observed for.
        adopt: Take over what no living store owns.
        admin: The administrator's name.
        secret: The Secret with its login.
        retention: Checkpoints are deleted as well.

    Raises:
        RefusedError: Conflicts, or missing privileges of the administrator: all of them at once.
    """
    check_dictionary(observed, admin, secret)
    check_server(observed, target)
    check_conflicts(observed, target, is_own, adopt=adopt, admin=admin)
    todo: tuple[Action, ...] = tuple(
        chain(
            _users(observed, target),
            _space(observed, target),
            _objects(observed, target),
            _privileges(observed, target),
            _login(observed, target),
        )
    )
    check_privileges(observed, todo, admin, secret, retention=retention)
    return Plan(todo)


def plan_release(observed: Observed, target: Target, *, delete: bool, admin: str, secret: str) -> Plan:
    """Decide what the deletion of the store does; what is somebody else's is left alone.

    Args:
        observed: What was observed.
        target: What it was observed for.
        delete: The data goes as well.
        admin: The administrator's name.
        secret: The Secret with its login.

    Raises:
        RefusedError: The administrator may not see what there is.
    """
    check_dictionary(observed, admin, secret)
    own = [user for name in (*target.layout.logins, target.layout.owner) if (user := observed.users.get(name))]
    return Plan(tuple(_release([user for user in own if is_own(observed, target, user)], target, delete=delete)))


# --- who owns what ---


def is_own(observed: Observed, target: Target, user: User) -> bool:
    """Tell whether a user is the store's: by its claim, or, where it has none, because it is nobody's.

    That is one which a run left that ended before it could claim; or one whose claim was dropped, beside a user of the
    store that still has its own.
    """
    if user.builtin:
        return False
    claim = Owner.from_claim(user.claim)
    if claim is not None:
        return (claim.cluster, claim.uid) == (target.claim.cluster, target.claim.uid)
    return user.idle or any(target.claim.owns(Owner.from_claim(each.claim)) for each in observed.users.values())


def is_released(user: User) -> bool:
    """Tell whether a user was left by a store that is gone."""
    claim = Owner.from_claim(user.claim)
    return claim is not None and claim.released


# --- what is desired ---


def _users(observed: Observed, target: Target) -> Iterator[Action]:
    for name in target.layout.users:
        user = observed.users.get(name)
        if user is None:
            yield actions.create_user(target, name)
            continue
        if user.claim != target.claim.claim():
            yield actions.claim_user(target, name)
        if name == target.layout.owner and (user.authentication != "NONE" or not user.locked):
            what = f"authentication {user.authentication}" if user.authentication != "NONE" else user.status
            yield actions.shut_owner(name, f"differs: {what}")
        if name == target.layout.logins[1] and not user.locked:
            yield actions.lock_login(name, f"differs: {user.status}")


def _space(observed: Observed, target: Target) -> Iterator[Action]:
    owner = observed.users.get(target.layout.owner)
    if owner is not None:
        found = observed.quotas.get((owner.name, target.tablespace), 0)
        if owner.tablespace != target.tablespace:
            yield actions.give_space(target, f"differs: tablespace {owner.tablespace}")
        elif not _same_size(found, target.quota):
            shown = "unlimited" if found < 0 else f"{found} bytes"
            yield actions.give_space(target, f"differs: {shown} on {target.tablespace}")
    for (user, tablespace), size in sorted(observed.quotas.items()):
        if user in target.layout.logins and size != 0:
            yield actions.take_space(user, tablespace)


def _same_size(found: int, wanted: str) -> bool:
    if found < 0 or wanted == "unlimited":
        return (found < 0) == (wanted == "unlimited")
    return abs(found - int(wanted[:-1]) * _UNITS[wanted[-1]]) < _LARGEST_BLOCK


def _objects(observed: Observed, target: Target) -> Iterator[Action]:
    layout, there = target.layout, observed.objects
    dropped = layout.orphans(there)
    for name in dropped:
        rows = name in observed.filled
        missing = ", ".join(sorted(each for each in layout.parents[name] if each not in there or each in dropped))
        reason = f"{'its rows belong' if rows else 'it belongs'} to table {missing}, which is missing"
        yield actions.drop_table(target, name, reason, rows=rows)
    empty = [name for name, version in observed.versions.items() if version == 0]
    for name in sorted(empty):
        yield actions.drop_table(target, name, "it has no row", rows=False)
    table = ""
    for item in layout.wanted:
        table = item.name if item.kind == "table" else table
        gone = item.name in dropped or item.name in empty or (item.kind == "index" and table in dropped)
        if item.name not in there or gone:
            reason = "has no row" if item.name in empty else "missing"
            yield actions.create_object(target, item, reason, observed.next_numbers.get(item.name))


def _privileges(observed: Observed, target: Target) -> Iterator[Action]:
    yield from _system_privileges(observed, target)
    layout = target.layout
    kept = {name for name in layout.known if name in observed.objects} - set(layout.orphans(observed.objects))
    wanted = {
        Grant(login, layout.owner, name, privilege)
        for login in layout.logins
        for name in kept
        for privilege in layout.known[name].privileges
    }
    # A privilege that may be passed on counts as another one: it is taken away, and given again without.
    for grant in sorted(observed.grants - wanted, key=str):
        lost = grant.owner == layout.owner and grant.name in layout.known and grant.name not in kept
        ours = grant.owner == layout.owner and grant.name in kept
        if ours or (grant.grantee in layout.logins and not lost):
            yield actions.revoke_object(grant)
    for login in layout.logins:
        for name in sorted(kept):
            missing = {
                each.privilege for each in wanted - observed.grants if (each.grantee, each.name) == (login, name)
            }
            if missing:
                yield actions.grant_object(target, login, layout.known[name], missing)


def _system_privileges(observed: Observed, target: Target) -> Iterator[Action]:
    for login in target.layout.logins:
        if login in observed.users and (login, SESSION, False) not in observed.system:
            if (login, SESSION, True) in observed.system:
                yield actions.revoke_system(login, SESSION)
            yield actions.grant_session(login)
    for user, privilege, _ in sorted(observed.system):
        if privilege != SESSION or user == target.layout.owner:
            yield actions.revoke_system(user, privilege)
    for user, role in sorted(observed.roles):
        yield actions.revoke_role(user, role)


def _login(observed: Observed, target: Target) -> Iterator[Action]:
    name = target.layout.logins[0]
    user = observed.users.get(name)
    if user is None or user.authentication != "PASSWORD":
        reason = "missing" if user is None else f"differs: authentication {user.authentication}"
        yield actions.enable_login(name, reason, keeps_password=False)
    elif user.expires or observed.login == "wrong password":
        reason = "it expires" if user.expires else "differs from the binding's"
        yield actions.enable_login(name, reason, keeps_password=False)
    elif not is_own(observed, target, user):
        # Somebody else chose its password, and it was not tried.
        yield actions.enable_login(name, "adopted", keeps_password=False)
    elif user.locked:
        yield actions.enable_login(name, f"differs: {user.status}", keeps_password=True)


# --- deletion ---


def _release(own: list[User], target: Target, *, delete: bool) -> Iterator[Action]:
    for user in own:
        if user.name != target.layout.owner:
            if not user.locked:
                yield actions.lock_login(user.name, "store deleted")
            yield actions.drop_user(user.name, data=False)
        elif delete:
            yield actions.drop_user(user.name, data=True)
        elif not is_released(user):
            yield actions.release_claim(target, user.name)
