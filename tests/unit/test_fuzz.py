"""A short run of the fuzzer, and proof that it would notice a parser that fails."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from altrepodb.errors import SourceError
from benchmarks import fuzz
from benchmarks.fuzz import Failure, Report, Target


def test_inputs_follow_from_their_number() -> None:
    """In any order, so that a failure can be had again alone."""
    inputs = [fuzz.damaged_input(1, number) for number in range(50)]
    assert [fuzz.damaged_input(1, number) for number in reversed(range(50))] == inputs[::-1]
    assert [fuzz.damaged_input(2, number) for number in range(50)] != inputs


def test_inputs_reach_every_parser() -> None:
    names = {fuzz.damaged_input(1, number)[0] for number in range(500)}
    assert names == set(fuzz.targets())


def test_sound_inputs_are_read() -> None:
    """What is changed was sound before; else nothing behind the first check would be tried."""
    for name, target in fuzz.targets().items():
        for seed in target.seeds:
            report = Report()
            fuzz.check_input(report, name, 0, seed)
            assert report.failures == []
            assert report.read == {name: 1}


@pytest.mark.slow
def test_short_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--count", "20000", "--seed", "3", "--seconds", "600", "--jobs", "1"]
    assert fuzz.main([*arguments, "--output", str(tmp_path)]) == 0
    summary = capsys.readouterr().out
    assert summary.startswith("20000 inputs in ")
    assert " 0 failed; " in summary
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_two_processes_read_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    alone, together = (fuzz.fuzz(5, 2000, 600.0, jobs) for jobs in (1, 2))
    assert together.read == alone.read
    assert together.refused == alone.refused
    assert together.inputs == 2000


def test_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz, "_INPUTS_PER_TASK", 10)
    assert fuzz.fuzz(1, 10_000, 0.0, 1).inputs == 10


def raises(data: bytes) -> None:
    raise ValueError("not a SourceError")


def needs_memory(data: bytes) -> None:
    assert len(bytearray(12 << 20))


def is_slow(data: bytes) -> None:
    ends = time.thread_time() + 0.15
    while time.thread_time() < ends:
        pass


def hangs(data: bytes) -> None:
    while True:
        pass


def refuses(data: bytes) -> None:
    raise SourceError("input: damaged")


def reads(data: bytes) -> None:
    pass


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Callable[[bytes], None]], None]]:
    """Put one parser in the place of all others."""

    def replace(run: Callable[[bytes], None]) -> None:
        monkeypatch.setattr(fuzz, "targets", lambda: {"stub": Target((b"input" * 9,), run)})

    monkeypatch.setattr(fuzz, "_HANGING_S", 0.5)
    yield replace


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        (raises, "ValueError: not a SourceError"),
        (needs_memory, "bytes of memory"),
        (is_slow, "of processor time"),
        (hangs, "still running after 0.5 s"),
        (refuses, None),
        (reads, None),
    ],
)
def test_failures_are_noticed(
    only: Callable[[Callable[[bytes], None]], None],
    run: Callable[[bytes], None],
    reason: str | None,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """And the input can be had again."""
    only(run)
    code = fuzz.main(["--count", "1", "--jobs", "1", "--output", str(tmp_path)])
    said = capsys.readouterr()
    if reason is None:
        assert code == 0
        assert list(tmp_path.iterdir()) == []
        return
    assert code == 1
    assert " 1 failed; " in said.out
    assert reason in said.err
    (file,) = tmp_path.iterdir()
    assert file.read_bytes() == fuzz.damaged_input(1, 0)[1]
    assert f"--target 'stub' --input {file}" in said.err
    assert fuzz.main(["--target", "stub", "--input", str(file)]) == 1
    assert reason in capsys.readouterr().err


def test_reports_are_joined() -> None:
    first, second = Report(), Report()
    first.read["a"], second.read["a"], second.refused["b"] = 1, 2, 4
    first.slowest_s, second.slowest_s = (0.5, "a"), (0.25, "b")
    second.failures.append(Failure("b", 1, "reason", b""))
    first.add(second)
    assert first.inputs == 7
    assert first.summary(2.0) == (
        "7 inputs in 2 s: 3 read, 4 refused, 1 failed; slowest 500.0 ms (a),"
        " most memory 0% of its limit ()"
    )
