"""A conversation of a given size whose text compresses like real prose."""

from __future__ import annotations

import argparse
import asyncio
import inspect
import logging
import random
import re
import subprocess
import unittest
from types import ModuleType

from locus.core.messages import Message
from locus.core.state import AgentState

# English prose that is on every machine with Python: the documentation of its standard library. zstd makes it three
# to four times smaller, as it does with conversations; a repeated phrase would shrink to nothing.
_SOURCES: tuple[ModuleType, ...] = (argparse, asyncio, logging, random, subprocess, unittest)


def conversation(size: int = 12_800, seed: int = 7) -> AgentState:
    """Make an agent's state of about `size` bytes as JSON.

    Args:
        size: Bytes, at least 2,000.
        seed: Another seed gives other sentences.
    """
    choose = random.Random(seed)
    sentences = _sentences()
    messages: list[Message] = []
    state = AgentState(run_id="0" * 32, messages=())
    while len(state.model_dump_json()) < size:
        text = " ".join(choose.sample(sentences, choose.randint(1, 6)))
        messages.append(Message.user(text) if len(messages) % 2 == 0 else Message.assistant(text))
        state = AgentState(run_id="0" * 32, messages=tuple(messages))
    return state


def _sentences() -> list[str]:
    members = [getattr(module, name) for module in _SOURCES for name in sorted(dir(module))]
    texts = {inspect.getdoc(member) or "" for member in members if callable(member)}
    found = {
        " ".join(sentence.split()) for text in texts for sentence in re.split(r"(?<=[.!?])\s", text) if sentence.strip()
    }
    return sorted(sentence for sentence in found if 30 <= len(sentence) <= 200)
