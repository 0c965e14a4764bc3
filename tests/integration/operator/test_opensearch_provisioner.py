"""What only OpenSearch has: whose its objects are, what a deletion takes, and what stands in the way."""

import asyncio

import pytest

from locus_memory.backends.opensearch_layout import index_body
from locus_memory.connection import OpenSearchConnection
from locus_operator import engine
from locus_operator.backends.opensearch_privileges import administrators_needs
from locus_operator.constants import ConditionReason
from locus_operator.errors import RefusedError, UnavailableError
from tests.integration.operator.opensearch_drift import DELETING, ISM, Sabotage, put
from tests.integration.operator.opensearch_stores import (
    ADMIN,
    ADMIN_PASSWORD,
    API,
    add_administrator,
    index_of,
    opensearch_backend,
)
from tests.integration.operator.stores import Store
from tests.servers.opensearch import OpenSearchServer
from tests.servers.processes import free_port
from tests.servers.tls import CertificateAuthority

# --- whose it is ---


async def test_an_index_of_the_library_is_adopted_with_its_data(
    opensearch_store: Store, opensearch: OpenSearchServer
) -> None:
    opensearch.ask("PUT", f"/{index_of(opensearch_store)}", index_body(shards=1, replicas=0))
    with pytest.raises(RefusedError, match=r"index .* belongs to no store.*adopt") as caught:
        await opensearch_store.reconcile()
    assert caught.value.reason is ConditionReason.CONFLICT
    assert opensearch.ask("GET", "/_index_template")["index_templates"] == []
    opensearch_store.adopt = True
    assert "alter mapping of index" in str((await opensearch_store.reconcile()).plan)
    opensearch_store.adopt = False
    assert not (await opensearch_store.reconcile()).plan


async def test_an_index_of_another_program_is_never_adopted(
    opensearch_store: Store, opensearch: OpenSearchServer
) -> None:
    opensearch.ask("PUT", f"/{index_of(opensearch_store)}", {"settings": {"index": {"number_of_replicas": 0}}})
    opensearch_store.adopt = True
    with pytest.raises(RefusedError, match="was not made by Locus Memory") as caught:
        await opensearch_store.reconcile()
    assert caught.value.reason is ConditionReason.CONFLICT


FOREIGN: dict[str, Sabotage] = {
    "user": lambda server, store: put("internalusers/{a}", password="somebody's")(server, store),
    "idle user": lambda server, store: put("internalusers/{b}", password="somebody's")(server, store),
    "role": lambda server, store: put("roles/{base}", cluster_permissions=[])(server, store),
    "ISM policy": lambda server, store: server.ask(
        "PUT", f"{ISM}/policies/{store.names.base}", {"policy": {**DELETING, "ism_template": []}}
    ),
    "index template": lambda server, store: server.ask(
        "PUT", f"/_index_template/{index_of(store)}", {"index_patterns": ["x-*"], "priority": 1}
    ),
}


@pytest.mark.parametrize("kind", FOREIGN)
async def test_a_foreign_object_of_a_derived_name_is_a_conflict(
    opensearch_store: Store, opensearch: OpenSearchServer, kind: str
) -> None:
    FOREIGN[kind](opensearch, opensearch_store)
    with pytest.raises(RefusedError, match=rf"{kind.removeprefix('idle ')} '.*' belongs to no store") as caught:
        await opensearch_store.reconcile()
    assert caught.value.reason is ConditionReason.CONFLICT
    assert "error" in opensearch.ask("GET", f"/{index_of(opensearch_store)}")


async def test_two_stores_with_one_prefix_are_a_conflict(opensearch_store: Store) -> None:
    other = opensearch_store.sibling()
    other.uid = "uid-2"
    for store in (opensearch_store, other):
        store.backend = {"opensearch": {**store.backend["opensearch"], "indexPrefix": "locus_shared"}}
    await opensearch_store.reconcile()
    with pytest.raises(RefusedError, match="index 'locus_shared-checkpoints' belongs to the store agents/"):
        await other.reconcile()


async def test_an_alias_in_the_way_is_a_conflict(opensearch_store: Store, opensearch: OpenSearchServer) -> None:
    opensearch.fail(f"GET /{index_of(opensearch_store)}$", "answer", status=200, body={"real": {"mappings": {}}})
    with pytest.raises(RefusedError, match="is an alias of real"):
        await opensearch_store.reconcile()


# --- deletion ---


async def test_deletion_takes_the_stores_objects_and_no_others(
    opensearch_store: Store, opensearch: OpenSearchServer
) -> None:
    sibling = opensearch_store.sibling()
    await sibling.reconcile()
    before = _everything(opensearch)
    await opensearch_store.reconcile()
    await opensearch_store.release("Delete")
    assert _everything(opensearch) == before
    assert not (await sibling.reconcile()).plan


async def test_retained_data_stays_protected_from_foreign_policies(
    opensearch_store: Store, opensearch: OpenSearchServer
) -> None:
    await opensearch_store.reconcile()
    await opensearch_store.release()
    explained = opensearch.ask("GET", f"{ISM}/explain/{index_of(opensearch_store)}")
    assert explained[index_of(opensearch_store)]["policy_id"] == opensearch_store.names.base
    assert not [name for name in _everything(opensearch) if opensearch_store.names.base in name and "user" in name]


@pytest.mark.parametrize("policy_of_deletion", ["Retain", "Delete"])
async def test_a_cluster_that_goes_away_in_the_middle_of_a_deletion_is_waited_for(
    opensearch_store: Store, opensearch: OpenSearchServer, policy_of_deletion: str
) -> None:
    await opensearch_store.reconcile()
    opensearch.fail("DELETE /_plugins/_security/api/roles/", "drop_before", times=2)  # aiohttp tries once more
    with pytest.raises(UnavailableError):
        await opensearch_store.release(policy_of_deletion)
    await asyncio.to_thread(opensearch.kill)
    with pytest.raises(UnavailableError):
        await opensearch_store.release(policy_of_deletion)
    await asyncio.to_thread(opensearch.restart)
    rest = await opensearch_store.release(policy_of_deletion)
    assert "drop role " in str(rest.plan)
    assert "drop user" not in str(rest.plan)
    assert not (await opensearch_store.release(policy_of_deletion)).plan


def _everything(server: OpenSearchServer) -> set[str]:
    """Kinds and names of all that there is."""
    found = {f"index {name}" for name in server.ask("GET", "/_mapping")}
    found |= {f"template {each['name']}" for each in server.ask("GET", "/_index_template")["index_templates"]}
    for kind in ("roles", "rolesmapping", "internalusers"):
        found |= {f"{kind} {name}" for name in server.ask("GET", f"{API}/{kind}")}
    return found


# --- what stands in the way ---


async def test_missing_privileges_are_listed_all_at_once(opensearch_server: OpenSearchServer) -> None:
    opensearch_server.reset()
    store = opensearch_backend(opensearch_server, superuser=False)
    store.spec = {"retention": {"maxAge": "1d"}}
    role = {"cluster_permissions": ["cluster:monitor/*"], "index_permissions": []}
    opensearch_server.ask("PUT", f"{API}/roles/{ADMIN}", role)
    with pytest.raises(RefusedError, match="Nothing was changed") as caught:
        await store.reconcile()
    assert caught.value.reason is ConditionReason.MISSING_PRIVILEGES
    needs = administrators_needs(ism=True, delete=False, retention=True)
    shown = str(caught.value)
    assert [action for action in needs.cluster | needs.index if action not in shown] == ["cluster:monitor/health"]
    add_administrator(opensearch_server)
    await store.reconcile()
    assert not (await store.reconcile()).plan


NEEDS = administrators_needs(ism=True, delete=True, retention=False)


@pytest.mark.parametrize("action", sorted(NEEDS.cluster | NEEDS.index))
async def test_each_privilege_that_the_administrator_lacks_is_asked_for(
    opensearch_server: OpenSearchServer, action: str
) -> None:
    opensearch_server.reset()
    store = opensearch_backend(opensearch_server, superuser=False)
    store.spec = {"deletionPolicy": "Delete"}
    add_administrator(opensearch_server, without=action)
    with pytest.raises(RefusedError, match="lacks: ") as caught:
        await store.reconcile()
    assert action in str(caught.value)


async def test_an_administrator_without_the_security_api_is_told_so(opensearch_server: OpenSearchServer) -> None:
    opensearch_server.reset()
    store = opensearch_backend(opensearch_server, superuser=False)
    user = {"password": ADMIN_PASSWORD, "opendistro_security_roles": [ADMIN]}
    opensearch_server.ask("PUT", f"{API}/internalusers/{ADMIN}", user)
    with pytest.raises(RefusedError, match=r"roles_enabled names none of its roles: locus_provisioner") as caught:
        await store.reconcile()
    assert caught.value.reason is ConditionReason.MISSING_PRIVILEGES


async def test_logins_that_the_cluster_does_not_take_are_told(
    opensearch_store: Store, opensearch: OpenSearchServer
) -> None:
    await opensearch_store.reconcile()
    opensearch.ask("DELETE", f"{API}/internalusers/{opensearch_store.names.logins[0]}")
    opensearch.fail("authinfo", "answer", times=0)
    real = opensearch_store.binding
    opensearch.fail("PUT /_plugins/_security/api/internalusers", "answer", status=201, body={"status": "CREATED"})
    with pytest.raises(RefusedError, match="basic_internal_auth_domain"):
        await opensearch_store.reconcile()
    await opensearch_store.reconcile()
    assert real == opensearch_store.binding


async def test_a_red_index_is_unavailable_and_does_not_hold_up_the_deletion(
    opensearch_store: Store, opensearch: OpenSearchServer
) -> None:
    await opensearch_store.reconcile()
    opensearch.fail("_cluster/health", "answer", times=2, status=200, body={"status": "red"})
    with pytest.raises(UnavailableError, match="is red"):
        await opensearch_store.reconcile()
    await opensearch_store.release("Delete")


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_cluster_that_cannot_answer_now_is_unavailable(
    opensearch_store: Store, opensearch: OpenSearchServer, status: int
) -> None:
    opensearch.fail("PUT /", "answer", status=status, body={"error": "no cluster manager", "status": status})
    with pytest.raises(UnavailableError, match="no cluster manager"):
        await opensearch_store.reconcile()
    await opensearch_store.reconcile()
    assert not (await opensearch_store.reconcile()).plan


async def test_another_node_answers_for_one_that_is_away(opensearch_store: Store, opensearch: OpenSearchServer) -> None:
    scheme = opensearch.address.partition(":")[0]
    hosts = [f"{scheme}://127.0.0.1:{free_port()}", opensearch.address, f"{scheme}://127.0.0.1:{free_port()}"]
    opensearch_store.backend = {"opensearch": {**opensearch_store.backend["opensearch"], "hosts": hosts}}
    await opensearch_store.reconcile()
    assert not (await opensearch_store.reconcile()).plan
    connection = opensearch_store.connection()
    assert isinstance(connection, OpenSearchConnection)
    assert sorted(connection.hosts) == sorted(hosts)
    await opensearch_store.release("Delete")


async def test_a_cluster_of_another_authority_is_refused(tls_opensearch_server: OpenSearchServer) -> None:
    store = opensearch_backend(tls_opensearch_server)
    store.sources = {**store.sources, "server-ca": {"ca.crt": CertificateAuthority().certificate.decode()}}
    with pytest.raises(RefusedError, match=r"no trusted TLS connection.*hosts and ca"):
        await store.reconcile()


async def test_a_cluster_that_hangs_is_given_up(
    opensearch_store: Store, opensearch: OpenSearchServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "TIMEOUT_SECONDS", 0.5)
    opensearch.pause()
    try:
        with pytest.raises(UnavailableError, match="not done within"):
            await opensearch_store.reconcile()
    finally:
        opensearch.resume()
