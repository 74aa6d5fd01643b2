"""Lock files, held for the life of a process, that say who holds them."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from altrepodb.errors import ConfigurationError, LockHeldError

__all__ = ["LOCK_FILE", "DirectoryLock", "FileLock"]

LOCK_FILE = "altrepodb.lock"
_POLL_S = 0.05


class FileLock:
    """A lock file; the kernel frees it however the holder ends. ``shown`` is what it guards."""

    def __init__(self, path: Path, wait_s: float, shown: str | None = None) -> None:
        self._path = path
        self._wait_s = wait_s
        self._shown = shown or str(path)
        self._descriptor = -1

    def __enter__(self) -> FileLock:
        """Take the lock. Raises LockHeldError after the wait, naming the holder."""
        try:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise ConfigurationError(f"{self._path}: {error.strerror}") from error
        try:
            self._wait()
            # The lock holds on a full disk too, where nobody can read who has it.
            with suppress(OSError):
                os.ftruncate(self._descriptor, 0)
                os.pwrite(self._descriptor, f"process {os.getpid()}\n".encode(), 0)
        except BaseException:
            os.close(self._descriptor)
            raise
        return self

    def _wait(self) -> None:
        deadline = time.monotonic() + self._wait_s
        while not self._try_lock():
            if time.monotonic() >= deadline:
                holder = os.pread(self._descriptor, 100, 0).decode("ascii", "replace").strip()
                raise LockHeldError(
                    f"{self._shown}: in use by {holder or 'another process'}"
                    f" (waited {self._wait_s:g} s)"
                )
            time.sleep(_POLL_S)

    def _try_lock(self) -> bool:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        os.close(self._descriptor)


class DirectoryLock(FileLock):
    """Exclusive use of a directory."""

    def __init__(self, directory: Path, wait_s: float) -> None:
        super().__init__(directory / LOCK_FILE, wait_s, str(directory))
