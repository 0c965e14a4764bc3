"""What kube-proxy does for the webhook: one address before all of its pods that are ready."""

import json
import random
import socket
import socketserver
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta
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

    Attributes:
        lag_seconds: how long it goes on to use a pod that is being deleted, and no other, as the last node may that
            hears of it; a second less where the API server rounds.
    """

    def __init__(self, cluster: ControlPlane, namespace: str, selector: str, target_port: int) -> None:
        self._cluster = cluster
        self._query = ("get", "pods", f"--namespace={namespace}", f"--selector={selector}", "--output=json")
        self._target_port = target_port
        self.lag_seconds = 0.0
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
        """Addresses of the pods that are thought to be ready."""
        pods = json.loads(self._cluster.kubectl(*self._query))["items"]
        late = [each for each in pods if _left_within(each, self.lag_seconds)]
        return [each["status"]["podIP"] for each in late or filter(_is_ready, pods)]

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


def _left_within(pod: dict[str, Any], seconds: float) -> bool:
    metadata = pod["metadata"]
    if "deletionTimestamp" not in metadata:
        return False
    # The time at which it is to be gone.
    end = datetime.fromisoformat(metadata["deletionTimestamp"])
    begin = end - timedelta(seconds=metadata["deletionGracePeriodSeconds"])
    return datetime.now(UTC) < begin + timedelta(seconds=seconds)


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    for each in (source, target):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
