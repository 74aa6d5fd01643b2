"""Beehive: how every source package of a branch rebuilds on each architecture.

A branch and architecture (a "pair") publishes, for its latest run, a list of build times, the
directories of successes and failures, and since when packages have been failing. A pair is
stored completely or not at all: readers and later loads tell by its date that it is there.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from altrepodb.db.database import Columns, Database
from altrepodb.errors import AltrepodbError, ConfigurationError, SourceError, TemporaryError
from altrepodb.http import HttpLimits, HttpStatusError, check_url, decode_text, shown_url
from altrepodb.sources.listing import Listing, parse_listing
from altrepodb.sources.run import (
    Findings,
    SourceOptions,
    SourceRun,
    SourceSummary,
    check_malformed,
)
from altrepodb.sources.state import check_not_shrunk
from altrepodb.sources.zones import check_epoch, to_epoch

__all__ = [
    "DEFAULT_ARCHS",
    "DEFAULT_BRANCHES",
    "DEFAULT_URL",
    "BeehiveOptions",
    "BeehiveSummary",
    "Build",
    "load_beehive",
    "parse_build_times",
    "parse_failing_since",
    "parse_outcomes",
    "split_stem",
]

logger = logging.getLogger("altrepodb.beehive")

DEFAULT_URL = "https://git.altlinux.org/beehive"
DEFAULT_BRANCHES = ("Sisyphus", "p10", "p9")
DEFAULT_ARCHS = ("i586", "x86_64")
PROGRAM = "beehive_loader"

_LISTING_LIMITS = HttpLimits(60, 300, 64 << 20, 128 << 20)
_TIMES_LIMITS = HttpLimits(60, 300, 16 << 20, 32 << 20)
_SINCE_LIMITS = HttpLimits(60, 300, 8 << 20, 16 << 20)
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*", re.ASCII)
_DECIMAL = re.compile(r"[0-9]{1,12}(?:\.[0-9]{0,12})?", re.ASCII)
_WHOLE = re.compile(r"[0-9]{1,12}", re.ASCII)
_FIRST_SNAPSHOT = 946_684_800
_NAMES_PER_QUERY = 1000

_TABLE = "BeehiveStatus"
_STORED_DATES = """
SELECT DISTINCT toUnixTimestamp(bh_updated) FROM BeehiveStatus
WHERE pkgset_name = {branch:String} AND bh_arch = {arch:String}
"""
_STORED_ROWS = """
SELECT pkg_hash, toString(bh_status), toUnixTimestamp(bh_ftbfs_since) FROM BeehiveStatus
WHERE pkgset_name = {branch:String} AND bh_arch = {arch:String}
    AND toUnixTimestamp(bh_updated) = {updated:UInt32}
"""
_COUNT = """
SELECT count() FROM BeehiveStatus
WHERE pkgset_name = {branch:String} AND bh_arch = {arch:String}
    AND toUnixTimestamp(bh_updated) = {updated:UInt32}
"""
_SNAPSHOT_UP_TO = """
SELECT toUnixTimestamp(max(pkgset_date)) FROM PackageSetName
WHERE pkgset_depth = 0 AND pkgset_nodename = {branch:String}
    AND toUnixTimestamp(pkgset_date) <= {date:UInt32}
"""
_SOURCE_PACKAGES = """
SELECT pkg_name, pkg_version, pkg_release, pkg_hash FROM Packages
WHERE pkg_sourcepackage = 1 AND pkg_hash IN
(
    SELECT pkg_hash FROM PackageSet
    WHERE pkgset_uuid IN
    (
        SELECT pkgset_uuid FROM PackageSetName
        WHERE pkgset_nodename = 'srpm' AND pkgset_ruuid IN
        (
            SELECT pkgset_uuid FROM PackageSetName
            WHERE pkgset_depth = 0 AND pkgset_nodename = {branch:String}
                AND toUnixTimestamp(pkgset_date) = {date:UInt32}
        )
    )
)
GROUP BY pkg_name, pkg_version, pkg_release, pkg_epoch, pkg_hash
ORDER BY pkg_epoch
"""
_TASK_PACKAGES = """
SELECT pkg_name, pkg_version, pkg_release, pkg_hash FROM
(
    SELECT DISTINCT pkg_name, pkg_version, pkg_release, pkg_hash FROM Packages
    WHERE pkg_sourcepackage = 1 AND pkg_name IN {names:Array(String)}
) AS package
INNER JOIN
(
    SELECT titer_srcrpm_hash AS pkg_hash, max(task_id) AS newest_task FROM TaskIterations
    WHERE task_id IN (SELECT task_id FROM Tasks WHERE task_repo = {branch:String})
    GROUP BY titer_srcrpm_hash
) AS task USING pkg_hash
ORDER BY newest_task
"""


@dataclass(frozen=True, kw_only=True)
class BeehiveOptions(SourceOptions):
    """Which pairs to load, spelled as in URLs; ``restart_pause_s`` before a second try at one."""

    branches: tuple[str, ...] = DEFAULT_BRANCHES
    archs: tuple[str, ...] = DEFAULT_ARCHS
    restart_pause_s: float = 30.0

    def check(self) -> None:
        """As of SourceOptions, and for names that cannot be part of a URL."""
        SourceOptions.check(self)
        for name in (*self.branches, *self.archs):
            if not _NAME.fullmatch(name):
                raise ConfigurationError(f"{name!r}: not a name of a branch or architecture")


@dataclass(slots=True)
class BeehiveSummary(SourceSummary):
    """``pairs`` says what became of each: loaded, uptodate, skipped, or failed and why.

    ``is_curable`` tells that nothing but the site stood in the way of those that failed.
    """

    pairs: dict[str, str] = field(default_factory=dict)
    is_curable: bool = False


class Build(NamedTuple):
    """A source package that was rebuilt; the version is without its epoch."""

    name: str
    version: str
    release: str


@dataclass(frozen=True, slots=True)
class _Pair:
    """A branch as URLs spell it, and an architecture."""

    branch: str
    arch: str

    @property
    def pkgset(self) -> str:
        """The branch as the database spells it."""
        return self.branch.lower()

    @property
    def unit(self) -> str:
        return f"{self.pkgset}/{self.arch}"

    def parameters(self, updated: int) -> dict[str, object]:
        return {"branch": self.pkgset, "arch": self.arch, "updated": updated}


@dataclass(slots=True)
class _Results:
    """What a pair publishes of its latest run."""

    updated: int
    times: dict[Build, float]
    failures: set[Build]
    successes: set[Build]
    failing_since: dict[str, int]


class _InconsistentError(SourceError):
    """The parts do not fit together, perhaps because they were just being replaced."""


class _NoSnapshotError(SourceError):
    """The database holds no state of the branch to look packages up in."""


def load_beehive(options: BeehiveOptions, database: Database) -> BeehiveSummary:
    """Store the latest run of each pair that is not stored yet.

    A pair that fails is named in the summary and does not keep the others from being loaded.
    Raises DatabaseError, LockHeldError, ConfigurationError.
    """
    url = check_url(options.url or DEFAULT_URL, "url")
    summary = BeehiveSummary(url=shown_url(url))
    with SourceRun(PROGRAM, options, database, summary) as run:
        load = _Load(run, options, url)
        failures: list[AltrepodbError] = []
        for pair in [_Pair(b, a) for b in options.branches for a in options.archs]:
            try:
                summary.pairs[pair.unit] = load.pair(pair)
            except _NoSnapshotError as error:
                summary.warnings += 1
                summary.pairs[pair.unit] = "skipped"
                logger.warning("%s: %s", pair.unit, error)
            except (SourceError, TemporaryError) as error:
                failures.append(error)
                summary.pairs[pair.unit] = f"failed: {error}"
                logger.error("%s: %s", pair.unit, error)
    _conclude(summary, failures)
    return summary


def _conclude(summary: BeehiveSummary, failures: Sequence[AltrepodbError]) -> None:
    """Exit code and error of the run from what became of its pairs."""
    if failures:
        first = failures[0]
        rest = len(failures) - 1
        summary.error = f"{first} (and {rest} more)" if rest else str(first)
        summary.is_curable = all(isinstance(error, TemporaryError) for error in failures)
        is_passing = summary.is_curable and len(failures) == len(summary.pairs)
        summary.exit_code = TemporaryError.exit_code if is_passing else SourceError.exit_code
    elif set(summary.pairs.values()) == {"skipped"}:
        summary.error = "no state of any of the branches is in the database; load them first"
        summary.exit_code = SourceError.exit_code
    if summary.exit_code:
        summary.result = "failed"


class _Load:
    """The load of all pairs; the snapshot of a branch is read once for its architectures."""

    def __init__(self, run: SourceRun, options: BeehiveOptions, base: str) -> None:
        self._run = run
        self._options = options
        self._base = base
        self._snapshot_key: tuple[str, int] | None = None
        self._snapshot: dict[Build, int] = {}

    def pair(self, pair: _Pair) -> str:
        """Load one pair; ``loaded`` or ``uptodate``. Raises SourceError or TemporaryError."""
        updated = self._run_date(pair)
        if self._is_stored(pair, updated):
            logger.info("%s: the run of %s is stored", pair.unit, _day(updated))
            return "uptodate"
        try:
            rows = self._consistent_rows(pair, updated)
        except _InconsistentError as error:
            logger.warning("%s: %s; trying once more", pair.unit, error)
            again = self._run_date(pair)
            if again == updated:
                time.sleep(self._options.restart_pause_s)
                again = self._run_date(pair)
            updated = again
            if self._is_stored(pair, updated):
                return "uptodate"
            rows = self._consistent_rows(pair, updated)
        return self._store(pair, updated, rows)

    def _is_stored(self, pair: _Pair, updated: int) -> bool:
        if self._options.force or self._run.state.is_dirty(pair.unit):
            return False
        parameters = {"branch": pair.pkgset, "arch": pair.arch}
        return (updated,) in self._run.database.query(_STORED_DATES, parameters)

    def _consistent_rows(self, pair: _Pair, updated: int) -> list[_Row]:
        """Rows of all builds. Raises _InconsistentError when something does not fit."""
        date = self._snapshot_date(pair, updated)
        results = self._fetch(pair, updated)
        # Not earlier: the pages of the site need the memory.
        snapshot = self._read_snapshot(pair.pkgset, date)
        self._run.summary.fetched += len(results.times)
        _check_consistency(results)
        hashes = self._find_hashes(pair, results, snapshot)
        return _rows(results, hashes, pair.unit, self._run.findings)

    # what the site publishes

    def _url(self, pair: _Pair, *parts: str) -> str:
        return "/".join([self._base, "logs", pair.branch, pair.arch, *parts])

    def _run_date(self, pair: _Pair) -> int:
        """Noon of the day on which the latest run ended."""
        url = self._url(pair, "")
        response = self._run.http.get(url, _LISTING_LIMITS, expects_markup=True)
        entry = parse_listing(response.content, response.url).find("latest")
        if entry is None or entry.modified is None:
            raise SourceError(f"{shown_url(url)}: no date of an entry latest")
        moment = entry.modified
        if moment.tzinfo is not None:
            moment = moment.astimezone(self._run.zone).replace(tzinfo=None)
        try:
            noon = moment.replace(hour=12, minute=0, second=0, microsecond=0)
            return to_epoch(noon, self._run.zone)
        except ValueError as error:
            raise SourceError(f"{shown_url(url)}: latest: {error}") from error

    def _fetch(self, pair: _Pair, updated: int) -> _Results:
        """All parts, which must be of one run."""
        findings = self._run.findings
        times_url = self._url(pair, "latest", "time.list")
        times = self._run.http.get(times_url, _TIMES_LIMITS).content
        failures = self._outcomes(pair, "error")
        successes = self._outcomes(pair, "success")
        since_url, since = self._failing_since(pair)
        results = _Results(
            updated,
            parse_build_times(_text(times, times_url), shown_url(times_url), findings),
            failures,
            successes,
            parse_failing_since(_text(since, since_url), shown_url(since_url), findings),
        )
        if not results.times:
            raise SourceError(f"{shown_url(times_url)}: no builds in it")
        if results.failures and not results.failing_since:
            raise SourceError(f"{shown_url(since_url)}: empty, although packages fail")
        if self._run_date(pair) != updated:
            raise _InconsistentError(
                f"{shown_url(times_url)}: the latest run has changed meanwhile"
            )
        return results

    def _outcomes(self, pair: _Pair, outcome: str) -> set[Build]:
        url = self._url(pair, "latest", outcome)
        response = self._run.http.get(url, _LISTING_LIMITS, expects_markup=True)
        listing = parse_listing(response.content, response.url)
        return parse_outcomes(listing, shown_url(url), self._run.findings)

    def _failing_since(self, pair: _Pair) -> tuple[str, bytes]:
        """The URL and content; there are two ways to spell the directory."""
        url = f"{self._base}/stats/{pair.branch}/{pair.arch}/ftbfs-since"
        try:
            return url, self._run.http.get(url, _SINCE_LIMITS).content
        except HttpStatusError as error:
            if error.status != 404:
                raise
        url = f"{self._base}/stats/{pair.branch}-{pair.arch}/ftbfs-since"
        return url, self._run.http.get(url, _SINCE_LIMITS).content

    # what the database knows

    def _snapshot_date(self, pair: _Pair, updated: int) -> int:
        """Of the state of the branch on the day of the run, or the last one before."""
        parameters = {"branch": pair.pkgset, "date": updated}
        ((date,),) = self._run.database.query(_SNAPSHOT_UP_TO, parameters)
        if date <= _FIRST_SNAPSHOT:
            raise _NoSnapshotError(f"no state of {pair.pkgset} up to {_day(updated)} is stored")
        if self._snapshot_key != (pair.pkgset, date):
            self._snapshot_key, self._snapshot = None, {}
        return int(date)

    def _read_snapshot(self, branch: str, date: int) -> dict[Build, int]:
        """Hashes of the source packages of a branch in its state of a date."""
        if self._snapshot_key != (branch, date):
            self._snapshot_key, self._snapshot = (branch, date), self._packages_of(branch, date)
        return self._snapshot

    def _packages_of(self, branch: str, date: int) -> dict[Build, int]:
        found: dict[Build, int] = {}
        rows = self._run.database.query(_SOURCE_PACKAGES, {"branch": branch, "date": date})
        for name, version, release, pkg_hash in rows:
            build = Build(name, version, release)
            if build in found:
                self._run.findings.repair(
                    branch, None, "one version with two epochs, the higher counts", "-".join(build)
                )
            # Rows come by epoch.
            found[build] = pkg_hash
        return found

    def _find_hashes(
        self, pair: _Pair, results: _Results, snapshot: Mapping[Build, int]
    ) -> dict[Build, int]:
        """The hash of every build. Raises _InconsistentError when one is not to be found."""
        missing = {build for build in results.times if build not in snapshot}
        from_tasks = self._packages_of_tasks(pair.pkgset, missing)
        unknown = sorted(missing - set(from_tasks))
        if unknown:
            raise _InconsistentError(
                f"{pair.unit}: {len(unknown)} packages are not in the database, "
                f"such as {'-'.join(unknown[0])}"
            )
        unbuilt = len(snapshot) + len(missing) - len(results.times)
        logger.info(
            "%s: %d builds, %d of them found in tasks, %d packages not built",
            pair.unit, len(results.times), len(missing), unbuilt,
        )  # fmt: skip
        return {b: snapshot[b] if b in snapshot else from_tasks[b] for b in results.times}

    def _packages_of_tasks(self, branch: str, builds: set[Build]) -> dict[Build, int]:
        """Hashes by the newest task of the branch that built such a package."""
        names = sorted({build.name for build in builds})
        found: dict[Build, int] = {}
        for start in range(0, len(names), _NAMES_PER_QUERY):
            parameters = {"branch": branch, "names": names[start : start + _NAMES_PER_QUERY]}
            for name, version, release, pkg_hash in self._run.database.query(
                _TASK_PACKAGES, parameters
            ):
                # Rows come by task.
                found[Build(name, version, release)] = pkg_hash
        return {build: found[build] for build in builds if build in found}

    def _store(self, pair: _Pair, updated: int, rows: Sequence[_Row]) -> str:
        """Insert the rows that are not stored, which are all of them unless a run was cut off."""
        database, parameters = self._run.database, pair.parameters(updated)
        self._check_size(pair, len(rows))
        stored = set(database.query(_STORED_ROWS, parameters))
        new = [row for row in rows if (row.pkg_hash, row.status, row.since) not in stored]
        columns = _columns(pair, updated, new)
        expected = database.query(_COUNT, parameters)[0][0] + len(new)
        self._run.insert(pair.unit, _TABLE, columns, _COUNT, parameters, expected)
        return "loaded" if new else "uptodate"

    def _check_size(self, pair: _Pair, count: int) -> None:
        dates = self._run.database.query(_STORED_DATES, {"branch": pair.pkgset, "arch": pair.arch})
        if dates:
            parameters = pair.parameters(max(date for (date,) in dates))
            ((before,),) = self._run.database.query(_COUNT, parameters)
            url = self._url(pair, "latest", "time.list")
            check_not_shrunk(url, count, before, force=self._options.force)


# --- parse


def split_stem(stem: str) -> Build | None:
    """``name-version-release``, with or without epoch and ``.src.rpm``; None when it is none."""
    parts = stem.removesuffix("/").removesuffix(".src.rpm").rsplit("-", 2)
    if len(parts) != 3:
        return None
    name, version, release = parts
    epoch, colon, rest = version.partition(":")
    build = Build(name, rest if colon else epoch, release)
    return build if all(build) else None


def _fields(
    text: str, where: str, findings: Findings, is_good: Callable[[str, str], bool]
) -> Iterator[tuple[str, str]]:
    """The first two fields of each line that is good; raises SourceError when too few are."""
    lines = malformed = 0
    for number, line in enumerate(text.split("\n"), start=1):
        line = line.strip()
        if not line:
            continue
        lines += 1
        first, _, rest = line.partition("\t")
        second = rest.partition("\t")[0].strip()
        if is_good(first.strip(), second):
            yield first.strip(), second
        else:
            malformed += 1
            findings.skip(where, number, "malformed line", line)
    check_malformed(where, malformed, lines)


def parse_build_times(text: str, where: str, findings: Findings) -> dict[Build, float]:
    """Seconds by build, in the order of the file (``time.list``)."""
    times: dict[Build, float] = {}
    for stem, seconds in _fields(text, where, findings, _is_build_time):
        build = split_stem(stem)
        if build is not None:
            times[build] = float(seconds)
    return times


def _is_build_time(stem: str, seconds: str) -> bool:
    return split_stem(stem) is not None and bool(_DECIMAL.fullmatch(seconds))


def parse_failing_since(text: str, where: str, findings: Findings) -> dict[str, int]:
    """Seconds since 1970 of the first failure in a row, by bare package name."""
    return {name: int(since) for name, since in _fields(text, where, findings, _is_since)}


def _is_since(name: str, seconds: str) -> bool:
    try:
        return bool(name and _WHOLE.fullmatch(seconds) and check_epoch(int(seconds)) >= 0)
    except ValueError:
        return False


def parse_outcomes(listing: Listing, where: str, findings: Findings) -> set[Build]:
    """The builds that a directory has entries of."""
    builds: set[Build] = set()
    malformed = 0
    for entry in listing.entries:
        build = split_stem(entry.name)
        if build is None:
            malformed += 1
            findings.skip(where, None, "not a package", entry.name)
        else:
            builds.add(build)
    check_malformed(where, malformed, len(listing.entries))
    return builds


def _text(content: bytes, url: str) -> str:
    return decode_text(content, url)[0]


# --- rows


class _Row(NamedTuple):
    """What differs between the rows of a pair."""

    build: Build
    pkg_hash: int
    status: str
    seconds: float
    since: int


def _check_consistency(results: _Results) -> None:
    """Every build has an outcome, and every outcome is of a build."""
    outcomes = results.failures | results.successes
    odd = sorted(outcomes.symmetric_difference(results.times))
    if odd:
        raise _InconsistentError(
            f"{len(results.times)} build times and {len(outcomes)} outcomes do not fit, "
            f"such as {'-'.join(odd[0])}"
        )


def _rows(
    results: _Results, hashes: Mapping[Build, int], where: str, findings: Findings
) -> list[_Row]:
    rows = []
    for build, seconds in results.times.items():
        is_success = build in results.successes
        if is_success and build in results.failures:
            findings.repair(
                where, None, "both success and error, taken as success", "-".join(build)
            )
        status, since = "success", results.updated
        if not is_success:
            status, since = "error", results.failing_since.get(build.name, results.updated)
        rows.append(_Row(build, hashes[build], status, seconds, since))
    return rows


def _columns(pair: _Pair, updated: int, rows: Sequence[_Row]) -> Columns:
    return {
        "pkg_hash": [row.pkg_hash for row in rows],
        "pkg_name": [row.build.name for row in rows],
        "pkg_version": [row.build.version for row in rows],
        "pkg_release": [row.build.release for row in rows],
        "pkgset_name": [pair.pkgset] * len(rows),
        "bh_arch": [pair.arch] * len(rows),
        "bh_status": [row.status for row in rows],
        "bh_build_time": [row.seconds for row in rows],
        "bh_updated": [updated] * len(rows),
        "bh_ftbfs_since": [row.since for row in rows],
    }


def _day(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))
