"""What a command costs, measured by a small process that does nothing but start it.

The kernel counts the memory of whoever starts a process to that process, up to the start, and
keeps the largest of all processes that a parent ever waited for.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Cost", "run_measured"]

_SMALL_PARENT = """
import json, resource, subprocess, sys, time
place, *command = sys.argv[1:]
started = time.perf_counter()
exit_code = subprocess.run(command).returncode
wall_s = time.perf_counter() - started
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
with open(place, "w") as file:
    json.dump([usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, wall_s], file)
sys.exit(exit_code if exit_code >= 0 else 128 - exit_code)
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """Processor time of a command and its children, peak memory of the largest of them, and how
    long it took."""

    cpu_s: float
    peak_bytes: int
    wall_s: float


def run_measured(
    command: Sequence[str], environment: Mapping[str, str], timeout_s: float
) -> tuple[subprocess.CompletedProcess[bytes], Cost]:
    """Run a command to its end, with what it printed."""
    with tempfile.NamedTemporaryFile() as file:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _SMALL_PARENT, file.name, *command],
            env=environment,
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
        return done, Cost(*json.load(file))
