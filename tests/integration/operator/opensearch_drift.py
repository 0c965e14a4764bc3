"""What people do to a store's objects on OpenSearch behind the operator's back."""

from collections.abc import Callable
from typing import Any

from tests.integration.operator.opensearch_stores import API, index_of
from tests.integration.operator.stores import Store
from tests.servers.opensearch import OpenSearchServer

ISM = "/_plugins/_ism"
DELETING = {
    "description": "logs",
    "default_state": "old",
    "states": [{"name": "old", "actions": [{"delete": {}}], "transitions": []}],
    "ism_template": [{"index_patterns": ["*"], "priority": 100}],
}


Sabotage = Callable[[OpenSearchServer, Store], Any]


def put(path: str, **changes: Any) -> Sabotage:
    """Change entries of an object of the security API."""

    def sabotage(server: OpenSearchServer, store: Store) -> None:
        full = f"{API}/{path.format(a=store.names.logins[0], b=store.names.logins[1], base=store.names.base)}"
        found = server.ask("GET", full).get(full.rpartition("/")[2], {})
        kept = {k: v for k, v in found.items() if k not in ("hash", "reserved", "hidden", "static")}
        answer = server.ask("PUT", full, {**kept, **changes})
        assert answer["status"] in ("OK", "CREATED"), answer

    return sabotage


def drop(path: str) -> Sabotage:
    return lambda server, store: server.ask(
        "DELETE", path.format(a=store.names.logins[0], base=store.names.base, index=index_of(store))
    )


def index(operation: str, body: dict[str, Any]) -> Sabotage:
    return lambda server, store: server.ask("PUT", f"/{index_of(store)}{operation}", body)


def template(**changes: Any) -> Sabotage:
    def sabotage(server: OpenSearchServer, store: Store) -> None:
        path = f"/_index_template/{index_of(store)}"
        found = server.ask("GET", path)["index_templates"][0]["index_template"]
        assert server.ask("PUT", path, {**found, **changes})["acknowledged"]

    return sabotage


def policy(**changes: Any) -> Sabotage:
    def sabotage(server: OpenSearchServer, store: Store) -> None:
        path = f"{ISM}/policies/{store.names.base}"
        found = server.ask("GET", path)
        condition = f"?if_seq_no={found['_seq_no']}&if_primary_term={found['_primary_term']}"
        assert "policy" in server.ask("PUT", path + condition, {"policy": {**found["policy"], **changes}})

    return sabotage


def manage_by_another(server: OpenSearchServer, store: Store) -> None:
    server.ask("PUT", f"{ISM}/policies/logs", {"policy": DELETING})
    server.ask("POST", f"{ISM}/remove/{index_of(store)}")
    assert server.ask("POST", f"{ISM}/add/{index_of(store)}", {"policy_id": "logs"})["updated_indices"] == 1


def lose_the_index(server: OpenSearchServer, store: Store) -> None:
    server.ask("DELETE", f"/{index_of(store)}")


def lose_the_index_to_the_servers_own(server: OpenSearchServer, store: Store) -> None:
    """What happens to a write that comes after somebody has deleted the index."""
    lose_the_index(server, store)
    server.ask("PUT", f"/{index_of(store)}")


PERMISSION = {"index_patterns": ["*"], "allowed_actions": ["*"]}
DRIFTS: dict[str, tuple[Sabotage, str]] = {
    "user dropped": (drop(f"{API}/internalusers/{{a}}"), "create user {a}: missing"),
    "password changed": (put("internalusers/{a}", password="another one"), "alter user {a}: differs: password"),
    "backend role given": (put("internalusers/{a}", backend_roles=["admin"]), "alter user {a}: differs: backend_roles"),
    "role given": (
        put("internalusers/{a}", opendistro_security_roles=["all_access"]),
        "alter user {a}: differs: roles",
    ),
    "claim of the user lost": (put("internalusers/{a}", attributes={}), "alter user {a}: differs: claim"),
    "idle user made": (put("internalusers/{b}", password="somebody's"), "drop user {b}: not in use"),
    "role dropped": (drop(f"{API}/roles/{{base}}"), "create role {base}: missing"),
    "role widened": (
        put("roles/{base}", index_permissions=[PERMISSION]),
        "alter role {base}: differs: index_permissions",
    ),
    "cluster permission added": (
        put("roles/{base}", cluster_permissions=["*"]),
        "alter role {base}: differs: cluster_permissions",
    ),
    "role narrowed": (put("roles/{base}", index_permissions=[]), "alter role {base}: differs: index_permissions"),
    "claim of the role lost": (put("roles/{base}", description="x"), "alter role {base}: differs: claim"),
    "role mapping dropped": (drop(f"{API}/rolesmapping/{{base}}"), "create role mapping {base}: missing"),
    "role given away": (put("rolesmapping/{base}", users=["*"]), "alter role mapping {base}: differs: users"),
    "role given to a group": (
        put("rolesmapping/{base}", backend_roles=["all"]),
        "alter role mapping {base}: differs: backend_roles",
    ),
    "index dropped": (lose_the_index, "create index {index}: missing"),
    "index made by a write": (lose_the_index_to_the_servers_own, ""),
    "claim of the index lost": (index("/_mapping", {"_meta": {}}), "alter mapping of index {index}: differs: "),
    "mapping opened": (index("/_mapping", {"dynamic": "true"}), "alter mapping of index {index}: differs: dynamic"),
    "replicas": (
        index("/_settings", {"index": {"number_of_replicas": 3}}),
        "alter settings of index {index}: differs: index.number_of_replicas",
    ),
    "durability": (
        index("/_settings", {"index": {"translog": {"durability": "async"}}}),
        "alter settings of index {index}: differs: index.translog.durability",
    ),
    "template dropped": (drop("/_index_template/{index}"), "create index template {index}: missing"),
    "template's priority": (template(priority=1), "alter index template {index}: differs: priority"),
    "template's pattern": (
        template(index_patterns=["other-*"]),
        "alter index template {index}: differs: index_patterns",
    ),
    "template's mapping": (
        template(template={"mappings": {"dynamic": "true"}}),
        "alter index template {index}: differs: settings, mappings",
    ),
    "claim of the template lost": (template(_meta={}), "alter index template {index}: differs: claim"),
    "policy dropped": (drop(f"{ISM}/policies/{{base}}"), "create ISM policy {base}: missing"),
    "policy that deletes": (policy(states=DELETING["states"]), "alter ISM policy {base}: differs: states"),
    "policy's template lost": (policy(ism_template=[]), "alter ISM policy {base}: differs: ism_template"),
    "claim of the policy lost": (policy(description="x"), "alter ISM policy {base}: differs: claim"),
    "managed by another": (
        manage_by_another,
        "attach ISM policy {base}: policy logs manages the index {index} and would delete it",
    ),
    "not managed": (
        lambda server, store: server.ask("POST", f"{ISM}/remove/{index_of(store)}"),
        "attach ISM policy {base}: no policy manages the index {index}",
    ),
}
