"""The ledger's rows of a worker, written in groups to a real database."""

from __future__ import annotations

from contextlib import nullcontext

import pytest

from altrepodb.db.database import Database
from altrepodb.db.ledger import LoaderRun
from altrepodb.uploaderd import recording
from altrepodb.uploaderd.recording import Recorder

ROWS = "SELECT run_subject, run_attempt, run_tables FROM LoaderRuns ORDER BY run_subject"


def run(number: int) -> LoaderRun:
    return LoaderRun(
        "test", 1.7e9, 0.5, "done", 0, f"subject {number}", attempt=number, inserted={"A": number}
    )


def test_rows_are_written_together(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(lambda: nullcontext(database))
    assert recorder.wait_s() is None
    with monkeypatch.context() as patch:
        now = 1000.0
        patch.setattr(recording.time, "monotonic", lambda: now)
        for number in (1, 2, 3):
            recorder.add(run(number))
            now += 0.25
        assert recorder.wait_s() == 0.25
        now += 5
        assert recorder.wait_s() == 0
    assert database.query(ROWS) == []
    recorder.write()
    assert database.query(ROWS) == [(f"subject {n}", n, ["A"]) for n in (1, 2, 3)]
    assert recorder.wait_s() is None
    recorder.write()
    assert len(database.query(ROWS)) == 3


def test_too_many_rows_do_not_wait(database: Database) -> None:
    recorder = Recorder(lambda: nullcontext(database))
    for number in range(1000):
        recorder.add(run(number))
    assert recorder.wait_s() == 0


def test_a_ledger_that_cannot_be_written_is_left_alone_for_a_while(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(lambda: nullcontext(database))
    database.execute("RENAME TABLE LoaderRuns TO Elsewhere")
    recorder.add(run(1))
    recorder.write()
    recorder.add(run(2))
    assert recorder.wait_s() is None
    database.execute("RENAME TABLE Elsewhere TO LoaderRuns")
    now = recording.time.monotonic() + 61
    monkeypatch.setattr(recording.time, "monotonic", lambda: now)
    recorder.add(run(3))
    recorder.write()
    assert [row[0] for row in database.query(ROWS)] == ["subject 3"]
