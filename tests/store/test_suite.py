"""The suite of stores itself: a store of one's own passes it, and it fails where a store is wrong."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

OWN = Path(__file__).with_name("own_store.py")

# Which test must notice the defect of each class in there.
DEFECTS = {
    "TestAliasing": "test_a_value_is_not_shared_with_who_put_it",
    "TestNoneIsAbsent": "test_a_stored_none_is_there",
    "TestJoining": "test_parts_do_not_run_together",
    "TestFilteringLast": "test_the_filter_comes_before_the_limit",
    "TestIgnoringFilters": "test_all_fields_must_match",
    "TestRounding": "test_any_json_value_comes_back_equal",
}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What became of each test in `own_store.py`."""
    directory = tmp_path_factory.mktemp("own")
    # Nothing of this repository's configuration: strict mode is what pytest-asyncio does by default.
    (directory / "pytest.ini").write_text("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    options = ("-c", "pytest.ini", "--noconftest", "--strict-markers", "-p", "no:cacheprovider", "--tb=no", "-rA")
    names = ("TestOwn", *(f"{suite}::{test}" for suite, test in DEFECTS.items()))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *(f"{OWN}::{name}" for name in names)],
        cwd=directory,
        env={name: value for name, value in os.environ.items() if "PYTEST" not in name} | {"COLUMNS": "1000"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    found = re.findall(r"^(PASSED|FAILED|ERROR|SKIPPED) (?:.*::(?=Test\w+::))?(.*)$", done.stdout, re.MULTILINE)
    return {name: outcome for outcome, name in found}


def test_a_store_of_six_methods_passes_with_one_fixture(outcomes: dict[str, str]) -> None:
    own = {name: outcome for name, outcome in outcomes.items() if name.startswith("TestOwn::")}
    assert [name for name, outcome in own.items() if outcome != "PASSED"] == []
    assert len(own) > 60


@pytest.mark.parametrize("suite", DEFECTS)
def test_a_known_defect_is_found(suite: str, outcomes: dict[str, str]) -> None:
    assert any(
        outcome == "FAILED" and name.startswith(f"{suite}::{DEFECTS[suite]}") for name, outcome in outcomes.items()
    ), outcomes
