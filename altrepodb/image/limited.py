"""Read an image in a process of its own, with limits on memory and time.

Libraries and formats cannot all be bounded from inside; a process can. It ends with the process
that started it, however that ends, and with the block that it was started for. When an embedded
database is open here, it is started through the fork server, so that nothing of that is in it.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ctypes import c_uint64
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import RawValue
from typing import Any, TypeVar

from altrepodb.errors import AltrepodbError, SourceError
from altrepodb.memory import limit_arenas
from altrepodb.workers import can_fork, prepare_worker

__all__ = [
    "READING_LIMITS",
    "ByteCounter",
    "LimitedProcess",
    "ProcessLimits",
    "limited_process",
    "run_limited",
]

_EXIT_TIMEOUT_S = 10.0
_POLL_S = 0.2
_THREAD_STACK_BYTES = 1 << 20

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class ProcessLimits:
    """``memory_bytes`` is address space; the time limits are of the processor and of the clock."""

    memory_bytes: int
    cpu_s: int
    wall_s: float


READING_LIMITS = ProcessLimits(memory_bytes=1 << 30, cpu_s=1800, wall_s=7200.0)
"""Enough for any sound image. The address space holds libraries and thread stacks too."""


class ByteCounter:
    """A number that the reading process raises and this one looks at."""

    def __init__(self) -> None:
        self._value = RawValue(c_uint64)

    def add(self, count: int) -> None:
        """What threads lose when they add at the same moment, a progress bar does not miss."""
        self._value.value += count

    @property
    def value(self) -> int:
        return int(self._value.value)


class LimitedProcess:
    """A process that yields results; see ``limited_process``."""

    def __init__(self, name: str, receiver: Connection, wall_s: float) -> None:
        self._name = name
        self._receiver = receiver
        self._wall_s = wall_s
        self._deadline = time.monotonic() + wall_s

    def next_result(self, while_waiting: Callable[[], None] | None = None) -> Any:
        """Wait for the next result, calling ``while_waiting`` now and then.

        Raises the reader's own AltrepodbError, and SourceError, naming the input, when a limit is
        exceeded or the process dies. An error that is none of ours is one of this program; its
        traceback goes along.
        """
        while not self._receiver.poll(_POLL_S):
            if time.monotonic() > self._deadline:
                raise SourceError(
                    f"{self._name}: image damaged or too complex: not read in {self._wall_s} s"
                )
            if while_waiting:
                while_waiting()
        try:
            is_result, value = self._receiver.recv()
        except (EOFError, ConnectionError):
            is_result, value = False, None
        if is_result:
            return value
        raise value or SourceError(f"{self._name}: image damaged or too complex")


@contextmanager
def limited_process(
    read: Callable[..., Iterator[Any]],
    *arguments: Any,
    name: str,
    limits: ProcessLimits = READING_LIMITS,
) -> Iterator[LimitedProcess]:
    """Run a generator in a process; results and errors go through pickle."""
    is_forked = can_fork()
    context: Any = multiprocessing.get_context("fork" if is_forked else "forkserver")
    if not is_forked:
        # The fork server imports once what each of its children would.
        context.set_forkserver_preload(["__main__", read.__module__])
    receiver, sender = context.Pipe(duplex=False)
    parent = os.getpid() if is_forked else 0
    process = context.Process(
        target=_serve, args=(sender, limits, parent, read, arguments), name=f"read {name}"
    )
    with receiver:
        process.start()
        sender.close()
        try:
            yield LimitedProcess(name, receiver, limits.wall_s)
        finally:
            process.kill()
            process.join(_EXIT_TIMEOUT_S)
            process.close()


def run_limited(
    function: Callable[..., Result],
    *arguments: Any,
    name: str,
    limits: ProcessLimits = READING_LIMITS,
) -> Result:
    """What the function returns, or the error of ours that it raises. Raises as
    ``LimitedProcess.next_result``."""
    with limited_process(_call, function, arguments, name=name, limits=limits) as process:
        result: Result = process.next_result()
        return result


def _call(function: Callable[..., Result], arguments: tuple[Any, ...]) -> Iterator[Result]:
    yield function(*arguments)


def _serve(
    sender: Connection,
    limits: ProcessLimits,
    parent: int,
    read: Callable[..., Iterator[Any]],
    arguments: tuple[Any, ...],
) -> None:
    """The whole life of the process: its results, or an error that ends them."""
    prepare_worker(parent)
    _limit(limits)
    error: Exception | None = None
    try:
        for result in read(*arguments):
            sender.send((True, result))
    except (MemoryError, RecursionError):
        pass
    except AltrepodbError as failure:
        error = failure
    except Exception as failure:
        text = "".join(traceback.format_exception(failure))
        error = RuntimeError(f"{type(failure).__name__} while reading an image\n{text}")
    sender.send((False, error))


def _limit(limits: ProcessLimits) -> None:
    threading.stack_size(_THREAD_STACK_BYTES)
    limit_arenas()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (limits.memory_bytes, limits.memory_bytes))
    # The soft limit ends the process; the hard one is for whoever ignores the signal.
    resource.setrlimit(resource.RLIMIT_CPU, (limits.cpu_s, limits.cpu_s + 5))
