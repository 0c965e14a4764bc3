"""Bearer tokens that may change while the server runs."""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
from collections.abc import Iterable
from pathlib import Path

from locus_memory.errors import InvalidArgumentError

_LOG = logging.getLogger(__name__)

MIN_CHARACTERS = 16
"""A shorter token can be guessed."""


class Tokens:
    """Tells whether a request carries one of the tokens. Several are valid at once, so that they can rotate.

    Args:
        file: One token a line; empty lines and those after `#` are left out. Read again when it changes.
        text: Tokens separated by white space, instead of a file.

    Raises:
        InvalidArgumentError: There is no token, or one that is too short.
    """

    def __init__(self, *, file: Path | None = None, text: str = "") -> None:
        self._file = file
        self._seen: tuple[int, ...] | None = None
        self._digests: frozenset[bytes] = frozenset()
        if file is None:
            self._digests = _digests(text.split())
        else:
            try:
                self._seen = _state_of(file)
                self._digests = _read(file)
            except OSError as error:
                raise InvalidArgumentError(f"token file {file}: {error.strerror}") from error
        if not self._digests:
            raise InvalidArgumentError("tokens: write at least one")

    def accept(self, authorization: str) -> bool:
        """Judge the value of an `Authorization` header."""
        self._reread()
        scheme, _, token = authorization.partition(" ")
        digest = _digest(token.strip())
        # Every token is compared, and digests of one length: the time tells nothing about any of them.
        matches = [hmac.compare_digest(digest, known) for known in self._digests]
        return scheme.lower() == "bearer" and any(matches)

    def _reread(self) -> None:
        if self._file is None:
            return
        try:
            state = _state_of(self._file)
            if state == self._seen:
                return
            self._digests = _read(self._file)
            self._seen = state
            _LOG.info("token file %s: %d tokens", self._file, len(self._digests))
        except (OSError, InvalidArgumentError) as error:
            # A file that is being replaced: the tokens that were valid stay so until it can be read.
            _LOG.warning("token file %s cannot be read again: %s", self._file, error)


def _state_of(file: Path) -> tuple[int, ...]:
    state = os.stat(file)  # noqa: PTH116 - for each request, so as cheap as can be
    return state.st_mtime_ns, state.st_ino, state.st_size


def _read(file: Path) -> frozenset[bytes]:
    lines = (line.strip() for line in file.read_text().splitlines())
    return _digests(line for line in lines if line and not line.startswith("#"))


def _digests(tokens: Iterable[str]) -> frozenset[bytes]:
    tokens = list(tokens)
    if any(len(token) < MIN_CHARACTERS for token in tokens):
        raise InvalidArgumentError(f"tokens: write at least {MIN_CHARACTERS} characters for each")
    return frozenset(map(_digest, tokens))


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
