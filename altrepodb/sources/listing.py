"""Directory listings of web servers -> names, times and sizes.

Understood are the pages of nginx, Apache (preformatted and as a table), lighttpd, gitweb-styled
tables and plain bullet lists. Beautiful Soup reads them, with lxml beneath: its other parsers take
minutes for an ordinary page of Apache with twenty thousand files, and hours for a hostile one.
Size, number of tags and depth of a page are limited, so that none takes more than seconds.
"""

from __future__ import annotations

import gc
import re
import warnings
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from bs4 import BeautifulSoup, MarkupResemblesLocatorWarning, XMLParsedAsHTMLWarning
from bs4.element import NavigableString, Tag
from bs4.exceptions import ParserRejectedMarkup

from altrepodb.errors import SourceError
from altrepodb.http import decode_text, shown_url

__all__ = ["Entry", "Listing", "parse_listing"]

# A file takes up to 400 bytes and 8 tags in a page, so that 25,000 files fit in.
_MAX_BYTES = 10 << 20
_MAX_TAGS = 200_000
_MAX_DEPTH = 50
_LARGE_BYTES = 1 << 20
_OTHER_SITE = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]{0,20}:)?//([^/]*)(.*)", re.DOTALL)
_NO_PLACE = re.compile(r"(?:mailto|javascript|data|about):", re.IGNORECASE)
_INDEX_OF = "Index of "

_MONTHS = {
    name: number
    for number, name in enumerate(
        "jan feb mar apr may jun jul aug sep oct nov dec".split(), start=1
    )
}  # fmt: skip
_DAY, _MONTH, _YEAR = r"(?P<day>\d{1,2})", r"(?P<month>[A-Za-z]{3})", r"(?P<year>\d{4})"
_NUMBER = r"(?P<month>\d{1,2})"
_CLOCK = r"(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2}))?"
_OFFSET = r"(?P<zone>Z|GMT|UTC|[+-]\d{2}:?\d{2})"
_DATES = tuple(
    re.compile(pattern + r"(?![\w:])", re.ASCII)
    for pattern in (
        rf"{_DAY}-{_MONTH}-{_YEAR} +{_CLOCK}",
        rf"{_YEAR}-{_NUMBER}-{_DAY}(?: +|T){_CLOCK} ?{_OFFSET}?",
        rf"{_YEAR}-{_MONTH}-{_DAY} +{_CLOCK}",
        rf"[A-Za-z]{{3}} {_MONTH} +{_DAY} {_CLOCK} {_YEAR}",
        rf"[A-Za-z]{{3}}, {_DAY} {_MONTH} {_YEAR} {_CLOCK} {_OFFSET}",
        rf"{_YEAR}-{_NUMBER}-{_DAY}",
        rf"{_DAY}/{_NUMBER}/{_YEAR} {_CLOCK} {_OFFSET}",
        rf"{_DAY} {_MONTH} {_YEAR}",
    )
)
_SIZE = re.compile(r"(\d[\d,]{0,30}(?:\.\d{1,9})?)\s{0,4}([BKMGTPEZY]?)", re.ASCII)
_UNITS = "BKMGTPEZY"


@dataclass(frozen=True, slots=True)
class Entry:
    """One file or directory.

    ``modified`` has a zone only when the page states one. ``size`` may be rounded by the server.
    """

    name: str
    modified: datetime | None = None
    size: int | None = None
    is_directory: bool = False


@dataclass(slots=True)
class Listing:
    """A page: its heading, the entries in its order, and dates such as 31 February."""

    heading: str | None = None
    entries: list[Entry] = field(default_factory=list)
    impossible_dates: list[str] = field(default_factory=list)

    def find(self, name: str) -> Entry | None:
        """The first entry of a name."""
        return next((entry for entry in self.entries if entry.name == name), None)


class _Row(NamedTuple):
    """A link with the text of its date, which its size may follow, and the text of its size."""

    link: Tag
    modified: str
    size: str


def parse_listing(content: bytes, url: str) -> Listing:
    """The entries of a page. Raises SourceError when it is no listing, or an endless one."""
    listing = _listing(_page(content, url), url)
    if len(content) > _LARGE_BYTES:
        # A tree is full of cycles. In all its size it would wait for the collector to come by.
        gc.collect()
    return listing


def _listing(page: BeautifulSoup, url: str) -> Listing:
    place = urlsplit(url)
    listing = Listing(_heading(page))
    for find_rows in (_rows_of_preformatted, _rows_of_table, _rows_of_bullets):
        rows = find_rows(page)
        if rows is None:
            continue
        for row in rows:
            name, is_directory = _name(row.link, place.netloc, place.path)
            if name:
                date = _date(row.modified, listing)
                listing.entries.append(Entry(name, date, _size(row.size), is_directory))
        return listing
    raise SourceError(f"{shown_url(url)}: not a directory listing")


# --- the page


class _Text(NavigableString):
    """A text with places for its neighbours instead of a dictionary, which is five times as big."""

    __slots__ = (
        "hidden", "next_element", "next_sibling", "parent", "previous_element", "previous_sibling",
    )  # fmt: skip


def _page(content: bytes, url: str) -> BeautifulSoup:
    """The tree of a page that is not beyond the limits."""
    text, is_utf8 = decode_text(content, url)
    if not is_utf8:
        text = content.decode("utf-8", "replace")
    if len(content) > _MAX_BYTES or text.count("<") - text.count("</") > _MAX_TAGS:
        raise SourceError(f"{shown_url(url)}: too large for a directory listing")
    with warnings.catch_warnings():
        # Odd pages are what we are here for.
        warnings.simplefilter("ignore", MarkupResemblesLocatorWarning)
        warnings.simplefilter("ignore", XMLParsedAsHTMLWarning)
        try:
            page = BeautifulSoup(
                text.replace("\0", "\ufffd"),
                "lxml",
                element_classes={NavigableString: _Text},
                multi_valued_attributes=None,
            )
        except ParserRejectedMarkup as error:
            raise SourceError(f"{shown_url(url)}: not a directory listing") from error
    level: list[Tag] = [page]
    for _ in range(_MAX_DEPTH):
        level = [child for tag in level for child in tag.contents if isinstance(child, Tag)]
    if level:
        raise SourceError(f"{shown_url(url)}: nested too deeply for a directory listing")
    return page


def _heading(page: BeautifulSoup) -> str | None:
    """What follows ``Index of`` in the title, else in the first heading."""
    for tag in (page.title, page.h1):
        text = "" if tag is None else " ".join(_text(tag).split())
        if text.startswith(_INDEX_OF):
            return text.removeprefix(_INDEX_OF).strip()
    return None


def _rows_of_preformatted(page: BeautifulSoup) -> list[_Row] | None:
    """Links in the first ``<pre>`` that has any, each with the text up to the end of its line."""
    links = page.find_all("a") if page.pre else []
    block = next(
        filter(None, (link.find_parent("pre") for link in links if _text(link).strip())), None
    )
    if block is None:
        return None
    return [_split_line(link, rest) for link, rest in _lines(block) if _text(link).strip()]


def _lines(block: Tag) -> list[tuple[Tag, str]]:
    """Links with all the text behind them, up to the next link."""
    lines: list[tuple[Tag, list[str]]] = []
    has_rule = False
    for node in block.descendants:
        if isinstance(node, Tag):
            if node.name == "a":
                lines.append((node, []))
            elif node.name == "hr" and not has_rule:
                # Before the first rule stand titles; Apache draws another one at the end.
                has_rule, lines = True, []
        elif lines and type(node) is _Text:
            lines[-1][1].append(node)
    return [(link, "".join(texts).removeprefix(_text(link))) for link, texts in lines]


def _split_line(link: Tag, text: str) -> _Row:
    line = text.partition("\n")[0].strip()
    for pattern in _DATES:
        found = pattern.match(line)
        if found:
            return _Row(link, found[0], line[found.end() :].strip())
    return _Row(link, "", line)


def _rows_of_table(page: BeautifulSoup) -> list[_Row] | None:
    """Rows below the first one with column titles that we know, in the same table."""
    for title in page.find_all("tr"):
        columns = _columns(title)
        if columns:
            rows = iter((title.find_parent("table") or page).find_all("tr"))
            # Takes the rows up to the titles off.
            any(row is title for row in rows)
            return list(filter(None, (_pick(_cells(row), columns) for row in rows)))
    return None


def _cells(row: Tag) -> list[Tag]:
    return [cell for cell in row.contents if isinstance(cell, Tag) and cell.name in ("td", "th")]


def _columns(row: Tag) -> dict[str, int]:
    """Positions of the columns by what their titles say; nothing when there is no name."""
    columns: dict[str, int] = {}
    for position, cell in enumerate(_cells(row)):
        title = " ".join(_text(cell).split()).lower()
        if _spans_columns(cell) or not title:
            continue
        if title.endswith("name") or title.startswith(("file", "download")):
            columns.setdefault("name", position)
        elif any(word in title for word in ("modifi", "date", "time")) or title.startswith(
            "uploaded"
        ):
            columns.setdefault("modified", position)
        elif "size" in title or title.endswith("bytes"):
            columns.setdefault("size", position)
    return columns if "name" in columns and row.table is None else {}


def _spans_columns(cell: Tag) -> bool:
    return _attribute(cell, "colspan") not in ("", "1")


def _pick(cells: list[Tag], columns: dict[str, int]) -> _Row | None:
    """The row of an entry; None for one without a link in the column of names."""
    parts = {name: cells[place] for name, place in columns.items() if place < len(cells)}
    link = _first(parts["name"], "a") if "name" in parts else None
    if link is None or any(map(_spans_columns, cells)):
        return None
    modified, size = parts.get("modified"), parts.get("size")
    return _Row(link, _stamp(modified) if modified else "", _text(size).strip() if size else "")


def _stamp(cell: Tag) -> str:
    """The text of a time, or what it is exactly."""
    exact = _first(cell, "time")
    return (_attribute(exact, "datetime") if exact else "") or _text(cell).strip()


def _rows_of_bullets(page: BeautifulSoup) -> list[_Row] | None:
    """Links of the first bullet list."""
    bullets = page.ul
    return None if bullets is None else [_Row(link, "", "") for link in bullets.find_all("a")]


def _first(tag: Tag, name: str) -> Tag | None:
    """As ``tag.find(name)``, in a tenth of the time."""
    nodes = (node for node in tag.descendants if isinstance(node, Tag) and node.name == name)
    return next(nodes, None)


def _text(tag: Tag) -> str:
    return "".join(node for node in tag.descendants if type(node) is _Text)


def _attribute(tag: Tag, name: str) -> str:
    return str(tag.get(name) or "").strip()


# --- the entries


def _name(link: Tag, host: str, directory: str) -> tuple[str, bool]:
    """The name that a link stands for, and whether it is a directory; no name for no entry."""
    path = re.split(r"[?#]", _attribute(link, "href"), maxsplit=1)[0].strip()
    if not path or _text(link).strip().lower() == "parent directory" or _NO_PLACE.match(path):
        return "", False
    absolute = _OTHER_SITE.match(path)
    if absolute:
        if absolute[1] != host:
            return "", False
        path = absolute[2] or "/"
    segments = [unquote(part, errors="surrogateescape") for part in path.split("/")]
    is_directory = segments[-1] == ""
    names = [segment for segment in segments if segment not in ("", ".")]
    if not names or ".." in names or _is_at_or_above(path, names, directory):
        return "", False
    name = names[-1]
    # A name that decodes to a path, or breaks a line, is none that we could ask for.
    return ("" if "/" in name or not _is_printable(name) else name), is_directory


def _is_at_or_above(path: str, names: list[str], directory: str) -> bool:
    """Whether an absolute path leads to the listed directory itself or one above it."""
    if not path.startswith("/"):
        return False
    here = [unquote(part, errors="surrogateescape") for part in directory.split("/") if part]
    return names == here[: len(names)]


def _is_printable(name: str) -> bool:
    return not any(ord(character) < 32 or ord(character) == 127 for character in name)


def _date(text: str, listing: Listing) -> datetime | None:
    """The time that a text begins with."""
    for pattern in _DATES:
        found = pattern.match(text)
        if found is None:
            continue
        try:
            return _moment(found.groupdict())
        except (ValueError, KeyError, OverflowError):
            listing.impossible_dates.append(found[0])
            return None
    return None


def _moment(parts: dict[str, str | None]) -> datetime:
    month = parts["month"] or ""
    return datetime(
        int(parts["year"] or 0),
        int(month) if month.isdigit() else _MONTHS[month.lower()],
        int(parts["day"] or 0),
        int(parts.get("hour") or 0),
        int(parts.get("minute") or 0),
        int(parts.get("second") or 0),
        tzinfo=_zone(parts.get("zone")),
    )


def _zone(text: str | None) -> timezone | None:
    if not text:
        return None
    if text in ("Z", "GMT", "UTC"):
        return timezone.utc
    hours, minutes = int(text[1:3]), int(text[-2:])
    offset = timedelta(hours=hours, minutes=minutes)
    return timezone(-offset if text[0] == "-" else offset)


def _size(text: str) -> int | None:
    found = _SIZE.match(text)
    if found is None:
        return None
    number = found[1].replace(",", "")
    unit = 1024 ** _UNITS.index(found[2] or "B")
    return int(float(number) * unit) if "." in number else int(number) * unit
