"""What to do on OpenSearch: pure functions from what was observed to a plan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from locus_memory.backends.opensearch_layout import LAYOUT_VERSION
from locus_operator.backends import opensearch_desired as desired
from locus_operator.backends.opensearch_desired import Target
from locus_operator.backends.opensearch_observe import CLAIM, Index, Observed, Policy
from locus_operator.constants import ANNOTATION_ADOPT, ConditionReason
from locus_operator.errors import RefusedError, UnavailableError
from locus_operator.provisioner import Action, Owner, Plan

Body = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PutTemplate(Action):
    """Write the index template; `create` refuses one that exists."""

    body: Body = field(default_factory=dict)
    create: bool = False


@dataclass(frozen=True, slots=True)
class CreateIndex(Action):
    """Create the index; a destructive one drops what has its name first."""

    body: Body = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PutMapping(Action):
    """Change the mapping of the index."""

    body: Body = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PutSettings(Action):
    """Change settings of the index."""

    body: Body = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PutPolicy(Action):
    """Write the ISM policy, provided that it still is what was observed, or absent."""

    body: Body = field(default_factory=dict)
    version: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class AttachPolicy(Action):
    """Let the policy of this name manage the index, whatever does now."""

    index: str = ""


@dataclass(frozen=True, slots=True)
class PutEntity(Action):
    """Write a role, a role mapping or a user; `endpoint` is that of the security API."""

    endpoint: str = ""
    body: Body = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Drop(Action):
    """Remove an object; `path` is its path."""

    path: str = ""


PATHS: dict[str, str] = {
    "index": "/",
    "index template": "/_index_template/",
    "ISM policy": "/_plugins/_ism/policies/",
    "role": "/_plugins/_security/api/roles/",
    "role mapping": "/_plugins/_security/api/rolesmapping/",
    "user": "/_plugins/_security/api/internalusers/",
}


def plan(observed: Observed, target: Target, *, adopt: bool, administrator: str) -> Plan:
    """Decide what makes the cluster as desired.

    Args:
        observed: What is there.
        target: What shall be.
        adopt: Take over what no living store owns.
        administrator: Who that is, for messages.

    Raises:
        RefusedError: A conflict, or privileges that the administrator lacks: all of them at once.
        UnavailableError: The index is red.
    """
    _check_privileges(observed, target, administrator)
    _check_conflicts(observed, target, adopt=adopt)
    if observed.index is not None and observed.index.health == "red":
        raise UnavailableError(
            f"index {target.index!r} is red: a primary shard is away, and with it the conversations on it. Look at "
            "GET _cluster/allocation/explain"
        )
    return Plan(tuple(_actions(observed, target)))


def plan_release(observed: Observed, target: Target, *, delete: bool, administrator: str) -> Plan:
    """Decide what the deletion of the store does; what is somebody else's is left alone.

    Raises:
        RefusedError: Privileges that the administrator lacks.
    """
    _check_privileges(observed, target, administrator)
    return Plan(tuple(_release(observed, target, delete=delete)))


def _actions(observed: Observed, target: Target) -> Iterator[Action]:
    if observed.ism:
        yield from _put_policy(observed.policy, target)
    yield from _put_template(observed, target)
    if observed.index is None:
        yield CreateIndex("create", "index", target.index, "missing", body=target.index_body())
    else:
        yield from _alter_index(observed.index, target)
    if observed.ism:
        yield from _attach_policy(observed, target)
    if observed.security:
        yield from _put_login(observed, target)


def _put_policy(found: Policy | None, target: Target) -> Iterator[Action]:
    name, body = target.names.base, {"policy": target.policy()}
    if found is None:
        yield PutPolicy("create", "ISM policy", name, "missing", body=body)
    elif differing := desired.policy_differences(found, target):
        yield PutPolicy("alter", "ISM policy", name, _differs(differing), body=body, version=found.version)


def _put_template(observed: Observed, target: Target) -> Iterator[Action]:
    name, body = target.index, target.template()
    if observed.template is None:
        yield PutTemplate("create", "index template", name, "missing", body=body, create=True)
    elif differing := desired.template_differences(observed.template, target):
        yield PutTemplate("alter", "index template", name, _differs(differing), body=body)


def _alter_index(found: Index, target: Target) -> Iterator[Action]:
    mapping = desired.mapping_differences(found, target)
    if mapping.incompatible:
        reason = f"cannot be corrected in place: {', '.join(mapping.incompatible)}"
        yield CreateIndex("rebuild", "index", target.index, reason, destructive=True, body=target.index_body())
        return
    if mapping.update:
        yield PutMapping("alter", "mapping of index", target.index, _differs(mapping.names), body=mapping.update)
    if changes := desired.setting_differences(found, target):
        yield PutSettings("alter", "settings of index", target.index, _differs(changes), body=changes)


def _attach_policy(observed: Observed, target: Target) -> Iterator[Action]:
    name, found = target.names.base, observed.attached
    if found is None:
        reason = f"no policy manages the index {target.index}"
    elif found.harmful:
        reason = f"policy {found.name} manages the index {target.index} and would {' and '.join(found.harmful)} it"
    else:
        return
    yield AttachPolicy("attach", "ISM policy", name, reason, index=target.index)


def _put_login(observed: Observed, target: Target) -> Iterator[Action]:
    base, (active, idle) = target.names.base, target.names.logins
    if idle in observed.users:
        yield _drop("user", idle, "not in use")
    if observed.role is None:
        yield PutEntity("create", "role", base, "missing", endpoint=PATHS["role"], body=target.role())
    elif differing := desired.role_differences(observed.role, target):
        yield PutEntity("alter", "role", base, _differs(differing), endpoint=PATHS["role"], body=target.role())
    endpoint, body = PATHS["role mapping"], target.mapping()
    if observed.mapping is None:
        yield PutEntity("create", "role mapping", base, "missing", endpoint=endpoint, body=body)
    elif differing := desired.role_mapping_differences(observed.mapping, target):
        yield PutEntity("alter", "role mapping", base, _differs(differing), endpoint=endpoint, body=body)
    # Last: once it exists, it can do what it must, and nothing that a foreign mapping of this name would permit.
    endpoint, user, accepted = PATHS["user"], observed.users.get(active), observed.login_roles is not None
    if user is None:
        yield PutEntity("create", "user", active, "missing", endpoint=endpoint, body=target.user())
    elif differing := desired.user_differences(user, target, accepted=accepted):
        yield PutEntity("alter", "user", active, _differs(differing), endpoint=endpoint, body=target.user())


def _release(observed: Observed, target: Target, *, delete: bool) -> Iterator[Action]:
    owned = {(kind, name) for kind, name, claim in observed.claims() if _is_own(claim, target)}
    # Whose claim was lost is ours as long as the index is.
    owned |= {(kind, name) for kind, name, claim in observed.claims() if claim is None and ("index", "") in owned}
    # The mapping first: from then on the login can do nothing.
    for kind, name in (("role mapping", ""), *(("user", name) for name in observed.users), ("role", "")):
        if (kind, name) in owned:
            yield _drop(kind, name or target.names.base, "store deleted")
    if ("index template", "") in owned:
        yield _drop("index template", target.index, "store deleted")
    index = observed.index if ("index", "") in owned else None
    policy = observed.policy if ("ISM policy", "") in owned else None
    if delete and index is not None:
        reason = "store deleted, deletionPolicy: Delete"
        yield Drop("drop", "index", target.index, reason, destructive=True, path=f"/{target.index}")
    if policy is not None and (delete or index is None):
        yield _drop("ISM policy", target.names.base, "store deleted")
    elif policy is not None and (released := _released(policy.claim)):
        # It stays, as the data does: what manages all indexes must not delete this one.
        body = {"policy": target.policy(released)}
        name, reason = target.names.base, "store deleted, data kept"
        yield PutPolicy("release", "ISM policy", name, reason, body=body, version=policy.version)
    if not delete and index is not None and (released := _released(index.claim)):
        body = {"_meta": {**index.meta, CLAIM: released}}
        yield PutMapping("release", "index", target.index, "store deleted, data kept", body=body)


def _released(claim: str | None) -> str | None:
    """Return a living claim as a released one; None when there is nothing to release."""
    owner = Owner.from_claim(claim)
    if owner is None or owner.released:
        return None
    return Owner(owner.cluster, owner.uid, owner.namespace, owner.name, released=True).claim()


def _is_own(claim: str | None, target: Target) -> bool:
    owner = Owner.from_claim(claim)
    return owner is not None and (owner.cluster, owner.uid) == (target.owner.cluster, target.owner.uid)


def _drop(kind: str, name: str, reason: str) -> Drop:
    return Drop("drop", kind, name, reason, path=PATHS[kind] + name)


def _differs(names: object) -> str:
    return f"differs: {', '.join(map(str, names))}"  # type: ignore[call-overload]


def _check_privileges(observed: Observed, target: Target, administrator: str) -> None:
    lacks = observed.lacking
    if not lacks:
        return
    missing = [*lacks.other]
    if lacks.cluster:
        missing.append(f"cluster_permissions {', '.join(sorted(lacks.cluster))}")
    if lacks.index:
        missing.append(f"on the index pattern {target.index!r} allowed_actions {', '.join(sorted(lacks.index))}")
    raise RefusedError(
        ConditionReason.MISSING_PRIVILEGES,
        f"{administrator} lacks: {'; '.join(missing)}. Nothing was changed. Add them to a role of this user (PUT "
        "_plugins/_security/api/roles/<role>)",
    )


def _check_conflicts(observed: Observed, target: Target, *, adopt: bool) -> None:
    if taken := list(_conflicts(observed, target, adopt=adopt)):
        raise RefusedError(
            ConditionReason.CONFLICT,
            f"{'; '.join(taken)}. Nothing was changed. Choose another spec.backend.opensearch.indexPrefix or another "
            f'name; or annotate the store with {ANNOTATION_ADOPT}="true" to take over what no living store owns',
        )


def _conflicts(observed: Observed, target: Target, *, adopt: bool) -> Iterator[str]:
    if observed.alias_of:
        yield f"{target.index!r} is an alias of {', '.join(observed.alias_of)}"
    # Where one object says that it is ours, those of our names whose claims were lost are ours as well.
    proven = any(target.owner.owns(Owner.from_claim(claim)) for _, _, claim in observed.claims())
    for kind, name, text in observed.claims():
        claim = Owner.from_claim(text)
        shown = f"{kind} {name or (target.index if kind.startswith('index') else target.names.base)!r}"
        if target.owner.owns(claim):
            continue
        if claim is not None and not claim.released:
            yield f"{shown} belongs to the store {claim}"
        elif claim is not None and not adopt:
            yield f"{shown} was left by the store {claim}"
        elif claim is None and not (proven or adopt):
            yield f"{shown} belongs to no store"
    index = observed.index
    if index is None:
        return
    if index.layout is not None and index.layout != LAYOUT_VERSION:
        yield f"index {target.index!r} has layout {index.layout!r}, and this operator knows {LAYOUT_VERSION}"
    if index.layout is None and not proven and adopt:
        yield f"index {target.index!r} was not made by Locus Memory: its mapping says nothing of it"
