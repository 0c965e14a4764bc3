"""What of HTTP needs no server: frames, problems, tokens, URLs and headers that cannot be used."""

import os
from pathlib import Path
from typing import Any

import httpx
import pytest

from locus_memory import errors
from locus_memory.backends.http import HTTPBackend
from locus_memory.backends.http_client import Client
from locus_memory.backends.http_diagnosis import service_diagnosis
from locus_memory.backends.http_service import Service, described
from locus_memory.connection import HTTPConnection
from locus_memory.errors import BindingError, CapabilityNotSupportedError, CheckpointError, InvalidArgumentError
from locus_memory.server.tokens import Tokens
from locus_memory.wire import error_of, frame, lacking, problem_of, split_frame

SAME = [
    *("BackendUnavailableError", "AuthenticationError", "CheckpointConflictError", "CorruptCheckpointError"),
    *("UnknownEncryptionKeyError", "StateTooLargeError", "InvalidStateError", "InvalidArgumentError", "SchemaError"),
    *("BindingError", "MissingPartsError", "CheckpointError"),
]


@pytest.mark.parametrize("payload", [b"", b"\0\0\0\x02{}", bytes(range(256))])
def test_a_frame_comes_apart_as_it_was_put_together(payload: bytes) -> None:
    assert split_frame(frame({"é": "\0"}) + payload) == (b'{"\\u00e9":"\\u0000"}', payload)


@pytest.mark.parametrize("name", SAME)
def test_an_error_is_the_same_on_the_other_side(name: str) -> None:
    cls: type[CheckpointError] = getattr(errors, name)
    again = error_of(problem_of(cls("what happened")), "service")
    assert type(again) is cls
    assert str(again) == "service: what happened"


def test_a_missing_capability_keeps_its_name() -> None:
    again = error_of(problem_of(CapabilityNotSupportedError("Backend", "search")), "service")
    assert isinstance(again, CapabilityNotSupportedError)
    assert again.capability == "search"
    assert str(again).endswith("test `checkpointer.capabilities.search` first")


def test_what_is_no_capability_of_checkpointers_is_not_said_to_be_one() -> None:
    again = error_of(problem_of(lacking("Backend", "history")), "service")
    assert str(again) == "service has no capability 'history'"


def test_a_service_that_says_nothing_of_history_has_none() -> None:
    before = {name: value for name, value in SAYING.items() if name != "history"}
    assert _service(httpx.Response(200, json=before)).extras == frozenset()
    assert _service(httpx.Response(200, json=SAYING | {"transfers": False})).extras == {"history"}


def _service(answer: httpx.Response, health: httpx.Response | None = None) -> Service:
    client = Client(HTTPConnection(type="http", base_url="http://localhost"), None)
    return described(client, answer, health, None, (0, 0))


SAYING: dict[str, Any] = {
    "server": "locus-memory/1",
    "protocols": [1],
    "capabilities": {},
    "deletes_single_checkpoints": True,
    "limits": {"max_body_bytes": 9},
    "history": True,
}


@pytest.mark.parametrize(
    ("base_url", "codes"),
    [
        ("https://memory.example.com/base", []),
        ("http://memory.example.com", ["http-no-tls"]),
        ("http://localhost:8080", []),
        ("http://127.0.0.2", []),
        ("http://[::1]:8080", []),
        ("http://127.example.com", ["http-no-tls"]),
    ],
)
def test_a_connection_that_others_can_read_is_a_finding(base_url: str, codes: list[str]) -> None:
    found = service_diagnosis(base_url, _service(httpx.Response(200, json=SAYING)))
    assert [finding.code for finding in found.findings] == codes
    assert found.facts["server"] == "locus-memory/1"
    assert (found.facts["versioned history"], found.facts["transfers"]) == ("yes", "no")


def test_a_service_with_the_basic_routes_alone_is_a_finding() -> None:
    found = service_diagnosis("https://memory", _service(httpx.Response(404), httpx.Response(200)))
    assert [finding.code for finding in found.findings] == ["http-basic-routes"]


def test_an_unknown_code_is_no_error_of_ours() -> None:
    assert error_of({"code": "other"}, "service") is None


def test_tokens_change_with_their_file_and_outlive_its_absence(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text("# comment\n\nfirst-token-of-all\n")
    tokens = Tokens(file=file)
    assert tokens.accept("Bearer first-token-of-all")
    assert tokens.accept("bearer first-token-of-all")
    for wrong in ("", "first-token-of-all", "Basic first-token-of-all", "Bearer first-token-of", "Bearer # comment"):
        assert not tokens.accept(wrong)
    new = tmp_path / "new"
    new.write_text("second-token-here\n")
    os.replace(new, file)  # noqa: PTH105
    assert tokens.accept("Bearer second-token-here")
    assert not tokens.accept("Bearer first-token-of-all")
    file.unlink()
    assert tokens.accept("Bearer second-token-here")
    file.write_text("")
    assert not tokens.accept("Bearer second-token-here")


@pytest.mark.parametrize("text", ["", "   ", "short"])
def test_tokens_that_protect_nothing_are_refused(text: str) -> None:
    with pytest.raises(InvalidArgumentError):
        Tokens(text=text)


@pytest.mark.parametrize("url", ["h/base", "ftp://h", "http://", "http://h?q=1", "http://u:secret@h", "http://[::1"])
def test_a_base_url_that_cannot_be_used_is_refused(url: str) -> None:
    with pytest.raises(BindingError, match="base_url") as caught:
        HTTPBackend(HTTPConnection(base_url=url))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("value", ["Bearer secret\n", "Bearer sécret", " Bearer secret"])
def test_a_header_that_cannot_be_sent_is_refused_without_its_value(value: str) -> None:
    document = HTTPConnection.model_validate({"base_url": "http://h", "headers": {"Authorization": value}})
    with pytest.raises(BindingError, match="Authorization") as caught:
        HTTPBackend(document)
    assert "cret" not in str(caught.value)
