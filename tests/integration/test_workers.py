"""The worker pool: order, lead, errors, deaths, and what is left of it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from altrepodb.errors import AltrepodbError, SourceError
from altrepodb.workers import (
    DEFAULT_WORKERS_LIMIT,
    WorkerPool,
    can_fork,
    default_workers,
    worker_pool,
)
from tests.support.loading import ROOT, environment, living_processes

_TIMEOUT_S = 120.0
_POLL_S = 0.01
# A program that has the engine in memory or not, starts a pool, and then waits for its end.
_PROGRAM = """
import os, sys, time
if {with_engine}:
    import chdb
from altrepodb.workers import worker_pool
from tests.integration.test_workers import sleep_and_tell

def main():
    with worker_pool(2) as pool:
        print(*pool.map(sleep_and_tell, [0.3] * 4), flush=True)
        time.sleep({seconds})

if __name__ == "__main__":
    main()
"""


def slow_square(number: int) -> int:
    """Later inputs are done sooner."""
    time.sleep(0.05 / (1 + number))
    return number * number


def fail_at_three(number: int) -> int:
    if number == 3:
        raise SourceError("three: no good")
    return number


def touch(path: Path) -> Path:
    path.touch()
    return path


def touch_and_wait(paths: tuple[Path, Path] | None) -> None:
    """Show that the work has begun, and wait until the gate is there; fail without paths."""
    if paths is None:
        raise SourceError("no paths")
    begun, gate = paths
    begun.touch()
    while not gate.exists():
        time.sleep(_POLL_S)


def hold_on(seconds: float) -> None:
    """Either the death of this process, or a time that no test waits for."""
    if not seconds:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(seconds)


def kill_yourself(_: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def sleep_and_tell(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def has_engine(_: int) -> bool:
    return "chdb" in sys.modules


def signals_ignored(_: int) -> bool:
    return signal.getsignal(signal.SIGINT) is signal.SIG_IGN


_is_marked = False


def is_marked(_: int) -> bool:
    return _is_marked


def test_process_with_threads_is_not_forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child would inherit their locks as they are; it is started anew instead."""
    monkeypatch.setattr(sys.modules[__name__], "_is_marked", True)
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    try:
        assert not can_fork()
        with worker_pool(1) as workers:
            assert list(workers.map(is_marked, [0])) == [False]
    finally:
        end.set()
        thread.join()


@pytest.fixture(scope="module", params=["fork", "engine loaded"])
def pool(request: pytest.FixtureRequest) -> Iterator[WorkerPool]:
    """Pools as they are started without and with the engine in the process."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "fork":
            patch.delitem(sys.modules, "chdb", raising=False)
        else:
            import chdb

            assert sys.modules["chdb"] is chdb
        with worker_pool(2) as workers:
            yield workers


def test_sigterm_of_others_is_left_to_the_parent(pool: WorkerPool) -> None:
    """As when a service manager ends a whole control group: the load goes on."""
    workers: set[int] = set()
    deadline = time.monotonic() + _TIMEOUT_S
    while len(workers) < 2:
        assert time.monotonic() < deadline
        workers |= set(pool.map(sleep_and_tell, [0.05] * 4))
    results = pool.map(sleep_and_tell, [0.3] * 4)
    subprocess.run(["kill", "-TERM", *map(str, workers)], check=True)
    assert set(results) <= workers


def test_results_are_in_order(pool: WorkerPool) -> None:
    assert list(pool.map(slow_square, range(60))) == [n * n for n in range(60)]
    assert list(pool.map(slow_square, [])) == []


def test_lead_is_bounded(pool: WorkerPool) -> None:
    """Inputs are drawn a few ahead of the results, however many there are."""
    drawn = 0

    def inputs() -> Iterator[int]:
        nonlocal drawn
        for number in range(10_000):
            drawn += 1
            yield number

    results = pool.map(slow_square, inputs())
    ahead = drawn
    assert 2 <= ahead < 40
    for taken, _ in enumerate(results, 1):
        assert drawn - taken <= ahead
        if taken == 100:
            break


def test_work_begins_before_results_are_wanted(pool: WorkerPool, tmp_path: Path) -> None:
    path = tmp_path / "touched"
    results = pool.map(touch, [path])
    deadline = time.monotonic() + _TIMEOUT_S
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(_POLL_S)
    assert list(results) == [path]


def test_first_error_stops(pool: WorkerPool) -> None:
    """It comes in its place, and nothing further is begun; the pool stays good."""
    drawn: list[int] = []

    def inputs() -> Iterator[int]:
        for number in range(1000):
            drawn.append(number)
            yield number

    results = pool.map(fail_at_three, inputs())
    found = [next(results) for _ in range(3)]
    assert found == [0, 1, 2]
    before = len(drawn)
    with pytest.raises(SourceError, match="three: no good"):
        next(results)
    with pytest.raises(StopIteration):
        next(results)
    assert len(drawn) == before < 1000
    assert list(pool.map(slow_square, range(5))) == [0, 1, 4, 9, 16]


# Of twelve that are given out after the first, the workers have four, and five more are on
# their way to them, so that nobody could take these back.
_DROPPING_WORKERS = 4
_AT_MOST_BEGUN = 9


def test_pending_work_is_dropped_after_an_error(tmp_path: Path) -> None:
    """What was given out ahead would keep the workers from what comes next."""
    gate, begun = tmp_path / "gate", tmp_path / "begun"
    begun.mkdir()
    inputs = [None, *((begun / str(number), gate) for number in range(20))]
    with worker_pool(_DROPPING_WORKERS) as workers:
        results = workers.map(touch_and_wait, inputs)
        with pytest.raises(SourceError):
            next(results)
        gate.touch()
        assert list(workers.map(slow_square, [1])) == [1]
    assert len(list(begun.iterdir())) <= _AT_MOST_BEGUN


def test_workers_know_nothing_of_the_engine() -> None:
    """A copy of its memory without its threads could hang at any moment."""
    import chdb

    assert sys.modules["chdb"] is chdb
    with worker_pool(2) as workers:
        assert not any(workers.map(has_engine, range(8)))


def test_workers_leave_interrupts_to_their_parent(pool: WorkerPool) -> None:
    assert all(pool.map(signals_ignored, range(4)))


def test_killed_worker(tmp_path: Path) -> None:
    """A clear error instead of a hang, also when the next work is given out."""
    with worker_pool(2) as workers:
        with pytest.raises(AltrepodbError, match="a worker process died"):
            list(workers.map(kill_yourself, range(3)))
        with pytest.raises(AltrepodbError, match="a worker process died"):
            list(workers.map(slow_square, range(3)))


def test_other_workers_end_when_one_dies() -> None:
    started = time.monotonic()
    with worker_pool(2) as workers, pytest.raises(AltrepodbError, match="a worker process died"):
        list(workers.map(hold_on, [600.0, 0.0]))
    assert time.monotonic() - started < _TIMEOUT_S


def test_workers_are_gone_after_the_block() -> None:
    before = set(multiprocessing.active_children())
    with worker_pool(2) as workers:
        processes = set(workers.map(sleep_and_tell, [0.05] * 8))
        assert processes
    assert not [process for process in processes if Path(f"/proc/{process}/exe").exists()]
    assert set(multiprocessing.active_children()) == before


def test_pending_work_is_dropped_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who leaves the block does not wait for what nobody wants any more."""
    gate = tmp_path / "gate"
    submit = ProcessPoolExecutor.submit
    futures: list[Future[Any]] = []

    def noted(*arguments: Any) -> Future[Any]:
        futures.append(submit(*arguments))
        return futures[-1]

    def open_gate() -> None:
        """Let the workers go on only when the block has been left, or if that changes nothing."""
        deadline = time.monotonic() + _TIMEOUT_S
        while not any(future.cancelled() for future in futures) and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        gate.touch()

    monkeypatch.setattr(ProcessPoolExecutor, "submit", noted)
    with pytest.raises(KeyboardInterrupt), worker_pool(_DROPPING_WORKERS) as workers:
        workers.map(touch_and_wait, [(tmp_path / str(number), gate) for number in range(50)])
        opener = threading.Thread(target=open_gate)
        opener.start()
        raise KeyboardInterrupt
    opener.join()
    assert sum(not future.cancelled() for future in futures) <= 1 + _AT_MOST_BEGUN < len(futures)


@pytest.mark.parametrize("with_engine", [False, True], ids=["fork", "engine loaded"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_workers_die_with_their_parent(
    number: signal.Signals, with_engine: bool, tmp_path: Path
) -> None:
    program = tmp_path / "program.py"
    program.write_text(_PROGRAM.format(with_engine=with_engine, seconds=2 * _TIMEOUT_S))
    with subprocess.Popen(
        [sys.executable, program],
        env=environment(tmp_path, PYTHONPATH=str(ROOT)),
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        workers = set(map(int, process.stdout.readline().split()))
        assert workers
        assert workers <= set(living_processes(process.pid))
        process.send_signal(number)
        process.wait(_TIMEOUT_S)
    deadline = time.monotonic() + _TIMEOUT_S
    while living_processes(process.pid):
        assert time.monotonic() < deadline, "workers outlive their parent"
        time.sleep(_POLL_S)


def test_default_number() -> None:
    processors = len(os.sched_getaffinity(0))
    assert default_workers() == min(processors, DEFAULT_WORKERS_LIMIT)
