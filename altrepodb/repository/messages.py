"""Messages that ask for the load of a repository: their fields, their date, the load itself."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from altrepodb.errors import SourceError
from altrepodb.json_values import text_under

if TYPE_CHECKING:
    from altrepodb.db.database import Database
    from altrepodb.repository.load import RepositorySummary

__all__ = ["RepositoryRequest", "check_day", "load_requested", "read_request"]

logger = logging.getLogger("altrepodb.repo")

TAG = "uploaderd"

_DAY = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})", re.ASCII)
_FIRST_DAY, _LAST_DAY = date(1970, 1, 2), date(2106, 2, 6)
"""What the type DateTime can hold whatever the zone of the server."""

_GRACE_HOURS = 3
"""So long after midnight a message of the day before may still be under way."""


@dataclass(frozen=True, slots=True)
class RepositoryRequest:
    """A branch as the settings spell it, and a day as ``YYYY-MM-DD``."""

    branch: str
    day: str


def read_request(body: Mapping[str, Any], branches: Collection[str]) -> RepositoryRequest:
    """The branch and day of a message. Raises SourceError for others than can be loaded."""
    branch = text_under(body, "branch")
    if branch not in branches:
        raise SourceError(f"branch: {branch[:40]!r} has no directory in the settings")
    text = text_under(body, "date")
    found = _DAY.fullmatch(text)
    try:
        if found is None:
            raise ValueError
        day = date(*map(int, found.groups()))
        if not _FIRST_DAY <= day <= _LAST_DAY:
            raise ValueError
    except ValueError:
        raise SourceError(f"date: expected YYYY-MM-DD, got {text[:40]!r}") from None
    return RepositoryRequest(branch, day.isoformat())


def check_day(request: RepositoryRequest, received: float, *, is_redelivered: bool) -> None:
    """Raise SourceError unless the day is today where this host is.

    ``received`` is when the message came, in seconds since 1970. The day before counts too soon
    after midnight, and for a message that was given out before.
    """
    moment = datetime.fromtimestamp(received)
    today = moment.date()
    days = {today.isoformat()}
    if is_redelivered or moment.hour < _GRACE_HOURS:
        days.add((today - timedelta(days=1)).isoformat())
    if request.day not in days:
        raise SourceError(f"date: {request.day} is not today")


def load_requested(
    request: RepositoryRequest, directory: Path, workers: int, database: Database
) -> RepositorySummary:
    """Load the repository in a directory, which may be a link that moves on meanwhile.

    Raises AlreadyLoadedError, SourceError, DatabaseError.
    """
    from altrepodb.repository.load import RepositoryOptions, load_repository, scan
    from altrepodb.workers import worker_pool

    target = Path(os.path.realpath(directory))
    logger.info("%s of %s: %s is %s", request.branch, request.day, directory, target)
    options = RepositoryOptions(name=request.branch.lower(), path=target, date=request.day, tag=TAG)
    with worker_pool(workers) as pool:
        return load_repository(options, scan(options, pool), database, pool)
