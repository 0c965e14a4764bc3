"""`threads`, `copy`, `delete`, `vacuum`: people on call look at threads as a whole."""

import signal

import pytest

from locus_memory.commands.documents import CopyDocument, DeleteDocument, ThreadsDocument, VacuumDocument
from tests.commands.process import CommandLine
from tests.commands.stores import contents_of, fill_store, on, thread_name


@pytest.fixture
def bound(command_line: CommandLine, postgresql_url: str) -> CommandLine:
    """A command line on PostgreSQL: each backend's part is in the contract."""
    command_line.bind(postgresql_url)
    return command_line


def test_threads_are_listed_in_order_and_the_rest_is_announced(bound: CommandLine) -> None:
    fill_store(bound.url, threads=4)
    names = sorted(map(thread_name, range(4)), key=str.encode)
    listed: ThreadsDocument = bound.run("threads", "--json", "--limit", "3").document(ThreadsDocument)
    assert [thread.thread_id for thread in listed.threads] == names[:3]
    assert listed.more
    listed = bound.run("threads", "--json", "--pattern", "*/*").document(ThreadsDocument)
    assert {thread.thread_id for thread in listed.threads} == {"user/0", "User/1"}
    assert not listed.more
    done = bound.run("threads", "--limit", "3")
    # What would control a terminal is spelled out.
    assert done.out.splitlines() == ["User/1", r"a\x00b🎉2", "user/0"]
    assert "there are more than 3" in done.errors


def test_metadata_comes_with_the_latest_checkpoint(bound: CommandLine) -> None:
    fill_store(bound.url, threads=1)
    [thread] = bound.run("threads", "--metadata", "--json").document(ThreadsDocument).threads
    assert thread.latest.checkpoint_id == "c3"
    assert thread.latest.metadata["tags"] == ["ä", None, {"deep": [True]}]
    assert str(thread.latest.created_at) == "2020-02-29 12:00:00.123459+00:00"
    assert "2020-02-29 12:00:00" in bound.run("threads", "--metadata").out


def test_a_copy_is_the_same_thread_and_never_overwrites(bound: CommandLine) -> None:
    fill_store(bound.url, threads=1)
    done = bound.run("copy", "user/0", "branch", "--json")
    assert done.document(CopyDocument).destination == "branch"
    assert bound.run("copy", "user/0", "branch", "--json", code=6).error.name == "CheckpointConflictError"
    assert bound.run("copy", "nobody", "branch2", "--json", code=7).error.name == "not-found"
    found = contents_of(bound.url)
    assert {name: len(hashes) for name, hashes in found["branch"].items()} == {"": 4, "sub|graph": 4}


def test_deleting_asks_first(bound: CommandLine) -> None:
    fill_store(bound.url, threads=1)
    error = bound.run("delete", "user/0", "--json", code=2).error
    assert "--yes" in error.message
    assert contents_of(bound.url)
    assert "Delete thread 'user/0', all of it?" in bound.on_a_terminal("n\n", "delete", "user/0", code=1)
    assert contents_of(bound.url)
    bound.on_a_terminal("y\n", "delete", "user/0", code=0)
    assert contents_of(bound.url) == {}
    assert bound.run("delete", "user/0", "--yes", "--json", code=7).error.name == "not-found"


def test_ctrl_c_is_an_answer_to_the_question(bound: CommandLine) -> None:
    fill_store(bound.url, threads=1)
    bound.on_a_terminal("\x03", "delete", "user/0", code=-signal.SIGINT)
    assert contents_of(bound.url)


def test_one_checkpoint_is_deleted_alone(bound: CommandLine) -> None:
    fill_store(bound.url, threads=1)
    deleted: DeleteDocument = bound.run("delete", "user/0", "c1", "--yes", "--json").document(DeleteDocument)
    assert (deleted.thread_id, deleted.checkpoint_id) == ("user/0", "c1")
    assert on(bound.url, lambda store: store.list_checkpoints("user/0")) == ["c3", "c2", "c0"]


def test_vacuum_goes_by_age(bound: CommandLine) -> None:
    fill_store(bound.url, threads=1)
    on(bound.url, lambda store: store.save({}, "fresh"))
    assert bound.run("vacuum", "--older-than", "3650000d", "--json", "--yes", code=2).error.name == "usage"
    assert bound.run("vacuum", "--older-than", "soon", "--json", "--yes", code=2).error.name == "usage"
    assert bound.run("vacuum", "--older-than", "30d", "--json", code=2).error.name == "InvalidArgumentError"
    vacuumed = bound.run("vacuum", "--older-than", "30d", "--yes", "--json").document(VacuumDocument)
    assert vacuumed.checkpoints_deleted == 8
    assert list(contents_of(bound.url)) == ["fresh"]
