"""`export` and `import`: nothing is lost, damaged gets in, or is overwritten unasked; and kill -9 does no harm."""

import itertools
import json
import signal
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from locus_memory.commands.documents import ExportDocument, ImportDocument
from locus_memory.storage import NewCheckpoint
from tests.commands.process import CommandLine
from tests.commands.stores import contents_of, fill_store, on, thread_name


@pytest.fixture
def exported(command_line: CommandLine, file_url: str, tmp_path: Path) -> Path:
    """An export of a filled store in files."""
    fill_store(file_url, threads=4)
    path = tmp_path / "all.jsonl"
    command_line.bind(file_url)
    command_line.run("export", str(path))
    return path


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines(keepends=True)


def test_what_was_exported_is_imported_as_it_was(
    command_line: CommandLine, file_url: str, postgresql_url: str, tmp_path: Path
) -> None:
    fill_store(file_url, threads=4)
    command_line.bind(file_url)
    path, again = tmp_path / "all.jsonl", tmp_path / "again.jsonl"
    first: ExportDocument = command_line.run("export", str(path), "--json").document(ExportDocument)
    assert (first.threads, first.checkpoints) == (4, 32)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    command_line.bind(postgresql_url)
    imported: ImportDocument = command_line.run("import", str(path), "--json").document(ImportDocument)
    assert (imported.threads, imported.checkpoints_written, imported.checkpoints_present) == (4, 32, 0)
    assert contents_of(postgresql_url) == contents_of(file_url)
    second = command_line.run("export", str(again), "--json").document(ExportDocument)
    assert second.sha256 == first.sha256
    # Again changes nothing.
    imported = command_line.run("import", str(path), "--json").document(ImportDocument)
    assert (imported.checkpoints_written, imported.checkpoints_present) == (0, 32)
    # What agents find is the same, too.
    found = on(postgresql_url, lambda store: store.search("needle 2"))
    assert found == []
    assert len(on(postgresql_url, lambda store: store.list_threads())) == 4


def test_records_say_what_they_are_and_share_parts(exported: Path) -> None:
    records = [json.loads(line) for line in lines(exported)]
    header, trailer = records[0], records[-1]
    assert (header["record"], header["format"], header["version"]) == ("header", "locus-memory export", 1)
    assert (trailer["record"], trailer["threads"], trailer["checkpoints"]) == ("trailer", 4, 32)
    parts = [(each["thread_id"], each["namespace"], each["name"]) for each in records if each["record"] == "part"]
    assert len(parts) == len(set(parts)) == 4 * 2 * 5
    checkpoints = [each for each in records if each["record"] == "checkpoint"]
    assert [each["position"] for each in checkpoints[:8]] == [0, 1, 2, 3, 0, 1, 2, 3]
    assert {"created_at", "parent_id", "metadata", "payload", "sha256", "writes"} <= checkpoints[0].keys()


def test_it_goes_through_a_pipe(command_line: CommandLine, file_url: str, postgresql_url: str) -> None:
    fill_store(file_url)
    command_line.bind(file_url)
    text = command_line.run("export", "-", "--pattern", "*ser/*").out
    command_line.bind(postgresql_url)
    command_line.run("import", "-", given=text)
    assert set(contents_of(postgresql_url)) == {thread_name(0), thread_name(1)}
    assert command_line.run("export", "-", "--json", code=2).error.name == "usage"


def _flip(path: Path) -> None:
    text = path.read_text()
    path.write_text(text.replace('"payload":"A', '"payload":"B', 1))


def _cut(path: Path) -> None:
    path.write_text("".join(lines(path)[:-1]))


def _drop(path: Path) -> None:
    all_lines = lines(path)
    number = next(number for number, line in enumerate(all_lines) if '"checkpoint_id":"c3"' in line)
    path.write_text("".join(all_lines[:number] + all_lines[number + 1 :]))


def _swap(path: Path) -> None:
    all_lines = lines(path)
    one, other = (next(n for n, line in enumerate(all_lines) if f'"position":{p}' in line) for p in (1, 2))
    all_lines[one], all_lines[other] = all_lines[other], all_lines[one]
    path.write_text("".join(all_lines))


def _change_metadata(path: Path) -> None:
    path.write_text(path.read_text().replace('"n":2', '"n":3', 1))


def _change_part(path: Path) -> None:
    path.write_text(path.read_text().replace('"data":"b', '"data":"c', 1))


def _end_early(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _newer(path: Path) -> None:
    path.write_text(path.read_text().replace('"version":1', '"version":2', 1))


@pytest.mark.parametrize("damage", [_flip, _cut, _drop, _swap, _change_metadata, _change_part, _end_early, _newer])
def test_a_damaged_file_is_refused_before_anything_is_written(
    command_line: CommandLine, exported: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    before = exported.read_bytes()
    damage(exported)
    assert exported.read_bytes() != before
    url = f"file://{tmp_path}/other"
    command_line.bind(url)
    error = command_line.run("import", str(exported), "--json", code=1).error
    assert error.name == "CorruptCheckpointError"
    assert str(exported) in error.message
    assert not (tmp_path / "other").exists()


def test_a_thread_in_the_way_is_refused_skipped_or_replaced(
    command_line: CommandLine, exported: Path, file_url: str, postgresql_url: str
) -> None:
    on(postgresql_url, lambda store: store.save({"mine": 1}, thread_name(1), "other"))
    command_line.bind(postgresql_url)
    error = command_line.run("import", str(exported), "--json", code=6).error
    assert (error.name, repr(thread_name(1)) in error.message) == ("conflict", True)
    assert list(contents_of(postgresql_url)) == [thread_name(1)]
    skipped: ImportDocument = command_line.run("import", str(exported), "--on-conflict", "skip", "--json").document(
        ImportDocument
    )
    assert [each.thread_id for each in skipped.conflicts] == [thread_name(1)]
    assert on(postgresql_url, lambda store: store.load(thread_name(1))) == {"mine": 1}
    assert len(contents_of(postgresql_url)) == 4
    replaced = command_line.run("import", str(exported), "--on-conflict", "replace", "--json").document(ImportDocument)
    assert (replaced.threads_replaced, replaced.checkpoints_written) == (1, 8)
    assert contents_of(postgresql_url) == contents_of(file_url)


def test_an_existing_file_is_not_overwritten_unasked(command_line: CommandLine, exported: Path) -> None:
    before = exported.read_bytes()
    assert "--overwrite" in command_line.run("export", str(exported), "--json", code=2).error.message
    assert exported.read_bytes() == before
    command_line.run("export", str(exported), "--overwrite")
    assert lines(exported)[1:] == before.decode().splitlines(keepends=True)[1:]


def make_many(url: str, *, threads: int, checkpoints: int) -> None:
    """Save threads of some size, so that a command takes its time."""

    async def work(store: object) -> None:
        storage = store.storage  # type: ignore[attr-defined]
        for thread, number in itertools.product(range(threads), range(checkpoints)):
            await storage.put(NewCheckpoint(f"t{thread}", f"c{number}", b"\x01" + b'{"a": 1}' * 500, {}))

    on(url, work)


def test_a_killed_export_leaves_no_file_and_the_next_one_is_whole(
    command_line: CommandLine, postgresql_url: str, tmp_path: Path
) -> None:
    make_many(postgresql_url, threads=200, checkpoints=2)
    command_line.bind(postgresql_url)
    path, partial = tmp_path / "all.jsonl", tmp_path / "all.jsonl.partial"
    process = command_line.start("export", str(path))
    while not partial.exists() or partial.stat().st_size < 50_000:
        assert process.poll() is None
    command_line.finish(process, signal.SIGKILL)
    assert not path.exists()
    done: ExportDocument = command_line.run("export", str(path), "--json").document(ExportDocument)
    assert (done.threads, done.checkpoints) == (200, 400)
    assert not partial.exists()
    process = command_line.start("export", str(path), "--overwrite")
    while not partial.exists():
        assert process.poll() is None
    assert command_line.finish(process, signal.SIGINT).code == 130
    assert not partial.exists()
    assert len(lines(path)) == 402


def test_a_killed_import_goes_on_where_it_was(
    command_line: CommandLine, file_url: str, postgresql_url: str, tmp_path: Path
) -> None:
    make_many(file_url, threads=60, checkpoints=10)
    command_line.bind(file_url)
    path = tmp_path / "all.jsonl"
    command_line.run("export", str(path))
    command_line.bind(postgresql_url)
    on(postgresql_url, lambda store: store.save({}, "zz"))
    process = command_line.start("import", str(path))
    while len(on(postgresql_url, lambda store: store.list_threads())) < 15:
        assert process.poll() is None
        time.sleep(0.01)
    command_line.finish(process, signal.SIGKILL)
    imported: ImportDocument = command_line.run("import", str(path), "--json").document(ImportDocument)
    assert imported.checkpoints_present > 0
    assert imported.checkpoints_written > 0
    assert imported.checkpoints_present + imported.checkpoints_written == 600
    found = contents_of(postgresql_url)
    found.pop("zz")
    assert found == contents_of(file_url)
