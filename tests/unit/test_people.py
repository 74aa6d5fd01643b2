"""Names of packagers and changelog authors: both tables in full, odd bytes, hostile text."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from altrepodb.packages.people import split_changelog_author, split_packager

# The pattern as it is defined, in one piece; ours finds the same in less time.
PATTERN = re.compile(r"\W?([\w\-@'. ]+?)\W? (?:\W.+?\W )?<(.+?)>")
SEARCHED = 256


def by_definition(packager: bytes) -> tuple[bytes, bytes]:
    """What the pattern gives."""
    found = PATTERN.search(packager.decode("utf-8", "surrogateescape"))
    if found is None:
        return packager, b""
    name, address = (part.strip() for part in found.groups())
    pair = (name, address.replace(" at ", "@"))
    return pair[0].encode("utf-8", "surrogateescape"), pair[1].encode("utf-8", "surrogateescape")


@pytest.mark.parametrize(
    ("packager", "name", "address"),
    [
        ("Ivan Petrov <ivan at altlinux.org>", "Ivan Petrov", "ivan@altlinux.org"),
        ('"Ivan Petrov" <ivan@altlinux.org>', "Ivan Petrov", "ivan@altlinux.org"),
        ("Ivan Petrov (vanya) <ivan@altlinux.org>", "Ivan Petrov", "ivan@altlinux.org"),
        ("Ivan A. O'Neil-Smith <i@x.org>", "Ivan A. O'Neil-Smith", "i@x.org"),
        ("Иван Петров <ivan@altlinux.org>", "Иван Петров", "ivan@altlinux.org"),
        ("Ünal Ö. <u@x>", "Ünal Ö", "u@x"),
        ("ivan@altlinux.org <ivan@altlinux.org>", "ivan@altlinux.org", "ivan@altlinux.org"),
        (" Ivan Petrov  <  ivan@altlinux.org  >", "Ivan Petrov", "ivan@altlinux.org"),
        ("Petrov, Ivan <i@x>", "Ivan", "i@x"),
        ("A/B Team <ab@x>", "B Team", "ab@x"),
        ("Ivan [bot] Petrov <i@x>", "Petrov", "i@x"),
        ("Fred <fred@x> and Bob <bob@y>", "Fred", "fred@x"),
        ("-Ivan <i@x>", "Ivan", "i@x"),
        ("'Ivan' <i@x>", "Ivan", "i@x"),
        ("Jo <a at b at c>", "Jo", "a@b@c"),
        ("  <a@b>", "", "a@b"),
        ("Ivan Petrov<ivan@altlinux.org>", "Ivan Petrov<ivan@altlinux.org>", ""),
        ("<ivan@altlinux.org>", "<ivan@altlinux.org>", ""),
        ("ivan@altlinux.org", "ivan@altlinux.org", ""),
        ("Ivan Petrov", "Ivan Petrov", ""),
        ("Ivan Petrov <>", "Ivan Petrov <>", ""),
        ("", "", ""),
        ("Ivan <i@x", "Ivan <i@x", ""),
        ("Ivan <i@\nx>", "Ivan <i@\nx>", ""),
        ("Line\nIvan <i@x>", "Ivan", "i@x"),
    ],
)
def test_packagers(packager: str, name: str, address: str) -> None:
    assert split_packager(packager.encode()) == (name.encode(), address.encode())
    assert by_definition(packager.encode()) == (name.encode(), address.encode())


@pytest.mark.parametrize(
    ("packager", "name", "address"),
    [
        (b"\xc8\xe2\xe0\xed <i@x>", b"\xc8\xe2\xe0\xed <i@x>", b""),
        (b"Ivan\xff Petrov <i@x>", b"Petrov", b"i@x"),
        (b"Ivan\xff <i@x>", b"Ivan", b"i@x"),
        (b"Ivan <\xff@x>", b"Ivan", b"\xff@x"),
        (b"\xff", b"\xff", b""),
    ],
)
def test_bytes_that_are_no_text(packager: bytes, name: bytes, address: bytes) -> None:
    """They are no letters of a word, and they come out as they went in."""
    assert split_packager(packager) == (name, address)
    assert by_definition(packager) == (name, address)


def test_only_the_beginning_is_searched() -> None:
    """What does not end within the limit is no name and address, and is kept as a whole."""
    for length in (SEARCHED - 1, SEARCHED):
        packager = b"n" * (length - 6) + b" <a@b>"
        assert split_packager(packager) == (b"n" * (length - 6), b"a@b")
    packager = b"n" * (SEARCHED - 5) + b" <a@b>"
    assert split_packager(packager) == (packager, b"")
    wide = "Ж".encode() * 200
    assert split_packager(wide + b" <a@b>") == (wide, b"a@b")


HOSTILE = [
    " " * 255 + ">",
    "- " * 127 + ">",
    "- " * 100 + " <" * 20 + ">",
    " <" * 100 + "\n>",
    "  <" * 80 + "\n>",
    "- <" * 80 + "\n>",
    "- - <" * 50 + "\n>",
    "a - " * 63 + ">",
    "a" * 250 + " <\n>",
    "a.- " * 50 + "<" * 50 + "\n>",
    "a" * 5_000_000,
    " <>" * 2_000_000,
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_time_is_bounded(text: str) -> None:
    """Searching with the pattern in one piece takes a second for some of these."""
    started = time.thread_time()
    split_packager(text.encode())
    assert time.thread_time() - started < 0.4


@settings(deadline=None, max_examples=500)
@given(
    st.lists(
        st.one_of(
            st.sampled_from("ab_-@'. <> ()\"\n,/Ж"),
            st.sampled_from([" <", "> ", " at ", "Ivan Petrov", "<i@x>", " (x) "]),
            st.characters(exclude_categories=["Cs"]),
        ),
        max_size=20,
    ).map(lambda parts: "".join(parts).encode()[:200]),
    st.binary(max_size=3),
)
def test_the_pattern_is_what_is_found(start: bytes, end: bytes) -> None:
    for packager in (start, start + end, end + start):
        assert split_packager(packager) == by_definition(packager)


@pytest.mark.parametrize(
    ("line", "author", "evr"),
    [
        ("Ivan <i@x> 1.0-alt1", "Ivan <i@x>", "1.0-alt1"),
        ("Ivan <i@x> 2:1.0-alt1", "Ivan <i@x>", "2:1.0-alt1"),
        ("Ivan <i@x>", "Ivan <i@x>", ""),
        ("Ivan <i@x>  - 1.0-alt1 ", "Ivan <i@x>", "- 1.0-alt1"),
        ("Ivan <i@x> 1.0 > 2.0", "Ivan <i@x> 1.0 > 2.0", ""),
        ("No Email", "No Email", ""),
        ("", "", ""),
        (">", ">", ""),
        ("> 1.0", ">", "1.0"),
        ("Иван <i@x>\u00a01.0-альт1\u2003", "Иван <i@x>", "1.0-альт1"),
        ("Ivan <i@x>\t1.0\x1f", "Ivan <i@x>", "1.0"),
    ],
)
def test_changelog_authors(line: str, author: str, evr: str) -> None:
    assert split_changelog_author(line.encode()) == (author.encode(), evr.encode())


@pytest.mark.parametrize("line", [b"\xff <i@x> \xff1.0-\xfe ", b"\xc8\xe2\xe0\xed <i@x> 1.0"])
def test_authors_in_another_encoding(line: bytes) -> None:
    author, _, evr = line.partition(b">")
    assert split_changelog_author(line) == (author + b">", evr.strip())


@settings(deadline=None)
@given(st.one_of(st.binary(max_size=30), st.text(max_size=30).map(str.encode)))
def test_nothing_but_white_space_is_lost(line: bytes) -> None:
    author, evr = split_changelog_author(line)
    text = line.decode("utf-8", "surrogateescape")
    assert author.decode("utf-8", "surrogateescape") in text
    if text.count(">") == 1:
        assert evr.decode("utf-8", "surrogateescape") == text.partition(">")[2].strip()
    else:
        assert (author, evr) == (line, b"")
