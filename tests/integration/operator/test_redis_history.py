"""What the login that the operator issues may do with parts and pending writes in Redis."""

from datetime import UTC, datetime, timedelta

from locus_memory.adapter import StorageBackendAdapter
from locus_memory.testing.history import new, write
from tests.integration.operator.stores import Store


async def test_the_issued_login_may_keep_history(redis_store: Store) -> None:
    redis_store.spec = {"retention": {"maxAge": "60s"}}
    await redis_store.reconcile()
    async with redis_store.checkpointer() as checkpointer:
        assert isinstance(checkpointer, StorageBackendAdapter)
        storage = checkpointer.storage
        await storage.put(new("a", x=b"1"))
        await storage.put_writes("t", "a", [write("task", -1), write("task", 0)])
        await storage.put(new("b", "x", y=b"2"))
        assert await storage.copy_thread("t", "copy")
        assert await storage.list_threads_after(None, 10) == ["copy", "t"]
        assert await storage.list_namespaces("t") == [""]
        for thread_id in ("t", "copy"):
            assert [each.parts for each in await storage.get_complete(thread_id)] == [{"x": b"1", "y": b"2"}]
            assert len(await storage.get_writes(thread_id, "a")) == 2
        await storage.put(new("b", "x"))
        assert await storage.delete_checkpoint("t", "a")
        assert await storage.delete_thread("copy")
        assert await storage.vacuum(datetime.now(UTC) + timedelta(minutes=1)) == 1
