"""Repocop: the incremental reader of arrays, and what becomes of an object."""

from __future__ import annotations

import bz2
import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from altrepodb.errors import SourceError
from altrepodb.sources import repocop
from altrepodb.sources.repocop import ArrayReader, parse_results
from altrepodb.sources.run import Findings, SourceSummary

NAME = "http://127.0.0.1/packages.json.bz2"
MOMENT = 1_678_941_000
NANO = {
    "pkg_name": "nano",
    "pkg_version": "7.2",
    "pkg_release": "alt1",
    "pkg_arch": "x86_64",
    "pkgset_name": "sisyphus",
    "rc_srcpkg_name": "nano",
    "rc_srcpkg_version": "7.2",
    "rc_srcpkg_release": "alt1",
    "rc_test_name": "sisyphus_check",
    "rc_test_status": "ok",
    "rc_test_message": "",
}

objects = st.dictionaries(
    st.text(max_size=5), st.none() | st.booleans() | st.text() | st.lists(st.text(), max_size=3)
)


def findings(summary: SourceSummary | None = None) -> Findings:
    return Findings(summary or SourceSummary())


def pieces_of(content: bytes, size: int) -> Iterator[bytes]:
    return (content[start : start + size] for start in range(0, len(content), size))


def read(content: bytes, size: int = 7, **limits: int) -> list[dict[str, Any]]:
    return list(ArrayReader(pieces_of(content, size), NAME, **limits))


def parse(*values: object, summary: SourceSummary | None = None) -> list[dict[str, Any]]:
    """The rows of an array of values."""
    packed = io.BytesIO(bz2.compress(json.dumps(values).encode()))
    results = parse_results(packed, NAME, findings(summary))
    if not len(results):
        return []
    columns = results.take_columns(MOMENT)
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


# --- the reader


@settings(deadline=None)
@given(st.lists(objects, max_size=8), st.integers(1, 40), st.booleans())
def test_reads_what_a_writer_wrote(values: list[dict[str, Any]], size: int, is_ascii: bool) -> None:
    written = json.dumps(values, ensure_ascii=is_ascii, indent=size % 3 or None)
    assert read(written.encode("utf-8", "surrogatepass"), size) == values


@settings(deadline=None)
@given(st.binary(max_size=60) | st.text(alphabet='[]{},:"a1 ', max_size=30).map(str.encode))
def test_any_bytes_are_objects_or_a_clear_error(content: bytes) -> None:
    try:
        found = read(content)
    except SourceError as error:
        assert str(error).startswith(NAME)
    else:
        text = content.decode("utf-8", "surrogateescape")
        assert json.loads(text, parse_int=str, parse_float=str, parse_constant=str) == found


@pytest.mark.parametrize(
    "content",
    [
        b"", b"  ", b"{}", b'["text"]', b"[1]", b"[null]", b"[[]]", b"[{}", b"[{},]", b"[{} {}]",
        b"[,{}]", b'[{"a":1}', b'[{"a"', b"[{}]x", b"[{}][{}]", b"[{}]]", b"nonsense",
        b"[" * 100_000, b'[{"a":' + b"[" * 100_000,
    ],
)  # fmt: skip
def test_what_is_no_array_of_objects_is_refused(content: bytes) -> None:
    with pytest.raises(SourceError, match=NAME):
        read(content, 1000)


@pytest.mark.parametrize("content", [b"[]", b" [ ] ", b"\n[\n]\n"])
def test_empty_array(content: bytes) -> None:
    assert read(content) == []


def test_numbers_keep_their_digits() -> None:
    assert read(b'[{"a": 7.20, "b": 1e3, "c": 100000000000000000000}]') == [
        {"a": "7.20", "b": "1e3", "c": "100000000000000000000"}
    ]


def test_invalid_bytes_are_preserved() -> None:
    ((value,),) = [found.values() for found in read(b'[{"a": "\xff\xd0"}]', 1)]
    assert value.encode("utf-8", "surrogateescape") == b"\xff\xd0"


@pytest.mark.parametrize(("length", "is_accepted"), [(900, True), (200_000, False)])
def test_size_of_an_object_is_limited(length: int, is_accepted: bool) -> None:
    content = json.dumps([{"a": "x" * length}]).encode()
    if is_accepted:
        assert read(content, 100, max_object_chars=1000)
    else:
        with pytest.raises(SourceError, match="more than 1000 characters"):
            read(content, 100, max_object_chars=1000)


def test_no_more_than_needed_is_read() -> None:
    """A quadratic reader would not come to an end here."""
    content = json.dumps([{"a": "x" * 900_000}] * 5).encode()
    assert len(read(content, 10)) == 5


# --- objects


def test_row_of_an_object() -> None:
    assert parse(NANO) == [{**NANO, "rc_test_date": MOMENT}]


def test_further_keys_and_an_own_date_are_ignored() -> None:
    assert parse({**NANO, "extra": [1, {}], "rc_test_date": "2001-01-01"}) == parse(NANO)


def test_null_is_empty_and_numbers_are_texts() -> None:
    (row,) = parse({**NANO, "rc_test_message": None, "pkg_version": 7.2, "pkg_release": True})
    assert (row["rc_test_message"], row["pkg_version"], row["pkg_release"]) == ("", "7.2", "true")


@pytest.mark.parametrize("message", ["a\tb\n\"c\" 'd' \\", "Пакет сломан", "\x00"])
def test_messages_are_kept_as_they_are(message: str) -> None:
    (row,) = parse({**NANO, "rc_test_message": message})
    assert row["rc_test_message"] == message


@pytest.mark.parametrize("key", NANO)
def test_an_object_without_a_value_is_skipped(key: str) -> None:
    summary = SourceSummary()
    lacking = {name: value for name, value in NANO.items() if name != key}
    assert parse(lacking, NANO, summary=summary) == parse(NANO)
    assert summary.skipped == 1


@pytest.mark.parametrize("value", [[], {}, ["a"], "\ud800"])
def test_an_object_with_something_else_is_skipped(value: object) -> None:
    summary = SourceSummary()
    assert parse({**NANO, "rc_test_message": value}, summary=summary) == []
    assert summary.skipped == 1


def test_of_equal_keys_the_last_one_counts() -> None:
    first, other = {**NANO, "rc_test_status": "fail"}, {**NANO, "pkg_arch": "i586"}
    rows = parse(first, other, NANO)
    assert sorted(row["rc_test_status"] for row in rows) == ["ok", "ok"]


def test_unknown_status_is_stored_and_told() -> None:
    packed = io.BytesIO(bz2.compress(json.dumps([{**NANO, "rc_test_status": "odd"}]).encode()))
    results = parse_results(packed, NAME, findings())
    assert (len(results), results.unknown_statuses) == (1, {"odd"})


# --- compression


def test_several_streams_are_one() -> None:
    content = json.dumps([NANO]).encode()
    packed = bz2.compress(content[:50]) + bz2.compress(content[50:])
    assert len(parse_results(io.BytesIO(packed), NAME, findings())) == 1


@pytest.mark.parametrize(
    "packed", [b"", b"garbage", bz2.compress(json.dumps([NANO]).encode()) + b"garbage"]
)
def test_what_is_not_bzip2_is_refused(packed: bytes) -> None:
    with pytest.raises(SourceError):
        parse_results(io.BytesIO(packed), NAME, findings())


def test_decompressed_size_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repocop, "_MAX_DECODED_BYTES", 1000)
    packed = bz2.compress(b" " * 10_000_000)
    with pytest.raises(SourceError, match="more than 1000 bytes"):
        parse_results(io.BytesIO(packed), NAME, findings())


@settings(deadline=None)
@given(st.integers(0, 1_000_000), st.integers(1, 255))
def test_damaged_streams_are_refused(place: int, mask: int) -> None:
    """bzip2 has checksums: no flipped bit and no missing byte goes unnoticed."""
    packed = bytearray(bz2.compress(json.dumps([NANO] * 3).encode()))
    place %= len(packed) - 4
    cut = bytes(packed[: place + 3])
    with pytest.raises(SourceError):
        parse_results(io.BytesIO(cut), NAME, findings())
    packed[place + 4] ^= mask
    try:
        results = parse_results(io.BytesIO(packed), NAME, findings())
    except SourceError:
        return
    # Bits that only fill the last byte mean nothing.
    assert len(results) == 1
