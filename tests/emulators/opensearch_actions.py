"""Which actions a request to OpenSearch stands for, as the security plugin sees them."""

import fnmatch
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple


class Need(NamedTuple):
    """An action that must be permitted: on the cluster, or on one index."""

    action: str
    of_index: str | None = None


CLUSTER = (
    ("GET /", "cluster:monitor/main"),
    ("GET /_cluster/health*", "cluster:monitor/health"),
    ("GET /_cluster/settings", "cluster:monitor/state"),
    ("PUT /_cluster/settings", "cluster:admin/settings/update"),
    ("GET /_cluster/*", "cluster:monitor/state"),
    ("GET /_nodes*", "cluster:monitor/nodes/info"),
    ("GET /_tasks*", "cluster:monitor/tasks/lists"),
    ("* /_snapshot*", "cluster:admin/snapshot/*"),
    ("GET /_index_template*", "indices:admin/index_template/get"),
    ("PUT /_index_template/*", "indices:admin/index_template/put"),
    ("DELETE /_index_template/*", "indices:admin/index_template/delete"),
    ("GET /_plugins/_ism/policies*", "cluster:admin/opendistro/ism/policy/get"),
    ("PUT /_plugins/_ism/policies/*", "cluster:admin/opendistro/ism/policy/write"),
    ("DELETE /_plugins/_ism/policies/*", "cluster:admin/opendistro/ism/policy/delete"),
    ("GET /_plugins/_ism/explain/*", "cluster:admin/opendistro/ism/managedindex/explain"),
    ("POST /_plugins/_ism/add/*", "cluster:admin/opendistro/ism/managedindex/add"),
    ("POST /_plugins/_ism/remove/*", "cluster:admin/opendistro/ism/managedindex/remove"),
)
FREE = ("/_plugins/_security/", "/_front/")
"""Paths that are guarded in other ways."""

MANAGED_INDEX = "indices:admin/opensearch/ism/managedindex"
"""What the management of an index needs on that index; without it, the index is passed over in silence."""

INDEX = {
    ("GET", ""): ("indices:admin/get",),
    ("HEAD", ""): ("indices:admin/get",),
    ("PUT", ""): ("indices:admin/create",),
    ("DELETE", ""): ("indices:admin/delete",),
    ("GET", "_mapping"): ("indices:admin/mappings/get",),
    ("PUT", "_mapping"): ("indices:admin/mapping/put",),
    ("GET", "_settings"): ("indices:monitor/settings/get",),
    ("PUT", "_settings"): ("indices:admin/settings/update",),
    ("GET", "_alias"): ("indices:admin/aliases/get",),
    ("PUT", "_alias"): ("indices:admin/aliases",),
    ("POST", "_refresh"): ("indices:admin/refresh", "indices:admin/refresh[s]"),
    ("POST", "_search"): ("indices:data/read/search",),
    ("GET", "_search"): ("indices:data/read/search",),
    ("POST", "_count"): ("indices:data/read/search",),
    ("GET", "_count"): ("indices:data/read/search",),
    ("POST", "_delete_by_query"): ("indices:data/write/delete/byquery", "indices:data/read/search"),
    ("POST", "_update_by_query"): ("indices:data/write/update/byquery", "indices:data/read/search"),
    ("POST", "_close"): ("indices:admin/close",),
    ("POST", "_forcemerge"): ("indices:admin/forcemerge",),
    ("GET", "_stats"): ("indices:monitor/stats",),
    ("GET", "_doc"): ("indices:data/read/get",),
    ("PUT", "_doc"): ("indices:data/write/index", "indices:data/write/bulk[s]"),
    ("POST", "_doc"): ("indices:data/write/index", "indices:data/write/bulk[s]"),
    ("DELETE", "_doc"): ("indices:data/write/delete", "indices:data/write/bulk[s]"),
    ("POST", "_update"): ("indices:data/write/update", "indices:data/write/bulk[s]"),
}
OF_ITEMS = {"index": "index", "create": "index", "delete": "delete", "update": "update"}


def needs(method: str, path: str, indexes: Iterable[str]) -> list[Need]:
    """Return what a request needs; the items of bulk and multi-get requests need more, see `item_needs`.

    Args:
        method: Of HTTP.
        path: Decoded.
        indexes: Names of all indexes, which wildcards stand for.
    """
    if path.startswith(FREE):
        return []
    for line, action in CLUSTER:
        if fnmatch.fnmatchcase(f"{method} {path}", line):
            return [Need(action)]
    first, *rest = path.strip("/").split("/")
    if first.startswith("_"):
        first, rest = "*", [first, *rest]
    operation = rest[0] if rest else ""
    if operation in ("_bulk", "_mget"):
        return [Need("indices:data/write/bulk" if operation == "_bulk" else "indices:data/read/mget")]
    actions = INDEX.get((method, operation), (f"indices:admin/{method.lower()}{operation}",))
    return [Need(action, name) for action in actions for name in _resolved(first, list(indexes))]


def item_needs(verb: str, index: str) -> list[Need]:
    """Return what an item of a bulk request needs, or of a multi-get one, whose verb is ``mget``."""
    if verb == "mget":
        return [Need("indices:data/read/mget[shard]", index)]
    return [Need("indices:data/write/bulk[s]", index), Need(f"indices:data/write/{OF_ITEMS[verb]}", index)]


def _resolved(expression: str, indexes: list[str]) -> Iterator[str]:
    for name in expression.split(","):
        if name in ("*", "_all", "") or re.search(r"[*?]", name):
            pattern = "*" if name in ("", "_all") else name
            # An expression that stands for nothing is still no permission to ask.
            yield from [each for each in indexes if fnmatch.fnmatchcase(each, pattern)] or [pattern]
        else:
            yield name


def security_exception(action: str, user: str) -> dict[str, Any]:
    """Return the error of a refused action."""
    reason = f"no permissions for [{action}] and User [name={user}, backend_roles=[], requestedTenant=null]"
    return {"type": "security_exception", "reason": reason}
