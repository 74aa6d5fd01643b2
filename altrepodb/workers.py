"""The one worker pool: processes that parse while the caller writes.

Results come back in the order of the inputs, whatever the number of workers, and only a few
inputs are on their way at a time, so that memory does not follow the size of the source.

Open the pool before an embedded database: a process that already runs the engine's threads
cannot be forked safely, and workers then have to be started anew, which takes longer.
"""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from itertools import islice
from queue import Full, Queue
from typing import Any, TypeVar

from altrepodb.errors import AltrepodbError
from altrepodb.memory import return_large_blocks

__all__ = [
    "DEFAULT_WORKERS_LIMIT",
    "WorkerPool",
    "can_fork",
    "default_workers",
    "follow_parent",
    "prepare_worker",
    "read_ahead",
    "worker_pool",
]

DEFAULT_WORKERS_LIMIT = 10
_ENGINE_MODULE = "chdb"
_PR_SET_PDEATHSIG = 1
_STOP_POLL_S = 0.1
_LEAD_PER_WORKER = 3
_GARBAGE_THRESHOLD = 100_000
"""Parsing makes many objects and no cycles; looking for cycles would take a tenth of the time."""

Input = TypeVar("Input")
Output = TypeVar("Output")


def default_workers() -> int:
    """As many as there are processors for us, ten at most."""
    return min(len(os.sched_getaffinity(0)), DEFAULT_WORKERS_LIMIT)


def can_fork() -> bool:
    """Whether this process has no threads, whose locks a child would inherit as they are.

    The engine has threads that Python does not know of.
    """
    return _ENGINE_MODULE not in sys.modules and threading.active_count() == 1


def prepare_worker(parent: int) -> None:
    """A worker leaves signals to its parent and dies with it, also when that is killed.

    ``parent`` is the process that forked it, or 0 when a fork server did.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _leave_sigterm_to(parent)
    gc.freeze()
    gc.set_threshold(_GARBAGE_THRESHOLD)
    if parent:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
    else:
        threading.Thread(target=follow_parent, daemon=True).start()


def _leave_sigterm_to(parent: int) -> None:
    """Let SIGTERM end this process only when the process that it serves has sent it.

    A service manager may send it to a whole group of processes at once, while that one means to
    finish its load; the pool itself sends it to the other workers when one has died.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    # A signal that is ignored, as a parent may have left it, would not even be waited for.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    served = multiprocessing.parent_process()
    sender = parent or (served.pid if served is not None else 0)
    threading.Thread(target=_await_sigterm, args=(sender,), daemon=True).start()


def _await_sigterm(sender: int | None) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != sender:
        pass
    os._exit(128 + signal.SIGTERM)


def follow_parent() -> None:
    """Die with the process that is served: the kernel knows the fork server as our parent."""
    served = multiprocessing.parent_process()
    if served is not None:
        served.join()
        os._exit(1)


class WorkerPool:
    """Runs functions of one argument in worker processes; see ``worker_pool``."""

    def __init__(self, executor: ProcessPoolExecutor, workers: int) -> None:
        self._executor = executor
        self.workers = workers
        self._lead = _LEAD_PER_WORKER * workers + 1

    def map(self, function: Callable[[Input], Output], inputs: Iterable[Input]) -> Iterator[Output]:
        """The results of ``function`` over the inputs, in their order.

        The work starts at once. The first exception of a worker is raised in its place, and
        nothing further is begun. Raises AltrepodbError when a worker process dies.
        """
        waiting = iter(inputs)
        running: deque[Future[Output]] = deque()
        self._fill(function, waiting, running)
        return self._results(function, waiting, running)

    def _fill(
        self,
        function: Callable[[Input], Output],
        waiting: Iterator[Input],
        running: deque[Future[Output]],
    ) -> None:
        with _clear_error():
            for item in islice(waiting, self._lead - len(running)):
                running.append(self._executor.submit(function, item))

    def _results(
        self,
        function: Callable[[Input], Output],
        waiting: Iterator[Input],
        running: deque[Future[Output]],
    ) -> Iterator[Output]:
        try:
            while running:
                with _clear_error():
                    result = running.popleft().result()
                self._fill(function, waiting, running)
                yield result
        finally:
            for future in running:
                future.cancel()


@contextmanager
def _clear_error() -> Iterator[None]:
    """Say in our own words that a worker was killed."""
    try:
        yield
    except BrokenProcessPool as error:
        raise AltrepodbError("a worker process died; was memory short?") from error


@contextmanager
def worker_pool(workers: int) -> Iterator[WorkerPool]:
    """Start ``workers`` processes; they end with the block, or with this process."""
    return_large_blocks()
    is_forked = can_fork()
    context = multiprocessing.get_context("fork" if is_forked else "forkserver")
    parent = os.getpid() if is_forked else 0
    executor = ProcessPoolExecutor(workers, context, prepare_worker, (parent,))
    try:
        # Submitting something is what makes the executor fork.
        executor.submit(os.getpid)
        yield WorkerPool(executor, workers)
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


@contextmanager
def read_ahead(items: Iterable[Output], depth: int) -> Iterator[Iterator[Output]]:
    """The same items, produced by a thread that is at most ``depth`` of them ahead.

    For sources whose reading and whose writing can go on side by side. An exception of the
    source is raised where its item would have been.
    """
    queue: Queue[tuple[bool, Any]] = Queue(depth)
    stop = threading.Event()

    def put(entry: tuple[bool, Any]) -> None:
        while not stop.is_set():
            with suppress(Full):
                return queue.put(entry, timeout=_STOP_POLL_S)

    def produce() -> None:
        try:
            for item in items:
                put((True, item))
                if stop.is_set():
                    return
        except BaseException as error:
            put((False, error))
        else:
            put((False, None))

    def consume() -> Iterator[Output]:
        while True:
            is_item, value = queue.get()
            if is_item:
                yield value
            elif value is None:
                return
            else:
                raise value

    thread = threading.Thread(target=produce, name="read ahead")
    thread.start()
    try:
        yield consume()
    finally:
        stop.set()
        thread.join()
