"""The suite itself: every backend runs all of it, and it fails where a checkpointer is wrong."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from locus_memory.checkpointer import CheckpointerCapabilities
from locus_memory.testing import StorageBackendContract
from locus_memory.testing.base import CAPABILITIES, required_tests
from tests.contract.test_file import TestFileCheckpointer
from tests.contract.test_http import (
    TestFileOverHTTP,
    TestHTTPCheckpointer,
    TestMemoryOverHTTP,
    TestOCIBucketOverHTTP,
    TestOpenSearchOverHTTP,
    TestOracleOverHTTP,
    TestPostgreSQLOverHTTP,
    TestRedisOverHTTP,
)
from tests.contract.test_memory import TestMemoryCheckpointer
from tests.contract.test_oci_bucket import TestOCIBucketCheckpointer
from tests.contract.test_opensearch import TestOpenSearchCheckpointer, TestOpenSearchCheckpointerOverTLS
from tests.contract.test_oracle import TestOracleCheckpointer
from tests.contract.test_postgresql import TestPostgreSQLCheckpointer, TestPostgreSQLCheckpointerOverTLS
from tests.contract.test_redis import (
    TestRedisCheckpointer,
    TestRedisCheckpointerOverTLS,
    TestRedisCheckpointerWithTTL,
)
from tests.contract.test_redis_modes import (
    TestRedisCheckpointerBelowSentinels,
    TestRedisCheckpointerOnCluster,
    TestRedisCheckpointerOnClusterWithTTL,
)

OVER_HTTP: tuple[type[StorageBackendContract], ...] = (
    TestMemoryOverHTTP,
    TestFileOverHTTP,
    TestPostgreSQLOverHTTP,
    TestRedisOverHTTP,
    TestOpenSearchOverHTTP,
    TestOCIBucketOverHTTP,
    TestOracleOverHTTP,
)

SUITES: tuple[type[StorageBackendContract], ...] = (
    TestMemoryCheckpointer,
    TestFileCheckpointer,
    TestPostgreSQLCheckpointer,
    TestPostgreSQLCheckpointerOverTLS,
    TestRedisCheckpointer,
    TestRedisCheckpointerWithTTL,
    TestRedisCheckpointerOverTLS,
    TestRedisCheckpointerBelowSentinels,
    TestRedisCheckpointerOnCluster,
    TestRedisCheckpointerOnClusterWithTTL,
    TestOpenSearchCheckpointer,
    TestOpenSearchCheckpointerOverTLS,
    TestOCIBucketCheckpointer,
    TestOracleCheckpointer,
    TestHTTPCheckpointer,
    *OVER_HTTP,
)
# Imported to be looked at, not to be collected here again.
for _suite in SUITES:
    del globals()[_suite.__name__]

ALL = CheckpointerCapabilities(**dict.fromkeys(CAPABILITIES, True))

OWN = Path(__file__).with_name("own_checkpointer.py")

# Which test must notice the defect of each class in there.
DEFECTS = {
    "TestFoldingCase": "test_awkward_thread_ids_never_meet",
    "TestAnsweringWithTheLatest": "test_each_checkpoint_keeps_its_own_state",
    "TestComparingBeforeWriting": "test_of_eight_writers_that_compare_exactly_one_wins[None]",
    "TestDeletingOnePage": "test_a_thread_of_over_a_thousand_checkpoints_is_listed_and_deleted_whole",
    "TestSortingIds": "test_the_latest_is_the_one_written_last",
    "TestSharingValues": "test_what_is_stored_does_not_change_with_what_was_loaded",
    "TestBoasting": "test_a_capability_works_exactly_when_it_is_declared[search]",
}

UNSHOWN = ("TestBoasting", "test_another_process_finds_the_history")


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What became of each test in `own_checkpointer.py`."""
    directory = tmp_path_factory.mktemp("own")
    # Nothing of this repository's configuration: strict mode is what pytest-asyncio does by default.
    (directory / "pytest.ini").write_text("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    tests = [f"{suite}::{test}" for suite, test in (*DEFECTS.items(), UNSHOWN)]
    options = ("-c", "pytest.ini", "--noconftest", "--strict-markers", "-p", "no:cacheprovider", "--tb=no", "-rA")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            *options,
            *(f"{OWN}::{name}" for name in ("TestOwn", "TestOwnDeclared", *tests)),
        ],
        cwd=directory,
        # Wide enough for whole messages.
        env={name: value for name, value in os.environ.items() if "PYTEST" not in name} | {"COLUMNS": "1000"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    # Each line ends with `…::TestClass::test_name`, then the message of a failure; a skip has only a message.
    found = re.findall(r"^(PASSED|FAILED|ERROR|SKIPPED) (?:.*::(?=Test\w+::))?(.*)$", done.stdout, re.MULTILINE)
    return {name: outcome for outcome, name in found}


@pytest.mark.parametrize("suite", SUITES)
def test_a_backend_runs_the_whole_suite_but_for_capabilities_that_it_lacks(
    suite: type[StorageBackendContract],
) -> None:
    declared = suite.capabilities
    assert declared is not None
    run = {name for name in dir(suite) if name.startswith("test_") and callable(getattr(suite, name))}
    inherited = {name for name in run if getattr(suite, name) is getattr(StorageBackendContract, name, None)}
    assert inherited == required_tests(StorageBackendContract, declared)
    everything = required_tests(StorageBackendContract, ALL)
    left_out = everything - inherited
    assert bool(left_out) == (replace(declared, ttl=True) != ALL)


def test_capabilities_are_those_of_the_design() -> None:
    declared = {suite.__name__: suite.capabilities for suite in SUITES if suite not in OVER_HTTP}
    everything = replace(ALL, ttl=False)
    assert declared == {
        "TestMemoryCheckpointer": replace(everything, persistent_checkpoint_ids=False),
        "TestFileCheckpointer": everything,
        "TestHTTPCheckpointer": everything,
        "TestPostgreSQLCheckpointer": everything,
        "TestOpenSearchCheckpointer": everything,
        "TestOpenSearchCheckpointerOverTLS": everything,
        "TestPostgreSQLCheckpointerOverTLS": everything,
        "TestOracleCheckpointer": everything,
        "TestRedisCheckpointer": replace(everything, search=False),
        "TestRedisCheckpointerWithTTL": replace(everything, search=False, ttl=True),
        "TestRedisCheckpointerOverTLS": replace(everything, search=False),
        "TestRedisCheckpointerBelowSentinels": replace(everything, search=False),
        "TestRedisCheckpointerOnCluster": replace(everything, search=False),
        "TestRedisCheckpointerOnClusterWithTTL": replace(everything, search=False, ttl=True),
        "TestOCIBucketCheckpointer": replace(everything, search=False, metadata_query=False),
    }


def test_each_backend_runs_the_same_tests_through_the_server() -> None:
    tests = {suite.__name__: {name for name in dir(suite) if callable(getattr(suite, name, None))} for suite in SUITES}
    for suite in OVER_HTTP:
        in_process = suite.__name__.replace("OverHTTP", "Checkpointer")
        assert {name for name in tests[suite.__name__] ^ tests[in_process] if name.startswith("test_")} == set()


def test_a_checkpointer_of_five_methods_passes_with_one_fixture(outcomes: dict[str, str]) -> None:
    own = {outcome for name, outcome in outcomes.items() if name.startswith("TestOwn::")}
    assert own == {"PASSED"}
    assert [name for name in outcomes if "does not declare the capability search" in name]


def test_declaring_capabilities_leaves_nothing_to_skip(outcomes: dict[str, str]) -> None:
    passed = {
        suite: {name.partition("::")[2] for name, outcome in outcomes.items() if name.startswith(f"{suite}::")}
        for suite in ("TestOwn", "TestOwnDeclared")
    }
    assert passed["TestOwn"] == passed["TestOwnDeclared"]
    assert len(passed["TestOwn"]) > 50


@pytest.mark.parametrize("suite", DEFECTS)
def test_a_known_defect_is_found(suite: str, outcomes: dict[str, str]) -> None:
    failed = [name for name, outcome in outcomes.items() if outcome == "FAILED"]
    assert any(name.startswith(f"{suite}::{DEFECTS[suite]}") for name in failed), failed


def test_declared_persistence_has_to_be_shown(outcomes: dict[str, str]) -> None:
    asked = [name for name in outcomes if name.startswith("::".join(UNSHOWN))]
    assert [outcomes[name] for name in asked] == ["ERROR"]
    assert "define a fixture `reopen`" in asked[0]
