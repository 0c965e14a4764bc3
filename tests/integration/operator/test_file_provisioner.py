"""What only files have: directories in place of claims, on the command line and for tests."""

import asyncio
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from locus_memory.binding import DirectoryBinding
from locus_memory.connection import FileConnection
from locus_memory.opening import open_checkpointer
from locus_operator.cli import ExitCode, app
from locus_operator.constants import ConditionReason, ConditionType
from locus_operator.errors import RefusedError, UnavailableError
from locus_operator.volume_directories import MARK_FILE
from tests.integration.operator.stores import Store


def directory(store: Store) -> Path:
    connection = store.connection()
    assert isinstance(connection, FileConnection)
    return Path(connection.directory)


def mark(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((path / MARK_FILE).read_text())
    return content


async def test_a_store_gets_a_directory_for_its_owner_alone(file_store: Store) -> None:
    done = await file_store.reconcile()
    path = directory(file_store)
    assert path.name == f"{file_store.name}-checkpoints" == done.claims.volume_claim
    assert path.stat().st_mode & 0o077 == 0
    assert mark(path)["uid"] == "uid-1"
    assert done.binding.data["uri"] == f"file://{path}"
    assert done.login is None
    credentials = next(each for each in done.conditions if each.type is ConditionType.CREDENTIALS_READY)
    assert "files need no login" in credentials.message


@pytest.mark.parametrize(
    ("sabotage", "action"),
    [
        (shutil.rmtree, "create volume claim {name}: missing"),
        (lambda path: (path / MARK_FILE).write_text(json.dumps(mark(path) | {"mark": None})), "its mark was changed"),
        (lambda path: (path / MARK_FILE).write_text(json.dumps(mark(path) | {"uid": ""})), "its mark was changed"),
    ],
)
async def test_drift_is_corrected_and_named(file_store: Store, sabotage: Callable[[Path], object], action: str) -> None:
    await file_store.reconcile()
    sabotage(directory(file_store))
    done = await file_store.reconcile()
    (corrected,) = done.plan.actions
    assert action.format(name=directory(file_store).name) in str(corrected)
    assert not (await file_store.reconcile()).plan
    async with file_store.checkpointer() as checkpointer:
        await checkpointer.save({"n": 1}, "thread")


async def test_a_directory_without_a_mark_is_nobodys(file_store: Store) -> None:
    await file_store.reconcile()
    (directory(file_store) / MARK_FILE).unlink()
    with pytest.raises(RefusedError, match="belongs to no store") as caught:
        await file_store.reconcile()
    assert caught.value.reason is ConditionReason.CONFLICT
    file_store.adopt = True
    await file_store.reconcile()
    file_store.adopt = False
    assert not (await file_store.reconcile()).plan


async def test_an_existing_directory_is_used_and_never_deleted(file_store: Store) -> None:
    await file_store.reconcile()
    existing = directory(file_store).with_name("mine")
    existing.mkdir()
    (existing / "of-the-user.txt").write_text("kept")
    store = file_store.sibling()
    store.backend = {"file": {"existingClaim": "mine"}}
    done = await store.reconcile()
    assert [str(action) for action in done.plan.actions] == ["claim volume claim mine: not claimed by this store"]
    async with store.checkpointer() as checkpointer:
        await checkpointer.save({"n": 1}, "thread")
    other = store.sibling()
    other.uid = "uid-9"
    with pytest.raises(RefusedError, match="belongs to the store"):
        await other.reconcile()
    await store.release("Delete")
    assert sorted(each.name for each in existing.iterdir()) == [".locks", "of-the-user.txt", "thread.json"]


async def test_an_existing_directory_that_is_not_there_is_named(file_store: Store) -> None:
    file_store.backend = {"file": {"existingClaim": "absent"}}
    with pytest.raises(RefusedError, match="no PersistentVolumeClaim 'absent'") as caught:
        await file_store.reconcile()
    assert caught.value.reason is ConditionReason.VOLUME_CLAIM_NOT_FOUND


async def test_a_deletion_that_was_cut_is_finished(file_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    await file_store.reconcile()
    path = directory(file_store)
    async with file_store.checkpointer() as checkpointer:
        await checkpointer.save({"n": 1}, "thread")
    monkeypatch.setattr(shutil, "rmtree", _disk_error)
    with pytest.raises(UnavailableError, match="cannot delete the directory"):
        await file_store.release("Delete")
    monkeypatch.undo()
    assert (path / MARK_FILE).exists(), "so that it is known whose it is"
    await file_store.release("Delete")
    assert not path.exists()


async def test_the_mark_of_a_directory_goes_last(file_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    await file_store.reconcile()
    async with file_store.checkpointer() as checkpointer:
        await checkpointer.save({"n": 1}, "thread")
    removed: list[str] = []
    unlink = Path.unlink

    def spy(path: Path, missing_ok: bool = False) -> None:
        removed.append(path.name)
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", spy)
    await file_store.release("Delete")
    assert removed == ["thread.json", MARK_FILE]


def _disk_error(*_: object, **__: object) -> None:
    raise OSError(5, "Input/output error")


async def test_a_mark_that_changed_meanwhile_is_not_overwritten(file_store: Store) -> None:
    await file_store.reconcile()
    path = directory(file_store)
    assert file_store.volumes is not None
    claim = await file_store.volumes.find(path.name)
    assert claim is not None
    (path / MARK_FILE).write_text(json.dumps(mark(path) | {"uid": "another"}))
    with pytest.raises(UnavailableError, match="changed meanwhile"):
        await file_store.volumes.delete(claim)
    assert path.is_dir()


async def test_a_cut_creation_leaves_no_directory_of_nobody(file_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json, "dump", _disk_error)
    with pytest.raises(UnavailableError, match="cannot create the directory"):
        await file_store.reconcile()
    monkeypatch.undo()
    await file_store.reconcile()


async def test_a_directory_that_may_not_be_made_is_refused(file_store: Store, tmp_path: Path) -> None:
    (tmp_path / "volumes").write_text("a file in the way")
    with pytest.raises(RefusedError, match="cannot create the directory") as caught:
        await file_store.reconcile()
    assert caught.value.reason is ConditionReason.BACKEND_REFUSED


async def test_retention_by_count_is_the_librarys_and_by_age_nobodys(file_store: Store) -> None:
    file_store.spec = {"retention": {"maxCheckpointsPerThread": 2}}
    done = await file_store.reconcile()
    retention = next(each for each in done.conditions if each.type is ConditionType.RETENTION_ENFORCED)
    assert retention.reason is ConditionReason.RETENTION_APPLIED
    async with file_store.checkpointer() as checkpointer:
        for number in range(4):
            await checkpointer.save({"n": number}, "thread", f"c{number}")
        assert await checkpointer.list_checkpoints("thread") == ["c3", "c2"]
    file_store.spec = {"retention": {"maxAge": "30d"}}
    done = await file_store.reconcile()
    retention = next(each for each in done.conditions if each.type is ConditionType.RETENTION_ENFORCED)
    assert retention.reason is ConditionReason.NOT_SUPPORTED


# --- the command line ---

MANIFEST = {
    "apiVersion": "memory.locus.dev/v1alpha1",
    "kind": "CheckpointStore",
    "metadata": {"namespace": "agents", "name": "support"},
    "spec": {"backend": {"file": {"size": "1Gi"}}, "deletionPolicy": "Delete"},
}


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(each) for each in arguments])


async def test_apply_makes_a_directory_that_agents_use_and_delete_removes_it(tmp_path: Path) -> None:
    (tmp_path / "store.yaml").write_text(yaml.safe_dump(MANIFEST))
    options = ("-f", tmp_path / "store.yaml", "--volume-dir", tmp_path / "volumes", "--binding-dir", tmp_path / "b")
    planned = await asyncio.to_thread(run, "plan", *options)
    assert planned.exit_code == ExitCode.OK, planned.output
    assert not (tmp_path / "volumes").exists()
    applied = await asyncio.to_thread(run, "apply", *options)
    assert applied.exit_code == ExitCode.OK, applied.output
    async with open_checkpointer(DirectoryBinding(tmp_path / "b" / "support"), state_type=dict) as checkpointer:
        await checkpointer.save({"n": 1}, "thread")
    assert (tmp_path / "volumes" / "agents" / "support-checkpoints" / "thread.json").exists()
    deleted = await asyncio.to_thread(run, "delete", *options, "--allow-destructive")
    assert deleted.exit_code == ExitCode.OK, deleted.output
    assert list((tmp_path / "volumes" / "agents").iterdir()) == []


def test_without_a_directory_for_volumes_files_are_refused_with_advice(tmp_path: Path) -> None:
    (tmp_path / "store.yaml").write_text(yaml.safe_dump(MANIFEST))
    done = run("apply", "-f", tmp_path / "store.yaml")
    assert done.exit_code == ExitCode.INVALID
    assert "--volume-dir" in done.stderr
