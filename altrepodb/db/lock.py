"""A lock file in a directory, held for the life of a process, that says who holds it."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from types import TracebackType

from altrepodb.errors import ConfigurationError, LockHeldError

__all__ = ["DirectoryLock"]

_LOCK_FILE = "altrepodb.lock"
_POLL_S = 0.05


class DirectoryLock:
    """Exclusive use of a directory; the kernel frees it however the holder ends."""

    def __init__(self, directory: Path, wait_s: float) -> None:
        self._path = directory / _LOCK_FILE
        self._wait_s = wait_s
        self._descriptor = -1

    def __enter__(self) -> DirectoryLock:
        """Take the lock. Raises LockHeldError after the wait, naming the holder."""
        try:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise ConfigurationError(f"{self._path}: {error.strerror}") from error
        deadline = time.monotonic() + self._wait_s
        while not self._try_lock():
            if time.monotonic() >= deadline:
                holder = os.pread(self._descriptor, 100, 0).decode("ascii", "replace").strip()
                os.close(self._descriptor)
                raise LockHeldError(
                    f"{self._path.parent}: in use by {holder or 'another process'}"
                    f" (waited {self._wait_s:g} s)"
                )
            time.sleep(_POLL_S)
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"process {os.getpid()}\n".encode(), 0)
        return self

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
