"""Run the loaders, in this process or as commands, and look at what they stored."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from uuid import UUID

from altrepodb.db.database import Columns, Database, Parameters, Row
from altrepodb.db.embedded import open_embedded
from altrepodb.errors import DatabaseError
from altrepodb.repository.load import (
    RepositoryOptions,
    RepositorySummary,
    load_repository,
    scan,
)
from altrepodb.workers import WorkerPool, worker_pool
from tests.support.measuring import Cost, run_measured

DATABASE_NAME = "repodb"
DAY = "2022-08-18"
MIDNIGHT = 1_660_780_800

ROOT = Path(__file__).parents[2]

_WAIT_S = 60.0
_COMMAND_TIMEOUT_S = 300
_TABLES = """
SELECT name, engine FROM system.tables
WHERE database = currentDatabase() AND engine LIKE '%MergeTree'
    AND name NOT IN ('LoadIntents', 'LoaderRuns', 'SchemaMigrations')
ORDER BY name
"""
_NODES = """
SELECT pkgset_uuid, pkgset_puuid, pkgset_nodename, pkgset_date FROM PackageSetName
"""


# In this process


class Loader:
    """A database and workers, ready for one load after the other."""

    def __init__(self, database: Database, pool: WorkerPool) -> None:
        self.database = database
        self.pool = pool

    def load(self, path: Path, name: str | None = None, **options: Any) -> RepositorySummary:
        """Load a repository, named like its directory, always on the same day unless given."""
        return self.load_into(self.database, path, name, **options)

    def load_into(
        self, database: Database, path: Path, name: str | None = None, **options: Any
    ) -> RepositorySummary:
        """Load through another database object, such as one that fails."""
        chosen = RepositoryOptions(name or path.name, path, **{"date": DAY, **options})
        return load_repository(chosen, scan(chosen, self.pool), database, self.pool)


def open_database_in(directory: Path) -> AbstractContextManager[Database]:
    """The database in a directory, which no other process uses any more."""
    return open_embedded(directory, DATABASE_NAME, _WAIT_S)


@contextmanager
def open_loader(template: Path, directory: Path, workers: int = 2) -> Iterator[Loader]:
    """A loader for a copy of a closed database."""
    shutil.copytree(template, directory, symlinks=True)
    with worker_pool(workers) as pool, open_database_in(directory) as database:
        yield Loader(database, pool)


class WrappedDatabase:
    """A database that others build upon; its second connection is of the same kind."""

    def __init__(self, database: Database, first: WrappedDatabase | None = None) -> None:
        self.database = database
        self.first = first or self

    def __getattr__(self, name: str) -> Any:
        return getattr(self.database, name)

    @contextmanager
    def second_connection(self) -> Iterator[WrappedDatabase]:
        with self.database.second_connection() as second:
            yield type(self)(second, self.first)

    def execute(self, statement: str, parameters: Parameters | None = None) -> None:
        self.database.execute(statement, parameters)

    def query(self, statement: str, parameters: Parameters | None = None) -> list[Row]:
        return self.database.query(statement, parameters)

    def insert(self, table: str, columns: Columns) -> int:
        return self.database.insert(table, columns)


@dataclass(slots=True)
class Fault:
    """When a database fails: at the statement of a number, before or after running it.

    Only inserts and statements without an answer are counted. ``for_ever`` lets all further
    statements fail too, as when the server has gone.
    """

    number: int
    error: BaseException = field(default_factory=lambda: DatabaseError("injected failure"))
    after: bool = False
    for_ever: bool = False
    counted: int = 0
    happened_at: str = ""


class FailingDatabase(WrappedDatabase):
    """A database with a fault."""

    fault: Fault

    @classmethod
    def of(cls, database: Database, fault: Fault) -> FailingDatabase:
        """A failing database around a sound one."""
        failing = cls(database)
        failing.fault = fault
        return failing

    @contextmanager
    def _counted(self, what: str) -> Iterator[None]:
        fault = self.first.fault
        self._fail_if_gone()
        fault.counted += 1
        is_due = fault.counted == fault.number
        if is_due:
            fault.happened_at = what
        if is_due and not fault.after:
            raise fault.error
        yield
        if is_due:
            raise fault.error

    def _fail_if_gone(self) -> None:
        fault = self.first.fault
        if fault.for_ever and fault.happened_at:
            raise DatabaseError("gone for ever")

    def execute(self, statement: str, parameters: Parameters | None = None) -> None:
        with self._counted(" ".join(statement.split()[:3])):
            super().execute(statement, parameters)

    def query(self, statement: str, parameters: Parameters | None = None) -> list[Row]:
        self._fail_if_gone()
        return super().query(statement, parameters)

    def insert(self, table: str, columns: Columns) -> int:
        if not len(next(iter(columns.values()), ())):
            return 0
        with self._counted(table):
            return super().insert(table, columns)


# As a command


@dataclass(frozen=True, slots=True)
class CommandResult:
    """How a command ended."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def summary(self) -> dict[str, Any]:
        """The one JSON object that ``--json`` prints."""
        found: dict[str, Any] = json.loads(self.stdout)
        return found


def environment(home: Path, **further: str) -> dict[str, str]:
    """An environment in which nothing of the user's own settings is seen."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("ALTREPODB_", "XDG_", "PYTEST_"))
    }
    return {**kept, "HOME": str(home), **further}


def command_line(name: str, *arguments: str | Path) -> list[str]:
    """A command of the checkout, run by this interpreter."""
    return [sys.executable, str(ROOT / "bin" / name), *map(str, arguments)]


def run_command(
    name: str, *arguments: str | Path, home: Path, variables: Mapping[str, str] | None = None
) -> CommandResult:
    """Run a command to its end."""
    done = subprocess.run(
        command_line(name, *arguments),
        env=environment(home, **(variables or {})),
        capture_output=True,
        timeout=_COMMAND_TIMEOUT_S,
        check=False,
    )
    return _result_of(done)


def run_measured_command(
    name: str, *arguments: str | Path, home: Path
) -> tuple[CommandResult, Cost]:
    """Run a command to its end, and see what it costs."""
    line = command_line(name, *arguments)
    done, cost = run_measured(line, environment(home), _COMMAND_TIMEOUT_S)
    return _result_of(done), cost


def _result_of(done: subprocess.CompletedProcess[bytes]) -> CommandResult:
    return CommandResult(
        done.returncode, done.stdout.decode(), done.stderr.decode("utf-8", "replace")
    )


def wait_for_line(stream: IO[str], words: str) -> None:
    """Read up to a line with these words."""
    lines = []
    for line in stream:
        if words in line:
            return
        lines.append(line)
    raise AssertionError(f"no {words!r} in {''.join(lines)!r}")


def living_processes(group: int) -> list[int]:
    """The processes of a process group that have not ended."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, its_group, *_ = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(its_group) == group and state not in ("Z", "X"):
            found.append(int(path.parent.name))
    return found


# What is stored


def stored_rows(
    database: Database, tables: Mapping[str, str] | None = None
) -> dict[str, list[str]]:
    """All rows of all tables (or those given with their engines) in a form to compare.

    Identities of package sets, which differ from run to run, are replaced by paths; rows that
    the engine would collapse are.
    """
    paths = _node_paths(database)
    tables = tables or {str(name): str(engine) for name, engine in database.query(_TABLES)}
    found = {}
    for table, engine in tables.items():
        final = "" if engine == "MergeTree" else "FINAL"
        rows = database.query(f"SELECT * FROM {table} {final}")
        if rows:
            found[table] = sorted(repr(_without_identities(row, paths)) for row in rows)
    return found


def differences(
    found: Mapping[str, list[str]], expected: Mapping[str, list[str]]
) -> dict[str, tuple[Counter[str], Counter[str]]]:
    """By table: the rows that are too many, and those that are missing."""
    tables = [*expected, *(found.keys() - expected.keys())]
    pairs = {t: (Counter(found.get(t, [])), Counter(expected.get(t, []))) for t in tables}
    return {t: (f - e, e - f) for t, (f, e) in pairs.items() if f != e}


def _node_paths(database: Database) -> dict[UUID, str]:
    nodes = {node: (parent, f"{name}@{day}") for node, parent, name, day in database.query(_NODES)}

    def path(node: UUID) -> str:
        if node not in nodes:
            return "" if node.int == 0 else "unknown"
        parent, name = nodes[node]
        return f"{path(parent)}/{name}"

    return {UUID(int=0): "", **{node: path(node) for node in nodes}}


def _without_identities(row: Row, paths: Mapping[UUID, str]) -> Row:
    return tuple(paths.get(v, "unknown") if isinstance(v, UUID) else v for v in row)


_UNSTORED_MEMBERS = """
SELECT count() FROM PackageSet
WHERE pkgset_uuid IN (SELECT pkgset_uuid FROM PackageSetName WHERE pkgset_ruuid = {root:UUID})
    AND pkg_hash NOT IN
    (
        SELECT pkg_hash FROM Packages
        WHERE pkg_hash IN (SELECT pkgh_mmh FROM PackageHash)
            AND (length(`pkg_changelog.hash`) = 0
                OR arrayAll(h -> h IN (SELECT chlog_hash FROM Changelog), `pkg_changelog.hash`))
    )
"""
_SIZES = """
SELECT pkgset_nodename, toUInt64(pkgset_kv.v[indexOf(pkgset_kv.k, 'size')]), members
FROM PackageSetName
LEFT JOIN
(
    SELECT pkgset_uuid AS node, uniqExact(pkg_hash) AS members FROM PackageSet GROUP BY node
) AS content ON pkgset_uuid = node
WHERE pkgset_ruuid = {root:UUID} AND pkgset_depth > 0
"""


def faults_of_visible_sets(
    database: Database, name: str, nodes: int, members: set[int], *, exactly_one: bool = False
) -> list[str]:
    """What a reader would find missing in the set of a name: there is none, or all of one."""
    faults = []
    roots = database.query(
        "SELECT pkgset_uuid FROM PackageSetName WHERE pkgset_depth = 0"
        " AND pkgset_nodename = {name:String}",
        {"name": name},
    )
    for (root,) in roots:
        sizes = database.query(_SIZES, {"root": root})
        faults += [f"{node}: {n} of {size}" for node, size, n in sizes if n != size]
        if len(sizes) != nodes - 1:
            faults.append(f"{len(sizes)} nodes under the root")
        if database.query(_UNSTORED_MEMBERS, {"root": root}) != [(0,)]:
            faults.append("packages of the set are not stored")
    if len(roots) > 1 or (exactly_one and not roots):
        faults.append(f"{len(roots)} roots")
    flat = [
        pkg_hash
        for (pkg_hash,) in database.query(
            "SELECT pkg_hash FROM static_last_packages WHERE pkgset_name = {name:String}",
            {"name": name},
        )
    ]
    if (flat or exactly_one) and sorted(flat) != sorted(members):
        faults.append(f"{len(flat)} of {len(members)} packages in the flat copy")
    return faults
