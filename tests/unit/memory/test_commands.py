"""Pure parts of the commands."""

import typing
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
import typer
from pydantic import JsonValue

from locus_memory import errors
from locus_memory.commands.conversation import Turn, conversation
from locus_memory.commands.exit_codes import ExitCode, exit_code_of
from locus_memory.commands.export_format import CheckpointLine, LineWriter, parse_line
from locus_memory.commands.output import counted, printable, shown_bytes
from locus_memory.commands.targets import shows_password
from locus_memory.commands.threads import parse_age
from locus_memory.commands.transfer import difference
from locus_memory.commands.transfer_records import Fingerprint, digest
from locus_memory.storage import CheckpointSummary, PendingWrite, StoredCheckpoint

NOW = datetime(2026, 5, 17, 8, 9, 10, 11, tzinfo=UTC)
SUMMARY = CheckpointSummary("t", "c", {"n": 1, "list": [1, {"x": 2}]}, NOW, "ns", "p")
STORED = StoredCheckpoint(SUMMARY, b"payload", {"a": b"1"}, (PendingWrite("task", 0, "channel", b"v"),))


@pytest.mark.parametrize(
    "other",
    [
        replace(STORED, payload=b"payloae"),
        replace(STORED, parts={"a": b"2"}),
        replace(STORED, parts={"b": b"1"}),
        replace(STORED, parts={}),
        replace(STORED, writes=()),
        replace(STORED, writes=(PendingWrite("task", 1, "channel", b"v"),)),
        *(
            replace(STORED, summary=replace(SUMMARY, **changed))
            for changed in typing.cast(
                "list[dict[str, typing.Any]]",
                [
                    {"thread_id": "u"},
                    {"checkpoint_id": "d"},
                    {"namespace": ""},
                    {"parent_id": None},
                    {"metadata": {"n": 1, "list": [1, {"x": 3}]}},
                    {"created_at": NOW + timedelta(microseconds=1)},
                ],
            )
        ),
    ],
)
def test_a_digest_covers_everything(other: StoredCheckpoint) -> None:
    assert digest(other) != digest(STORED)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (1.0, 1, True),
        (1e300, 10**300, True),
        (-0.0, 0, True),
        (2**60 + 1, 2**60, False),
        (0.1, 0.2, False),
        (1, True, False),
        (1, "1", False),
        (None, 0, False),
        ([1.0], [1], True),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, True),
    ],
)
def test_numbers_are_the_same_however_a_backend_gives_them_back(one: JsonValue, other: JsonValue, same: bool) -> None:
    digests = {digest(replace(STORED, summary=replace(SUMMARY, metadata={"v": value}))) for value in (one, other)}
    assert (len(digests) == 1) is same


def test_a_digest_does_not_depend_on_the_time_zone() -> None:
    elsewhere = replace(SUMMARY, created_at=NOW.astimezone(timezone(timedelta(hours=5))))
    assert digest(replace(STORED, summary=elsewhere)) == digest(STORED)


def test_a_fingerprint_knows_positions_but_not_the_order_of_counting() -> None:
    def fingerprint(*counted: tuple[int, str]) -> str:
        result = Fingerprint()
        for position, text in counted:
            result.add(position, text)
        return str(result)

    assert fingerprint((0, "a"), (1, "b")) == fingerprint((1, "b"), (0, "a"))
    assert fingerprint((0, "a"), (1, "b")) != fingerprint((0, "b"), (1, "a"))
    assert fingerprint((0, "a"), (0, "a")) != fingerprint()


def test_a_line_comes_back_as_it_was() -> None:
    text = LineWriter().checkpoint(0, STORED, {"a"})[0]
    line = parse_line(text, "line 1")
    assert isinstance(line, CheckpointLine)
    assert (line.summary, line.payload, line.pending_writes) == (SUMMARY, STORED.payload, STORED.writes)
    assert line.digest() == line.sha256 == digest(STORED)


def outline(*ids: str, namespace: str = "") -> dict[str, list[CheckpointSummary]]:
    return {namespace: [replace(SUMMARY, namespace=namespace, checkpoint_id=each) for each in ids]}


def test_a_beginning_is_continued_and_anything_else_is_in_the_way() -> None:
    wanted = outline("a", "b", "c")
    for existing in ({}, outline("a"), outline("a", "b", "c")):
        assert difference(wanted, existing) is None
    for existing in (outline("b"), outline("a", "c"), outline("a", "b", "c", "d"), outline("a", namespace="other")):
        assert difference(wanted, existing) is not None
    later = {"": [replace(each, created_at=NOW + timedelta(1)) for each in outline("a")[""]]}
    assert "time, parent or metadata differ" in (difference(wanted, later) or "")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ä 東京 🎉\n\tx", "plain ä 東京 🎉\n\tx"),
        ("\x1b[2J", r"\x1b[2J"),
        ("a\rb\x07\x00\x7f\x9b", r"a\rb\x07\x00\x7f\x9b"),
        ("\u202egnp.exe\u2066", r"\u202egnp.exe\u2066"),
        ("\u2028", r"\u2028"),
    ],
)
def test_what_controls_a_terminal_is_spelled_out(text: str, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.parametrize(
    ("messages", "turns"),
    [
        ([{"role": "user", "content": "hi"}], [Turn("user", "hi")]),
        ([{"type": "ai", "content": [{"type": "text", "text": "a"}, "b"]}], [Turn("ai", "a\nb")]),
        (
            [{"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}],
            [Turn("assistant", "", ("f({})",))],
        ),
        (
            [{"role": "assistant", "content": "", "tool_calls": [{"name": "f", "arguments": {"x": 1}}]}],
            [Turn("assistant", "", ('f({"x": 1})',))],
        ),
        ([{"content": "x"}], None),
        (["x"], None),
        ([], None),
        ("x", None),
    ],
)
def test_a_conversation_is_recognised(messages: JsonValue, turns: list[Turn] | None) -> None:
    assert conversation({"messages": messages}) == turns


@pytest.mark.parametrize(
    ("text", "span"), [("30d", timedelta(30)), ("12h", timedelta(hours=12)), ("2w", timedelta(14))]
)
def test_an_age_is_read(text: str, span: timedelta) -> None:
    assert parse_age(text) == span


@pytest.mark.parametrize("text", ["", "d", "30", "-1d", "1.5d", "30days", "9999999999d", "999999999w"])
def test_what_is_no_age_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        parse_age(text)


@pytest.mark.parametrize(
    ("argument", "shows"),
    [
        ("postgresql://u:p@h/db", True),
        ("redis://:p@h", True),
        ("https://h/base?password=x", True),
        ("file:///x?encryption_keys=k", True),
        ("postgresql://u:p@[h/db", True),
        ("postgresql://u@h/db", False),
        ("file:///x", False),
        ("@/a/b:c@d", False),
        ("store:x", False),
        (None, False),
    ],
)
def test_a_password_in_an_argument_is_noticed(argument: str | None, shows: bool) -> None:
    assert shows_password(argument) is shows


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.BindingNotFoundError("x"), ExitCode.BINDING),
        (errors.MissingDriverError("x", "y"), ExitCode.BINDING),
        (errors.BackendUnavailableError("x"), ExitCode.UNAVAILABLE),
        (errors.AuthenticationError("x"), ExitCode.REFUSED),
        (errors.SchemaError("x"), ExitCode.REFUSED),
        (errors.CheckpointConflictError("x"), ExitCode.CONFLICT),
        (errors.InvalidArgumentError("x"), ExitCode.USAGE),
        (errors.CapabilityNotSupportedError("x", "y"), ExitCode.USAGE),
        (errors.UnknownEncryptionKeyError("x"), ExitCode.FAILED),
        (errors.StateTooLargeError("x"), ExitCode.FAILED),
    ],
)
def test_each_error_has_its_exit_code(error: Exception, code: ExitCode) -> None:
    assert exit_code_of(error) is code


def test_numbers_are_written_for_people() -> None:
    assert [shown_bytes(size) for size in (0, 1023, 1024, 5 * 2**20, 3 * 2**40)] == [
        "0 B", "1023 B", "1.0 KiB", "5.0 MiB", "3.0 TiB"
    ]  # fmt: skip
    assert (counted(1, "thread"), counted(1200, "thread")) == ("1 thread", "1,200 threads")
