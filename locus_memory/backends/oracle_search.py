"""Full-text search on Oracle without Oracle Text, indexed when somebody searches.

Listing the words of a 12 KB state costs more than writing it, and most threads are never searched. So saves leave
`<t>_WORDS` alone, and a search first brings it up to date for the threads that have changed since. A word is kept as
a hash with the number of its occurrences: short, and compared the same way under any NLS setting.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import oracledb

from locus_memory.backends.oracle_client import Client
from locus_memory.backends.oracle_errors import NO_PARENT, NOT_UNIQUE, code_of
from locus_memory.errors import CorruptCheckpointError, InvalidArgumentError
from locus_memory.text import words

_LOG = logging.getLogger(__name__)

_BATCH_THREADS = 200
_BATCH_BYTES = 16 * 1024 * 1024
_BATCH_WORDS = 10_000

MAX_TERMS = 1_000
"""Of a query: an IN list has at most as many (ORA-01795)."""


async def index_changed_threads(client: Client, text_of: Callable[[bytes], str]) -> None:
    """Bring the index up to date, in batches bounded in threads and bytes."""
    after = b"\0"
    while rows := await client.fetch("unindexed", {"after": after, "limit": _BATCH_THREADS}, _BATCH_THREADS):
        after = rows[-1][0]
        for keys in _bounded(rows):
            await _index(client, [entry for key in keys async for entry in _read(client, key, text_of)])


def search_binds(terms: list[str]) -> dict[str, Any]:
    """Return the binds that stand for the words of a query.

    Raises:
        InvalidArgumentError: There are more than Oracle takes.
    """
    if len(terms) > MAX_TERMS:
        raise InvalidArgumentError(f"query: {len(terms):,} different words; write at most {MAX_TERMS:,}")
    hashes = {f"term_{number}": word_hash(term) for number, term in enumerate(terms)}
    return hashes | {"term_count": len(terms)}


def word_hash(word: str) -> bytes:
    """Return 16 bytes that stand for a word."""
    return hashlib.sha256(word.encode()).digest()[:16]


_Entry = tuple[bytes, int, Counter[str]]


async def _read(client: Client, key: bytes, text_of: Callable[[bytes], str]) -> Any:
    # Nothing to yield when the thread is gone by now.
    for write_order, payload in await client.fetch("latest_payload", {"thread_key": key}):
        yield key, write_order, await asyncio.to_thread(_count, payload or b"", text_of, key)


async def _index(client: Client, entries: list[_Entry]) -> None:
    if not entries:
        return
    try:
        await _replace(client, entries)
    except oracledb.IntegrityError as error:
        if code_of(error) not in (NOT_UNIQUE, NO_PARENT):
            raise
        await client.rollback()
        # One of the threads was deleted, or indexed by another search. Whoever did has seen to it.
        if len(entries) > 1:
            for entry in entries:
                await _index(client, [entry])


async def _replace(client: Client, entries: list[_Entry]) -> None:
    claims = [{"thread_key": key, "write_order": write_order} for key, write_order, _ in entries]
    await client.execute_many("claim_search", claims)
    await client.execute_many("forget_words", [{"thread_key": key} for key, _, _ in entries])
    found = [
        {"word_hash": word_hash(word), "thread_key": key, "occurrences": occurrences}
        for key, _, counts in entries
        for word, occurrences in counts.items()
    ]
    for start in range(0, len(found), _BATCH_WORDS):
        await client.execute_many("index_word", found[start : start + _BATCH_WORDS])
    await client.commit()


def _count(payload: bytes, text_of: Callable[[bytes], str], key: bytes) -> Counter[str]:
    try:
        return Counter(words(text_of(payload)))
    except CorruptCheckpointError as error:
        # One damaged state must not make all others unsearchable; loading it says what is wrong with it.
        _LOG.warning("thread with key %s is not searchable: %s", key.hex(), error)
        return Counter()


def _bounded(rows: list[tuple[bytes, int, int]]) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    size = 0
    for key, _, payload_bytes in rows:
        if batch and size + payload_bytes > _BATCH_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(key)
        size += payload_bytes
    yield batch
