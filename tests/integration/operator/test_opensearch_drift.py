"""Drift of each object of a store on OpenSearch is named and corrected."""

import pytest

from locus_memory.backends.opensearch_layout import index_body
from locus_operator.errors import RefusedError
from tests.integration.operator.opensearch_drift import DRIFTS, lose_the_index
from tests.integration.operator.opensearch_stores import index_of
from tests.integration.operator.stores import Store
from tests.servers.opensearch import OpenSearchServer


@pytest.mark.parametrize("drift", DRIFTS)
async def test_drift_is_named_and_corrected(opensearch_store: Store, opensearch: OpenSearchServer, drift: str) -> None:
    store, (sabotage, named) = opensearch_store, DRIFTS[drift]
    await store.reconcile()
    sabotage(opensearch, store)
    corrected = await store.reconcile()
    a, b = store.names.logins
    if named:
        assert named.format(a=a, b=b, base=store.names.base, index=index_of(store)) in str(corrected.plan)
    assert not (await store.reconcile()).plan
    async with store.checkpointer() as checkpointer:
        await checkpointer.save({"works": True}, "thread")
        assert await checkpointer.list_threads() == ["thread"]


async def test_all_drift_at_once_keeps_the_data(opensearch_store: Store, opensearch: OpenSearchServer) -> None:
    await opensearch_store.reconcile()
    async with opensearch_store.checkpointer() as checkpointer:
        await checkpointer.save({"kept": True}, "thread")
    for name, (sabotage, _) in DRIFTS.items():
        if "index" not in name and "dropped" not in name:
            sabotage(opensearch, opensearch_store)
    assert len((await opensearch_store.reconcile()).plan.actions) > 8
    assert not (await opensearch_store.reconcile()).plan
    async with opensearch_store.checkpointer() as checkpointer:
        assert await checkpointer.load("thread") == {"kept": True}


async def test_a_missing_field_is_added_and_one_that_cannot_be_changed_is_refused(
    opensearch_store: Store, opensearch: OpenSearchServer
) -> None:
    await opensearch_store.reconcile()
    lose_the_index(opensearch, opensearch_store)
    opensearch.ask("DELETE", f"/_index_template/{index_of(opensearch_store)}")
    body = index_body(shards=1, replicas=0)
    del body["mappings"]["properties"]["tokens"]
    assert opensearch.ask("PUT", f"/{index_of(opensearch_store)}", body)["acknowledged"]
    done = await opensearch_store.reconcile()
    assert "differs: fields tokens missing, claim" in str(done.plan)
    lose_the_index(opensearch, opensearch_store)
    opensearch.ask("DELETE", f"/_index_template/{index_of(opensearch_store)}")
    body["mappings"]["properties"]["tokens"] = {"type": "text"}
    assert opensearch.ask("PUT", f"/{index_of(opensearch_store)}", body)["acknowledged"]
    with pytest.raises(RefusedError, match=r"field tokens is text, not keyword.*--allow-destructive"):
        await opensearch_store.reconcile()
    opensearch_store.allow_destructive = True
    assert "rebuild index" in str((await opensearch_store.reconcile()).plan)
    assert not (await opensearch_store.reconcile()).plan


async def test_an_index_that_a_write_creates_is_the_right_one(
    opensearch_store: Store, opensearch: OpenSearchServer
) -> None:
    await opensearch_store.reconcile()
    before = opensearch.ask("GET", f"/{index_of(opensearch_store)}/_mapping")
    lose_the_index(opensearch, opensearch_store)
    opensearch.ask("PUT", f"/{index_of(opensearch_store)}")
    assert opensearch.ask("GET", f"/{index_of(opensearch_store)}/_mapping") == before
