"""The outer form of a payload: one codec byte, then data, compressed when that pays, encrypted when there is a key.

The byte's low four bits name the encoding (two for each kind of data: as it is, and compressed), its higher bits are
flags. An unknown bit is an error, so later versions can add encodings that this one refuses rather than misreads.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from enum import IntEnum
from typing import Final, TypeVar

import zstandard

from locus_memory.encryption import EncryptionKeys, PayloadCipher, unknown_key
from locus_memory.errors import CorruptCheckpointError, StateTooLargeError, UnknownEncryptionKeyError

MAX_STATE_BYTES: Final = 256 * 1024 * 1024
"""Largest state before compression, in bytes; bounds what a payload may decompress to."""

COMPRESSION_THRESHOLD: Final = 1024
"""States of fewer bytes are stored as they are: they fit a page or a packet anyway."""

ZSTD_LEVEL: Final = 1
"""Level 1: three to four times smaller for conversations, at 7 microseconds for 18 KB."""

AGENT_STATE: Final = 0x10
"""Flag: the state was locus-sdk's `AgentState`, which `load` returns again where locus-sdk is installed."""
_ENCRYPTED: Final = 0x20
"""Flag: what follows the codec byte is encrypted; see `locus_memory.encryption`."""
_ENCODING_MASK: Final = 0x0F

T = TypeVar("T")


class Kind(IntEnum):
    """What the data is; the value is the encoding without compression, the next one that with zstd."""

    JSON = 0x01
    """A state: JSON text in UTF-8."""
    TYPED = 0x03
    """What a serialiser of LangGraph wrote: the name of the type, a zero byte, its bytes."""


class Envelope:
    """Seals data into payloads, and opens them.

    Args:
        compression: Compress data of `COMPRESSION_THRESHOLD` bytes and more.
        encryption_key: Encrypt; what is stored unencrypted can still be read.

    Raises:
        InvalidArgumentError: A key is not 32 bytes.
    """

    def __init__(self, *, compression: bool = True, encryption_key: EncryptionKeys | None = None) -> None:
        self._compression = compression
        self._cipher = None if encryption_key is None else PayloadCipher(encryption_key)
        # zstd contexts are expensive to make and not safe to share between threads.
        self._contexts = threading.local()

    @property
    def encrypts(self) -> bool:
        """Whether payloads are encrypted, so that their text must not be stored beside them."""
        return bool(self._cipher)

    def refresh_keys(self) -> bool:
        """Ask for the encryption keys again; tell whether they have changed. May block."""
        return self._cipher is not None and self._cipher.refresh()

    async def read(self, open_payload: Callable[[bytes], T], payload: bytes) -> T:
        """Open a payload, and once more after a look for new keys if its own is unknown.

        Args:
            open_payload: Opens it, by `open` in the end.
            payload: What is stored.

        Raises:
            UnknownEncryptionKeyError: Its key is not there, nor has it come since, from an operator who rotates keys.
        """
        try:
            return open_payload(payload)
        except UnknownEncryptionKeyError:
            if not await asyncio.to_thread(self.refresh_keys):
                raise
            return open_payload(payload)

    def seal(self, kind: Kind, data: bytes, flags: int = 0) -> bytes:
        """Make a payload.

        Raises:
            StateTooLargeError: Over `MAX_STATE_BYTES`.
        """
        if len(data) > MAX_STATE_BYTES:
            raise StateTooLargeError(f"the state has {len(data):,} bytes, over the limit of {MAX_STATE_BYTES:,}")
        encoding = int(kind)
        if self._compression and len(data) >= COMPRESSION_THRESHOLD:
            encoding += 1
            data = self._compressor().compress(data)
        if self._cipher:
            return self._cipher.encrypt(bytes((encoding | flags | _ENCRYPTED,)), data)
        return bytes((encoding | flags,)) + data

    def open(self, kind: Kind, payload: bytes) -> tuple[bytes, int]:
        """Return the data of a payload, and its flags.

        Raises:
            CorruptCheckpointError: It is damaged, of another kind, or was written by a newer version.
            UnknownEncryptionKeyError: It is encrypted with another key.
        """
        if not payload:
            raise CorruptCheckpointError("the stored payload is empty")
        encoding, flags = payload[0] & _ENCODING_MASK, payload[0] & ~_ENCODING_MASK
        if encoding not in (kind, kind + 1) or flags & ~(AGENT_STATE | _ENCRYPTED):
            raise CorruptCheckpointError(_not_that_kind(kind, payload[0], encoding))
        data = self._decrypt(payload) if flags & _ENCRYPTED else payload[1:]
        return data if encoding == kind else self._decompress(data), flags

    def _decrypt(self, payload: bytes) -> bytes:
        if self._cipher is None:
            raise unknown_key(payload, 1)
        return self._cipher.decrypt(payload, 1)

    def _decompress(self, frame: bytes) -> bytes:
        try:
            # The frame carries its content size and a checksum; the size is checked before memory is taken.
            if zstandard.frame_content_size(frame[:18]) > MAX_STATE_BYTES:
                raise CorruptCheckpointError(f"the stored payload claims to hold over {MAX_STATE_BYTES:,} bytes")
            return self._decompressor().decompress(frame, allow_extra_data=False)
        except zstandard.ZstdError as error:
            raise CorruptCheckpointError(f"the stored payload cannot be decompressed: {error}") from error

    def _compressor(self) -> zstandard.ZstdCompressor:
        context: zstandard.ZstdCompressor | None = getattr(self._contexts, "compressor", None)
        if context is None:
            context = self._contexts.compressor = zstandard.ZstdCompressor(level=ZSTD_LEVEL, write_checksum=True)
        return context

    def _decompressor(self) -> zstandard.ZstdDecompressor:
        context: zstandard.ZstdDecompressor | None = getattr(self._contexts, "decompressor", None)
        if context is None:
            context = self._contexts.decompressor = zstandard.ZstdDecompressor()
        return context


def is_plain_json(payload: bytes) -> bool:
    """Tell whether the payload, after its codec byte, is JSON text as it stands."""
    return bool(payload) and payload[0] & ~AGENT_STATE == Kind.JSON


def is_encrypted(payload: bytes) -> bool:
    """Tell whether the payload can be read with its key only."""
    return bool(payload) and bool(payload[0] & _ENCRYPTED)


def _not_that_kind(kind: Kind, byte: int, encoding: int) -> str:
    if encoding in (Kind.TYPED, Kind.TYPED + 1) and kind is Kind.JSON:
        return "this is a checkpoint of LangGraph: read it through locus_memory.langgraph"
    if encoding in (Kind.JSON, Kind.JSON + 1):
        return "this is the state of an agent, and no checkpoint of LangGraph: read it with a checkpointer"
    return (
        f"the stored payload has the unknown codec byte 0x{byte:02x}: "
        "it is damaged, or was written by a newer version of locus-memory"
    )
