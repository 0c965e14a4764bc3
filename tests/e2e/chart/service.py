"""What kube-proxy does for the webhook: one address before all of its pods that are ready."""

import json
import random
import socket
import socketserver
import threading
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from tests.e2e.control_plane import HOST, ControlPlane


class Service:
    """Passes connections on to the pods of a selector while its ``with`` block is entered.

    Args:
        cluster: where the pods are.
        namespace: their namespace.
        selector: their labels, as kubectl takes them.
        target_port: the port that they listen on.
    """

    def __init__(self, cluster: ControlPlane, namespace: str, selector: str, target_port: int) -> None:
        self._cluster = cluster
        self._query = ("get", "pods", f"--namespace={namespace}", f"--selector={selector}", "--output=json")
        self._target_port = target_port
        service = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                service.pass_on(self.request)

        self._server = socketserver.ThreadingTCPServer((HOST, 0), Handler, bind_and_activate=False)
        self._server.daemon_threads = True
        self._server.server_bind()
        self._server.server_activate()

    @property
    def url(self) -> str:
        """What the API server calls."""
        return f"https://{HOST}:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def addresses(self) -> list[str]:
        """Addresses of the pods that are ready."""
        pods = json.loads(self._cluster.kubectl(*self._query))["items"]
        return [each["status"]["podIP"] for each in pods if _is_ready(each)]

    def pass_on(self, client: socket.socket) -> None:
        """Connect to one of the pods, and copy both ways until one side ends."""
        addresses = self.addresses()
        if not addresses:
            return
        with suppress(OSError), socket.create_connection((random.choice(addresses), self._target_port)) as pod:
            back = threading.Thread(target=_copy, args=(pod, client), daemon=True)
            back.start()
            _copy(client, pod)
            back.join()


def _is_ready(pod: dict[str, Any]) -> bool:
    conditions = {each["type"]: each["status"] for each in (pod.get("status") or {}).get("conditions") or []}
    return conditions.get("Ready") == "True" and "deletionTimestamp" not in pod["metadata"]


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    for each in (source, target):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
