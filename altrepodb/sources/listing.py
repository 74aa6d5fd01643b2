"""Directory listings of web servers -> names, times and sizes.

Understood are the pages of nginx, Apache (preformatted and as a table), lighttpd, gitweb-styled
tables and plain bullet lists. The page is cut into tags and texts by one expression that looks
at every byte a bounded number of times: the general parsers of the language take hours for a
hostile page of a few megabytes, and many times its size of memory.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from html import unescape
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from altrepodb.errors import SourceError
from altrepodb.http import decode_text, shown_url

__all__ = ["Entry", "Listing", "parse_listing"]

_MAX_TAGS = 1_000_000
_TOKEN = re.compile(r"""<(/?)([A-Za-z][A-Za-z0-9]{0,20})((?:[^<>"']|"[^"<]*"|'[^'<]*')*)>""")
_ATTRIBUTE = re.compile(
    r"""(?<![\w-])(href|colspan|datetime)\s{0,8}=\s{0,8}("[^"]*"|'[^']*'|[^\s"'>]+)""",
    re.IGNORECASE,
)
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


class _Token(NamedTuple):
    """A tag with its attributes (``kind`` is ``a`` or ``/a``), or the text before one (``""``)."""

    kind: str
    text: str


@dataclass(slots=True)
class _Item:
    """A cell of a table or a line of other pages: its first link and all of its text."""

    href: str | None = None
    link_text: str = ""
    text: str = ""
    stamp: str | None = None
    spans_columns: bool = False


def parse_listing(content: bytes, url: str) -> Listing:
    """The entries of a page. Raises SourceError when it is no listing."""
    tokens = list(_tokens(decode_text(content, url)[0], url))
    place = urlsplit(url)
    listing = Listing(_heading(tokens))
    for find_rows in (_rows_of_preformatted, _rows_of_table, _rows_of_bullets):
        rows = find_rows(tokens)
        if rows is None:
            continue
        for item, modified, size in rows:
            name, is_directory = _name(item, place.netloc, place.path)
            if name:
                date = _date(modified, listing)
                listing.entries.append(Entry(name, date, _size(size), is_directory))
        return listing
    raise SourceError(f"{shown_url(url)}: not a directory listing")


# --- the page


def _tokens(page: str, url: str) -> Iterator[_Token]:
    """Tags and the texts between them, comments left out."""
    parts = page.split("<!--")
    kept = [parts[0], *(part.partition("-->")[2] for part in parts[1:])]
    page = "".join(kept)
    end = 0
    for count, tag in enumerate(_TOKEN.finditer(page)):
        if count == _MAX_TAGS:
            raise SourceError(f"{shown_url(url)}: a listing with more than {_MAX_TAGS} tags")
        if tag.start() > end:
            yield _Token("", unescape(page[end : tag.start()]))
        yield _Token(tag[1] + tag[2].lower(), tag[3])
        end = tag.end()
    yield _Token("", unescape(page[end:]))


def _attribute(token: _Token, name: str) -> str | None:
    for found in _ATTRIBUTE.finditer(token.text):
        if found[1].lower() == name:
            return unescape(found[2].strip("\"'"))
    return None


def _heading(tokens: list[_Token]) -> str | None:
    """What follows ``Index of`` in the title, else in the first heading."""
    for tag in ("title", "h1"):
        text = _text_inside(tokens, tag)
        if text.startswith(_INDEX_OF):
            return text.removeprefix(_INDEX_OF).strip()
    return None


def _text_inside(tokens: list[_Token], tag: str) -> str:
    texts: list[str] = []
    is_inside = False
    for token in tokens:
        if token.kind == tag:
            is_inside = True
        elif token.kind == f"/{tag}":
            break
        elif is_inside and not token.kind:
            texts.append(token.text)
    return " ".join("".join(texts).split())


_Row = tuple[_Item, str, str]
"""The item with the link, the text of the date (size may follow), the text of the size."""


def _rows_of_preformatted(tokens: list[_Token]) -> list[_Row] | None:
    """Links in the first ``<pre>`` that has any, each with the text up to the end of its line."""
    items: list[_Item] = []
    is_inside = has_links = has_rule = False
    link: _Item | None = None
    for token in tokens:
        match token.kind:
            case "pre":
                is_inside = True
            case "/pre" if has_links:
                break
            case "/pre":
                is_inside, items = False, []
            case "hr" if is_inside and not has_rule:
                # Before the first rule stand titles; Apache draws another one at the end.
                has_rule, items = True, []
            case "a" if is_inside:
                link = _Item(_attribute(token, "href"))
                items.append(link)
            case "/a":
                link = None
            case "" if link is not None:
                link.link_text += token.text
                has_links = has_links or bool(link.link_text.strip())
            case "" if items and "\n" not in items[-1].text:
                items[-1].text += token.text
    return [_split_line(item) for item in items if item.link_text.strip()] if has_links else None


def _split_line(item: _Item) -> _Row:
    line = item.text.partition("\n")[0].strip()
    for pattern in _DATES:
        found = pattern.match(line)
        if found:
            return item, found[0], line[found.end() :].strip()
    return item, "", line


def _rows_of_table(tokens: list[_Token]) -> list[_Row] | None:
    """Rows below the first one with column titles that we know."""
    rows: list[_Row] = []
    columns: dict[str, int] = {}
    for cells in _table_rows(tokens):
        if not cells:
            # The end of a table.
            if columns:
                return rows
        elif not columns:
            columns = _columns(cells)
        elif not any(cell.spans_columns for cell in cells):
            rows.append(_pick(cells, columns))
    return rows if columns else None


def _pick(cells: list[_Item], columns: dict[str, int]) -> _Row:
    empty = _Item()

    def cell(name: str) -> _Item:
        position = columns.get(name, len(cells))
        return cells[position] if position < len(cells) else empty

    modified = cell("modified")
    stamp = modified.text if modified.stamp is None else modified.stamp
    return cell("name"), stamp.strip(), cell("size").text.strip()


def _table_rows(tokens: list[_Token]) -> Iterator[list[_Item]]:
    """The cells of each row, and nothing at the end of each table."""
    cells: list[_Item] = []
    is_inside = is_link = False
    for token in tokens:
        match token.kind:
            case "tr" | "/table" | "table":
                if cells:
                    yield cells
                cells, is_inside = [], False
                if token.kind == "/table":
                    yield []
            case "td" | "th":
                span = _attribute(token, "colspan")
                cells.append(_Item(spans_columns=span is not None and span.strip() != "1"))
                is_inside, is_link = True, False
            case "/td" | "/th":
                is_inside = False
            case "a" if is_inside and cells[-1].href is None:
                cells[-1].href, is_link = _attribute(token, "href"), True
            case "/a":
                is_link = False
            case "time" if is_inside:
                cells[-1].stamp = _attribute(token, "datetime")
            case "" if is_inside:
                cells[-1].text += token.text
                if is_link:
                    cells[-1].link_text += token.text
    if cells:
        yield cells


def _columns(cells: list[_Item]) -> dict[str, int]:
    """Positions of the columns by what their titles say; nothing when there is no name."""
    columns: dict[str, int] = {}
    for position, cell in enumerate(cells):
        title = " ".join(cell.text.split()).lower()
        if cell.spans_columns or not title:
            continue
        if title.endswith("name") or title.startswith(("file", "download")):
            columns.setdefault("name", position)
        elif any(word in title for word in ("modifi", "date", "time")) or title.startswith(
            "uploaded"
        ):
            columns.setdefault("modified", position)
        elif "size" in title or title.endswith("bytes"):
            columns.setdefault("size", position)
    return columns if "name" in columns else {}


def _rows_of_bullets(tokens: list[_Token]) -> list[_Row] | None:
    """Links of the first bullet list."""
    items: list[_Item] = []
    is_inside = is_link = False
    for token in tokens:
        if token.kind == "ul":
            is_inside = True
        elif token.kind == "/ul" and is_inside:
            break
        elif is_inside and token.kind == "a":
            items.append(_Item(_attribute(token, "href")))
            is_link = True
        elif token.kind == "/a":
            is_link = False
        elif is_inside and is_link and not token.kind:
            items[-1].link_text += token.text
    return [(item, "", "") for item in items] if is_inside else None


# --- the entries


def _name(item: _Item, host: str, directory: str) -> tuple[str, bool]:
    """The name that a link stands for, and whether it is a directory; no name for no entry."""
    path = re.split(r"[?#]", item.href or "", maxsplit=1)[0].strip()
    if not path or item.link_text.strip().lower() == "parent directory" or _NO_PLACE.match(path):
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
