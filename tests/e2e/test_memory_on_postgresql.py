"""Long-term memory on PostgreSQL: the documentation's store, and an agent that knows a person in its second pod."""

import json
import secrets
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql

from hack.demo.stage import AGENT_IMAGE, agent_image
from tests.e2e.control_plane import ControlPlane
from tests.e2e.conversations import documented, documented_store
from tests.e2e.operator_process import LABEL, Controller, Stores
from tests.e2e.test_node.launcher import NodeProcess
from tests.integration.operator.stores import drop_roles
from tests.servers.postgresql import Database, TLSPostgreSQLServer
from tests.servers.processes import wait_for

ADMIN = "locus_provisioner"
Object = dict[str, Any]


def block(language: str) -> str:
    """The first block of a language in the documentation."""
    return documented("provision/postgresql.md", language)[0]


@pytest.fixture(scope="module")
def database(tls_postgresql_server: TLSPostgreSQLServer) -> Iterator[Database]:
    """The documentation's database, on a server that wants TLS."""
    created = tls_postgresql_server.create_database("agents")
    yield created
    drop_roles(created)


@pytest.fixture(scope="module")
def admin_password(database: Database) -> str:
    """Of the administrator whom the documentation's statements make."""
    password = secrets.token_urlsafe(16)
    database.execute(sql.SQL(block("sql").replace("'...'", f"'{password}'")))  # the password is of letters
    return password


@pytest.fixture(scope="module")
def stores(
    control_plane: ControlPlane,
    test_node: NodeProcess,
    operator: Controller,
    agents_namespace: str,
    database: Database,
    admin_password: str,
) -> Iterator[Stores]:
    """The store of the documentation, ready."""
    test_node.add_images({AGENT_IMAGE: agent_image()})
    here, server = Stores(control_plane, agents_namespace), database.server
    assert isinstance(server, TLSPostgreSQLServer)
    here.create_secret("postgresql-admin", username=ADMIN, password=admin_password)
    here.kubectl("create", "configmap", "postgresql-ca", f"--from-file={server.ca_file}")
    with documented_store(here, block("yaml"), host=server.host, port=server.port):
        yield here


def run_pod(stores: Stores, name: str, *arguments: str) -> str:
    """Run the example in a pod that asks for the store with a label and nothing else; returns what it printed."""
    container = {"name": "agent", "image": AGENT_IMAGE, "command": ["python", "long_term_memory.py", *arguments]}
    metadata = {"name": name, "namespace": stores.namespace, "labels": {LABEL: "conversations"}}
    spec = {"restartPolicy": "Never", "containers": [container]}
    stores.control_plane.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})

    def phase() -> str:
        return str(stores.control_plane.get("pod", name, stores.namespace)["status"].get("phase"))

    wait_for(lambda: phase() in ("Succeeded", "Failed"), timeout=60, what=f"end of pod {name}")
    log = stores.kubectl("logs", name)
    assert phase() == "Succeeded", log
    return log


def test_a_second_pod_knows_the_person_in_another_conversation(stores: Stores) -> None:
    run_pod(stores, "monday", "ada", "monday", "I live in Lisbon. I prefer trains.")
    answer = run_pod(stores, "tuesday", "ada", "tuesday", "What do you know about me?")
    assert "The user lives in Lisbon." in answer
    assert "The user prefers trains." in answer


def test_the_binding_tells_agents_of_the_memory_and_claims_name_its_table(stores: Stores) -> None:
    document = json.loads(stores.binding("conversations")["connection.json"])
    assert document["long_term_memory"] == {"embedding_dimension": 1024}
    assert stores.get("conversations")["status"]["claims"]["longTermMemory"] == "locus_items"


def test_conditions_say_what_is_enforced_and_what_would_be_faster(stores: Stores) -> None:
    conditions = stores.conditions("conversations")
    assert conditions["RetentionEnforced"]["status"] == "True"
    assert "older, by the clock of the database" in conditions["RetentionEnforced"]["message"]
    assert "all but the newest of each thread" in conditions["RetentionEnforced"]["message"]
    assert "CREATE EXTENSION vector" in conditions["Provisioned"]["message"]


def test_the_issued_login_reads_items_and_changes_no_table(stores: Stores, database: Database) -> None:
    binding = stores.binding("conversations")
    with psycopg.connect(database.dsn(binding["username"], binding["password"]), autocommit=True) as agent:
        assert agent.execute("SELECT count(*) > 0 FROM locus_items").fetchone() == (True,)
        for statement in (b"DROP TABLE locus_items", b"TRUNCATE locus_items", b"DELETE FROM locus_items_schema"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                agent.execute(statement)
