"""Directory listings: five servers, odd rows, hostile pages."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from altrepodb.errors import SourceError
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
    "piece", [b"<", b"<!--", b"<a ", b"<a href='", b'<a "', b"&", b"<pre><a>", b"<a a a=", b"</"]
)
def test_hostile_repetition_takes_no_time(piece: bytes) -> None:
    started = time.process_time()
    with suppress(SourceError):
        parse_listing(b"<pre>" + piece * (1_000_000 // len(piece)), URL)
    assert time.process_time() - started < 10
