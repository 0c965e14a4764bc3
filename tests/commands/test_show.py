"""`show`: what was said, for a person; never what a person could have hidden in it."""

import base64
import json
import secrets
from urllib.parse import quote

import pytest
from locus.core.messages import Message, ToolCall, ToolResult
from locus.core.state import AgentState

from locus_memory.commands.documents import HistoryDocument, ShowDocument
from locus_memory.storage import NewCheckpoint
from tests.commands.process import CommandLine
from tests.commands.stores import fill_store, on

STATE = AgentState(
    agent_id="travel",
    messages=(
        Message.system("You plan trips."),
        Message.user("Tokyo, please.\nIn spring."),
        Message.assistant(None, [ToolCall(id="1", name="find_flights", arguments={"to": "東京", "month": 4})]),
        Message.tool(ToolResult(tool_call_id="1", name="find_flights", content="3 flights")),
        Message.assistant("Take the \x1b[31mred\x1b[0m one.\u202e"),
    ),
)


@pytest.fixture
def bound(command_line: CommandLine, file_url: str) -> CommandLine:
    """A command line on files: what is shown does not depend on the backend."""
    command_line.bind(file_url)
    return command_line


def test_a_conversation_is_readable(bound: CommandLine) -> None:
    on(bound.url, lambda store: store.save(STATE, "u1", "c1", {"customer": "c42"}))
    text = bound.run("show", "u1").out
    assert "user\n  Tokyo, please.\n  In spring.\n" in text
    assert '-> find_flights({"to": "東京", "month": 4})' in text
    assert "tool find_flights\n  3 flights" in text
    assert 'metadata    {"customer": "c42"}' in text
    assert "messages    5 messages" in text


def test_a_message_cannot_reach_the_terminal(bound: CommandLine) -> None:
    on(bound.url, lambda store: store.save(STATE, "u1\x1b]0;title\x07", "c1"))
    for arguments in (["show", "u1\x1b]0;title\x07"], ["show", "u1\x1b]0;title\x07", "--history"], ["threads"]):
        text = bound.run(*arguments).out
        assert not {"\x1b", "\x07", "\u202e"} & set(text), text
    assert r"Take the \x1b[31mred\x1b[0m one.\u202e" in bound.run("show", "u1\x1b]0;title\x07").out


def test_another_state_is_shown_as_json(bound: CommandLine) -> None:
    state = {"step": 1, "messages": "none", "text": "a\0b"}
    on(bound.url, lambda store: store.save(state, "t"))
    assert '"step": 1' in bound.run("show", "t").out
    assert json.loads(bound.run("show", "t", "--raw").out) == state
    shown: ShowDocument = bound.run("show", "t", "--json").document(ShowDocument)
    assert shown.state == state
    assert shown.checkpoint.thread_id == "t"
    assert not shown.checkpoint.encrypted


def test_history_has_ids_times_and_sizes(bound: CommandLine) -> None:
    fill_store(bound.url, threads=1)
    history: HistoryDocument = bound.run("show", "user/0", "--history", "--json").document(HistoryDocument)
    assert [each.checkpoint_id for each in history.checkpoints] == ["c3", "c2", "c1", "c0"]
    assert [each.payload_bytes for each in history.checkpoints] == [1024, 20, 512, 20]
    assert [each.part_bytes for each in history.checkpoints] == [10, 10, 10, 10]
    assert [each.pending_writes for each in history.checkpoints] == [2, 0, 0, 0]
    assert [each.parent_id for each in history.checkpoints] == ["c2", "c1", "c0", None]
    arguments = ("show", "user/0", "--history", "--namespace", "sub|graph", "--limit", "1")
    assert bound.run(*arguments, "--json").document(HistoryDocument).more
    assert "2020-02-29 12:00:00  1.0 KiB" in bound.run(*arguments).out


def test_what_is_not_there_is_not_found(bound: CommandLine) -> None:
    on(bound.url, lambda store: store.save({}, "t", "c"))
    for arguments in (["show", "u"], ["show", "t", "d"], ["show", "t", "--namespace", "n"], ["show", "u", "--history"]):
        assert bound.run(*arguments, "--json", code=7).error.name == "not-found"


def test_an_encrypted_state_needs_its_key(command_line: CommandLine, file_url: str) -> None:
    key = base64.b64encode(secrets.token_bytes(32)).decode()
    command_line.bind(f"{file_url}?encryption_keys={quote(key, safe='')}")
    on(command_line.url, lambda store: store.save({"secret": "plan"}, "t"))
    assert command_line.run("show", "t", "--json").document(ShowDocument).checkpoint.encrypted
    command_line.bind(file_url)
    error = command_line.run("show", "t", "--json", code=1).error
    assert error.name == "UnknownEncryptionKeyError"
    history = command_line.run("show", "t", "--history", "--json").document(HistoryDocument)
    assert history.checkpoints[0].encrypted
    assert all(key not in text for text in command_line.printed)


def test_a_damaged_state_is_named_and_no_traceback(bound: CommandLine) -> None:
    on(bound.url, lambda store: store.storage.put(NewCheckpoint("t", "c", b"\xff\xff", {})))
    done = bound.run("show", "t", code=1)
    assert "thread 't', checkpoint 'c': the stored payload has the unknown codec byte 0xff" in done.errors
    assert "Traceback" not in done.errors
