"""What a source remembers between runs: a lock, validators, unfinished units, counts.

    <state directory>/<program>.<database>.lock    held while a run is under way
    <state directory>/<program>.<database>.json    the rest, replaced as a whole

A "unit" is what a source stores at once, under a name of its choice: a branch and architecture,
or the whole table. Nothing here decides what the database holds: without the file a source
fetches once more than it had to.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from altrepodb.db.lock import FileLock
from altrepodb.errors import ConfigurationError, SourceError
from altrepodb.http import Validators, shown_url

__all__ = [
    "SourceState",
    "check_not_shrunk",
    "default_state_directory",
    "run_lock",
]

logger = logging.getLogger(__name__)

_MAX_FILE_BYTES = 1 << 24
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")
_held = threading.local()


def default_state_directory() -> Path:
    """``$XDG_STATE_HOME/altrepodb``, else ``~/.local/state/altrepodb``."""
    base = os.environ.get("XDG_STATE_HOME", "")
    # The XDG specification has relative paths ignored.
    if not os.path.isabs(base):
        return Path.home() / ".local" / "state" / "altrepodb"
    return Path(base) / "altrepodb"


def _safe(name: str) -> str:
    """A name without characters that mean something in a path; dots may stand inside it."""
    return ".".join(_UNSAFE.sub("_", part) or "_" for part in name.split("."))


@contextmanager
def run_lock(program: str, directory: Path, key: str) -> Iterator[None]:
    """Exclusive run of a program for a database, without waiting.

    The directory is made when missing. Taken again by the thread that holds it, it does
    nothing, so that a command can take it before it opens the database. Raises LockHeldError
    and ConfigurationError.
    """
    path = directory / f"{_safe(program)}.{_safe(key)}.lock"
    held: set[Path] = _held.__dict__.setdefault("paths", set())
    if path in held:
        yield
        return
    try:
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"{directory}: {error.strerror}") from error
    with FileLock(path, 0, f"{path}: another run of {program}"):
        held.add(path)
        try:
            yield
        finally:
            held.discard(path)


class SourceState:
    """What one program remembers about one database. Every change is on disk on return.

    Methods that change something raise SourceError when the disk does not take it.
    """

    def __init__(self, directory: Path, program: str, key: str, *, read_only: bool = False) -> None:
        """``read_only`` is for a dry run: changes are forgotten at its end."""
        self._path = directory / f"{_safe(program)}.{_safe(key)}.json"
        self._is_read_only = read_only
        self._content = _read(self._path)

    def validators(self, url: str) -> Validators | None:
        """What the document was recognised by when its rows were stored; None when unknown."""
        found = self._part("validators").get(url)
        if not isinstance(found, dict):
            return None
        return Validators(_text(found.get("etag")), _text(found.get("last_modified")))

    def set_validators(self, url: str, validators: Validators) -> None:
        """Remember a document; to be called when its rows are stored, not before."""
        self.remember({url: validators}, {})

    def remember(self, documents: Mapping[str, Validators], counts: Mapping[str, int]) -> None:
        """``set_validators`` and ``set_count`` of several, written once."""
        self._part("counts").update(counts)
        self._part("validators").update(
            {
                url: {"etag": validators.etag, "last_modified": validators.last_modified}
                for url, validators in documents.items()
            }
        )
        self._write()

    def is_dirty(self, unit: str) -> bool:
        """Whether storing the unit was begun and not seen to succeed."""
        return unit in self._part("dirty")

    def mark_dirty(self, unit: str) -> None:
        """Note that storing the unit begins."""
        self._part("dirty")[unit] = True
        self._write()

    def clear_dirty(self, unit: str) -> None:
        """Note that the unit is stored completely."""
        if self._part("dirty").pop(unit, None) is not None:
            self._write()

    def count(self, unit: str) -> int | None:
        """The number that ``set_count`` was given for the unit; None when unknown."""
        found = self._part("counts").get(unit)
        return found if type(found) is int and found >= 0 else None

    def set_count(self, unit: str, count: int) -> None:
        """Remember how much a unit held, to notice when it shrinks."""
        self.remember({}, {unit: count})

    def _part(self, name: str) -> dict[str, Any]:
        part = self._content.setdefault(name, {})
        if not isinstance(part, dict):
            part = self._content[name] = {}
        return part

    def _write(self) -> None:
        if self._is_read_only:
            return
        text = json.dumps(self._content, indent=1, sort_keys=True) + "\n"
        try:
            _replace_file(self._path, text.encode())
        except OSError as error:
            raise SourceError(f"{self._path}: {error.strerror}") from error


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value.isprintable() else None


def _read(path: Path) -> dict[str, Any]:
    """The content of a state file; nothing when there is none or it is damaged."""
    try:
        with open(path, "rb") as stream:
            content = json.loads(stream.read(_MAX_FILE_BYTES))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        logger.warning("%s: not usable, starting anew: %s", path, error)
        return {}
    return content if isinstance(content, dict) else {}


def _replace_file(path: Path, content: bytes) -> None:
    """Write a file so that a reader, or a crash, sees the old one or the new one."""
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with open(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def check_not_shrunk(
    what: str, new: int, previous: int, *, threshold: float = 0.5, force: bool = False
) -> None:
    """Refuse a list that lost more than half of what it held before, or everything.

    ``what`` names the list, usually its URL. Raises SourceError unless ``force``.
    """
    if new and new >= previous * threshold:
        return
    message = f"{shown_url(what)}: {new} records, {previous} before"
    if not force:
        raise SourceError(f"{message}; --force loads them nevertheless")
    logger.warning("%s; loaded, as forced", message)
