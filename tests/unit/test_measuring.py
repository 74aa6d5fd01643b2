"""Measures of commands tell the truth, whatever the process that asks has done before."""

from __future__ import annotations

import os
import resource
import subprocess
import sys

from tests.support.measuring import run_measured

_MIB = 1 << 20
_TIMEOUT_S = 60.0


def python(program: str) -> list[str]:
    return [sys.executable, "-I", "-c", program]


def test_memory_is_that_of_the_command() -> None:
    """Neither that of the process that starts it, nor of another that was started before."""
    subprocess.run(python(f"bytearray(b'x') * {300 * _MIB}"), check=True)
    large = bytearray(b"x") * (300 * _MIB)
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert min(len(large), usage.ru_maxrss * 1024) >= 300 * _MIB
    _, cost = run_measured(python("print(1)"), os.environ, _TIMEOUT_S)
    del large
    assert 1 * _MIB < cost.peak_bytes < 100 * _MIB


def test_children_are_measured_too() -> None:
    inner = f"x = bytearray(b'x') * {200 * _MIB}"
    outer = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}])"
    done, cost = run_measured(python(outer), os.environ, _TIMEOUT_S)
    assert done.returncode == 0
    assert cost.peak_bytes > 200 * _MIB
    assert cost.cpu_s > 0


def test_results_are_those_of_the_command() -> None:
    program = "import sys; print('out'); sys.stderr.write('err'); sys.exit(3)"
    done, _ = run_measured(python(program), os.environ, _TIMEOUT_S)
    assert (done.returncode, done.stdout, done.stderr) == (3, b"out\n", b"err")


def test_time_is_that_of_the_command() -> None:
    _, cost = run_measured(python("import time; time.sleep(0.5)"), os.environ, _TIMEOUT_S)
    assert cost.wall_s >= 0.5
    assert cost.cpu_s < cost.wall_s
