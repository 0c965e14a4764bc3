"""What importing costs, and what it pulls in."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

DRIVERS = ("redis", "psycopg", "psycopg_pool", "oracledb", "oci", "opensearchpy", "httpx", "locus", "pytest", "kopf",
           "cryptography", "fastapi", "uvicorn", "typer", "langgraph")  # fmt: skip


def run(program: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *options, "-c", program], capture_output=True, text=True, check=True)


def import_milliseconds() -> float:
    report = run("import locus_memory", "-X", "importtime").stderr
    [microseconds] = re.findall(r"\|\s+(\d+) \| locus_memory$", report, re.MULTILINE)
    return int(microseconds) / 1000


def test_importing_the_library_takes_under_100_ms() -> None:
    # The best of several, since other work on the machine only ever adds.
    assert min(import_milliseconds() for _ in range(5)) < 100


@pytest.mark.parametrize("module", ["locus_memory", "locus_memory.backends", "locus_memory.opening"])
def test_importing_pulls_in_no_driver(module: str) -> None:
    done = run(f"import sys, {module}; print(*[name for name in {DRIVERS} if name in sys.modules])")
    assert done.stdout.strip() == ""


@pytest.mark.parametrize(
    ("driver", "extra", "url"),
    [
        ("psycopg", "postgresql", "postgresql://localhost/db"),
        ("redis", "redis", "redis://localhost:6379/0"),
        ("opensearchpy", "opensearch", "opensearch+https://localhost:9200/index"),
        ("oracledb", "oracle", "oracle://user:password@localhost:1521/service"),
        ("oci", "oci", "oci://bucket@namespace/prefix"),
        ("httpx", "http", "https://localhost/base"),
        ("cryptography", "encryption", f"memory:?encryption_keys={'A' * 43}="),
    ],
)
def test_a_missing_driver_is_one_clear_error(driver: str, extra: str, url: str) -> None:
    program = f"""
import os, sys
sys.modules[{driver!r}] = None  # as if it were not installed
os.environ["LOCUS_CHECKPOINT_URL"] = {url!r}
import locus_memory
from locus_memory.errors import MissingDriverError
try:
    locus_memory.checkpointer()
except MissingDriverError as error:
    print(error)
"""
    assert f'pip install "locus-memory[{extra}]"' in run(program).stdout
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    package = {"opensearchpy": "opensearch-py"}.get(driver, driver)
    assert any(name.startswith(package) for name in project["optional-dependencies"][extra])
