"""``python -m tests.e2e.test_node``: run a node until SIGTERM."""

import argparse
import asyncio
import logging
import signal
from pathlib import Path

from tests.e2e.test_node.node import Node


async def serve(arguments: argparse.Namespace) -> None:
    """Be a node until the process is asked to stop."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    node = Node(arguments.name, arguments.kubeconfig, arguments.workdir, arguments.images)
    async with node.running():
        (arguments.workdir / "ready").touch()
        await stop.wait()


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.test_node", description=__doc__)
    parser.add_argument("--kubeconfig", type=Path, required=True, help="of a cluster administrator")
    parser.add_argument("--workdir", type=Path, required=True, help="for pods, claims and logs")
    parser.add_argument("--images", type=Path, required=True, help="JSON file: image name -> ImageRoot")
    parser.add_argument("--name", default="test-node", help="of the Node object")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    arguments.workdir.mkdir(parents=True, exist_ok=True)
    asyncio.run(serve(arguments))


if __name__ == "__main__":
    main()
