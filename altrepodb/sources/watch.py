"""Watch -> rows of PackagesWatch: newer upstream versions of packages, one finding a line.

A file is stored whole, dated by its ``Last-Modified``, when that is later than all that is
stored. Readers look at the newest day only, so a file is stored completely or not at all.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from altrepodb.db.database import Columns, Database
from altrepodb.http import HttpLimits, decode_text, shown_url
from altrepodb.sources.dated_file import DatedTable, load_dated_file
from altrepodb.sources.run import (
    Findings,
    SourceOptions,
    SourceRun,
    SourceSummary,
    check_malformed,
)

__all__ = ["PROGRAM", "UpstreamVersion", "UpstreamVersions", "load_watch", "parse_versions"]

PROGRAM = "watch_loader"

DEFAULT_URL = "https://watch.altlinux.org/pub/watch/watch-total.txt"

_LIMITS = HttpLimits(
    read_timeout_s=30, deadline_s=120, wire_bytes=64 << 20, decoded_bytes=128 << 20
)
_MAX_MALFORMED_SHARE = 0.01

_TABLE = DatedTable(
    "PackagesWatch",
    newest="SELECT toUnixTimestamp(max(date_update)) FROM PackagesWatch",
    count="""
SELECT least(
    uniqExact(acl, pkg_name, old_version, new_version, url), toUInt64({expected:UInt32})
)
FROM PackagesWatch
WHERE date_update = toDateTime({moment:UInt32})
""",
)


class UpstreamVersion(NamedTuple):
    """One line: whose package it is, its version in Sisyphus, and the one upstream."""

    acl: str
    pkg_name: str
    old_version: str
    new_version: str
    url: str


_FIELDS = len(UpstreamVersion._fields)


class UpstreamVersions(list[UpstreamVersion]):
    """The lines of a file, and how they become rows of PackagesWatch."""

    def take_columns(self, moment: int) -> Columns:
        """The rows, all of one moment."""
        columns = zip(UpstreamVersion._fields, map(list, zip(*self, strict=True)), strict=True)
        return {**dict(columns), "date_update": [moment] * len(self)}


def load_watch(options: SourceOptions, database: Database) -> SourceSummary:
    """Store the file if it is news.

    Raises SourceError, TemporaryError, DatabaseError and LockHeldError; nothing is stored then.
    """
    url = options.url or DEFAULT_URL
    shown = shown_url(url)
    summary = SourceSummary(url=shown)
    with SourceRun(PROGRAM, options, database, summary) as run:

        def read(chunks: Iterable[bytes]) -> UpstreamVersions:
            text, _ = decode_text(b"".join(chunks), url)
            versions = parse_versions(text, shown, run.findings)
            total = len(versions) + summary.skipped
            check_malformed(shown, summary.skipped, total, share=_MAX_MALFORMED_SHARE, few=0)
            summary.fetched = total
            return versions

        load_dated_file(run, url, _TABLE, _LIMITS, read)
    return summary


def parse_versions(text: str, name: str, findings: Findings) -> UpstreamVersions:
    """The lines of a file in its order, each once; ``name`` is its URL for messages.

    Values are taken as they are, empty ones too. Lines without a package or with fewer than
    five fields are skipped and counted.
    """
    versions: dict[UpstreamVersion, None] = {}
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        line = line.removesuffix("\r")
        if not line.strip():
            continue
        fields = line.split("\t", _FIELDS)[:_FIELDS]
        if len(fields) < _FIELDS:
            findings.skip(name, number, f"{len(fields)} fields instead of {_FIELDS}", line)
        elif not fields[1]:
            findings.skip(name, number, "no package", line)
        else:
            versions[UpstreamVersion(*fields)] = None
    return UpstreamVersions(versions)
