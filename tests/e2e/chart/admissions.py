"""Somebody who creates pods all the time, and looks whether the stores are Ready."""

import threading
from collections import Counter
from itertools import cycle
from types import TracebackType
from typing import Any, Self

from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

from tests.e2e.chart.release import AGENTS
from tests.e2e.control_plane import ControlPlane
from tests.e2e.pods import agent, stores_of

PAUSE_SECONDS = 0.1
GROUP, VERSION, PLURAL = "memory.locus.dev", "v1alpha1", "checkpointstores"


class Admissions:
    """Goes on while its ``with`` block is entered.

    Args:
        cluster: Where.
        stores: Which ones pods ask for, in turns; all of them are Ready.

    Attributes:
        admitted: Pods by store that came out with it.
        faults: What should not have been.
    """

    def __init__(self, cluster: ControlPlane, stores: list[str]) -> None:
        self.admitted: Counter[str] = Counter()
        self.faults: list[str] = []
        self._stores = stores
        self._api = config.new_client_from_config(str(cluster.kubeconfig))  # type: ignore[no-untyped-call]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._go_on, name="admissions")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._api.close()

    def _go_on(self) -> None:
        for store in cycle(self._stores):
            if self._stop.wait(PAUSE_SECONDS):
                return
            try:
                self._create(store)
                self._look()
            except ApiException as error:
                self.faults.append(f"the API server answered {error.status}: {error.body}")

    def _create(self, store: str) -> None:
        """Have a pod admitted, without making it."""
        manifest: Any = agent("probe", store)
        pod: Any = client.CoreV1Api(self._api).create_namespaced_pod(AGENTS, manifest, dry_run="All")
        if stores_of({"metadata": {"annotations": pod.metadata.annotations or {}}}) == [store]:
            self.admitted[store] += 1
        else:
            self.faults.append(f"a pod was admitted without {store}")

    def _look(self) -> None:
        found: Any = client.CustomObjectsApi(self._api).list_namespaced_custom_object(GROUP, VERSION, AGENTS, PLURAL)
        for each in found["items"]:
            conditions = {one["type"]: one["status"] for one in each.get("status", {}).get("conditions", [])}
            if each["metadata"]["name"] in self._stores and conditions.get("Ready") != "True":
                self.faults.append(f"{each['metadata']['name']} is not Ready: {each.get('status')}")
