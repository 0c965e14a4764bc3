"""What all commands have in common: where the store comes from, errors, exit codes, secrets, imports."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from locus_memory.commands.application import COMMANDS
from locus_memory.commands.exit_codes import MEANINGS, ExitCode
from tests.commands.process import COMMAND, CommandLine
from tests.commands.stores import on
from tests.servers.processes import free_port


@pytest.mark.parametrize("name", COMMANDS)
def test_a_wrong_command_line_is_a_json_error_too(command_line: CommandLine, name: str) -> None:
    assert command_line.run(name, "--json", "--no-such-option", code=2).error.name == "usage"


def test_without_json_a_wrong_command_line_is_text(command_line: CommandLine) -> None:
    done = command_line.run("threads", "--limit", "0", code=2)
    assert done.out == ""
    assert "--limit" in done.errors


def test_the_store_comes_from_a_url_a_file_a_variable_or_a_binding(command_line: CommandLine, tmp_path: Path) -> None:
    urls = {name: f"file://{tmp_path}/{name}" for name in ("url", "file", "variable", "binding")}
    for name, url in urls.items():
        on(url, lambda store, name=name: store.save({}, name))  # type: ignore[misc]
    directory = tmp_path / "bindings/support"
    directory.mkdir(parents=True)
    (directory / "type").write_text("checkpointer")
    (directory / "uri").write_text(urls["binding"])
    environment = {"OTHER": urls["variable"], "SERVICE_BINDING_ROOT": str(tmp_path / "bindings")}
    for arguments, name in (
        (["--url", urls["url"]], "url"),
        (["--url", command_line.url_file(urls["file"])], "file"),
        (["--url", "env:OTHER"], "variable"),
        (["--url", "store:support"], "binding"),
        (["--store", "support"], "binding"),
        ([], "binding"),
    ):
        assert command_line.run("threads", *arguments, environment=environment).out == f"{name}\n"
    assert command_line.run("threads", "--store", "other", "--json", code=3).error.name == "BindingNotFoundError"
    both = command_line.run("threads", "--store", "a", "--url", "memory:", "--json", code=2)
    assert both.error.name == "InvalidArgumentError"
    for argument in ("@/no/such/file", "env:NO_SUCH_VARIABLE"):
        assert command_line.run("threads", "--url", argument, "--json", code=2).error.name == "InvalidArgumentError"


def test_a_password_among_the_arguments_is_pointed_out_and_never_printed(command_line: CommandLine) -> None:
    url = f"postgresql://agent:pw-in-arguments@127.0.0.1:{free_port()}/db"
    done = command_line.run("threads", "--url", url, "--timeout", "0.5", code=4)
    assert "other users of this machine can read the password" in done.errors
    assert "pw-in-arguments" not in done.out + done.errors
    done = command_line.run("threads", "--url", url + "?unknown=1", "--json", code=3)
    assert "pw-in-arguments" not in done.out + done.errors
    done = command_line.run("threads", "--url", "postgresql://agent:pw-in-arguments@host:port/db", "--json", code=3)
    assert "pw-in-arguments" not in done.out + done.errors


def test_an_outage_is_an_error_and_not_an_empty_list(command_line: CommandLine) -> None:
    command_line.bind(f"postgresql://agent:x@127.0.0.1:{free_port()}/db")
    error = command_line.run("threads", "--timeout", "0.5", "--json", code=4).error
    assert error.name == "BackendUnavailableError"


def test_a_reader_that_has_enough_is_no_error_of_python(command_line: CommandLine, file_url: str) -> None:
    for number in range(3):
        on(file_url, lambda store, number=number: store.save({}, f"t{number}"))  # type: ignore[misc]
    command_line.bind(file_url)
    reader, writer = os.pipe()
    os.close(reader)
    process = command_line.start("threads", stdout=writer)
    os.close(writer)
    done = command_line.finish(process)
    assert done.code == 1
    assert "Traceback" not in done.errors


def test_each_exit_code_has_one_meaning() -> None:
    assert set(MEANINGS) == set(ExitCode)
    assert len(set(MEANINGS.values())) == len(ExitCode)


def test_help_needs_no_store_and_lists_the_exit_codes(command_line: CommandLine) -> None:
    text = command_line.run("doctor", "--help", environment={"COLUMNS": "1000"}).out
    assert all(f"{code.value} {meaning}" in text for code, meaning in MEANINGS.items())


def test_the_library_does_not_import_the_commands() -> None:
    names = "[name for name in sys.modules if 'commands' in name or name == 'rich']"
    program = f"import sys, locus_memory, locus_memory.opening; print(*{names})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


def test_without_the_extra_it_says_what_to_install() -> None:
    program = (
        "import sys, runpy; sys.modules['typer'] = None; runpy.run_module('locus_memory.commands', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("typer is not installed: pip install")


def test_the_module_is_the_same_as_the_entry_point(tmp_path: Path) -> None:
    environment = {"LOCUS_CHECKPOINT_URL": f"file://{tmp_path}/t"}
    printed = [
        subprocess.run(
            [*command, "threads", "--json"], env=environment, capture_output=True, text=True, check=True
        ).stdout
        for command in (COMMAND, (sys.executable, "-m", "locus_memory.commands"))
    ]
    assert [json.loads(text) for text in printed] == [{"threads": [], "more": False}] * 2
