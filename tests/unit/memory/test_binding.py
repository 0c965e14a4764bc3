"""Finding the binding of a store."""

import json
from pathlib import Path

import pytest

from locus_memory.binding import find_binding
from locus_memory.connection import FileConnection, MemoryConnection, OracleConnection
from locus_memory.errors import BindingError, BindingNotFoundError


def bind(root: Path, name: str, directory: str = "/d") -> Path:
    binding = root / name
    binding.mkdir(parents=True)
    (binding / "type").write_text("file")
    (binding / "connection.json").write_text(json.dumps({"version": 1, "type": "file", "directory": directory}))
    return binding


def test_the_argument_comes_first(tmp_path: Path) -> None:
    bind(tmp_path, "a")
    bind(tmp_path, "b")
    environ = {"SERVICE_BINDING_ROOT": str(tmp_path), "LOCUS_CHECKPOINT_STORE": "a", "LOCUS_CHECKPOINT_URL": "memory:"}
    assert find_binding("b", environ).name == "b"
    assert find_binding(None, environ).name == "a"


def test_the_only_binding_needs_no_name_and_comes_before_the_url(tmp_path: Path) -> None:
    bind(tmp_path, "only", "/x")
    environ = {"SERVICE_BINDING_ROOT": str(tmp_path), "LOCUS_CHECKPOINT_URL": "memory:"}
    assert find_binding(None, environ).connection() == FileConnection(directory="/x")


def test_the_url_comes_last(tmp_path: Path) -> None:
    for environ in ({}, {"SERVICE_BINDING_ROOT": str(tmp_path)}, {"SERVICE_BINDING_ROOT": str(tmp_path / "none")}):
        found = find_binding(None, {**environ, "LOCUS_CHECKPOINT_URL": "memory:"})
        assert found.connection() == MemoryConnection()


def test_several_bindings_need_a_name(tmp_path: Path) -> None:
    bind(tmp_path, "a")
    bind(tmp_path, "b")
    with pytest.raises(BindingError, match=r"several stores are bound \(a, b\)"):
        find_binding(None, {"SERVICE_BINDING_ROOT": str(tmp_path)})


def test_a_named_store_is_never_answered_with_another_one(tmp_path: Path) -> None:
    bind(tmp_path, "a")
    environ = {"SERVICE_BINDING_ROOT": str(tmp_path), "LOCUS_CHECKPOINT_URL": "memory:"}
    with pytest.raises(BindingNotFoundError, match=r"'b'.*holds only a.*not used for a named store"):
        find_binding("b", environ)
    with pytest.raises(BindingNotFoundError, match="SERVICE_BINDING_ROOT is not set"):
        find_binding("b", {"LOCUS_CHECKPOINT_URL": "memory:"})


def test_nothing_found_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(BindingNotFoundError) as caught:
        find_binding(None, {})
    for hint in ("SERVICE_BINDING_ROOT", "LOCUS_CHECKPOINT_URL", "memory.locus.dev/checkpoint-store"):
        assert hint in str(caught.value)
    with pytest.raises(BindingNotFoundError, match="holds no binding"):
        find_binding(None, {"SERVICE_BINDING_ROOT": str(tmp_path)})


def test_what_is_no_binding_is_left_out(tmp_path: Path) -> None:
    bind(tmp_path, "a")
    bind(tmp_path, "..2026_01_01")
    (tmp_path / "untyped").mkdir()
    (tmp_path / "file").write_text("")
    assert find_binding(None, {"SERVICE_BINDING_ROOT": str(tmp_path)}).name == "a"


def test_a_binding_is_read_again_each_time(tmp_path: Path) -> None:
    directory = bind(tmp_path, "a", "/old")
    binding = find_binding("a", {"SERVICE_BINDING_ROOT": str(tmp_path)})
    assert binding.connection() == FileConnection(directory="/old")
    (directory / "connection.json").write_text('{"version": 1, "type": "file", "directory": "/new"}')
    assert binding.connection() == FileConnection(directory="/new")


def test_a_binding_of_another_provider_is_read_from_its_uri(tmp_path: Path) -> None:
    directory = bind(tmp_path, "a")
    (directory / "connection.json").unlink()
    (directory / "uri").write_text("file:///from-uri\n")
    assert find_binding("a", {"SERVICE_BINDING_ROOT": str(tmp_path)}).connection() == FileConnection(
        directory="/from-uri"
    )


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [("connection.json", "{", "is no JSON"), ("uri", "mysql://h", "unknown scheme"), ("other", "", "has neither")],
)
def test_an_unusable_binding_is_an_error_that_names_it(tmp_path: Path, name: str, content: str, message: str) -> None:
    directory = bind(tmp_path, "a")
    (directory / "connection.json").unlink()
    (directory / name).write_text(content)
    binding = find_binding("a", {"SERVICE_BINDING_ROOT": str(tmp_path)})
    with pytest.raises(BindingError, match=message) as caught:
        binding.connection()
    assert str(directory) in str(caught.value)


def test_the_representation_of_a_url_binding_shows_no_password() -> None:
    binding = find_binding(None, {"LOCUS_CHECKPOINT_URL": "redis://u:hunter2@h:1/0"})
    assert "hunter2" not in repr(binding)


@pytest.mark.parametrize(
    ("written", "meant"),
    [(".", "{binding}"), ("wallet", "{binding}/wallet"), ("/etc/wallet", "/etc/wallet"), ("~/wallet", "~/wallet")],
)
def test_a_wallet_s_relative_path_starts_at_the_binding(tmp_path: Path, written: str, meant: str) -> None:
    directory = bind(tmp_path, "support")
    document = {"version": 1, "type": "oracle", "dsn": "db_low", "wallet_location": written, "config_dir": written}
    (directory / "connection.json").write_text(json.dumps(document))
    connection = find_binding(None, {"SERVICE_BINDING_ROOT": str(tmp_path)}).connection()
    assert isinstance(connection, OracleConnection)
    expected = meant.format(binding=directory)
    assert (connection.wallet_location, connection.config_dir) == (expected, expected)


def test_a_document_without_a_wallet_gets_none(tmp_path: Path) -> None:
    directory = bind(tmp_path, "support")
    (directory / "connection.json").write_text('{"version": 1, "type": "oracle", "dsn": "db:1521/agents"}')
    connection = find_binding(None, {"SERVICE_BINDING_ROOT": str(tmp_path)}).connection()
    assert connection == OracleConnection(dsn="db:1521/agents")
