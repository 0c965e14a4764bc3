"""`maxCheckpointsPerThread` means the same on every backend."""

from dataclasses import replace

from locus_memory.adapter import StorageBackendAdapter
from locus_memory.storage import NewCheckpoint
from locus_operator import engine
from locus_operator.api.status import ConditionStatus
from locus_operator.constants import ConditionReason, ConditionType
from tests.integration.operator.kinds import everywhere
from tests.integration.operator.stores import Store


@everywhere
async def test_each_namespace_of_a_thread_keeps_its_newest(store: Store) -> None:
    store.spec = {"retention": {"maxCheckpointsPerThread": 2}}
    await store.reconcile()
    checkpointer = store.checkpointer()
    assert isinstance(checkpointer, StorageBackendAdapter)
    async with checkpointer:
        storage, payload = checkpointer.storage, checkpointer.codec.encode({"topic": "roses"})
        for number in range(4):
            for namespace in ("", "sub"):
                await storage.put(NewCheckpoint("long", f"{namespace}{number}", payload, {}, namespace))
        await storage.put(NewCheckpoint("short", "only", payload, {}))

        done = await engine.reconcile(replace(store.request(), enforce_retention=True))

        for namespace in ("", "sub"):
            left = await storage.list_checkpoints("long", 10, namespace=namespace)
            assert [each.checkpoint_id for each in left] == [f"{namespace}3", f"{namespace}2"]
            assert await storage.get("long", namespace=namespace) is not None
        assert await storage.get("short") is not None
    (retention,) = [each for each in done.conditions if each.type is ConditionType.RETENTION_ENFORCED]
    assert (retention.status, retention.reason) == (ConditionStatus.TRUE, ConditionReason.RETENTION_APPLIED)
