"""Stores that name a class: whose credentials they use, and who may."""

import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.e2e.control_plane import ControlPlane
from tests.e2e.controller.samples import Admin, assert_usable
from tests.e2e.operator_process import NAMESPACE, Controller, Stores
from tests.servers.processes import wait_for


@dataclass(frozen=True)
class Class:
    """A `CheckpointStoreClass` with its Secret in the operator's namespace."""

    control_plane: ControlPlane
    name: str
    backend: dict[str, Any]

    def allow(self, allowed: dict[str, Any] | None) -> None:
        spec = {"backend": self.backend} | ({"allowedNamespaces": allowed} if allowed else {})
        self.control_plane.apply(
            {
                "apiVersion": "memory.locus.dev/v1alpha1",
                "kind": "CheckpointStoreClass",
                "metadata": {"name": self.name},
                "spec": spec,
            }
        )


    def remove_by_force(self) -> None:
        """Delete it although it is in use, as somebody might who is in a hurry."""
        wait_for(lambda: self.get()["metadata"].get("finalizers"), timeout=10, what="a finalizer")
        self.control_plane.kubectl("delete", f"cpsclass/{self.name}", "--wait=false")
        patch = json.dumps({"metadata": {"finalizers": None}})
        self.control_plane.kubectl("patch", f"cpsclass/{self.name}", "--type=merge", f"--patch={patch}")

    def get(self) -> dict[str, Any]:
        return self.control_plane.get("cpsclass", self.name)


@pytest.fixture
def store_class(control_plane: ControlPlane, controller: Controller, admin: Admin) -> Iterator[Class]:
    name = f"class-{secrets.token_hex(4)}"
    Stores(control_plane, NAMESPACE).create_secret(name, username=admin.name, password=admin.password)
    yield Class(control_plane, name, admin.spec(adminSecretRef={"name": name})["backend"])
    # It goes with the last store of the test's namespace; the Secret stays for their release.
    control_plane.kubectl("delete", f"cpsclass/{name}", "--wait=false")


async def test_a_store_uses_its_classs_credentials_and_never_sees_them(stores: Stores, store_class: Class) -> None:
    store_class.allow({"from": "All"})
    stores.apply("support", {"className": store_class.name})

    stores.wait("support")

    await assert_usable(stores.binding("support"))
    assert store_class.name not in stores.kubectl("get", "secrets", "--output=name")


def test_a_class_is_for_nobody_unless_it_says_so(stores: Stores, store_class: Class, admin: Admin) -> None:
    store_class.allow(None)
    stores.apply("support", {"className": store_class.name})

    condition = stores.wait_for_reason("support", "NamespaceNotAllowed")

    assert f"does not allow stores of namespace '{stores.namespace}'" in condition["message"]
    assert admin.objects(stores.namespace) == set()


def test_a_selector_looks_at_the_labels_of_the_namespace(stores: Stores, store_class: Class) -> None:
    store_class.allow({"from": "Selector", "selector": {"matchLabels": {"team": "agents"}}})
    stores.apply("support", {"className": store_class.name})
    stores.wait_for_reason("support", "NamespaceNotAllowed")

    stores.control_plane.kubectl("label", "namespace", stores.namespace, "team=agents")
    stores.kubectl("annotate", "cps/support", "look=again")

    stores.wait("support", timeout=10)


def test_a_class_that_no_longer_allows_a_store_lets_it_leave(stores: Stores, store_class: Class) -> None:
    store_class.allow({"from": "All"})
    stores.apply("support", {"className": store_class.name})
    stores.wait("support")

    store_class.allow({"from": "None"})

    stores.kubectl("delete", "cps/support", "--timeout=20s")
    stores.wait_for_event("support", "Released")


def test_a_class_that_is_gone_blocks_the_deletion_and_says_so(stores: Stores, store_class: Class) -> None:
    store_class.allow({"from": "All"})
    stores.apply("support", {"className": store_class.name})
    stores.wait("support")
    store_class.remove_by_force()

    stores.kubectl("delete", "cps/support", "--wait=false")

    condition = stores.wait_for_reason("support", "ClassNotFound", "DeletionBlocked")
    assert store_class.name in condition["message"]
    store_class.allow({"from": "All"})
    stores.wait_until_gone("support")
