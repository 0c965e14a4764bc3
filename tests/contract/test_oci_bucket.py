"""The contract, on the emulator of OCI Object Storage, through the real SDK."""

import functools
from collections.abc import Callable, Sequence

import pytest

from locus_memory.backends import OCIBucketBackend, oci_bucket_checkpointer
from locus_memory.checkpointer import BaseCheckpointer, CheckpointerCapabilities
from locus_memory.testing import StorageBackendContract
from locus_memory.testing.base import Reopen
from locus_memory.testing.history import HistoryTests
from tests.servers.oci import NAMESPACE, REGION, ObjectStorageServer


class TestOCIBucketCheckpointer(HistoryTests, StorageBackendContract):
    """A bucket for each test."""

    capabilities = CheckpointerCapabilities(
        vacuum=True, branching=True, list_threads=True, list_with_metadata=True, persistent_checkpoint_ids=True
    )

    @pytest.fixture
    def reopen(self, oci_server: ObjectStorageServer, oci_bucket: str) -> Reopen:
        return lambda: OCIBucketBackend(
            bucket_name=oci_bucket,
            namespace=NAMESPACE,
            prefix="prod/",
            region=REGION,
            service_endpoint=oci_server.endpoint,
            **oci_server.key.fields(),  # type: ignore[arg-type]
        )

    @pytest.fixture
    def checkpointer(self, reopen: Reopen) -> BaseCheckpointer:
        return reopen()

    @pytest.fixture
    def factory(self) -> Callable[..., BaseCheckpointer]:
        return functools.partial(oci_bucket_checkpointer, "bucket", "namespace")

    @pytest.fixture
    def secrets(self, oci_server: ObjectStorageServer) -> Sequence[str]:
        return (oci_server.key.private_key,)

    async def test_deleting_everything_leaves_no_object(
        self, checkpointer: BaseCheckpointer, oci_server: ObjectStorageServer, oci_bucket: str
    ) -> None:
        for thread_id in ("a", "b"):
            for number in range(70):
                await checkpointer.save({}, thread_id, f"c{number}", {"n": number})
        await checkpointer.save({"replaced": True}, "a", "c3")
        assert await checkpointer.delete("a")
        for number in range(70):
            assert await checkpointer.delete("b", f"c{number}")
        assert oci_server.objects(oci_bucket) == []
