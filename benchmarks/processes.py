"""Whole processes measured from outside: wall time, and the memory of all of them together."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.support.measuring import run_measured

__all__ = ["peak_memory_mib", "seconds", "seconds_and_memory_mib"]

_SAMPLE_S = 0.03
_TIMEOUT_S = 600.0


def seconds(command: Sequence[str]) -> float:
    """Wall time of a command that must succeed; what it prints is kept from the terminal."""
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, check=False)
    elapsed = time.perf_counter() - started
    _require_success(command, done.returncode, done.stderr)
    return elapsed


def seconds_and_memory_mib(command: Sequence[str]) -> tuple[float, float]:
    """Wall time and greatest resident set of a command of one process, as the kernel counts it."""
    done, cost = run_measured(command, os.environ, _TIMEOUT_S)
    _require_success(command, done.returncode, done.stderr)
    return cost.wall_s, cost.peak_bytes / (1 << 20)


def peak_memory_mib(command: Sequence[str]) -> float:
    """The greatest sum of the proportional set sizes of a command and all its descendants.

    Proportional: pages that several of our processes share are counted once.
    """
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    peak_kib = 0
    while process.poll() is None:
        peak_kib = max(peak_kib, sum(map(_set_size_kib, _family(process.pid))))
        time.sleep(_SAMPLE_S)
    _, complaint = process.communicate()
    _require_success(command, process.returncode, complaint)
    return peak_kib / 1024


def _require_success(command: Sequence[str], exit_code: int, complaint: bytes) -> None:
    if exit_code:
        words = complaint.decode(errors="replace")[-500:]
        raise SystemExit(f"{' '.join(command)}: exit code {exit_code}: {words}")


def _family(process: int) -> Iterator[int]:
    yield process
    for path in Path(f"/proc/{process}/task").glob("*/children"):
        try:
            children = path.read_text().split()
        except OSError:
            continue
        for child in children:
            yield from _family(int(child))


def _set_size_kib(process: int) -> int:
    """Proportional set size of a process, 0 when it has ended (proc(5), smaps_rollup)."""
    try:
        with open(os.path.join("/proc", str(process), "smaps_rollup")) as lines:
            return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
    except OSError:
        return 0
