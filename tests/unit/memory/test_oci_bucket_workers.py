"""Threads for requests."""

import subprocess
import sys
import threading
import time

import pytest

from locus_memory.backends.oci_bucket_workers import Workers


def test_as_many_tasks_run_at_once_as_there_are_threads() -> None:
    workers, gate, started = Workers(3), threading.Event(), threading.Semaphore(0)

    def task() -> bool:
        started.release()
        return gate.wait(10)

    futures = [workers.submit(task) for _ in range(5)]
    for _ in range(3):
        assert started.acquire(timeout=10)
    assert not started.acquire(blocking=False)
    gate.set()
    assert [future.result(10) for future in futures] == [True] * 5


def test_a_task_that_was_cancelled_while_it_waited_is_not_run() -> None:
    workers, gate, ran = Workers(1), threading.Event(), list[str]()
    first = workers.submit(lambda: gate.wait(10))
    second, third = workers.submit(lambda: ran.append("second")), workers.submit(lambda: ran.append("third"))
    assert second.cancel()
    gate.set()
    assert first.result(10)
    third.result(10)
    assert ran == ["third"]


def test_an_error_is_the_callers() -> None:
    with pytest.raises(ZeroDivisionError):
        Workers(1).submit(lambda: 1 // 0).result(10)


def test_a_thread_that_hangs_does_not_keep_the_process_alive() -> None:
    code = (
        "import time; from locus_memory.backends.oci_bucket_workers import Workers; "
        "Workers(2).submit(lambda: time.sleep(60)); time.sleep(0.1)"
    )
    begin = time.monotonic()
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
    assert time.monotonic() - begin < 20


def test_a_process_that_forks_while_the_sdk_is_loaded_can_use_it() -> None:
    code = (
        "import os, threading; from locus_memory.backends.oci_bucket_workers import Workers, sdk\n"
        "Workers(1).submit(sdk)\n"
        "child = os.fork()\n"
        "if not child: sdk(); os._exit(0)\n"
        "assert os.waitpid(child, 0)[1] == 0"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
