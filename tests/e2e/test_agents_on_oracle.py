"""A conversation of two days on Oracle: the documentation's YAML and privileges, with the emulator behind its alias.

Controller and pods are the real ones; a `sitecustomize` on their path puts the emulator in the driver's place.
"""

import os
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from hack.demo.stage import agent_image
from locus_operator.backends.oracle_preflight import PRIVILEGES, RETENTION
from locus_operator.names import RoleNames
from tests.e2e.control_plane import REPOSITORY, ControlPlane
from tests.e2e.conversations import (
    Day,
    assert_both_days_are_stored,
    assert_remembered,
    deploy_agent,
    documented,
    documented_store,
    play_both_days,
)
from tests.e2e.operator_process import Controller, Stores, operating
from tests.e2e.test_node.launcher import NodeProcess
from tests.servers.oracle import EmulatedOracle, installed
from tests.servers.postgresql import PostgreSQLServer

EMULATED = Path(__file__).with_name("emulated_oracle")
IMAGE = "locus-agent:oracle"
PATHS = os.pathsep.join((str(EMULATED), str(REPOSITORY)))
Object = dict[str, Any]


def block(language: str) -> str:
    """The first block of a language in the documentation."""
    return documented("provision/oracle.md", language)[0]


def granted() -> list[str]:
    """The privileges that the documentation has granted."""
    return re.findall(r"^GRANT ([A-Z ]+) TO locus_provisioner", block("sql"), re.MULTILINE)


@pytest.fixture(scope="module")
def oracle(postgresql_server: PostgreSQLServer) -> Iterator[EmulatedOracle]:
    database = EmulatedOracle(postgresql_server)
    with installed(database):
        yield database
    database.close()


@pytest.fixture(scope="module")
def operator(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Controller]:
    """As that of all tests, but with the emulator in the driver's place."""
    with ExitStack() as stack:
        with patch.dict(os.environ, PYTHONPATH=PATHS):
            controller = stack.enter_context(operating(control_plane, tmp_path_factory.mktemp("operator")))
        yield controller


@pytest.fixture(scope="module")
def stores(
    control_plane: ControlPlane,
    test_node: NodeProcess,
    operator: Controller,
    agents_namespace: str,
    oracle: EmulatedOracle,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Stores]:
    """The store of the documentation, ready."""
    image = agent_image()
    test_node.add_images({IMAGE: replace(image, env={**image.env, "PYTHONPATH": PATHS})})
    here = Stores(control_plane, agents_namespace)
    username, password = oracle.create_admin(granted(), passes_session_on=True)
    here.create_secret("oracle-admin", username=username, password=password)
    wallet = tmp_path_factory.mktemp("wallet")
    server = oracle.database.server
    address = f"(ADDRESS=(PROTOCOL=tcp)(HOST={server.host})(PORT={server.port}))"
    service = f"(CONNECT_DATA=(SERVICE_NAME={oracle.database.name}))"
    (wallet / "tnsnames.ora").write_text(f"mydb_high = (DESCRIPTION={address}{service})\n")
    (wallet / "ewallet.pem").write_text("PEM")
    here.kubectl("create", "secret", "generic", "oracle-wallet", f"--from-file={wallet}")
    with documented_store(here, block("yaml")):
        yield here


@pytest.fixture(scope="module")
def days(control_plane: ControlPlane, stores: Stores) -> tuple[Day, Day]:
    deploy_agent(stores, "agent-oracle", image=IMAGE)
    return play_both_days(control_plane, stores.namespace, "agent-oracle")


def test_the_documentation_lists_the_privileges_that_are_asked_for() -> None:
    further = ["CREATE SESSION", "SELECT ANY DICTIONARY", "ALTER SYSTEM"]
    assert sorted(granted()) == sorted([*PRIVILEGES, *RETENTION, *further])


def test_another_pod_answers_from_what_the_first_was_told(days: tuple[Day, Day]) -> None:
    assert_remembered(days)


def test_both_days_are_in_the_store_which_the_wallet_in_the_binding_leads_to(
    stores: Stores, days: tuple[Day, Day]
) -> None:
    assert_both_days_are_stored(stores)


def test_the_issued_login_is_the_one_in_use_and_no_secret_is_in_the_log(
    stores: Stores, days: tuple[Day, Day], oracle: EmulatedOracle, operator: Controller
) -> None:
    binding, status = stores.binding("conversations"), stores.get("conversations")["status"]
    assert binding["username"] == status["claims"]["logins"][0]
    assert status["claims"]["owner"] == RoleNames.of(stores.namespace, "conversations").base.upper()
    assert binding["password"] not in operator.log.read_text()
    conditions = stores.conditions("conversations")
    assert "the operator's sweep deletes older checkpoints" in conditions["RetentionEnforced"]["message"]
    assert "create user LOCUS_" in stores.wait_for_event("conversations", "Provisioned")
