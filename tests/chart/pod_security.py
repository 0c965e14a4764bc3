"""The restricted Pod Security Standard, rule by rule as Kubernetes documents it, for Linux pods.

The API server of the tests is older than the admission that enforces it; a current one does in tests/kind.
"""

from collections.abc import Iterator
from typing import Any

Object = dict[str, Any]
VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
SYSCTLS = {
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
}


def violations(spec: Object, annotations: Object | None = None) -> Iterator[str]:
    """Yield what a pod must not have.

    Args:
        spec: The pod's.
        annotations: Of the pod: they used to choose AppArmor's profile.
    """
    security = spec.get("securityContext") or {}
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(name):
            yield name
    for volume in spec.get("volumes") or []:
        if unknown := volume.keys() - {"name"} - VOLUMES:
            yield f"volume {volume['name']}: {', '.join(unknown)}"
    for sysctl in security.get("sysctls") or []:
        if sysctl["name"] not in SYSCTLS:
            yield f"sysctl {sysctl['name']}"
    for key, profile in (annotations or {}).items():
        if key.startswith("container.apparmor.security.beta.kubernetes.io/") and not _is_profile(profile):
            yield f"AppArmor {profile}"
    for kind in ("containers", "initContainers", "ephemeralContainers"):
        for container in spec.get(kind) or []:
            for each in _of_container(container, security):
                yield f"{container['name']}: {each}"


def _is_profile(name: str) -> bool:
    return name in ("", "runtime/default") or name.startswith("localhost/")


def _of_container(container: Object, pod: Object) -> Iterator[str]:
    own = container.get("securityContext") or {}
    both = {**pod, **own}
    if own.get("privileged"):
        yield "privileged"
    if own.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation is not false"
    capabilities = own.get("capabilities") or {}
    if "ALL" not in (capabilities.get("drop") or []):
        yield "capabilities: ALL are not dropped"
    if added := set(capabilities.get("add") or []) - {"NET_BIND_SERVICE"}:
        yield f"capabilities: {', '.join(added)}"
    if both.get("runAsNonRoot") is not True:
        yield "runAsNonRoot is not true"
    if 0 in (pod.get("runAsUser"), own.get("runAsUser")):
        yield "runAsUser is 0"
    for name in ("seccompProfile", "appArmorProfile"):
        kind = (both.get(name) or {}).get("type")
        if kind not in ("RuntimeDefault", "Localhost", *([None] if name == "appArmorProfile" else [])):
            yield f"{name} is {kind}"
    if own.get("procMount", "Default") != "Default":
        yield f"procMount is {own['procMount']}"
    for options in (pod.get("seLinuxOptions") or {}, own.get("seLinuxOptions") or {}):
        if options.get("type", "") not in (
            "",
            "container_t",
            "container_init_t",
            "container_kvm_t",
            "container_engine_t",
        ):
            yield f"SELinux type {options['type']}"
        if options.get("user") or options.get("role"):
            yield "SELinux user or role"
    if any(port.get("hostPort") for port in container.get("ports") or []):
        yield "hostPort"
    if any((own.get("windowsOptions") or {}).get("hostProcess") for own in (pod, own)):
        yield "hostProcess"
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        if any(action.get("host") for action in (container.get(probe) or {}).values() if isinstance(action, dict)):
            yield f"host of the {probe}"
