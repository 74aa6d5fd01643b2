"""A file that is stored whole and dated by its ``Last-Modified``: once, when it is news.

The newest moment in the table decides what is news. Validators only save the download, and are
used as long as the table still holds what they were remembered for.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from altrepodb.db.database import Columns
from altrepodb.errors import SourceError
from altrepodb.http import HttpLimits, StreamedResponse, shown_url
from altrepodb.sources.run import SourceRun
from altrepodb.sources.state import check_not_shrunk

__all__ = ["DatedRows", "DatedTable", "load_dated_file"]

logger = logging.getLogger(__name__)

_MAX_AHEAD_S = 24 * 3600


class DatedRows(Protocol):
    """What was read from a file."""

    def __len__(self) -> int: ...

    def take_columns(self, moment: int) -> Columns:
        """The rows, all of one moment; called once."""


@dataclass(frozen=True, slots=True)
class DatedTable:
    """A table and two statements: its newest moment in seconds, 0 when there is none, and how
    many different rows it has of a ``{moment:UInt32}``."""

    name: str
    newest: str
    count: str


def load_dated_file(
    run: SourceRun,
    url: str,
    table: DatedTable,
    limits: HttpLimits,
    read: Callable[[Iterator[bytes]], DatedRows],
) -> None:
    """Fetch a file and store it, if it is later than all that is stored.

    ``read`` makes rows of its content. Raises SourceError for a file without a usable
    ``Last-Modified``, or one that shrank.
    """
    ((newest,),) = run.database.query(table.newest)
    is_known = newest > 0 and run.state.count(table.name) == newest
    validators = run.validators(url, table.name) if is_known else None
    with run.http.stream(url, limits, validators) as response:
        moment = newest if response.is_unchanged else _moment(response, url)
        if not _is_news(run, table, moment, newest):
            logger.info("%s: not newer than what is stored", shown_url(url))
            return
        rows = read(response.chunks)
        received = response.validators
    count = len(rows)
    _check_count(run, url, table, count, newest)
    parameters = {"moment": moment, "expected": count}
    # Not by way of a name, which would keep the columns while the engine works.
    run.insert(
        table.name,
        table.name,
        rows.take_columns(moment) if count else {},
        table.count,
        parameters,
        count,
    )
    run.state.set_validators(url, received)
    run.state.set_count(table.name, moment)


def _moment(response: StreamedResponse, url: str) -> int:
    """When the file was made. One of the far future would keep all later ones out."""
    moment = response.last_modified
    if moment is None:
        raise SourceError(f"{shown_url(url)}: no usable Last-Modified in the answer")
    if moment > time.time() + _MAX_AHEAD_S:
        raise SourceError(f"{shown_url(url)}: its Last-Modified is in the future")
    return moment


def _is_news(run: SourceRun, table: DatedTable, moment: int, newest: int) -> bool:
    return moment > newest or run.options.force or run.state.is_dirty(table.name)


def _check_count(run: SourceRun, url: str, table: DatedTable, count: int, newest: int) -> None:
    parameters = {"moment": newest, "expected": 0xFFFFFFFF}
    ((previous,),) = run.database.query(table.count, parameters)
    # What a run that was cut off has left says nothing about the size of a file.
    previous = 0 if run.state.is_dirty(table.name) else previous
    check_not_shrunk(url, count, previous, force=run.options.force)
