"""A pod's status, worked out from the states of its containers."""

from tests.e2e.test_node.cluster import Object, timestamp
from tests.e2e.test_node.container import Container


def phase(init: list[Container], containers: list[Container]) -> str:
    """Return the pod's phase by Kubernetes' definition."""
    if any(each.finished and _exit_code(each) != 0 for each in init):
        return "Failed"
    if all(each.finished for each in containers):
        return "Failed" if any(_exit_code(each) != 0 for each in containers) else "Succeeded"
    started = any(each.state.restarts or "waiting" not in each.state.state for each in containers)
    return "Running" if started else "Pending"


def conditions(init: list[Container], containers: list[Container], known: list[Object]) -> list[Object]:
    """Return the pod's conditions; those that did not change keep their transition time from ``known``."""
    finished = phase(init, containers) in {"Succeeded", "Failed"}
    initialized = all(each.finished and _exit_code(each) == 0 for each in init)
    ready = initialized and not finished and all(each.state.ready for each in containers)
    unready = [each.spec["name"] for each in containers if not each.state.ready]
    reason: Object = {}
    if finished:
        reason = {"reason": "PodCompleted"}
    elif not ready:
        message = f"containers with unready status: [{' '.join(unready)}]"
        reason = {"reason": "ContainersNotReady", "message": message}
    return [
        _condition("PodScheduled", True, {}, known),
        _condition("Initialized", initialized, {} if initialized else {"reason": "ContainersNotInitialized"}, known),
        _condition("ContainersReady", ready, reason, known),
        _condition("Ready", ready, reason, known),
    ]


def _condition(kind: str, holds: bool, reason: Object, known: list[Object]) -> Object:
    status = "True" if holds else "False"
    same = [each for each in known if each["type"] == kind and each["status"] == status]
    since = same[0]["lastTransitionTime"] if same else timestamp()
    return {"type": kind, "status": status, "lastTransitionTime": since, **reason}


def _exit_code(container: Container) -> int:
    return int(container.state.state["terminated"]["exitCode"])
