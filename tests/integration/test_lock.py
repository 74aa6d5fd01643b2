"""The lock on a directory: one holder, who is named, and who loses it however it ends."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from altrepodb.db.embedded import open_embedded
from altrepodb.db.lock import LOCK_FILE, DirectoryLock
from altrepodb.errors import ConfigurationError, DatabaseError, LockHeldError
from tests.support.descriptors import open_below
from tests.support.loading import ROOT, environment

HOLDER = """
import sys, time
from pathlib import Path
from altrepodb.db.embedded import open_embedded
from altrepodb.db.lock import DirectoryLock
with DirectoryLock(Path(sys.argv[1]), 0):
    print("held", flush=True)
    time.sleep(60)
"""


def hold_elsewhere(directory: Path) -> subprocess.Popen[bytes]:
    """Another process that holds the lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, directory],
        env=environment(directory, PYTHONPATH=str(ROOT)),
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    return process


def test_one_holder_at_a_time(tmp_path: Path) -> None:
    with DirectoryLock(tmp_path, 0):
        with pytest.raises(LockHeldError) as caught, DirectoryLock(tmp_path, 0):
            pass
        assert caught.value.exit_code == 75
        expected = f"{tmp_path}: in use by process {os.getpid()} (waited 0 s)"
        assert str(caught.value) == expected
        assert open_below(tmp_path) == [str(tmp_path / LOCK_FILE)]
    with DirectoryLock(tmp_path, 0):
        pass
    assert open_below(tmp_path) == []


def test_other_directories_are_free(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with DirectoryLock(tmp_path, 0), DirectoryLock(tmp_path / "other", 0):
        pass


def test_freed_when_the_block_fails(tmp_path: Path) -> None:
    with pytest.raises(KeyError), DirectoryLock(tmp_path, 0):
        raise KeyError
    with DirectoryLock(tmp_path, 0):
        pass


def test_holder_is_named_and_a_killed_one_forgotten(tmp_path: Path) -> None:
    with hold_elsewhere(tmp_path) as process:
        with (
            pytest.raises(LockHeldError, match=f"process {process.pid} "),
            DirectoryLock(tmp_path, 0),
        ):
            pass
        process.kill()
        process.wait()
    with DirectoryLock(tmp_path, 0):
        assert (tmp_path / "altrepodb.lock").read_text() == f"process {os.getpid()}\n"


def test_bounded_wait(tmp_path: Path) -> None:
    with DirectoryLock(tmp_path, 0):
        started = time.monotonic()
        with pytest.raises(LockHeldError, match=r"waited 0\.3 s"), DirectoryLock(tmp_path, 0.3):
            pass
        assert 0.3 <= time.monotonic() - started < 60


def test_waits_until_it_is_free(tmp_path: Path) -> None:
    lock = DirectoryLock(tmp_path, 0)
    lock.__enter__()
    threading.Timer(0.2, lock.__exit__, (None, None, None)).start()
    with DirectoryLock(tmp_path, 30):
        pass


def test_interrupted_wait_leaves_nothing_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    with DirectoryLock(tmp_path, 0):
        assert open_below(tmp_path) == [str(tmp_path / LOCK_FILE)]
        monkeypatch.setattr(time, "sleep", interrupt)
        with pytest.raises(KeyboardInterrupt), DirectoryLock(tmp_path, 30):
            pass
        assert open_below(tmp_path) == [str(tmp_path / LOCK_FILE)]


def test_not_inherited(tmp_path: Path) -> None:
    """A child process that lives on does not keep the lock."""
    with DirectoryLock(tmp_path, 0):
        child = subprocess.Popen(
            [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False
        )
    with child:
        # The kernel lets us go on a moment before it closes the child's descriptors.
        with DirectoryLock(tmp_path, 60):
            pass
        child.communicate(b"\n")


def test_directory_that_cannot_be_used(tmp_path: Path) -> None:
    for path in (tmp_path / "missing", tmp_path / "file"):
        (tmp_path / "file").touch()
        with pytest.raises(ConfigurationError, match=str(path)), DirectoryLock(path, 0):
            pass


@pytest.mark.parametrize("name", ["letter.txt", "metadata", ".git"])
def test_directory_of_somebody_else(name: str, tmp_path: Path) -> None:
    """The engine would settle in it, among the files of a server for instance."""
    (tmp_path / name).mkdir()
    with (
        pytest.raises(ConfigurationError, match=f"^{tmp_path}: no database of this .*{name}"),
        open_embedded(tmp_path, "repodb"),
    ):
        pass
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_fresh_file_system_may_be_used(tmp_path: Path) -> None:
    (tmp_path / "lost+found").mkdir()
    with open_embedded(tmp_path, "repodb", with_schema=False):
        pass
    with open_embedded(tmp_path, "repodb", with_schema=False) as again:
        assert not again.is_new


def test_damaged_database(tmp_path: Path) -> None:
    with open_embedded(tmp_path, "repodb", with_schema=False) as database:
        database.execute("CREATE TABLE numbers (number UInt8) ENGINE = Memory")
    (definition,) = tmp_path.glob("store/*/*/numbers.sql")
    definition.write_bytes(b"")
    with (
        pytest.raises(DatabaseError, match=f"^{tmp_path}: damaged, or no room"),
        open_embedded(tmp_path, "repodb"),
    ):
        pass
