"""Starts and stops a test node from Python, in a process of its own."""

import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.e2e.test_node.images import ImageRoot, save_images
from tests.servers.processes import Child

START_TIMEOUT = 30.0
STOP_TIMEOUT = 30.0
REPOSITORY = Path(__file__).resolve().parents[3]


class NodeProcess:
    """A test node in ``directory``, running while its ``with`` block is entered.

    Args:
        directory: for pods, claims and logs; made if missing.
        kubeconfig: of a cluster administrator.
        images: what can be run, by image name; others give ``ErrImagePull``.
        name: of the Node object.
    """

    def __init__(
        self, directory: Path, kubeconfig: Path, images: Mapping[str, ImageRoot], name: str = "test-node"
    ) -> None:
        self.directory = directory.resolve()
        self.name = name
        self._kubeconfig = kubeconfig
        self._images = dict(images)
        self._process: Child | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int | None:
        """Process id of the running node, else None."""
        return None if self._process is None else self._process.pid

    @property
    def log(self) -> Path:
        """The node's own log; those of containers are below ``logs/`` beside it."""
        return self.directory / "node.log"

    def start(self) -> None:
        """Start the node and wait until it is Ready.

        Raises:
            ServerError: it did not come up; the message ends with its log.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        images = self.directory / "images.json"
        save_images(images, self._images)
        ready = self.directory / "ready"
        ready.unlink(missing_ok=True)
        command = [
            *(sys.executable, "-m", "tests.e2e.test_node"),
            f"--kubeconfig={self._kubeconfig}",
            f"--workdir={self.directory}",
            f"--images={images}",
            f"--name={self.name}",
        ]
        self._process = Child("test node", command, log=self.log, death_signal=signal.SIGTERM, cwd=REPOSITORY)
        try:
            self._process.wait_until_ready(ready.exists, timeout=START_TIMEOUT)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the node and all its containers; the pods' objects stay."""
        if self._process is not None:
            self._process.stop(timeout=STOP_TIMEOUT)
            self._process = None

    def add_images(self, images: Mapping[str, ImageRoot]) -> None:
        """Make more images known; pods that wait for them start."""
        self._images |= images
        save_images(self.directory / "images.json", self._images)
