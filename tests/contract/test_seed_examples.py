"""The examples that users of locus-sdk know, with the import prefix changed and real servers behind them."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from locus_memory.backends import (
    MemoryCheckpointer,
    OCIBucketBackend,
    oci_bucket_checkpointer,
    opensearch_checkpointer,
    postgresql_checkpointer,
    redis_checkpointer,
)
from locus_memory.backends.file import FileCheckpointer
from locus_memory.backends.redis import RedisBackend
from locus_memory.checkpointer import BaseCheckpointer
from tests.contract.travel_agent import make_agent
from tests.servers.oci import COMPARTMENT, NAMESPACE, REGION, ObjectStorageServer
from tests.servers.opensearch import OpenSearchServer
from tests.servers.postgresql import Database


def converse(first: BaseCheckpointer, second: BaseCheckpointer) -> None:
    """Talk on two days, in what could be two processes."""
    make_agent(first).run_sync("I am planning a trip to Tokyo.", thread_id="user-c42")
    answer = make_agent(second).run_sync("What were we discussing?", thread_id="user-c42").text
    assert answer == "You said: I am planning a trip to Tokyo."


def test_local_file_checkpointer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    converse(FileCheckpointer(directory="./threads"), FileCheckpointer(directory="./threads"))
    [thread] = [path for path in (tmp_path / "threads").iterdir() if path.is_file()]
    assert thread.name == "user-c42.json"


def test_production_oci_bucket_checkpointer(
    oci_server: ObjectStorageServer, oci_bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    key = oci_server.key
    (tmp_path / ".oci").mkdir()
    (tmp_path / "key.pem").write_text(key.private_key)
    fields = key.fields() | {"region": REGION, "key_file": str(tmp_path / "key.pem")}
    lines = [f"{name}={value}" for name, value in fields.items() if name != "private_key"]
    (tmp_path / ".oci" / "config").write_text("\n".join(["[DEFAULT]", *lines]))

    def opened(make: Any) -> BaseCheckpointer:
        # The endpoint is all that leads to the emulator; without it the region's is taken.
        made: BaseCheckpointer = make(
            bucket_name=oci_bucket,
            namespace=NAMESPACE,
            compartment_id=COMPARTMENT,
            prefix="prod/",
            service_endpoint=oci_server.endpoint,
        )
        return made

    converse(opened(oci_bucket_checkpointer), opened(OCIBucketBackend))


def test_postgres_postgresql_checkpointer(postgresql_database: Database) -> None:
    def opened() -> BaseCheckpointer:
        return postgresql_checkpointer(dsn=postgresql_database.dsn(), schema="locus_threads")

    converse(opened(), opened())


def test_redis_redis_checkpointer(redis_url: str) -> None:
    def opened() -> BaseCheckpointer:
        return redis_checkpointer(url=redis_url, ttl_seconds=86_400)

    converse(opened(), opened())
    assert opened().capabilities.ttl


def test_opensearch_finds_past_runs(opensearch_server: OpenSearchServer, opensearch_index: str) -> None:
    def opened() -> BaseCheckpointer:
        return opensearch_checkpointer(
            hosts=[opensearch_server.address],
            index_name=opensearch_index,
            username="admin",
            password=opensearch_server.password,
        )

    converse(opened(), opened())

    async def found() -> list[dict[str, Any]]:
        async with opened() as checkpointer:
            return await checkpointer.search("planning Tokyo")

    assert [hit["thread_id"] for hit in asyncio.run(found())] == ["user-c42"]


async def test_a_storage_backend_passed_directly_fails_at_save_and_names_the_factory(redis_url: str) -> None:
    backend: Any = RedisBackend(url=redis_url)
    agent = make_agent(backend)
    with pytest.raises(TypeError, match="redis_checkpointer"):
        await backend.save({}, "t")
    with pytest.raises(TypeError, match="redis_checkpointer"):
        async for _ in agent.run("Hello", thread_id="t"):
            pass


async def test_capabilities_are_asked_before_they_are_used() -> None:
    checkpointer = MemoryCheckpointer()
    await checkpointer.save({"text": "an account of error handling"}, "main")
    caps = checkpointer.capabilities
    if caps.search:
        hits = await checkpointer.search("error handling")
    if caps.branching:
        await checkpointer.copy_thread("main", "experiment")
    if caps.vacuum:
        await checkpointer.vacuum(older_than_days=30)
    if caps.list_threads:
        threads = await checkpointer.list_threads()
    assert [hit["thread_id"] for hit in hits] == ["main"]
    assert threads == ["experiment", "main"]
