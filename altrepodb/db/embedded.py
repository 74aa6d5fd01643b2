"""The embedded ClickHouse (``chdb``): a database in a directory, one process at a time."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from altrepodb.config import DatabaseSettings
from altrepodb.db.database import Columns, Parameters, Row
from altrepodb.db.lock import LOCK_FILE, DirectoryLock
from altrepodb.db.native import iter_blocks, iter_encoded
from altrepodb.db.parameters import parameter_text, quoted_identifier
from altrepodb.db.schema import create_schema
from altrepodb.errors import ConfigurationError, DatabaseError
from altrepodb.logger import printable

if TYPE_CHECKING:
    from chdb.session import Session

__all__ = ["EmbeddedDatabase", "open_embedded"]

_CHANGES_TABLES = re.compile(r"\s*(CREATE|ALTER|DROP|RENAME|EXCHANGE)\b", re.IGNORECASE)
_ENGINE_MESSAGE = re.compile(r"Code: (\d+)\. DB::Exception: (.*)", re.DOTALL)
_ENGINE_TRAILER = re.compile(r"\s*\(version [0-9.]+[^)]*\)\s*\Z")
# One block must stay one part, so that a reader sees all of its rows or none; and the engine
# shares the machine with our own parsers, so it gets a bounded share of the memory.
_SETTINGS = {
    "max_insert_block_size": 4_000_000,
    "min_insert_block_size_rows": 4_000_000,
    "min_insert_block_size_bytes": 1_000_000_000,
    # Rows that replace each other are brought together by merges; insertion need not look.
    "optimize_on_insert": 0,
    # Pages of a mapped file would count as our memory.
    "storage_file_read_method": "pread",
    "fsync_metadata": 0,
    "session_timezone": "UTC",
}
_START_SETTINGS = Path(__file__).with_name("embedded.xml")
_ARGUMENTS_MARK = "?"
_ALLOCATOR_VARIABLE = "JE_MALLOC_CONF"
# The engine's allocator would keep what a statement freed for the next thread that wants as much,
# in as many places as there are threads.
_ALLOCATOR_SETTINGS = "oversize_threshold:1048576,dirty_decay_ms:100,narenas:2"
_COLUMN_TYPES = """
SELECT table, name, type FROM system.columns
WHERE database = currentDatabase() AND default_kind NOT IN ('MATERIALIZED', 'ALIAS')
"""
_DATABASE_EXISTS = "SELECT count() FROM system.databases WHERE name = {name:String}"


def _engine_error(error: Exception, subject: str) -> DatabaseError:
    """The engine's words without its position dump, on one line."""
    found = _ENGINE_MESSAGE.search(str(error))
    words = found.group(2) if found else str(error)
    words = " ".join(_ENGINE_TRAILER.sub("", words).split())
    return DatabaseError(f"{subject}: {words[:600]}")


def _subject(statement: str) -> str:
    return " ".join(statement.split())[:60]


@contextmanager
def _memory_file(pieces: Iterable[bytes]) -> Iterator[str]:
    """The path of a file that exists in memory only, for the engine to read."""
    with os.fdopen(os.memfd_create("altrepodb"), "wb") as file:
        file.writelines(pieces)
        file.flush()
        yield f"/proc/self/fd/{file.fileno()}"


class EmbeddedDatabase:
    """A ``Database`` over one chdb session; see ``db.database`` for the contract.

    With ``with_schema`` the first statement is preceded by the creation of the schema; until
    then the caller can set other work going.
    """

    def __init__(
        self, session: Session, name: str, directory: Path, with_schema: bool = False
    ) -> None:
        self._session = session
        self._directory = directory
        self._types: dict[str, dict[str, str]] = {}
        self._needs_schema = False
        self.name = name
        self.key = DatabaseSettings(dbname=name, embedded=directory).key
        self.execute("SET " + ", ".join(f"{key} = {value!r}" for key, value in _SETTINGS.items()))
        ((present,),) = self.query(_DATABASE_EXISTS, {"name": name})
        self.is_new = not present
        self.execute(f"CREATE DATABASE IF NOT EXISTS {quoted_identifier(name)} ENGINE = Atomic")
        self.execute(f"USE {quoted_identifier(name)}")
        self._needs_schema = with_schema

    @property
    def version(self) -> tuple[int, ...]:
        ((text,),) = self.query("SELECT version()")
        return tuple(map(int, text.split(".")))

    def _run(self, statement: str, parameters: Parameters | None, output: str) -> bytes:
        if self._needs_schema:
            self._needs_schema = False
            create_schema(self)
        texts = {name: parameter_text(value) for name, value in (parameters or {}).items()}
        try:
            result = self._session.query(statement, output, params=texts or None)
        except (RuntimeError, ValueError) as error:
            raise _engine_error(error, _subject(statement)) from error
        return bytes(result.bytes()) if result is not None else b""

    def execute(self, statement: str, parameters: Parameters | None = None) -> None:
        if _CHANGES_TABLES.match(statement):
            self._types.clear()
        self._run(statement, parameters, "Null")

    def query(self, statement: str, parameters: Parameters | None = None) -> list[Row]:
        rows: list[Row] = []
        for block in iter_blocks(self._run(statement, parameters, "Native")):
            rows.extend(zip(*block.values(), strict=True))
        return rows

    def insert(self, table: str, columns: Columns) -> int:
        rows = len(next(iter(columns.values()), ()))
        if not rows:
            return 0
        names = ", ".join(f"`{name}`" for name in columns)
        pieces = iter_encoded(self._column_types(table), columns)
        # The engine can have their memory, unless somebody else still needs the columns.
        del columns
        with _memory_file(pieces) as path:
            # The engine's own streaming insert keeps silent when a view or constraint fails.
            self._run(
                f"INSERT INTO {quoted_identifier(table)} ({names})"
                f" SELECT {names} FROM file('{path}', 'Native')",
                None,
                "Null",
            )
        return rows

    def _column_types(self, table: str) -> dict[str, str]:
        if table not in self._types:
            for owner, column, type_name in self.query(_COLUMN_TYPES):
                self._types.setdefault(owner, {})[column] = type_name
        if table not in self._types:
            raise DatabaseError(f"{table}: there is no such table in {self.name}")
        return self._types[table]

    @contextmanager
    def temporary_table(self, name: str, structure: Mapping[str, str]) -> Iterator[str]:
        columns = ", ".join(f"`{column}` {type_}" for column, type_ in structure.items())
        quoted = quoted_identifier(name)
        self._run(f"CREATE TEMPORARY TABLE {quoted} ({columns}) ENGINE = Memory", None, "Null")
        self._types[name] = dict(structure)
        try:
            yield name
        finally:
            self._types.pop(name, None)
            self._run(f"DROP TEMPORARY TABLE IF EXISTS {quoted}", None, "Null")

    @contextmanager
    def second_connection(self) -> Iterator[EmbeddedDatabase]:
        second = EmbeddedDatabase(_start_session(self._directory), self.name, self._directory)
        try:
            yield second
        finally:
            second.close()

    def close(self) -> None:
        self._session.close()


@contextmanager
def open_embedded(
    directory: Path, name: str, wait_s: float = 0.0, with_schema: bool = True
) -> Iterator[EmbeddedDatabase]:
    """Open (and make, if need be) the embedded database in a directory.

    Waits up to ``wait_s`` seconds for another process to leave it, then raises LockHeldError.
    Raises ConfigurationError when chdb is not installed, the directory cannot be made or used, or
    is full of something else.
    """
    quoted_identifier(name)
    if _ARGUMENTS_MARK in os.fspath(directory.resolve()):
        # The engine would go into another directory, by the side of our lock.
        raise ConfigurationError(f"{directory}: a path with a question mark cannot be used")
    _prepare(directory)
    with DirectoryLock(directory, wait_s):
        database = EmbeddedDatabase(_start_session(directory), name, directory, with_schema)
        try:
            yield database
        finally:
            database.close()


def _prepare(directory: Path) -> None:
    """Make the directory. Raises ConfigurationError when the engine would settle among the files
    of somebody else, such as those of a ClickHouse server."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        others = sorted({*os.listdir(directory)} - {LOCK_FILE, "lost+found"})
    except OSError as error:
        raise ConfigurationError(f"{directory}: {error.strerror}") from error
    # Looked for last: a process that starts at the same time makes the lock before anything else.
    if others and not (directory / LOCK_FILE).exists():
        raise ConfigurationError(
            f"{directory}: no database of this program, but holds {printable(others[0])};"
            " name an empty directory or a new one"
        )


@contextmanager
def _without_pyarrow() -> Iterator[None]:
    """chdb takes pyarrow along where it finds it, which is a third of its start; we need none."""
    if "pyarrow" in sys.modules:
        yield
        return
    sys.modules["pyarrow"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules["pyarrow"]


@contextmanager
def _thrifty_allocator() -> Iterator[None]:
    """The engine's allocator reads its settings from the environment while it is loaded."""
    if _ALLOCATOR_VARIABLE in os.environ:
        yield
        return
    os.environ[_ALLOCATOR_VARIABLE] = _ALLOCATOR_SETTINGS
    try:
        yield
    finally:
        del os.environ[_ALLOCATOR_VARIABLE]


def _start_session(directory: Path) -> Any:
    try:
        with _without_pyarrow(), _thrifty_allocator():
            from chdb.session import Session
    except ImportError as error:
        raise ConfigurationError(
            f"{directory}: the embedded database needs chdb: pip install 'altrepodb[embedded]'"
        ) from error
    try:
        return Session(f"{directory.resolve()}{_ARGUMENTS_MARK}config-file={_START_SETTINGS}")
    except RuntimeError as error:
        subject = f"{directory}: damaged, or no room for the engine to start"
        raise _engine_error(error, subject) from error
