"""A class as the platform team offers it, and everything that a tenant can read of it."""

import base64
import json
from dataclasses import dataclass, field
from typing import Any

from tests.e2e.control_plane import ControlPlane
from tests.e2e.controller.samples import Admin, Spec
from tests.e2e.operator_process import NAMESPACE, Stores
from tests.servers.processes import wait_for

DEFAULT = "memory.locus.dev/is-default-class"
FOR_ALL: Spec = {"allowedNamespaces": {"from": "All"}}


@dataclass(frozen=True)
class Offer:
    """A `CheckpointStoreClass` with its Secret, of the same name, in the operator's namespace."""

    control_plane: ControlPlane
    name: str
    admin: Admin
    annotations: dict[str, str] = field(default_factory=dict)

    @property
    def platform(self) -> Stores:
        """The operator's namespace."""
        return Stores(self.control_plane, NAMESPACE)

    def create_secret(self, **entries: str) -> None:
        """Create or replace the administrator's Secret; by default with a login that works."""
        self.platform.create_secret(
            self.name, **(entries or {"username": self.admin.name, "password": self.admin.password})
        )

    def apply(self, *, member: Spec | None = None, **spec: Any) -> None:
        """Create or change the class.

        Args:
            member: Fields of the backend's member that differ from the tests' database.
            spec: Fields of the spec beside the backend.
        """
        backend = self.admin.spec(**{"adminSecretRef": {"name": self.name}, **(member or {})})
        self.control_plane.apply(
            {
                "apiVersion": "memory.locus.dev/v1alpha1",
                "kind": "CheckpointStoreClass",
                "metadata": {"name": self.name, "annotations": self.annotations},
                "spec": backend | spec,
            }
        )

    def get(self) -> dict[str, Any]:
        """Read the class."""
        return self.control_plane.get("cpsclass", self.name)

    def exists(self) -> bool:
        """Whether the API server still has it."""
        return bool(self.control_plane.kubectl("get", f"cpsclass/{self.name}", "--ignore-not-found", "--output=name"))

    def wait_for_reason(self, reason: str, type_: str = "Ready") -> str:
        """Wait until a condition has a reason; returns its message."""
        what = f"{type_} of class {self.name} with reason {reason}"
        wait_for(lambda: self._condition(type_).get("reason") == reason, timeout=15, what=what)
        return str(self._condition(type_)["message"])

    def wait_for_stores(self, count: int) -> None:
        """Wait until it reports so many bound stores."""
        wait_for(
            lambda: self.get().get("status", {}).get("boundStores") == count,
            timeout=15,
            what=f"{count} stores of class {self.name}",
        )

    def wait_for_event(self, reason: str) -> str:
        """Wait for an Event about the class; returns its message."""
        return Stores(self.control_plane, "kube-system").wait_for_event(self.name, reason)

    def delete(self) -> None:
        """Ask for its deletion, and do not wait."""
        self.control_plane.kubectl("delete", f"cpsclass/{self.name}", "--wait=false", "--ignore-not-found")

    def remove_by_force(self) -> None:
        """Delete it although it is in use, as somebody might who is in a hurry."""
        self.wait_for_stores(1)
        wait_for(lambda: self.get()["metadata"].get("finalizers"), timeout=10, what="a finalizer")
        self.delete()
        patch = json.dumps({"metadata": {"finalizers": None}})
        self.control_plane.kubectl("patch", f"cpsclass/{self.name}", "--type=merge", f"--patch={patch}")

    def _condition(self, type_: str) -> dict[str, Any]:
        conditions = self.get().get("status", {}).get("conditions", [])
        return next((each for each in conditions if each["type"] == type_), {})


def readable(stores: Stores) -> str:
    """Everything in a namespace that is the operator's work, as one text: stores with their annotations, Events,
    and Secrets decoded."""
    kinds = "checkpointstores,events,secrets,configmaps"
    items = json.loads(stores.kubectl("get", kinds, "--output=json"))["items"]
    for item in items:
        if item["kind"] == "Secret":
            item["data"] = {key: base64.b64decode(value).decode() for key, value in (item.get("data") or {}).items()}
    own = [item for item in items if "service-account" not in item.get("type", "") and "root-ca" not in str(item)]
    return json.dumps(own)
