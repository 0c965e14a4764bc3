"""What the issued login on OpenSearch can do, and everything else, which the server itself refuses."""

import json

import pytest

from locus_memory.connection import OpenSearchConnection
from locus_memory.errors import AuthenticationError
from locus_memory.opening import open_checkpointer
from locus_operator.backends.opensearch_privileges import APPLICATION_CLUSTER, APPLICATION_INDEX
from locus_operator.constants import ConditionType
from locus_operator.engine import Reconciled
from tests.integration.operator.opensearch_drift import ISM, put
from tests.integration.operator.opensearch_stores import API, ask_as_agent, index_of, opensearch_backend
from tests.integration.operator.stores import Store
from tests.servers.opensearch import OpenSearchServer

FORBIDDEN = [
    # Another store's data, and everybody's.
    "GET /{other}",
    "GET /{other}/_mapping",
    "GET /{other}/_doc/x",
    "PUT /{other}/_doc/x",
    "POST /{other}/_search",
    "POST /{other}/_count",
    "POST /{other}/_refresh",
    "POST /{own},{other}/_search",
    "POST /locus_*/_search",
    "POST /_search",
    "POST /_all/_search",
    "GET /_cat/indices",
    "DELETE /{other}",
    # Its own index: documents, and nothing of what holds them.
    "GET /{own}",
    "GET /{own}/_settings",
    "PUT /{own}/_settings",
    "PUT /{own}/_mapping",
    "PUT /{own}/_alias/mine",
    "POST /{own}/_close",
    "POST /{own}/_delete_by_query",
    "POST /{own}/_update_by_query",
    "POST /{own}/_forcemerge",
    "DELETE /{own}",
    "PUT /{own}2",
    # The cluster.
    "GET /",
    "GET /_cluster/health",
    "GET /_cluster/settings",
    "PUT /_cluster/settings",
    "GET /_nodes",
    "GET /_tasks",
    "GET /_snapshot",
    "PUT /_index_template/{own}",
    "DELETE /_index_template/{own}",
    "GET /_plugins/_ism/policies/{base}",
    "PUT /_plugins/_ism/policies/mine",
    "POST /_plugins/_ism/remove/{own}",
    "GET /_plugins/_security/api/internalusers",
    "PUT /_plugins/_security/api/internalusers/mine",
    "PUT /_plugins/_security/api/rolesmapping/all_access",
    "PUT /_plugins/_security/api/roles/{base}",
]


async def test_the_issued_login_is_refused_everything_else(
    opensearch_store: Store, opensearch: OpenSearchServer
) -> None:
    other = opensearch_store.sibling()
    for store in (opensearch_store, other):
        await store.reconcile()
        async with store.checkpointer() as checkpointer:
            await checkpointer.save({"private": True}, "thread")
    names = {"own": index_of(opensearch_store), "other": index_of(other), "base": opensearch_store.names.base}
    assert ask_as_agent(opensearch, opensearch_store, "POST", f"/{names['own']}/_search", {}).status_code == 200
    answers = {}
    for line in FORBIDDEN:
        method, path = line.format(**names).split()
        answers[line] = ask_as_agent(opensearch, opensearch_store, method, path, {})
    assert {line: answer.status_code for line, answer in answers.items() if answer.status_code != 403} == {}


async def test_items_of_its_own_requests_cannot_name_another_index(
    opensearch_store: Store, opensearch: OpenSearchServer
) -> None:
    other = opensearch_store.sibling()
    for store in (opensearch_store, other):
        await store.reconcile()
    async with other.checkpointer() as checkpointer:
        await checkpointer.save({"private": True}, "thread")
    before = opensearch.documents(index_of(other))
    own = index_of(opensearch_store)
    lines = [
        {"index": {"_index": index_of(other), "_id": "x", "routing": "x"}},
        {"kind": "thread", "thread_id": "mine"},
        {"delete": {"_index": index_of(other), "_id": before[0]["document"], "routing": "x"}},
    ]
    body = "".join(json.dumps(line) + "\n" for line in lines).encode()
    answer = ask_as_agent(opensearch, opensearch_store, "POST", f"/{own}/_bulk", body)
    assert [next(iter(item.values()))["status"] for item in answer.json()["items"]] == [403, 403]
    wanted = {"docs": [{"_index": index_of(other), "_id": before[0]["document"], "routing": "x"}]}
    for path in (f"/{own}/_mget", "/_mget"):
        [document] = ask_as_agent(opensearch, opensearch_store, "POST", path, wanted).json()["docs"]
        assert document["error"]["type"] == "security_exception"
    assert opensearch.documents(index_of(other)) == before


@pytest.mark.parametrize("permission", [*APPLICATION_CLUSTER, *APPLICATION_INDEX])
async def test_the_role_permits_nothing_in_vain(opensearch_server: OpenSearchServer, permission: str) -> None:
    """Without any one of its permissions, an agent is refused something that it does."""
    opensearch_server.reset()
    store = opensearch_backend(opensearch_server)
    await store.reconcile()
    found = opensearch_server.ask("GET", f"{API}/roles/{store.names.base}")[store.names.base]
    role = {
        "cluster_permissions": [each for each in found["cluster_permissions"] if each != permission],
        "index_permissions": [
            {**each, "allowed_actions": [action for action in each["allowed_actions"] if action != permission]}
            for each in found["index_permissions"]
        ],
    }
    put("roles/{base}", **role)(opensearch_server, store)
    with pytest.raises(AuthenticationError, match="lacks a privilege"):
        await work_as_an_agent(store)


async def work_as_an_agent(store: Store) -> None:
    async with store.checkpointer() as checkpointer:
        await checkpointer.save({"n": 1}, "thread", "one")
        await checkpointer.save({"n": 2}, "thread", "one")
        await checkpointer.load("thread")
        await checkpointer.list_threads()
        await checkpointer.save({"n": 3}, "thread", "two")
        await checkpointer.delete("thread", "one")
        await checkpointer.delete("thread")


async def test_the_idle_user_cannot_log_in(opensearch_store: Store) -> None:
    await opensearch_store.reconcile()
    document = opensearch_store.connection()
    assert isinstance(document, OpenSearchConnection)
    idle = document.model_copy(update={"username": opensearch_store.names.logins[1]})

    class Idle:
        name = "idle"

        def connection(self) -> OpenSearchConnection:
            return idle

    async with open_checkpointer(Idle()) as checkpointer:
        with pytest.raises(AuthenticationError):
            await checkpointer.load("thread")


# --- what people are told ---


def message(done: Reconciled, type_: ConditionType) -> str:
    return next(each.message for each in done.conditions if each.type is type_)


async def test_without_the_security_plugin_there_is_no_login_and_a_condition_says_so(
    opensearch_without_plugins: Store, opensearch_server: OpenSearchServer
) -> None:
    store = opensearch_without_plugins
    done = await store.reconcile()
    assert done.login is None
    assert "username" not in done.binding.data
    assert "password" not in done.binding.data
    assert "no security plugin" in message(done, ConditionType.CREDENTIALS_READY)
    assert "does not manage indexes" in message(done, ConditionType.PROVISIONED)
    assert not any("user" in str(action) or "role" in str(action) for action in done.plan.actions)
    # Somebody installs the plugins: the next sweep issues a login.
    opensearch_server.set_plugins()
    done = await store.reconcile()
    assert done.login == store.names.logins[0]
    assert {action.kind for action in done.plan.actions} == {"role", "role mapping", "user", "ISM policy"}
    async with store.checkpointer() as checkpointer:
        await checkpointer.save({"works": True}, "thread")


async def test_a_role_that_everybody_has_is_a_warning(opensearch_store: Store, opensearch: OpenSearchServer) -> None:
    await opensearch_store.reconcile()
    opensearch.ask("PUT", f"{API}/rolesmapping/readall", {"users": ["*"]})
    done = await opensearch_store.reconcile()
    assert not done.plan
    assert [warning for warning in done.warnings if "has the roles readall as well" in warning]


async def test_a_harmless_policy_of_somebody_else_is_left_with_a_warning(
    opensearch_store: Store, opensearch: OpenSearchServer
) -> None:
    await opensearch_store.reconcile()
    states = [{"name": "warm", "actions": [{"replica_count": {"number_of_replicas": 0}}], "transitions": []}]
    policy = {"description": "x", "default_state": "warm", "states": states}
    opensearch.ask("PUT", f"{ISM}/policies/warm", {"policy": policy})
    opensearch.ask("POST", f"{ISM}/remove/{index_of(opensearch_store)}")
    opensearch.ask("POST", f"{ISM}/add/{index_of(opensearch_store)}", {"policy_id": "warm"})
    done = await opensearch_store.reconcile()
    assert not done.plan
    assert [warning for warning in done.warnings if "ISM policy warm" in warning]


async def test_a_policy_for_all_indexes_does_not_get_the_new_index(
    opensearch_store: Store, opensearch: OpenSearchServer
) -> None:
    states = [{"name": "old", "actions": [{"delete": {}}], "transitions": []}]
    template = {"index_patterns": ["*"], "priority": 1000}
    policy = {"description": "x", "default_state": "old", "states": states, "ism_template": [template]}
    opensearch.ask("PUT", f"{ISM}/policies/logs", {"policy": policy})
    await opensearch_store.reconcile()
    explained = opensearch.ask("GET", f"{ISM}/explain/{index_of(opensearch_store)}")
    assert explained[index_of(opensearch_store)]["policy_id"] == opensearch_store.names.base


async def test_no_secret_is_in_what_the_administrators_see(
    opensearch_store: Store, opensearch: OpenSearchServer
) -> None:
    done = await opensearch_store.reconcile()
    password = done.binding.data["password"]
    kinds = ("internalusers", "roles", "rolesmapping")
    shown = json.dumps([opensearch.ask("GET", f"{API}/{kind}") for kind in kinds])
    assert password not in shown
    assert password not in opensearch.log.read_text()
