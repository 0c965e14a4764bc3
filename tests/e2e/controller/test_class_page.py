"""The YAML of docs/classes.md does what the page says."""

import re
from collections.abc import Iterator

import pytest
import yaml

from tests.e2e.control_plane import REPOSITORY, ControlPlane
from tests.e2e.controller.samples import Admin, Spec, assert_usable
from tests.e2e.operator_process import NAMESPACE, Controller, Stores

PAGE = REPOSITORY / "docs" / "classes.md"


@pytest.fixture
def documents(admin: Admin, stores: Stores) -> dict[str, Spec]:
    """The page's objects by their names, led to the tests' server and namespace, and otherwise as they stand."""
    blocks = re.findall(r"^```yaml\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    found = {each["metadata"]["name"]: each for block in blocks for each in yaml.safe_load_all(block)}
    server = admin.database.server
    place = {"host": server.host, "port": server.port, "database": admin.database.name, "sslMode": "disable"}
    found["shared-postgresql"]["spec"]["backend"]["postgresql"] |= place
    found["shared-postgresql-admin"]["stringData"] = {"username": admin.name, "password": admin.password}
    for name in ("support", "triage"):
        found[name]["metadata"]["namespace"] = stores.namespace
    return found


@pytest.fixture
def offered(control_plane: ControlPlane, controller: Controller, documents: dict[str, Spec]) -> Iterator[str]:
    """The platform team's part of the page."""
    control_plane.apply(documents["shared-postgresql-admin"], documents["shared-postgresql"])
    yield "shared-postgresql"
    control_plane.kubectl("delete", "cpsclass/shared-postgresql", "--wait=false")


async def test_both_stores_of_the_page_are_ready_once_their_namespace_is_allowed(
    documents: dict[str, Spec], offered: str, stores: Stores
) -> None:
    assert documents["shared-postgresql-admin"]["metadata"]["namespace"] == NAMESPACE
    stores.control_plane.apply(documents["support"], documents["triage"])
    stores.wait_for_reason("support", "NamespaceNotAllowed")
    stores.wait_for_reason("triage", "ClassNotFound")

    stores.control_plane.kubectl("label", "namespace", stores.namespace, "agents.example.com/memory=allowed")
    stores.kubectl("annotate", "cps", "support", "triage", "look=again")

    for name in ("support", "triage"):
        stores.wait(name)
        await assert_usable(stores.binding(name))
    assert stores.get("triage")["spec"]["className"] == offered
    assert '"max_age_seconds": 604800' in stores.binding("support")["connection.json"]
    assert '"max_age_seconds": 2592000' in stores.binding("triage")["connection.json"]
    columns = stores.control_plane.kubectl("get", "cpsclass", offered)
    assert columns.split()[:6] == ["NAME", "BACKEND", "STORES", "READY", "REASON", "AGE"]
