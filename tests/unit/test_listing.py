"""Directory listings: five servers, odd rows, hostile pages."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from altrepodb.errors import SourceError
from altrepodb.sources import listing
from altrepodb.sources.listing import Entry, Listing, parse_listing
from tests.support.listing_pages import FLAVOURS, Item, render

URL = "http://site.example/x/"
NIGHT = datetime(2023, 3, 14, 21, 5)
EXAMPLE: list[Item] = [
    ("list.groups.sisyphus", NIGHT, 2310),
    ("list.packages.sisyphus_riscv64", datetime(2023, 3, 15, 3, 40), 604112),
    ("libfoo-1:0.9-alt0.M80P.1", datetime(2023, 3, 5, 4, 58), 7),
]


def entries(page: str, url: str = URL) -> list[Entry]:
    return parse_listing(page.encode(), url).entries


def one(line: str) -> Entry:
    (entry,) = entries(f'<pre><a href="../">..</a>\n<a href="f">f</a>  {line}\n</pre>')
    return entry


@pytest.mark.parametrize("parent", [True, False])
@pytest.mark.parametrize("flavour", FLAVOURS)
def test_all_servers_say_the_same(flavour: str, parent: bool) -> None:
    listing = parse_listing(render(flavour, EXAMPLE, parent=parent), URL)
    assert listing.entries == [Entry(name, date, size) for name, date, size in EXAMPLE]
    assert listing.impossible_dates == []


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_empty_directory(flavour: str) -> None:
    assert parse_listing(render(flavour, []), URL).entries == []


def test_page_of_the_live_host() -> None:
    page = """<html><head><title>Index of /beehive/logs/Sisyphus/x86_64</title></head><body>
<table class="project_list">
<tr><th>Name</th><th>Last modified</th><th>Size</th></tr>
<tr><td><a class="link" href="..">..</a></td><td></td><td>-</td></tr>
<tr><td><a class="link" href="2023-0316">2023-0316</a></td><td>2023-03-16 05:12</td><td>-</td></tr>
<tr><td><a class="link" href="latest">latest</a></td><td>2023-03-16 05:12</td><td>-</td></tr>
</table></body></html>"""
    listing = parse_listing(page.encode(), "http://h/beehive/logs/Sisyphus/x86_64")
    moment = datetime(2023, 3, 16, 5, 12)
    assert listing == Listing(
        "/beehive/logs/Sisyphus/x86_64", [Entry("2023-0316", moment), Entry("latest", moment)]
    )
    assert listing.find("latest") == Entry("latest", moment)
    assert listing.find("newest") is None


def test_shortened_names_and_directories() -> None:
    page = """<html><head><title>Index of /acl/</title></head><body><h1>Index of /acl/</h1><hr><pre>
<a href="../">../</a>
<a href="archive/">archive/</a>                      02-Jan-2023 11:00                   -
<a href="list.packages.sisyphus">list.packages.sisyph..&gt;</a>  15-Mar-2023 03:40     604112
</pre><hr></body></html>"""
    assert entries(page) == [
        Entry("archive", datetime(2023, 1, 2, 11, 0), None, True),
        Entry("list.packages.sisyphus", datetime(2023, 3, 15, 3, 40), 604112),
    ]


@pytest.mark.parametrize(
    "href",
    ["", "?C=N", "#top", "/", ".", "./", "..", "../", "/x/", "/x", "http://other/f", "//other/f",
     "http://site.example/", "mailto:a@b", "javascript:x", "a%2Fb", "a%0Ab", "../f"],
)  # fmt: skip
def test_what_is_no_entry(href: str) -> None:
    assert entries(f'<pre><a href="{href}">f</a>\n<a href="g">g</a>\n</pre>') == [Entry("g")]


def test_parent_directory_by_its_text() -> None:
    page = '<pre><a href="/up">Parent Directory</a>\n<a href="g">g</a>\n</pre>'
    assert entries(page) == [Entry("g")]


@pytest.mark.parametrize(
    ("href", "name"),
    [("f?x=1#y", "f"), ("/x/f", "f"), ("./f", "f"), ("http://site.example/x/f", "f"),
     ("lib-1%3A2-alt1", "lib-1:2-alt1"), ("lib-1:2-alt1", "lib-1:2-alt1"),
     ("a&amp;b", "a&b"), ("%D1%8F", "я")],
)  # fmt: skip
def test_name_is_of_the_link(href: str, name: str) -> None:
    assert entries(f'<pre><a href="{href}">shortened..</a>\n</pre>') == [Entry(name)]


MOSCOW = timezone(timedelta(hours=3))
SECOND = datetime(2023, 3, 14, 21, 5, 9)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("14-Mar-2023 21:05", NIGHT),
        ("14-Mar-2023 21:05:09", SECOND),
        ("4-mar-2023 1:05", datetime(2023, 3, 4, 1, 5)),
        ("2023-03-14 21:05", NIGHT),
        ("2023-03-14 21:05:09", SECOND),
        ("2023-03-14T21:05:09Z", SECOND.replace(tzinfo=timezone.utc)),
        ("2023-Mar-14 21:05", NIGHT),
        ("2023-Mar-14 21:05:09", SECOND),
        ("Tue Mar 14 21:05:09 2023", SECOND),
        ("Tue, 14 Mar 2023 21:05:09 GMT", SECOND.replace(tzinfo=timezone.utc)),
        ("2023-03-14", datetime(2023, 3, 14)),
        ("14/03/2023 21:05:09 +0300", SECOND.replace(tzinfo=MOSCOW)),
        ("14 Mar 2023", datetime(2023, 3, 14)),
    ],
)
def test_dates(text: str, moment: datetime) -> None:
    assert one(f"{text}   4.2K  rest") == Entry("f", moment, 4300)
    cell = f'<tr><td><a href="f">f</a></td><td>4.2K</td><td> {text} </td></tr>'
    table = f"<table><tr><td>Filename</td><td>Size</td><td>Date</td></tr>{cell}</table>"
    assert entries(table) == [Entry("f", moment, 4300)]


def test_impossible_date_is_none_and_told() -> None:
    page = b'<pre><a href="f">f</a>  31-Feb-2023 10:00  12\n</pre>'
    listing = parse_listing(page, URL)
    assert listing.entries == [Entry("f", None, 12)]
    assert listing.impossible_dates == ["31-Feb-2023 10:00"]


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("2310", 2310), ("1,234,567", 1234567), ("4.2K", 4300), ("3 M", 3 << 20),
     ("1G", 1 << 30), ("12B", 12), ("-", None), ("", None), ("x", None)],
)  # fmt: skip
def test_sizes(text: str, size: int | None) -> None:
    assert one(f"14-Mar-2023 21:05  {text}").size == size


def test_time_element_wins() -> None:
    page = """<table><tr><th>File Name</th><th>Uploaded</th></tr><tr><td><a href=f>f</a></td>
<td><time datetime="2023-03-14T21:05:09Z">an hour ago</time></td></tr></table>"""
    assert entries(page) == [Entry("f", SECOND.replace(tzinfo=timezone.utc))]


def test_bullets_and_first_structure() -> None:
    assert entries('<ul><li><a href="a/">a/</a><li><a href="b">b</a></ul>') == [
        Entry("a", is_directory=True),
        Entry("b"),
    ]
    # A table without known titles is a layout, and a block without links is a remark.
    page = '<table><tr><td>x</td></tr></table><pre>hi</pre><pre><a href="b">b</a>\n</pre>'
    assert entries(page) == [Entry("b")]


@pytest.mark.parametrize("page", ["", "<html><h1>Oops</h1></html>", "<pre>text</pre>", "{}"])
def test_no_listing(page: str) -> None:
    with pytest.raises(SourceError, match=r"http://site.example/x/: not a directory listing"):
        entries(page)


NAMES = st.text(st.sampled_from("abcXYZ019._+~:@ -я&\"'<%"), min_size=1, max_size=30).filter(
    lambda name: name.strip() == name and name.strip(".") != ""
)
MINUTES = st.datetimes(datetime(1970, 1, 2), datetime(2100, 1, 1)).map(
    lambda moment: moment.replace(second=0, microsecond=0)
)
ITEMS = st.lists(
    st.tuples(NAMES, st.none() | MINUTES, st.none() | st.integers(0, 10**12)), max_size=8
)


@pytest.mark.parametrize("flavour", FLAVOURS)
@settings(deadline=None)
@given(items=ITEMS)
def test_rendered_pages_read_back(flavour: str, items: list[Item]) -> None:
    found = parse_listing(render(flavour, items), URL).entries
    assert found == [Entry(name, date, size) for name, date, size in items]


@settings(deadline=None)
@given(
    st.binary(max_size=300) | st.text("<>/=\"'!- apretdhfula#&;1:", max_size=300).map(str.encode)
)
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    with suppress(SourceError):
        parse_listing(content, URL)


@pytest.mark.parametrize(
    "piece",
    ["<", "<!--", "<!", "<?", "<a ", "<a href='", '<a "', "&", "<pre><a>", "<a a a=", "</", "</a>",
     "<b>", "<table>", "<a>x", "<td><a>", "<br>", "\0", "<script>", "<![CDATA["],
)  # fmt: skip
def test_hostile_repetition_takes_no_time(piece: str) -> None:
    started = time.process_time()
    with suppress(SourceError):
        parse_listing(b"<pre><a>x</a>" + piece.encode() * (100_000 // len(piece)), URL)
    assert time.process_time() - started < 10


def test_void_elements_take_no_time() -> None:
    """Where other parsers of Beautiful Soup look at all that came before."""
    row = '<tr><td><img src="x"></td><td><a href="f">f</a></td></tr>'
    page = f"<table><tr><th></th><th>Name</th></tr>{row * 5000}</table>"
    started = time.process_time()
    assert len(entries(page)) == 5000
    assert time.process_time() - started < 10


@pytest.mark.parametrize("limit", ["bytes", "tags", "depth"])
def test_limits_of_a_page(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    row = '<tr><td><a href="f">f</a></td></tr>'
    page = f"<table><tr><th>Name</th></tr>{row * 10}</table>"
    # html, body, table, tr, td, a, and nothing in it
    largest = {"bytes": len(page), "tags": page.count("<") - page.count("</"), "depth": 7}[limit]
    monkeypatch.setattr(f"altrepodb.sources.listing._MAX_{limit.upper()}", largest)
    assert len(entries(page)) == 10
    monkeypatch.setattr(f"altrepodb.sources.listing._MAX_{limit.upper()}", largest - 1)
    with pytest.raises(SourceError, match=r"too (large|deeply)"):
        entries(page)


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_real_sizes_are_within_the_limits(flavour: str) -> None:
    """A row of a page, measured, fits in as often as a branch has packages."""
    items: list[Item] = [(f"python3-module-a-{n}-1.2.3-alt1", NIGHT, 120_000) for n in range(100)]
    page = render(flavour, items).decode()
    assert len(page) / 100 * 25_000 < listing._MAX_BYTES
    assert (page.count("<") - page.count("</")) / 100 * 24_000 < listing._MAX_TAGS


@pytest.mark.parametrize(
    "page",
    ['<?xml version="1.0"?><pre><a href="f">f</a></pre>', '<pre>\0<a href="f">f</a>\0\n</pre>',
     '<PRE><A HREF="f">f</A>', '<pre><a href="f"><b>f</b></a>', "\ufeff<pre><a href=f>f</a>",
     '<table><tr><td><table><tr><th>Name</th></tr><tr><td><a href="f">f</a></table></table>'],
)  # fmt: skip
def test_odd_pages_are_read(page: str) -> None:
    assert entries(page) == [Entry("f")]


def test_bytes_that_are_not_text() -> None:
    page = b'<pre><a href="a\xff">a</a>  14-Mar-2023 21:05  1\n<a href="g">g</a>\n</pre>'
    assert parse_listing(page, URL).entries == [Entry("a\ufffd", NIGHT, 1), Entry("g")]
