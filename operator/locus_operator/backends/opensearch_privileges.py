"""Privileges on OpenSearch: those of the application's role, and those that the operator's administrator must have.

An action is permitted on the cluster or on indexes, by its name, a name with wildcards, or an action group. A bulk or
multi-get request needs a permission on the cluster, and one on the index for each kind of its items. Sources: the
library's requests, and the security plugin's PrivilegesEvaluator.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

APPLICATION_CLUSTER: Final = ("indices:data/read/mget", "indices:data/write/bulk")
"""They permit to send such requests; what the items do is checked on the index."""

APPLICATION_INDEX: Final = (
    "indices:admin/mappings/get",
    "indices:admin/refresh*",
    "indices:data/read/mget*",
    "indices:data/read/search",
    "indices:data/write/bulk*",
    "indices:data/write/delete",
    "indices:data/write/index",
    "indices:data/write/update",
)
"""The stars are for the parts of a request that go to the shards, such as `indices:admin/refresh[s]`."""

_CLUSTER: Final = (
    "cluster:monitor/health",
    "indices:admin/index_template/delete",
    "indices:admin/index_template/get",
    "indices:admin/index_template/put",
)
_INDEX: Final = (
    "indices:admin/create",
    "indices:admin/get",
    "indices:admin/mapping/put",
    "indices:admin/settings/update",
)
_ISM_CLUSTER: Final = tuple(
    f"cluster:admin/opendistro/ism/{each}"
    for each in (
        "managedindex/add",
        "managedindex/explain",
        "managedindex/remove",
        "policy/delete",
        "policy/get",
        "policy/write",
    )
)
_ISM_INDEX: Final = ("indices:admin/opensearch/ism/managedindex",)
_DELETION: Final = ("indices:admin/delete",)


@dataclass(frozen=True, slots=True)
class Privileges:
    """Actions on the cluster and on the store's index.

    Attributes:
        other: What no role grants, in words: access to the security API.
    """

    cluster: frozenset[str] = frozenset()
    index: frozenset[str] = frozenset()
    other: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.cluster or self.index or self.other)

    def __or__(self, more: Privileges) -> Privileges:
        return Privileges(self.cluster | more.cluster, self.index | more.index, (*self.other, *more.other))


def administrators_needs(*, ism: bool, delete: bool, retention: bool) -> Privileges:
    """Return what the administrator needs.

    Args:
        ism: The cluster manages indexes.
        delete: The deletion of the store deletes its data.
        retention: Checkpoints are to be deleted.
    """
    cluster, index = set(_CLUSTER), set(_INDEX)
    if ism:
        cluster.update(_ISM_CLUSTER)
        index.update(_ISM_INDEX)
    if delete:
        index.update(_DELETION)
    if retention:
        cluster.update(APPLICATION_CLUSTER)
        index.update(APPLICATION_INDEX)
    return Privileges(frozenset(cluster), frozenset(index))


def lacking(
    needs: Privileges,
    roles: Iterable[Mapping[str, Any]],
    groups: Mapping[str, Mapping[str, Any]],
    index: str,
    user: str,
) -> Privileges:
    """Return what none of the roles grants.

    Args:
        needs: What is needed.
        roles: As the security API shows them.
        groups: Action groups, as the security API shows them.
        index: The store's index.
        user: Whose roles they are; they may name it as ``${user.name}``.
    """
    on_cluster: set[str] = set()
    on_index: set[str] = set()
    for role in roles:
        on_cluster.update(_expanded(role.get("cluster_permissions") or (), groups))
        for permission in role.get("index_permissions") or ():
            patterns = [each.replace("${user.name}", user) for each in permission["index_patterns"]]
            if _matches(index, patterns):
                on_index.update(_expanded(permission["allowed_actions"], groups))
    return Privileges(
        frozenset(each for each in needs.cluster if not _matches(each, on_cluster)),
        frozenset(each for each in needs.index if not _matches(each, on_index)),
    )


def _expanded(actions: Sequence[str], groups: Mapping[str, Mapping[str, Any]], depth: int = 8) -> Iterator[str]:
    for action in actions:
        if action in groups and depth:
            yield from _expanded(groups[action].get("allowed_actions") or (), groups, depth - 1)
        else:
            yield action


def _matches(text: str, patterns: Iterable[str]) -> bool:
    return any(re.fullmatch(re.escape(each).replace(r"\*", ".*").replace(r"\?", "."), text) for each in patterns)
