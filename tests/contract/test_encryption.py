"""Encrypted states on each backend: nothing of them is readable there, and keys rotate under running agents."""

import base64
import json
import secrets
from pathlib import Path
from urllib.parse import quote

import pytest

from locus_memory.adapter import StorageBackendAdapter
from locus_memory.backends import FileCheckpointer
from locus_memory.binding import DirectoryBinding, URLBinding
from locus_memory.encryption import EncryptionKeys
from locus_memory.errors import CapabilityNotSupportedError, CorruptCheckpointError, UnknownEncryptionKeyError
from locus_memory.opening import open_checkpointer
from locus_memory.storage import NewCheckpoint
from locus_memory.urls import parse_url

OLD, NEW = secrets.token_bytes(32), secrets.token_bytes(32)
STATE = {"messages": [{"role": "user", "content": "the secret trip to Tokyo"}] * 50}


def opened(url: str, keys: EncryptionKeys | None) -> StorageBackendAdapter:
    checkpointer = open_checkpointer(URLBinding(url), encryption_key=keys)
    assert isinstance(checkpointer, StorageBackendAdapter)
    return checkpointer


async def test_what_is_stored_shows_nothing_and_comes_back(store_url: str) -> None:
    async with opened(store_url, OLD) as checkpointer:
        await checkpointer.save(STATE, "t", "c", {"tag": "visible"})
        assert await checkpointer.load("t") == STATE
        stored = await checkpointer.storage.get("t")
        assert stored is not None
        assert b"Tokyo" not in stored.payload
        assert stored.summary.metadata == {"tag": "visible"}


async def test_rotation_keeps_everything_readable_until_the_old_key_goes(store_url: str) -> None:
    async with opened(store_url, None) as plain, opened(store_url, OLD) as before:
        await plain.save(STATE, "t", "plain")
        await before.save(STATE, "t", "old")
    async with opened(store_url, (NEW, OLD)) as rotated:
        await rotated.save(STATE, "t", "new")
        assert [await rotated.load("t", each) for each in ("plain", "old", "new")] == [STATE] * 3
    async with opened(store_url, NEW) as after:
        assert await after.load("t") == STATE
        with pytest.raises(UnknownEncryptionKeyError, match="'old'"):
            await after.load("t", "old")
    async with opened(store_url, None) as plain:
        with pytest.raises(UnknownEncryptionKeyError, match="'t'"):
            await plain.load("t")


async def test_a_copy_needs_no_key(store_url: str) -> None:
    async with opened(store_url, OLD) as owner, opened(store_url, None) as stranger:
        await owner.save(STATE, "main", "c")
        assert await stranger.copy_thread("main", "branch")
        assert await owner.load("branch") == STATE


async def test_a_changed_payload_is_an_error(store_url: str) -> None:
    async with opened(store_url, OLD) as checkpointer:
        await checkpointer.save(STATE, "t", "c")
        stored = await checkpointer.storage.get("t")
        assert stored is not None
        changed = stored.payload[:-1] + bytes((stored.payload[-1] ^ 1,))
        await checkpointer.storage.put(NewCheckpoint("t", "c", changed, {}))
        with pytest.raises(CorruptCheckpointError, match="authentication tag"):
            await checkpointer.load("t")


async def test_a_search_never_stores_the_text_of_encrypted_states(store_url: str) -> None:
    async with opened(store_url, OLD) as checkpointer, opened(store_url, None) as plain:
        await checkpointer.save(STATE, "hidden", "c")
        if checkpointer.capabilities.search:
            # Texts are read in this process, which has the key; nothing is stored for it.
            assert not checkpointer.storage.stores_text
            assert [hit["thread_id"] for hit in await checkpointer.search("Tokyo")] == ["hidden"]
        else:
            with pytest.raises(CapabilityNotSupportedError):
                await checkpointer.search("Tokyo")
        if plain.capabilities.search:
            await plain.save({"text": "Tokyo"}, "open", "c")
            assert [hit["thread_id"] for hit in await plain.search("Tokyo")] == ["open"]


async def test_a_key_in_the_url_encrypts(store_url: str) -> None:
    separator = "&" if "?" in store_url else "?"
    keys = ",".join(base64.b64encode(key).decode() for key in (NEW, OLD))
    async with opened(f"{store_url}{separator}encryption_keys={quote(keys)}", None) as checkpointer:
        await checkpointer.save(STATE, "t", "c")
    async with opened(store_url, NEW) as checkpointer:
        assert await checkpointer.load("t") == STATE


async def test_a_key_added_to_the_binding_reaches_a_running_agent(tmp_path: Path) -> None:
    def bind(*keys: bytes) -> None:
        document = parse_url(f"file://{tmp_path}/threads").document()
        document["encryption_keys"] = [base64.b64encode(key).decode() for key in keys]
        replacement = tmp_path / "..new"
        replacement.write_text(json.dumps(document))
        replacement.rename(tmp_path / "connection.json")

    bind(OLD)
    async with (
        open_checkpointer(DirectoryBinding(tmp_path)) as running,
        FileCheckpointer(tmp_path / "threads", encryption_key=NEW) as restarted,
    ):
        await running.save(STATE, "t", "c1")
        bind(NEW, OLD)
        await restarted.save(STATE, "t", "c2")
        assert await running.load("t") == STATE
        await running.save(STATE, "t", "c3")
        assert await restarted.load("t") == STATE
