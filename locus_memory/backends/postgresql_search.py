"""Full-text search on PostgreSQL, indexed when somebody searches.

Building the word list of a 12 KB state costs more than writing it, and most threads are never searched. So saves
leave `locus_search` alone, and a search first brings it up to date for the threads that have changed since.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator

from locus_memory.backends.postgresql_client import Client
from locus_memory.errors import CorruptCheckpointError
from locus_memory.text import words

_LOG = logging.getLogger(__name__)

_BATCH_THREADS = 200
_BATCH_BYTES = 16 * 1024 * 1024

# Limits of tsvector (https://www.postgresql.org/docs/current/textsearch-limitations.html): a document has under
# 1 MiB, a word under 2 KiB, positions end at 16,383, and a word has at most 256 of them.
_MAX_DOCUMENT_BYTES = 900_000
_MAX_WORD_BYTES = 2_000
_MAX_POSITION = 16_383
_MAX_POSITIONS = 255


async def index_changed_threads(client: Client, text_of: Callable[[bytes], str]) -> None:
    """Bring the index up to date, in batches bounded in threads and bytes."""
    after = 0
    while rows := await client.fetch("unindexed", {"after": after, "limit": _BATCH_THREADS}):
        after = rows[-1][0]
        for keys in _bounded(rows):
            for key, last_sequence, latest_checkpoint, payload in await client.fetch("latest_payloads", {"keys": keys}):
                document = await asyncio.to_thread(_document_of_payload, payload, text_of, key)
                await client.execute(
                    "index",
                    {
                        "thread_key": key,
                        "last_sequence": last_sequence,
                        "latest_checkpoint": latest_checkpoint,
                        "document": document,
                    },
                )


def query_text(terms: list[str]) -> str:
    """Write a tsquery that wants all terms; they are runs of letters, digits and underscores, so need no escape."""
    return " & ".join(f"'{term}'" for term in terms if len(term.encode()) <= _MAX_WORD_BYTES) or "'\\0'"


def document_text(text: str) -> str:
    """Write a tsvector of the words of a text, without PostgreSQL's own parser: all backends cut text alike."""
    positions: dict[str, list[int]] = {}
    for position, word in enumerate(words(text), 1):
        places = positions.setdefault(word, [])
        if len(places) < _MAX_POSITIONS:
            places.append(min(position, _MAX_POSITION))
    entries, size = [], 0
    for word, places in positions.items():
        word_bytes = len(word.encode())
        if word_bytes > _MAX_WORD_BYTES:
            continue
        size += word_bytes + 2 * len(places) + 4
        if size > _MAX_DOCUMENT_BYTES:
            _LOG.warning("a state has more distinct words than a search document can hold; the rest is not searchable")
            break
        entries.append(f"'{word}':{','.join(map(str, dict.fromkeys(places)))}")
    return " ".join(entries)


def _document_of_payload(payload: bytes, text_of: Callable[[bytes], str], key: int) -> str:
    try:
        return document_text(text_of(payload))
    except CorruptCheckpointError as error:
        # One damaged state must not make all others unsearchable; loading it says what is wrong with it.
        _LOG.warning("thread with key %s is not searchable: %s", key, error)
        return ""


def _bounded(rows: list[tuple[int, int]]) -> Iterator[list[int]]:
    batch: list[int] = []
    size = 0
    for key, payload_bytes in rows:
        if batch and size + payload_bytes > _BATCH_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(key)
        size += payload_bytes
    yield batch
