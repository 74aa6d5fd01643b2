"""Whole processes measured from outside: wall time, and the memory of all of them together."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

__all__ = ["peak_memory_mib", "seconds", "seconds_and_memory_mib"]

_SAMPLE_S = 0.03
_SMALL_PARENT = """
import resource, subprocess, sys, time
started = time.perf_counter()
done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL)
print(time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(done.returncode)
"""


def seconds(command: Sequence[str]) -> float:
    """Wall time of a command that must succeed; what it prints is kept from the terminal."""
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, check=False)
    elapsed = time.perf_counter() - started
    _require_success(command, done.returncode, done.stderr)
    return elapsed


def seconds_and_memory_mib(command: Sequence[str]) -> tuple[float, float]:
    """Wall time and greatest resident set of a command of one process, as the kernel counts it.

    A small process starts it: the kernel counts the pages of a parent too, up to the start.
    """
    line = [sys.executable, "-I", "-c", _SMALL_PARENT, *command]
    done = subprocess.run(line, capture_output=True, check=False, text=True)
    _require_success(command, done.returncode, done.stderr.encode())
    elapsed, memory_kib = map(float, done.stdout.split())
    return elapsed, memory_kib / 1024


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
