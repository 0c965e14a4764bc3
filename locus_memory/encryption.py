"""Encrypts payloads with AES-256-GCM, under keys that can rotate.

An encrypted payload is the codec byte, the id of the key (8 bytes), a random nonce (12 bytes), the ciphertext and its
tag (16 bytes); codec byte and key id are authenticated. The id is derived from the key, so keys need no names. The
nonce is random, hence one key is good for 2**32 payloads (NIST SP 800-38D, section 8.3).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from locus_memory.drivers import require
from locus_memory.errors import CorruptCheckpointError, InvalidArgumentError, UnknownEncryptionKeyError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

Key = str | bytes
"""32 random bytes, or their base64 text, as `openssl rand -base64 32` prints it."""

EncryptionKeys = Key | Sequence[Key] | Callable[[], Sequence[Key]]
"""One key; or several, of which the first encrypts and all decrypt; or a function that returns them as they are now."""

_KEY_BYTES: Final = 32
_ID_BYTES: Final = 8
_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16


class PayloadCipher:
    """Encrypts with the first key, decrypts with any.

    Args:
        keys: See `EncryptionKeys`. An empty sequence from a function means that nothing is encrypted.

    Raises:
        InvalidArgumentError: A key is not 32 bytes, or there is none.
        MissingDriverError: The package cryptography is not installed.
    """

    def __init__(self, keys: EncryptionKeys) -> None:
        if not callable(keys) and not keys:
            raise InvalidArgumentError("encryption_key: write at least one key, or leave it out")
        self._source: Callable[[], Sequence[Key]] = keys if callable(keys) else lambda: _listed(keys)
        self._ciphers: Mapping[bytes, AESGCM] = {}
        self.refresh()

    def __bool__(self) -> bool:
        """Whether there is a key to encrypt with."""
        return bool(self._ciphers)

    def refresh(self) -> bool:
        """Ask for the keys again; tell whether they have changed. The function that returns them may block."""
        known = list(self._ciphers)
        keys = [_key_bytes(key) for key in self._source()]
        self._ciphers = {_key_id(key): _aes_gcm(key) for key in keys}
        return list(self._ciphers) != known

    def encrypt(self, header: bytes, text: bytes) -> bytes:
        """Return header, key id, nonce and ciphertext; there must be a key."""
        key_id, cipher = next(iter(self._ciphers.items()))
        header += key_id
        nonce = os.urandom(_NONCE_BYTES)
        return b"".join((header, nonce, cipher.encrypt(nonce, text, header)))

    def decrypt(self, payload: bytes, header_bytes: int) -> bytes:
        """Return the text of what `encrypt` made with a header of that many bytes.

        Raises:
            UnknownEncryptionKeyError: None of the keys has encrypted it.
            CorruptCheckpointError: It was changed since.
        """
        nonce_at = header_bytes + _ID_BYTES
        text_at = nonce_at + _NONCE_BYTES
        if len(payload) < text_at + _TAG_BYTES:
            raise CorruptCheckpointError("the stored payload is cut off")
        cipher = self._ciphers.get(payload[header_bytes:nonce_at])
        if cipher is None:
            raise unknown_key(payload, header_bytes)
        from cryptography.exceptions import InvalidTag

        try:
            # Views, since a copy of a large payload is not for free.
            view = memoryview(payload)
            return cipher.decrypt(payload[nonce_at:text_at], view[text_at:], view[:nonce_at])
        except InvalidTag as error:
            raise CorruptCheckpointError("the stored payload was changed: its authentication tag is wrong") from error


def unknown_key(payload: bytes, header_bytes: int) -> UnknownEncryptionKeyError:
    """Make the error for a payload whose key is not there."""
    key_id = payload[header_bytes : header_bytes + _ID_BYTES].hex()
    return UnknownEncryptionKeyError(
        f"the stored payload is encrypted with the key of id {key_id}, which is not among the encryption keys: "
        "add that key after the current one"
    )


def key_id(key: Key) -> str:
    """Return the id that stands in payloads, in hexadecimal; it tells nothing else of the key."""
    return _key_id(_key_bytes(key)).hex()


def _listed(keys: Key | Sequence[Key]) -> Sequence[Key]:
    return (keys,) if isinstance(keys, (str, bytes)) else keys


def _aes_gcm(key: bytes) -> AESGCM:
    require("cryptography", "encryption")
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM(key)


def _key_bytes(key: Key) -> bytes:
    if isinstance(key, str):
        try:
            key = base64.b64decode(key.strip(), validate=True)
        except (binascii.Error, ValueError):
            # Nothing of the text in the message: it is nearly a key.
            raise InvalidArgumentError(_KEY_HINT) from None
    if len(key) != _KEY_BYTES:
        raise InvalidArgumentError(_KEY_HINT)
    return key


_KEY_HINT: Final = "encryption_key: write 32 bytes, or their base64 text as `openssl rand -base64 32` makes it"


def _key_id(key: bytes) -> bytes:
    return hashlib.sha256(b"locus-memory key id\x00" + key).digest()[:_ID_BYTES]
