"""What is searchable."""

import pytest
from locus.core.messages import Message
from locus.core.state import AgentState
from pydantic import JsonValue

from locus_memory.text import searchable_text, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("  !? -- ", []),
        ("We fly, to TOKYO!", ["we", "fly", "to", "tokyo"]),
        ("Straße STRASSE", ["strasse", "strasse"]),
        ("a_b c-d e.f", ["a_b", "c", "d", "e", "f"]),
        ("日本 2026", ["日本", "2026"]),
        ("x\0y", ["x", "y"]),
    ],
)
def test_words_are_case_folded_runs_of_letters_digits_and_underscores(text: str, expected: list[str]) -> None:
    assert words(text) == expected


def test_the_text_of_messages_is_their_content() -> None:
    state = AgentState(agent_id="travel").with_message(Message.user("Tokyo")).with_message(Message.assistant("April"))
    assert words(searchable_text(state.to_checkpoint())) == ["tokyo", "april"]


def test_the_content_of_a_message_may_be_a_list_of_parts() -> None:
    parts: list[JsonValue] = [{"type": "text", "text": "Tokyo"}]
    assert "Tokyo" in searchable_text({"messages": [{"role": "user", "content": parts}]})


def test_a_state_without_messages_gives_every_string_but_no_key() -> None:
    assert searchable_text({"key": "a", "deep": [{"x": "b"}, 1, None, True, ["c"]]}) == "a\nb\nc"


def test_a_state_that_is_a_list_or_a_scalar_is_searchable_too() -> None:
    assert searchable_text(["a", ["b"]]) == "a\nb"
    assert searchable_text("a") == "a"
    assert searchable_text(None) == ""
