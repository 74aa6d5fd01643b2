"""Watch -> rows of PackagesWatch: newer upstream versions of packages, one finding a line.

A file is stored whole, dated by its ``Last-Modified``, when that is later than all that is
stored. Readers look at the newest day only, so a file is stored completely or not at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from altrepodb.db.database import Columns
from altrepodb.errors import SourceError

__all__ = ["Finding", "finding_columns", "load_watch", "parse_findings"]

DEFAULT_URL = "https://watch.altlinux.org/pub/watch/watch-total.txt"
TIMEOUT_S = 30.0

_MAX_MALFORMED_SHARE = 0.01

_NEWEST = "SELECT toUnixTimestamp(max(date_update)) FROM PackagesWatch"
_COUNT = "SELECT count() FROM PackagesWatch WHERE date_update = toDateTime({moment:UInt32})"


class Finding(NamedTuple):
    """One line: whose package it is, its version in Sisyphus, and the one upstream."""

    acl: str
    pkg_name: str
    old_version: str
    new_version: str
    url: str


def parse_findings(text: str, name: str, skips: Skips) -> list[Finding]:
    """The findings of a file in its order, each once.

    Values are taken as they are, empty ones too. Lines without a package or with fewer than
    five fields are skipped and counted.
    """
    findings: dict[Finding, None] = {}
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        line = line.removesuffix("\r")
        if not line.strip():
            continue
        fields = line.split("\t", len(Finding._fields))[: len(Finding._fields)]
        if len(fields) < len(Finding._fields) or not fields[1]:
            skips.add(f"line {number}", line)
        else:
            findings[Finding(*fields)] = None
    return list(findings)


def finding_columns(findings: Sequence[Finding], moment: int) -> Columns:
    """Rows of PackagesWatch, all of one moment."""
    columns = dict(zip(Finding._fields, map(list, zip(*findings, strict=True)), strict=True))
    return {**columns, "date_update": [moment] * len(findings)}
