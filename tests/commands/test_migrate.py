"""`migrate`: all threads, all of each, to the byte; killed and started again; never over something else."""

import base64
import secrets
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event
from urllib.parse import quote

import pytest
from psycopg import sql

from locus_memory.backends.file_directory import ThreadDirectory
from locus_memory.backends.file_document import CheckpointRecord
from locus_memory.codec import StateCodec
from locus_memory.commands.bench import sample_state
from locus_memory.commands.documents import MigrateDocument
from locus_memory.history import Entry, ThreadHistory
from locus_memory.storage import CheckpointSummary
from tests.commands.process import CommandLine
from tests.commands.stores import contents_of, fill_store, new, on, thread_name
from tests.servers.postgresql import Database

THREADS, CHECKPOINTS = 100, 100


def write_files(directory: Path) -> None:
    """Write 10,000 checkpoints as files, without 10,000 saves."""
    codec, files = StateCodec(compression=False), ThreadDirectory(directory)
    state, start = sample_state(800), datetime(2026, 1, 1, tzinfo=UTC)
    for thread in range(THREADS):
        history: ThreadHistory[CheckpointRecord] = ThreadHistory(f"user/{thread}")
        for number in range(CHECKPOINTS):
            summary = CheckpointSummary(
                thread_id=history.thread_id,
                checkpoint_id=f"c{number}",
                metadata={"n": number, "cost": 1.0},
                created_at=start + timedelta(minutes=number, microseconds=thread),
                namespace="" if number % 10 else "sub",
                parent_id=f"c{number - 1}" if number else None,
            )
            history.put(Entry(summary, CheckpointRecord.of(summary, codec.encode({"n": number, **state}))))
        with files.locked(history.thread_id, given_up=Event()):
            files.write(history)


def test_10_000_checkpoints_go_from_files_to_postgresql_although_it_is_killed(
    command_line: CommandLine, postgresql_database: Database, postgresql_url: str, tmp_path: Path
) -> None:
    write_files(tmp_path / "threads")
    arguments = (
        "migrate",
        "--from",
        f"file://{tmp_path}/threads",
        "--to",
        command_line.url_file(postgresql_url),
        "--json",
    )
    count = sql.SQL(
        "SELECT coalesce((SELECT sum(n_tup_ins) FROM pg_stat_user_tables WHERE relname = 'locus_checkpoints'), 0)"
    )
    process = command_line.start(*arguments)
    while postgresql_database.execute(count)[0][0] < 2000:
        assert process.poll() is None
    command_line.finish(process, signal.SIGKILL)
    [(written,)] = postgresql_database.execute(sql.SQL("SELECT count(*) FROM locus.locus_checkpoints"))
    assert 2000 <= written < 10_000
    done: MigrateDocument = command_line.run(*arguments).document(MigrateDocument)
    assert done.same
    assert done.copied is not None
    assert (done.copied.checkpoints_present, done.copied.checkpoints_written) == (written, 10_000 - written)
    assert done.source.checkpoints == done.destination.checkpoints == 10_000
    assert done.source.sha256 == done.destination.sha256
    assert done.threads == THREADS


STORES = ("file", "postgresql", "redis_store")


@pytest.mark.parametrize("destination", STORES)
@pytest.mark.parametrize("source", STORES)
def test_threads_go_between_any_two_backends(
    request: pytest.FixtureRequest, command_line: CommandLine, source: str, destination: str, tmp_path: Path
) -> None:
    urls = {name: request.getfixturevalue(f"{name}_url") for name in {source, destination}}
    if source == destination:
        # Another store on the same server.
        other = {
            "file": f"file://{tmp_path}/other",
            "postgresql": urls[source] + "2",
            "redis_store": urls[source] + "2:",
        }
        from_url, to_url = urls[source], other[source]
    else:
        from_url, to_url = urls[source], urls[destination]
    fill_store(from_url)
    arguments = ("migrate", "--from", command_line.url_file(from_url), "--to", command_line.url_file(to_url), "--json")
    done: MigrateDocument = command_line.run(*arguments).document(MigrateDocument)
    assert (done.same, done.threads, done.source.checkpoints) == (True, 3, 24)
    assert contents_of(to_url) == contents_of(from_url) != {}


def test_a_thread_that_holds_something_else_is_reported_and_left_alone(
    command_line: CommandLine, file_url: str, postgresql_url: str
) -> None:
    fill_store(file_url)
    on(postgresql_url, lambda store: store.save({"mine": 1}, thread_name(1), "c0"))
    on(postgresql_url, lambda store: store.save({"other": 1}, "unrelated"))
    arguments = ("migrate", "--from", file_url, "--to", command_line.url_file(postgresql_url))
    done: MigrateDocument = command_line.run(*arguments, "--json", code=6).document(MigrateDocument)
    assert not done.same
    assert done.copied is not None
    [conflict] = done.copied.conflicts
    assert conflict.thread_id == thread_name(1)
    assert "another checkpoint 'c0'" in conflict.reason
    found, wanted = contents_of(postgresql_url), contents_of(file_url)
    assert found[thread_name(0)] == wanted[thread_name(0)]
    assert on(postgresql_url, lambda store: store.load(thread_name(1))) == {"mine": 1}
    assert "unrelated" in found
    text = command_line.run(*arguments, code=6).out
    assert "the two sides DIFFER" in text
    assert f"thread {thread_name(1)!r}: it holds another checkpoint" in text


def test_a_conversation_that_went_on_in_the_destination_is_no_place_to_write_to(
    command_line: CommandLine, file_url: str, postgresql_url: str
) -> None:
    fill_store(file_url, threads=1)
    arguments = ("migrate", "--from", file_url, "--to", command_line.url_file(postgresql_url), "--json")
    command_line.run(*arguments)
    on(postgresql_url, lambda store: store.save({}, thread_name(0), "later"))
    done: MigrateDocument = command_line.run(*arguments, code=6).document(MigrateDocument)
    assert "'later'" in done.differences[0].reason
    assert on(postgresql_url, lambda store: store.list_checkpoints(thread_name(0), 1)) == ["later"]


def test_one_changed_byte_is_found(
    command_line: CommandLine, file_url: str, postgresql_url: str, postgresql_database: Database
) -> None:
    fill_store(file_url)
    arguments = ("migrate", "--from", file_url, "--to", command_line.url_file(postgresql_url), "--json")
    command_line.run(*arguments)
    postgresql_database.execute(
        sql.SQL(
            "UPDATE locus.locus_checkpoints SET payload = set_byte(payload, 17, 7) "
            "WHERE (thread_key, sequence) = (SELECT max(thread_key), 2 FROM locus.locus_threads)"
        )
    )
    done: MigrateDocument = command_line.run(*arguments, "--verify-only", code=1).document(MigrateDocument)
    assert not done.same
    assert done.copied is None
    assert done.source.sha256 != done.destination.sha256
    [difference] = done.differences
    assert "'c1'" in difference.reason


def test_later_writes_of_tasks_follow(command_line: CommandLine, file_url: str, postgresql_url: str) -> None:
    fill_store(file_url, threads=1, history=False)
    arguments = ("migrate", "--from", file_url, "--to", command_line.url_file(postgresql_url), "--json")
    command_line.run(*arguments)
    fill_store(file_url, threads=1)
    on(file_url, lambda store: store.storage.delete_thread(thread_name(0)))
    fill_store(file_url, threads=1, history=False)
    on(file_url, lambda store: store.storage.put(new(0, 4)))
    command_line.run(*arguments)
    assert contents_of(postgresql_url) == contents_of(file_url)


def test_encrypted_states_move_without_their_key(command_line: CommandLine, file_url: str, postgresql_url: str) -> None:
    key = base64.b64encode(secrets.token_bytes(32)).decode()
    suffix = f"encryption_keys={quote(key, safe='')}"
    on(f"{file_url}?{suffix}", lambda store: store.save({"secret": "plan"}, "t"))
    command_line.run("migrate", "--from", file_url, "--to", command_line.url_file(postgresql_url))
    assert on(f"{postgresql_url}&{suffix}", lambda store: store.load("t")) == {"secret": "plan"}
    assert contents_of(postgresql_url) == contents_of(file_url)


def test_ctrl_c_leaves_things_whole(command_line: CommandLine, postgresql_url: str, tmp_path: Path) -> None:
    write_files(tmp_path / "threads")
    arguments = (
        "migrate",
        "--from",
        f"file://{tmp_path}/threads",
        "--to",
        command_line.url_file(postgresql_url),
        "--json",
    )
    process = command_line.start(*arguments)
    while len(on(postgresql_url, lambda store: store.list_threads())) < 10:
        assert process.poll() is None
    done = command_line.finish(process, signal.SIGINT)
    assert (done.code, done.error.name) == (130, "interrupted")
    assert "Traceback" not in done.errors


def test_stores_that_make_no_sense_are_refused(command_line: CommandLine, file_url: str) -> None:
    fill_store(file_url, threads=1)
    for source, destination in ((file_url, file_url), (file_url, "memory:"), ("memory:", file_url)):
        error = command_line.run("migrate", "--from", source, "--to", destination, "--json", code=2).error
        assert error.name == "InvalidArgumentError"
