"""Reading untrusted input in a process of its own, with limits on memory and processor time.

The process dies with its parent, and whatever happens to it is one SourceError here.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import resource
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import RawValue
from typing import Any, TypeVar

from altrepodb.errors import AltrepodbError, SourceError
from altrepodb.workers import can_fork, prepare_worker

__all__ = ["Counter", "ReaderLimits", "ReaderProcess", "reader_process"]

Argument = TypeVar("Argument")

_POLL_S = 0.2
_END_S = 5.0
_THREAD_STACK_BYTES = 1 << 20
_ARENAS = 2
_M_ARENA_MAX = -8
_GRACE_S = 5


@dataclass(frozen=True, slots=True)
class ReaderLimits:
    """What a reader may use: bytes of memory of its own, and seconds of processor time."""

    memory_bytes: int
    cpu_s: int


class Counter:
    """A number that the reader raises and its parent looks at."""

    def __init__(self) -> None:
        self._value = RawValue(ctypes.c_uint64)

    def add(self, amount: int) -> None:
        # Several threads add; what one of them may lose is of no consequence for a progress bar.
        self._value.value += amount

    @property
    def value(self) -> int:
        return int(self._value.value)


Read = Callable[[Argument, Counter], Iterator[Any]]


class ReaderProcess:
    """A reader at work; see ``reader_process``."""

    def __init__(self, name: str, process: Any, connection: Connection, counter: Counter) -> None:
        self._name = name
        self._process = process
        self._connection = connection
        self.counter = counter

    def next_result(self, while_waiting: Callable[[], None] | None = None) -> Any:
        """The next thing that the reader yields.

        Raises the reader's own AltrepodbError, or SourceError when it died.
        """
        while not self._connection.poll(_POLL_S):
            if while_waiting:
                while_waiting()
        try:
            is_result, value = self._connection.recv()
        except (EOFError, ConnectionError) as error:
            raise self._death() from error
        if not is_result:
            raise value
        return value

    def _death(self) -> SourceError:
        self._process.join(_END_S)
        code = self._process.exitcode
        if code == -signal.SIGXCPU:
            return SourceError(f"{self._name}: damaged or too complex: it takes too long to read")
        if code is not None and code < 0:
            reason = signal.Signals(-code).name
            return SourceError(f"{self._name}: damaged or too complex: reader ended by {reason}")
        return SourceError(f"{self._name}: damaged or too complex: reader ended with {code}")


@contextmanager
def reader_process(
    read: Read[Argument], argument: Argument, name: str, limits: ReaderLimits
) -> Iterator[ReaderProcess]:
    """Run a generator in a child process that ends with the block; ``name`` is for messages."""
    is_forked = can_fork()
    context: Any = multiprocessing.get_context("fork" if is_forked else "forkserver")
    ours, theirs = context.Pipe(duplex=False)
    counter = Counter()
    parent = os.getpid() if is_forked else 0
    arguments = (theirs, read, argument, counter, name, limits, parent)
    process = context.Process(target=_serve, args=arguments, name="reader", daemon=True)
    with ours:
        process.start()
        theirs.close()
        try:
            yield ReaderProcess(name, process, ours, counter)
        finally:
            process.kill()
            process.join()
            process.close()


def _serve(
    connection: Connection,
    read: Read[Argument],
    argument: Argument,
    counter: Counter,
    name: str,
    limits: ReaderLimits,
    parent: int,
) -> None:
    """What the child does: send all results, or the error that ends them."""
    prepare_worker(parent)
    _set_limits(limits)
    try:
        for result in read(argument, counter):
            connection.send((True, result))
    except AltrepodbError as error:
        _send_error(connection, error)
    except MemoryError:
        _send_error(
            connection,
            SourceError(f"{name}: damaged or too complex: reading it takes too much memory"),
        )
    # Threads that still digest what nobody waits for any more must not keep the process.
    os._exit(0)


def _send_error(connection: Connection, error: AltrepodbError) -> None:
    with suppress(OSError):
        connection.send((False, type(error)(str(error))))


def _set_limits(limits: ReaderLimits) -> None:
    threading.stack_size(_THREAD_STACK_BYTES)
    # An arena for each thread would take more address space than the reader ever fills.
    ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _ARENAS)
    used = _data_bytes()
    _lower(resource.RLIMIT_DATA, used + limits.memory_bytes, used + limits.memory_bytes)
    _lower(resource.RLIMIT_CPU, limits.cpu_s, limits.cpu_s + _GRACE_S)
    _lower(resource.RLIMIT_CORE, 0, 0)


def _lower(kind: int, soft: int, hard: int) -> None:
    """Set a limit, unless a lower one stands."""
    _, present = resource.getrlimit(kind)
    if present != resource.RLIM_INFINITY:
        soft, hard = min(soft, present), min(hard, present)
    resource.setrlimit(kind, (soft, hard))


def _data_bytes() -> int:
    """The private writable memory that this process has (proc(5), statm)."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[5]) * resource.getpagesize()
