"""What all provisioners promise, on every server."""

import json

import pytest

from locus_memory.errors import AuthenticationError
from locus_operator import engine
from locus_operator.constants import ConditionReason
from locus_operator.errors import RefusedError, UnavailableError
from tests.integration.operator.kinds import everywhere
from tests.integration.operator.stores import InterruptedRunError, Store
from tests.servers.processes import free_port


@everywhere
async def test_an_agent_does_everything_with_the_issued_login(store: Store) -> None:
    done = await store.reconcile()
    async with store.checkpointer() as checkpointer:
        await checkpointer.save({"topic": "roses"}, "thread", "first", metadata={"team": "a"})
        await checkpointer.save({"topic": "tulips"}, "thread", "second", metadata={"team": "a"})
        assert await checkpointer.load("thread") == {"topic": "tulips"}
        assert await checkpointer.load("thread", "first") == {"topic": "roses"}
        assert await checkpointer.list_checkpoints("thread") == ["second", "first"]
        if checkpointer.capabilities.metadata_query:
            assert await checkpointer.query_by_metadata("team", "a")
            assert await checkpointer.get_metadata("thread") == {"team": "a"}
        assert await checkpointer.list_threads() == ["thread"]
        assert await checkpointer.list_with_metadata()
        assert await checkpointer.copy_thread("thread", "copy")
        assert await checkpointer.load("copy") == {"topic": "tulips"}
        if checkpointer.capabilities.search:
            assert await checkpointer.search("tulips")
        assert await checkpointer.vacuum(older_than_days=1) == 0
        assert await checkpointer.delete("thread", "second")
        assert await checkpointer.load("thread") == {"topic": "roses"}
        assert await checkpointer.delete("thread")
        assert not await checkpointer.exists("thread")
        there = {name for name in done.capabilities if getattr(checkpointer.capabilities, name)}
        assert there == set(done.capabilities)


@everywhere
async def test_a_second_run_has_nothing_to_do(store: Store) -> None:
    first = await store.reconcile()
    second = await store.reconcile()
    assert first.plan
    assert not second.plan
    assert second.binding.digest == first.binding.digest
    assert second.claims == first.claims


@everywhere
async def test_a_plan_changes_nothing(store: Store) -> None:
    planned = await engine.plan(store.request())
    assert [str(action) for action in (await store.reconcile()).plan.actions] == list(map(str, planned.actions))
    assert not await engine.plan(store.request())


@everywhere
async def test_a_run_that_ended_after_any_action_is_completed_by_the_next(store: Store) -> None:
    whole = await store.reconcile()
    for index in range(len(whole.plan.actions)):
        cut = store.sibling()
        with pytest.raises(InterruptedRunError):
            await cut.reconcile_until(index)
        rest = await cut.reconcile()
        assert set(rest.claims.logins) == (set(cut.names.logins) if whole.login else set())
        assert not (await cut.reconcile()).plan
        async with cut.checkpointer() as checkpointer:
            await checkpointer.save({"cut": index}, "thread")
            assert await checkpointer.load("thread") == {"cut": index}


@everywhere
@pytest.mark.parametrize("policy", ["Retain", "Delete"])
async def test_a_release_that_ended_after_any_action_is_completed_by_the_next(store: Store, policy: str) -> None:
    index = 0
    while True:
        cut = store.sibling()
        done = await cut.reconcile()
        try:
            await cut.release_until(index, policy)
        except InterruptedRunError:
            await cut.release(policy)
            assert not (await cut.release(policy)).plan
            index += 1
        else:
            break
    assert index > (1 if done.login else 0)


async def test_a_lost_binding_gets_a_new_password_that_works(store: Store) -> None:
    before = (await store.reconcile()).binding
    store.binding = None
    after = await store.reconcile()
    assert after.plan
    assert after.binding.data["password"] != before.data["password"]
    async with store.checkpointer() as checkpointer:
        await checkpointer.save({"saved": True}, "thread")


async def test_a_weak_password_in_the_binding_is_replaced(store: Store) -> None:
    await store.reconcile()
    store.binding = {**(store.binding or {}), "password": "guess"}
    done = await store.reconcile()
    assert len(done.binding.data["password"]) >= 30


@everywhere
async def test_another_store_of_the_same_name_is_a_conflict_and_changes_nothing(store: Store) -> None:
    await store.reconcile()
    other = store.successor()
    for other.adopt in (False, True):  # nobody adopts what a living store owns
        with pytest.raises(RefusedError, match=r"uid-1.*adopt") as caught:
            await other.reconcile()
        assert caught.value.reason is ConditionReason.CONFLICT
    assert not (await store.reconcile()).plan


@everywhere
async def test_retain_keeps_the_data_for_who_adopts_it(store: Store) -> None:
    done = await store.reconcile()
    login = store.checkpointer()
    await login.save({"kept": True}, "thread")
    await login.close()
    assert (await store.release()).plan
    if done.login:
        with pytest.raises(AuthenticationError):
            await login.load("thread")
        await login.close()
    successor = store.successor()
    with pytest.raises(RefusedError, match=r"was left by .*uid-1") as caught:
        await successor.reconcile()
    assert caught.value.reason is ConditionReason.CONFLICT
    successor.adopt = True
    await successor.reconcile()
    successor.adopt = False
    assert not (await successor.reconcile()).plan
    async with successor.checkpointer() as checkpointer:
        assert await checkpointer.load("thread") == {"kept": True}


@everywhere
async def test_delete_leaves_nothing(store: Store) -> None:
    await store.reconcile()
    async with store.checkpointer() as checkpointer:
        await checkpointer.save({"kept": False}, "thread")
    released = await store.release("Delete")
    assert any(action.destructive for action in released.plan.actions)
    successor = store.successor()
    await successor.reconcile()  # no conflict: nobody has a claim any more
    async with successor.checkpointer() as checkpointer:
        assert await checkpointer.load("thread") is None


@everywhere
@pytest.mark.parametrize("policy", ["Retain", "Delete"])
async def test_what_is_gone_is_released(store: Store, policy: str) -> None:
    assert not (await store.release(policy)).plan
    await store.reconcile()
    assert (await store.release(policy)).plan
    assert not (await store.release(policy)).plan


@everywhere
async def test_a_release_leaves_the_successors_objects_alone(store: Store) -> None:
    await store.reconcile()
    await store.release()
    successor = store.successor()
    successor.adopt = True
    await successor.reconcile()
    assert not (await store.release("Delete")).plan
    assert not (await successor.reconcile()).plan


async def test_a_wrong_admin_password_names_the_secret(store: Store) -> None:
    store.sources = {**store.sources, "admin": {**store.sources["admin"], "password": "wrong-password"}}
    with pytest.raises(RefusedError, match="Secret 'admin'") as caught:
        await store.reconcile()
    assert caught.value.reason is ConditionReason.AUTHENTICATION_FAILED
    assert "wrong-password" not in str(caught.value)


async def test_a_missing_secret_and_a_missing_key_are_named(store: Store) -> None:
    sources = store.sources
    store.sources = {name: data for name, data in sources.items() if name != "admin"}
    with pytest.raises(RefusedError, match=r"Secret 'admin' \(spec\.backend\.\w+\.adminSecretRef\) does not") as caught:
        await store.reconcile()
    assert caught.value.reason is ConditionReason.SECRET_NOT_FOUND
    store.sources = {**sources, "admin": {"PASS": "hidden-value"}}
    with pytest.raises(RefusedError, match=r"no .*password \(key 'password'\); it has PASS\. .*'uri'.*keys") as caught:
        await store.reconcile()
    assert caught.value.reason is ConditionReason.SECRET_INVALID
    assert "hidden-value" not in str(caught.value)


async def test_a_server_that_is_down_is_unavailable(store: Store) -> None:
    (kind, backend), port = next(iter(store.backend.items())), free_port()
    addresses: dict[str, dict[str, object]] = {
        "postgresql": {"port": port},
        "opensearch": {"hosts": [f"http://127.0.0.1:{port}"]},
        "oracle": {"dsn": f"127.0.0.1:{port}/agents"},
    }
    address = addresses.get(kind, {"addresses": [f"127.0.0.1:{port}"]})
    store.backend = {kind: {**backend, **address}}
    with pytest.raises(UnavailableError, match=str(port)):
        await store.reconcile()


async def test_no_secret_is_in_a_repr_or_message(store: Store) -> None:
    done = await store.reconcile()
    password = done.binding.data["password"]
    shown = f"{done!r} {store.request()!r} {done.plan} {done.plan!r} {done.conditions}"
    for secret in (password, store.sources["admin"]["password"]):
        assert secret not in shown


async def test_the_binding_is_in_the_form_of_the_specification(store: Store) -> None:
    done = await store.reconcile()
    data, document = done.binding.data, json.loads(done.binding.data["connection.json"])
    assert done.binding.secret_type == f"servicebinding.io/{data['type']}"
    assert data["provider"] == "locus-memory"
    assert data["username"] == document["username"] == store.names.logins[0] == done.login
    assert data["password"] == document["password"]
    assert data["password"] in data["uri"]
    assert document["store"] == f"agents/{store.name}"
    assert document["tables"] == "provisioned"
    assert ("certificates" in data) == ("server-ca" in store.sources)
