"""Threads for blocking requests: bounded, started when needed, and no reason for a process to stay alive."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from types import ModuleType
from typing import Any, Final, TypeVar

from locus_memory.drivers import require

T = TypeVar("T")

_IDLE_SECONDS: Final = 10

_LOADING = threading.Lock()
# A process forked in the middle of an import would wait for ever for the thread that was importing.
os.register_at_fork(before=_LOADING.acquire, after_in_parent=_LOADING.release, after_in_child=_LOADING.release)


def sdk() -> ModuleType:
    """Import the OCI SDK, which takes a third of a second at first: not for a thread that runs an event loop."""
    with _LOADING:
        require("oci.object_storage", "oci")
        return require("oci", "oci")


class Workers:
    """Runs functions in at most `size` threads.

    Unlike those of `ThreadPoolExecutor`, the threads are daemons: a request that hangs does not hold up the end of
    the process. A thread without work ends by itself.

    Args:
        size: At least 1.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._tasks: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = queue.SimpleQueue()
        self._jobs = 0
        """Tasks that wait or run."""
        self._threads = 0

    def submit(self, function: Callable[[], T]) -> Future[T]:
        """Have a thread call the function, unless the future is cancelled before one is free."""
        future: Future[T] = Future()
        with self._lock:
            self._tasks.put((future, function))
            self._jobs += 1
            starting = self._threads < min(self._jobs, self._size)
            self._threads += starting
        if starting:
            threading.Thread(target=self._work, name="locus-oci", daemon=True).start()
        return future

    def _work(self) -> None:
        while True:
            try:
                future, function = self._tasks.get(timeout=_IDLE_SECONDS)
            except queue.Empty:
                with self._lock:
                    if self._tasks.empty():
                        self._threads -= 1
                        return
                continue
            _carry_out(future, function)
            del future, function
            with self._lock:
                self._jobs -= 1


def _carry_out(future: Future[Any], function: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = function()
    except BaseException as error:  # noqa: BLE001 - it is the waiting caller's
        future.set_exception(error)
    else:
        future.set_result(result)
