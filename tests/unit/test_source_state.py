"""What sources remember between runs, and the guards that they share."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from altrepodb.config import DatabaseSettings
from altrepodb.db.lock import FileLock
from altrepodb.errors import ConfigurationError, LockHeldError, SourceError
from altrepodb.http import Validators
from altrepodb.sources.run import Findings, SourceOptions, SourceSummary, check_malformed
from altrepodb.sources.state import (
    SourceState,
    check_not_shrunk,
    default_state_directory,
    run_lock,
)

KEY = "host-9000.repodb"


def state(directory: Path, **options: bool) -> SourceState:
    return SourceState(directory, "acl_loader", KEY, **options)


def test_all_is_kept(tmp_path: Path) -> None:
    first = state(tmp_path)
    first.set_validators("http://a/", Validators('"1"', None))
    first.mark_dirty("p10/i586")
    first.set_count("p10", 5)
    again = state(tmp_path)
    assert again.validators("http://a/") == Validators('"1"', None)
    assert again.validators("http://b/") is None
    assert (again.is_dirty("p10/i586"), again.is_dirty("p10/x86_64")) == (True, False)
    assert (again.count("p10"), again.count("p9")) == (5, None)
    again.clear_dirty("p10/i586")
    assert not state(tmp_path).is_dirty("p10/i586")
    assert [path.name for path in tmp_path.iterdir()] == [f"acl_loader.{KEY}.json"]


def test_dry_run_keeps_nothing(tmp_path: Path) -> None:
    dry = state(tmp_path, read_only=True)
    dry.set_count("p10", 5)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff", b"[]", b'{"validators": 1, "dirty": 2, "counts": 3}',
     b'{"validators": {"u": 1}, "counts": {"p10": -1}}', b"[" * 100_000],
)  # fmt: skip
def test_damaged_file_is_as_none(content: bytes, tmp_path: Path) -> None:
    (tmp_path / f"acl_loader.{KEY}.json").write_bytes(content)
    found = state(tmp_path)
    assert (found.validators("u"), found.is_dirty("p10"), found.count("p10")) == (None, False, None)
    found.set_count("p10", 1)
    assert state(tmp_path).count("p10") == 1


def test_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state(tmp_path).set_count("p10", 1)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(SourceError, match=r"acl_loader\..*\.json: No space left on device"):
        state(tmp_path).set_count("p10", 2)
    assert state(tmp_path).count("p10") == 1
    assert len(list(tmp_path.iterdir())) == 1


def test_databases_are_told_apart(tmp_path: Path) -> None:
    keys = {
        DatabaseSettings(host="a").key,
        DatabaseSettings(host="b").key,
        DatabaseSettings(host="a", dbname="x").key,
        DatabaseSettings(host="a", port=9001).key,
        DatabaseSettings(embedded=tmp_path).key,
        DatabaseSettings(embedded=tmp_path / "b").key,
    }
    assert len(keys) == 6
    odd = DatabaseSettings(host="../../x", dbname="a/../b").key
    with run_lock("program", tmp_path / "locks", odd):
        (lock,) = (tmp_path / "locks").rglob("*")
    assert lock.parent == tmp_path / "locks"


def test_lock_excludes_other_processes(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib\n"
        "from altrepodb.errors import LockHeldError\n"
        "from altrepodb.sources.state import run_lock\n"
        "try:\n"
        "    with run_lock('acl_loader', pathlib.Path(sys.argv[1]), sys.argv[2]): print('free')\n"
        "except LockHeldError as error: print(error.exit_code, error)\n"
    )

    def other(key: str = KEY) -> str:
        command = [sys.executable, "-c", code, str(tmp_path / "s"), key]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    with run_lock("acl_loader", tmp_path / "s", KEY):
        assert other().startswith("75 ")
        assert "another run of acl_loader" in other()
        assert f"process {os.getpid()}" in other()
        assert other("another.repodb") == "free"
        # The command takes it before the loader does.
        with run_lock("acl_loader", tmp_path / "s", KEY):
            pass
        assert other().startswith("75 ")
    # The file that is left over does not count.
    assert other() == "free"


def test_lock_holds_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", fail)
    second = FileLock(tmp_path / "lock", 0)
    with (
        FileLock(tmp_path / "lock", 0),
        pytest.raises(LockHeldError, match="in use by another process"),
    ):
        second.__enter__()


def test_lock_excludes_other_threads(tmp_path: Path) -> None:
    seen: list[BaseException] = []

    def run() -> None:
        try:
            with run_lock("acl_loader", tmp_path, KEY):
                pass
        except LockHeldError as error:
            seen.append(error)

    with run_lock("acl_loader", tmp_path, KEY):
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
    assert len(seen) == 1


def test_state_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for unusable in ("", "relative"):
        monkeypatch.setenv("XDG_STATE_HOME", unusable)
        assert default_state_directory() == tmp_path / ".local/state/altrepodb"
    monkeypatch.setenv("XDG_STATE_HOME", "/var/x")
    assert default_state_directory() == Path("/var/x/altrepodb")
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="file"), run_lock("a", tmp_path / "file", KEY):
        pass


@pytest.mark.parametrize(
    ("new", "previous", "is_good"),
    [(50, 100, True), (49, 100, False), (0, 0, False), (1, 0, True), (0, 1, False), (1, 1, True)],
)
def test_shrink_guard(new: int, previous: int, is_good: bool) -> None:
    check_not_shrunk("u", new, previous, force=True)
    if is_good:
        check_not_shrunk("u", new, previous)
    else:
        with pytest.raises(SourceError, match=f"u: {new} records, {previous} before"):
            check_not_shrunk("u", new, previous)
    if new:
        check_not_shrunk("u", new, previous, threshold=0.2)


@pytest.mark.parametrize(
    ("malformed", "total", "is_good"),
    [(0, 0, True), (10, 10, True), (11, 100, False), (20, 2000, True), (21, 2000, False)],
)
def test_malformed_guard(malformed: int, total: int, is_good: bool) -> None:
    if is_good:
        check_malformed("u", malformed, total)
    else:
        with pytest.raises(SourceError, match="are malformed"):
            check_malformed("u", malformed, total)


def test_findings_are_counted_and_ten_are_shown(caplog: pytest.LogCaptureFixture) -> None:
    summary = SourceSummary()
    findings = Findings(summary)
    with caplog.at_level(logging.WARNING):
        for number in range(11):
            findings.skip("u", number, "bad", "x\x1b[31m" + "y" * 200)
        findings.repair("u", None, "odd")
        findings.finish()
    assert (summary.skipped, summary.warnings) == (11, 12)
    assert len(caplog.messages) == 11
    assert caplog.messages[0].startswith("u:0: bad: 'x")
    assert "\x1b" not in caplog.text
    assert max(map(len, caplog.messages)) < 120
    assert "2 more" in caplog.messages[-1]


@pytest.mark.parametrize(
    "wrong", [{"url": "x"}, {"timeout_s": 0}, {"timeout_s": 1e6}, {"source_timezone": "Mars/X"}]
)
def test_options_are_checked(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError):
        SourceOptions(**wrong).check()  # type: ignore[arg-type]
    SourceOptions(url="http://a.org", timeout_s=1, source_timezone="Europe/Moscow").check()


def test_state_is_readable_json(tmp_path: Path) -> None:
    state(tmp_path).set_validators("http://a/", Validators('"1"', "Mon"))
    (path,) = tmp_path.iterdir()
    assert json.loads(path.read_text())["validators"] == {
        "http://a/": {"etag": '"1"', "last_modified": "Mon"}
    }
