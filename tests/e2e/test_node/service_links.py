"""The variables by which every pod learns of the Services in its namespace, unless it declines."""

from collections.abc import Iterable

from tests.e2e.test_node.cluster import Object


def service_links(services: Iterable[Object], pod: Object) -> dict[str, str]:
    """Return the variables that a kubelet gives a pod for the Services that have an address in its namespace.

    Args:
        services: Services of all namespaces.
        pod: With `enableServiceLinks: false` it gets none.
    """
    if not pod["spec"].get("enableServiceLinks", True):
        return {}
    found: dict[str, str] = {}
    for service in services:
        address = service["spec"].get("clusterIP")
        if service["metadata"]["namespace"] == pod["metadata"]["namespace"] and address not in (None, "", "None"):
            prefix = service["metadata"]["name"].upper().replace("-", "_")
            found |= _links(prefix, address, service["spec"]["ports"])
    return found


def _links(prefix: str, address: str, ports: list[Object]) -> dict[str, str]:
    first = ports[0]
    found = {
        f"{prefix}_SERVICE_HOST": address,
        f"{prefix}_SERVICE_PORT": str(first["port"]),
        f"{prefix}_PORT": _url(address, first),
    }
    for port in ports:
        protocol = port.get("protocol", "TCP")
        link = f"{prefix}_PORT_{port['port']}_{protocol}"
        found |= {
            link: _url(address, port),
            f"{link}_PROTO": protocol.lower(),
            f"{link}_PORT": str(port["port"]),
            f"{link}_ADDR": address,
        }
        if "name" in port:
            found[f"{prefix}_SERVICE_PORT_{port['name'].upper().replace('-', '_')}"] = str(port["port"])
    return found


def _url(address: str, port: Object) -> str:
    return f"{port.get('protocol', 'TCP').lower()}://{address}:{port['port']}"
