"""Parts that checkpoints share: an object each, written once under a name of its own.

Which parts a checkpoint needs stands in its thread's head or page, as ids that begin with a digest of the name; so a
save finds the parts that are stored in the head that it replaces, and they cannot go meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from locus_memory.backends.oci_bucket_layout import fingerprint_of, new_part, part_fingerprint, part_object
from locus_memory.backends.oci_bucket_records import Entry, Head, frame, unframe
from locus_memory.backends.oci_bucket_threads import Threads, VanishedError
from locus_memory.errors import CorruptCheckpointError
from locus_memory.storage import NewCheckpoint

_LARGE_BYTES: Final = 2**20
"""From here on copying bytes would hold up the event loop."""


async def upload_parts(threads: Threads, checkpoint: NewCheckpoint, head: Head) -> tuple[bytes, ...]:
    """Write the new parts of a checkpoint; return their ids."""
    return tuple(
        await asyncio.gather(
            *(write_part(threads, head, checkpoint.namespace, name, data) for name, data in checkpoint.parts.items())
        )
    )


async def write_part(threads: Threads, head: Head, namespace: str, name: str, data: bytes) -> bytes:
    """Write a part into a thread; return its id."""
    part = new_part(namespace, name, datetime.now(UTC))
    header = frame({"thread": head.thread_id, "namespace": namespace, "part": name, "size": len(data)})
    place = threads.layout.data_of(head.thread_id) + part_object(head.incarnation, part)
    await threads.store.put(place, [header, data])
    return part


async def read_parts(threads: Threads, head: Head, entries: Iterable[Entry]) -> dict[bytes, tuple[str, bytes]]:
    """Read the parts that checkpoints need, each once; return names and bytes by id.

    Raises:
        VanishedError: One is not there.
        CorruptCheckpointError: One is damaged.
    """
    wanted = {part: entry.namespace for entry in entries for part in entry.parts}
    read = (read_part(threads, head, namespace, part) for part, namespace in wanted.items())
    return dict(zip(wanted, await asyncio.gather(*read), strict=True))


async def read_part(threads: Threads, head: Head, namespace: str, part: bytes) -> tuple[str, bytes]:
    """Read a part of a thread; return its name and bytes.

    Raises:
        VanishedError: It is not there.
        CorruptCheckpointError: It is damaged.
    """
    name = threads.layout.data_of(head.thread_id) + part_object(head.incarnation, part)
    found = await threads.store.get(name)
    if found is None:
        raise VanishedError(name)
    if len(found.body) > _LARGE_BYTES:
        return await asyncio.to_thread(decode_part, found.body, name, head.thread_id, namespace, part)
    return decode_part(found.body, name, head.thread_id, namespace, part)


def decode_part(body: bytes, place: str, thread_id: str, namespace: str, part: bytes) -> tuple[str, bytes]:
    """Return the name and the bytes of a part.

    Raises:
        CorruptCheckpointError: It is damaged, cut off, or another part.
    """
    try:
        document, start = unframe(body)
        found = (document["thread"], document["namespace"], part_fingerprint(document["namespace"], document["part"]))
        if found != (thread_id, namespace, fingerprint_of(part)):
            raise ValueError(f"it is part {document['part']!r} of thread {document['thread']!r}")
        if len(body) != start + document["size"]:
            raise ValueError(f"{len(body):,} bytes")
        return str(document["part"]), body[start:]
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptCheckpointError(f"thread {thread_id!r}: part {place!r} is damaged: {error!r}") from error
