"""What the daemon's processes have in common: titles, signals, and dying with their parent."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import select
import signal
import threading
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnContext

__all__ = [
    "close_group",
    "die_with_parent",
    "ignore_signals",
    "set_title",
    "spawn_context",
    "watch_pipe",
]

_PR_SET_PDEATHSIG = 1


def spawn_context() -> SpawnContext:
    """Processes that start anew: nothing of our threads, locks and files goes along."""
    return multiprocessing.get_context("spawn")


def set_title(title: str) -> None:
    """Show the process under this title in its log, and in ``ps`` where a library allows it."""
    threading.current_thread().name = title
    try:
        from setproctitle import setproctitle
    except ImportError:
        return
    setproctitle(title)


def ignore_signals(*numbers: signal.Signals) -> None:
    """Leave signals to the processes above."""
    for number in numbers:
        signal.signal(number, signal.SIG_IGN)


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when ``parent``, its parent process, has ended."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def watch_pipe(pipe: Connection) -> None:
    """End this process at once when the other end of the pipe is closed, whatever it does."""
    threading.Thread(target=_wait_for_hangup, args=(pipe.fileno(),), daemon=True).start()


def _wait_for_hangup(descriptor: int) -> None:
    poll = select.poll()
    poll.register(descriptor, 0)
    poll.poll()
    os._exit(1)


def close_group(process_id: int) -> None:
    """Kill a process and the group that it leads."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process_id, signal.SIGKILL)
    with suppress(ProcessLookupError, PermissionError):
        os.kill(process_id, signal.SIGKILL)
