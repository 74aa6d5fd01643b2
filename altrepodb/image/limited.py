"""Run a function in a process of its own, with limits on memory and time.

Libraries and formats cannot all be bounded from inside; a process can. It is started through the
fork server, so that neither threads nor an embedded database of this process are in it, and it
ends with this process, however that ends.
"""

from __future__ import annotations

import multiprocessing
import resource
import signal
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from altrepodb.errors import AltrepodbError, SourceError
from altrepodb.workers import follow_parent

__all__ = ["READING_LIMITS", "ProcessLimits", "run_limited"]

_EXIT_TIMEOUT_S = 10.0

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class ProcessLimits:
    """``memory_bytes`` is address space; the time limits are of the processor and of the clock."""

    memory_bytes: int
    cpu_s: int
    wall_s: float


READING_LIMITS = ProcessLimits(memory_bytes=1 << 30, cpu_s=1800, wall_s=7200.0)
"""Enough for any sound image. The address space holds libraries and thread stacks too."""


def run_limited(
    function: Callable[..., Result],
    *arguments: Any,
    name: str,
    limits: ProcessLimits = READING_LIMITS,
) -> Result:
    """What the function returns, or the error of ours that it raises; both go through pickle.

    Raises SourceError, naming the input ``name``, when a limit is exceeded or the process dies.
    An error that is none of ours is one of this program; its traceback goes along.
    """
    context = multiprocessing.get_context("forkserver")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(
        target=_serve, args=(sender, limits, function, arguments), name=f"read {name}"
    )
    process.start()
    sender.close()
    try:
        if not receiver.poll(limits.wall_s):
            raise SourceError(
                f"{name}: image damaged or too complex: not read in {limits.wall_s} s"
            )
        is_result, value = receiver.recv()
    except EOFError:
        raise _exceeded(name) from None
    finally:
        receiver.close()
        process.kill()
        process.join(_EXIT_TIMEOUT_S)
        process.close()
    if is_result:
        result: Result = value
        return result
    if value is None:
        raise _exceeded(name)
    raise value


def _exceeded(name: str) -> SourceError:
    return SourceError(f"{name}: image damaged or too complex")


def _serve(
    sender: Connection,
    limits: ProcessLimits,
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
) -> None:
    """The whole life of the process: one answer."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=follow_parent, daemon=True).start()
    _limit(limits)
    try:
        answer = (True, function(*arguments))
    except (MemoryError, RecursionError):
        answer = (False, None)
    except AltrepodbError as error:
        answer = (False, error)
    except Exception as error:
        text = "".join(traceback.format_exception(error))
        answer = (False, RuntimeError(f"{type(error).__name__} while reading an image\n{text}"))
    sender.send(answer)


def _limit(limits: ProcessLimits) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (limits.memory_bytes, limits.memory_bytes))
    # The soft limit ends the process; the hard one is for whoever ignores the signal.
    resource.setrlimit(resource.RLIMIT_CPU, (limits.cpu_s, limits.cpu_s + 5))
