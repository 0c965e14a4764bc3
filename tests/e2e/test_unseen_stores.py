"""What Flux and others see of a store while no operator runs."""

from tests.e2e.control_plane import ControlPlane
from tests.e2e.operator_process import install, store_manifest


def test_a_store_that_no_operator_has_seen_is_not_taken_for_ready(control_plane: ControlPlane, namespace: str) -> None:
    install(control_plane)
    control_plane.apply(store_manifest(namespace, "new", {"backend": {"memory": {}}}))

    found = control_plane.get("cps", "new", namespace)

    # kstatus compares this with metadata.generation.
    assert found["status"] == {"observedGeneration": -1}
    assert found["metadata"]["generation"] == 1
