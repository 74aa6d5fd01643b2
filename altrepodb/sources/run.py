"""The run of a source: what all six share between their options and their summary.

    def load_acl(options: AclOptions, database: Database) -> AclSummary:
        summary = AclSummary(...)
        with SourceRun("acl_loader", options, database, summary) as run:
            response = run.http.get(url, LIMITS, run.validators(url))
            ...                                      # parse everything, then
            run.insert("acl", "Acl", columns, _COUNT, parameters, expected)
            run.state.set_validators(url, response.validators)
        return summary

Inside the block the run holds the lock of its program and database. An exception leaves the
database as it was, apart from units that were inserted completely.
"""

from __future__ import annotations

import logging
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from altrepodb.db.database import Columns, Database, Parameters
from altrepodb.errors import ConfigurationError, DatabaseError, SourceError
from altrepodb.http import HttpClient, Validators, check_url
from altrepodb.logger import printable
from altrepodb.sources.state import SourceState, default_state_directory, run_lock
from altrepodb.sources.zones import source_zone

__all__ = ["Findings", "SourceOptions", "SourceRun", "SourceSummary", "check_malformed"]

logger = logging.getLogger(__name__)

_MAX_EXCERPTS = 10
_EXCERPT_CHARACTERS = 80
_MAX_MALFORMED_FEW = 10
_MAX_MALFORMED_SHARE = 0.01


@dataclass(frozen=True, kw_only=True)
class SourceOptions:
    """What every source can be told; a source with more options has a subclass.

    ``url`` None is the source's own default. ``timeout_s`` replaces its read timeouts.
    ``force`` ignores that the data is there already, and that it shrank. ``dry_run`` does all
    but insert. ``state_dir`` None is the user's usual one; ``database_key`` tells databases
    apart there. ``source_timezone`` is the zone of times without one, None that of the host.
    """

    url: str | None = None
    timeout_s: float | None = None
    force: bool = False
    dry_run: bool = False
    state_dir: Path | None = None
    database_key: str = ""
    source_timezone: str | None = None

    @property
    def state_directory(self) -> Path:
        """Where the source keeps its state."""
        return self.state_dir if self.state_dir is not None else default_state_directory()

    def check(self) -> None:
        """Raise ConfigurationError for a value that cannot be meant."""
        self.check_address()
        if self.timeout_s is not None and not 0 < self.timeout_s <= 86400:
            raise ConfigurationError(f"timeout: expected seconds above 0, got {self.timeout_s}")
        source_zone(self.source_timezone)

    def check_address(self) -> None:
        """Raise ConfigurationError for a URL of another kind than the source has."""
        if self.url is not None:
            check_url(self.url, "url")


@dataclass(slots=True)
class SourceSummary:
    """What a run found and did; also the object that ``--json`` prints.

    ``result`` is ``loaded``, ``uptodate`` (nothing was inserted, as in every dry run) or
    ``failed`` (a part could not be loaded, see ``error``). ``fetched`` counts records that were
    read, ``inserted`` rows by table, ``would_insert`` those of a dry run, ``skipped`` records
    that could not be read, ``warnings`` everything odd.
    """

    url: str = ""
    result: str = "uptodate"
    fetched: int = 0
    inserted: dict[str, int] = field(default_factory=dict)
    would_insert: int = 0
    skipped: int = 0
    warnings: int = 0
    dry_run: bool = False
    exit_code: int = 0
    error: str | None = None


class Findings:
    """Records that were skipped or repaired: all counted, the first few logged with an excerpt."""

    def __init__(self, summary: SourceSummary) -> None:
        self._summary = summary
        self._shown = 0
        self._hidden = 0

    def skip(self, where: str, line: int | None, reason: str, excerpt: str = "") -> None:
        """A record that is left out. ``where`` is a URL or file, ``line`` counts from 1."""
        self._summary.skipped += 1
        self.repair(where, line, reason, excerpt)

    def repair(self, where: str, line: int | None, reason: str, excerpt: str = "") -> None:
        """A record that is taken although something about it is odd."""
        self._summary.warnings += 1
        if self._shown == _MAX_EXCERPTS:
            self._hidden += 1
            return
        self._shown += 1
        place = where if line is None else f"{where}:{line}"
        shown = f": {printable(excerpt[:_EXCERPT_CHARACTERS])!r}" if excerpt else ""
        logger.warning("%s: %s%s", place, reason, shown)

    def finish(self) -> None:
        """Say how many were not shown."""
        if self._hidden:
            logger.warning("... and %d more warnings of this kind", self._hidden)
            self._hidden = 0


def check_malformed(
    where: str,
    malformed: int,
    total: int,
    *,
    share: float = _MAX_MALFORMED_SHARE,
    few: int = _MAX_MALFORMED_FEW,
) -> None:
    """Raise SourceError when more than a share of the records, and more than few, are malformed."""
    if malformed > max(few, total * share):
        raise SourceError(f"{where}: {malformed} of {total} records are malformed")


class SourceRun:
    """One run of one source: its lock, HTTP client, state, time zone, findings and inserts."""

    def __init__(
        self, program: str, options: SourceOptions, database: Database, summary: SourceSummary
    ) -> None:
        options.check()
        self.options = options
        self.database = database
        self.summary = summary
        self.zone = source_zone(options.source_timezone)
        self.findings = Findings(summary)
        self.http = HttpClient(options.timeout_s)
        self._program = program
        self._stack = ExitStack()
        summary.dry_run = options.dry_run

    def __enter__(self) -> SourceRun:
        """Raises LockHeldError when the same program runs for the same database already."""
        directory, key = self.options.state_directory, self.options.database_key
        key = key or self.database.key
        with ExitStack() as stack:
            stack.enter_context(run_lock(self._program, directory, key))
            stack.enter_context(self.http)
            stack.callback(self.findings.finish)
            dry_run = self.options.dry_run
            self.state = SourceState(directory, self._program, key, read_only=dry_run)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    def validators(self, url: str, unit: str = "") -> Validators | None:
        """What to ask a site with for news only; nothing when forced, or the unit is unfinished."""
        if self.options.force or self.state.is_dirty(unit):
            return None
        return self.state.validators(url)

    def insert(
        self,
        unit: str,
        table: str,
        columns: Columns,
        count_statement: str,
        parameters: Parameters | None,
        expected: int,
    ) -> int:
        """Insert a unit with one statement and check that it arrived; nothing in a dry run.

        ``count_statement`` with its parameters counts the rows of the unit in the table, which
        must be ``expected`` afterwards. The unit is marked as dirty until then, so that a run
        that was cut off is not taken for a complete one. Returns the number of rows.
        """
        rows = len(next(iter(columns.values()), ()))
        if self.options.dry_run:
            self.summary.would_insert += rows
            logger.info("%s: %d rows would be inserted", table, rows)
            return 0
        if rows:
            self.state.mark_dirty(unit)
            # Once they are encoded, the engine can have the memory of the columns.
            given = [columns]
            del columns
            self.database.insert(table, given.pop())
            self.summary.result = "loaded"
            self.summary.inserted[table] = self.summary.inserted.get(table, 0) + rows
        ((stored,),) = self.database.query(count_statement, parameters)
        if stored != expected:
            raise DatabaseError(f"{table}: {stored} rows of {unit} stored, expected {expected}")
        self.state.clear_dirty(unit)
        return rows
