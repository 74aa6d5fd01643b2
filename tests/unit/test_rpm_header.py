"""The header structure: every type and shape, every limit, and whatever may be wrong with it."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from altrepodb.errors import SourceError
from altrepodb.rpm import header as header_module
from altrepodb.rpm.header import (
    APT_HEADER_LIMITS,
    MAIN_HEADER_LIMITS,
    SIGNATURE_LIMITS,
    Header,
    HeaderLimits,
    header_size,
    parse_header,
)
from tests.support.rpm_header import (
    MAGIC,
    Entry,
    TagType,
    binary,
    build_header,
    char,
    i18n_string,
    int8,
    int16,
    int32,
    int64,
    string,
    string_array,
)

MIB = 1024 * 1024
Reader = Callable[[Header, int], object]
READERS: dict[str, Reader] = {
    "string": Header.string,
    "translated": Header.translated,
    "strings": Header.strings,
    "joined_strings": Header.joined_strings,
    "integers": Header.integers,
    "integer": Header.integer,
    "binary": Header.binary,
    "text_of_any_type": Header.text_of_any_type,
}


def parsed(entries: Sequence[Entry], *, region: int | None = None, sort: bool = True) -> Header:
    """The entries as a header that was written and read back."""
    return parse_header(
        build_header(entries, region=region, sort=sort), MAIN_HEADER_LIMITS, "input"
    )


def intro(entries: int, data_bytes: int) -> bytes:
    """The first 16 bytes of a header."""
    return MAGIC + struct.pack(">II", entries, data_bytes)


# Values


@pytest.mark.parametrize("region", [None, 62, 63])
def test_every_type_is_read(region: int | None) -> None:
    header = parsed(
        [
            char(1, 7, 255),
            int8(2, 1, 2, 3),
            int16(3, 65535),
            string(4, b"\xff\xfe"),
            int64(5, 1, 2**64 - 1),
            string_array(6, ["a", "", "c"]),
            i18n_string(7, ["C text", "другой"]),
            binary(8, b"\0\1\2"),
            int32(9, 4294967295),
        ],
        region=region,
    )
    assert header.integers(1).tolist() == [7, 255]
    assert header.integers(2).tolist() == [1, 2, 3]
    assert header.integer(3) == 65535
    assert header.string(4) == b"\xff\xfe"
    assert header.integers(5).tolist() == [1, 2**64 - 1]
    assert header.strings(6) == [b"a", b"", b"c"]
    assert header.joined_strings(6) == (b"a\0\0c", 3)
    assert header.strings(7) == [b"C text", "другой".encode()]
    assert header.binary(8) == b"\0\1\2"
    assert header.binary(2) == b"\1\2\3"
    assert header.integer(9) == 4294967295
    assert header.has_region == (region is not None)


def test_absent_tags_are_empty() -> None:
    header = parsed([string(1, "x")])
    assert 1 in header and 2 not in header
    assert header.string(2) == header.translated(2) == header.binary(2) == b""
    assert header.text_of_any_type(2) == b""
    assert header.strings(2) == []
    assert header.joined_strings(2) == (b"", 0)
    assert header.integers(2).tolist() == []
    assert header.integer(2) == 0


@pytest.mark.parametrize("kind", [string_array, i18n_string])
def test_scalars_and_arrays_take_each_other_s_shape(
    kind: Callable[[int, Sequence[str]], Entry],
) -> None:
    header = parsed([kind(1, ["first", "second"]), string(2, "only"), kind(3, ["only"])])
    assert header.string(1) == b"first"
    assert header.strings(2) == header.strings(3) == [b"only"]
    assert header.joined_strings(2) == (b"only", 1)


def test_arrays_of_nothing_are_empty() -> None:
    """No values, and an offset that is the end of the data."""
    header = parsed(
        [string_array(1, []), int32(2), binary(3, b""), Entry(4, TagType.STRING, 0, b"")]
    )
    assert header.strings(1) == []
    assert header.string(1) == header.string(4) == header.translated(4) == b""
    assert header.integers(2).tolist() == []
    assert header.integer(2) == 0
    assert header.binary(3) == b""


def test_first_of_two_entries_counts() -> None:
    header = parsed([string(1, "first"), int32(2, 1), string(1, "second"), int32(2, 9)], sort=False)
    assert header.string(1) == b"first"
    assert header.integer(2) == 1


@pytest.mark.parametrize(
    "texts", [[""], ["", ""], ["a", ""], ["", "a"], ["", "", ""], ["a", "", "", "b", ""], ["a"] * 5]
)
@pytest.mark.parametrize("following", [[], [int64(9, 5)], [string(9, "")], [string(9, "after")]])
def test_arrays_end_where_they_should(texts: list[str], following: list[Entry]) -> None:
    """Empty texts, the padding before the next number and its value are told apart."""
    header = parsed([string_array(1, texts), *following])
    assert header.strings(1) == [text.encode() for text in texts]


def test_order_of_the_data_need_not_be_that_of_the_index() -> None:
    """The texts of the first entry lie behind those of the second, whose array they follow."""
    data = b"x\0y\0" + b"a\0b\0"
    header = parsed(
        [Entry(1, 8, 2, b"", offset=4), Entry(2, 8, 2, data, offset=0), Entry(3, 6, 1, b"", 6)]
    )
    assert header.strings(1) == [b"a", b"b"]
    assert header.strings(2) == [b"x", b"y"]
    assert header.string(3) == b"b"


@pytest.mark.parametrize("data", [b"a\0b\0", b"a\0\0b", b"a\0b", b"a\0\0\0"])
def test_more_data_than_texts(data: bytes) -> None:
    """What lies between an array and the next entry is not its own, padding or not."""
    header = parsed([Entry(1, TagType.STRING_ARRAY, 1, data), string(2, "next")])
    assert header.strings(1) == [b"a"]
    assert header.joined_strings(1) == (b"a", 1)


def test_numbers_are_aligned_after_an_odd_text() -> None:
    header = parsed([string(1, "ab"), int32(2, 77), string(3, "cd"), int64(4, 78)])
    assert header.integer(2) == 77
    assert header.integer(4) == 78


def test_a_number_may_stand_where_text_is_wanted() -> None:
    """Before 1998 architecture and system were numbers."""
    header = parsed([int8(1, 3), int32(2, 4294967295), string(3, "linux")])
    assert header.text_of_any_type(1) == b"3"
    assert header.text_of_any_type(2) == b"4294967295"
    assert header.text_of_any_type(3) == b"linux"


# Translations


@pytest.mark.parametrize("language", ["ru", "ru_RU.UTF-8", "C", ""])
@pytest.mark.parametrize(
    ("locales", "texts", "expected"),
    [
        (["C", "ru_RU.UTF-8"], ["plain", "русский"], "plain"),
        (["ru", "C"], ["русский", "plain"], "plain"),
        (["ru", "de"], ["русский", "deutsch"], "русский"),
        (None, ["first", "second"], "first"),
        (["ru", "C"], ["русский"], "русский"),
        (["C"], ["plain", "more"], "plain"),
        ([], ["first", "second"], "first"),
    ],
)
def test_translations_do_not_follow_our_locale(
    monkeypatch: pytest.MonkeyPatch,
    locales: list[str] | None,
    texts: list[str],
    expected: str,
    language: str,
) -> None:
    for variable in ("LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.setenv(variable, language)
    table = [] if locales is None else [string_array(100, locales)]
    header = parsed([*table, i18n_string(1004, texts)])
    assert header.translated(1004) == expected.encode()


def test_translated_reads_a_plain_text() -> None:
    assert parsed([string_array(100, ["ru", "C"]), string(1004, "x")]).translated(1004) == b"x"


# Limits


@pytest.mark.parametrize(
    ("limits", "entries", "data_bytes"),
    [
        (MAIN_HEADER_LIMITS, 65535, 0x0FFFFFFF),
        (SIGNATURE_LIMITS, 32, 64 * MIB),
        (APT_HEADER_LIMITS, 65535, 32 * MIB - 1),
    ],
)
def test_sizes_have_limits(limits: HeaderLimits, entries: int, data_bytes: int) -> None:
    """Just below, at and above; nothing but the first 16 bytes is there."""
    for count in (entries - 1, entries):
        assert header_size(intro(count, 8), limits, "input") == 16 + 16 * count + 8
    for size in (data_bytes - 1, data_bytes):
        assert header_size(intro(1, size), limits, "input") == 32 + size
    with pytest.raises(SourceError, match=f"input: header has {entries + 1} entries"):
        header_size(intro(entries + 1, 8), limits, "input")
    with pytest.raises(SourceError, match=f"input: header has {data_bytes + 1} bytes"):
        header_size(intro(1, data_bytes + 1), limits, "input")
    with pytest.raises(SourceError, match="4294967295 entries"):
        header_size(intro(0xFFFFFFFF, 0xFFFFFFFF), limits, "input")


@pytest.mark.parametrize("length", range(16))
def test_intro_may_be_cut(length: int) -> None:
    with pytest.raises(SourceError, match="input: truncated header"):
        header_size(intro(1, 8)[:length], MAIN_HEADER_LIMITS, "input")


@pytest.mark.parametrize("position", range(8))
def test_magic_is_checked(position: int) -> None:
    wrong = bytearray(intro(1, 8))
    wrong[position] ^= 1
    with pytest.raises(SourceError, match="no header magic"):
        header_size(bytes(wrong), MAIN_HEADER_LIMITS, "input")


def test_all_entries_that_rpm_allows_are_read() -> None:
    header = parsed([char(tag, tag % 256) for tag in range(65535)])
    assert header.integer(65534) == 65534 % 256


def test_header_of_20_mib() -> None:
    """Larger than what librpm 4.13 could read."""
    text = b"x" * (20 * MIB)
    assert parsed([string(1, text)], region=63).string(1) == text


@pytest.mark.parametrize("read", [Header.strings, Header.joined_strings])
def test_arrays_of_texts_have_a_limit(monkeypatch: pytest.MonkeyPatch, read: Reader) -> None:
    """Below, at and above; numbers and bytes have no such limit."""
    monkeypatch.setattr(header_module, "_MAX_TEXTS", 3)
    texts = ["a"] * 4
    header = parsed([string_array(n, texts[:n]) for n in (2, 3, 4)] + [int8(5, *[1] * 9)])
    assert len(header.strings(2)) == 2
    assert len(header.strings(3)) == 3
    assert len(header.integers(5)) == 9
    with pytest.raises(SourceError, match="input: tag 4: 4 texts, limit 3"):
        read(header, 4)


# Damage


def test_truncation_at_every_byte() -> None:
    raw = build_header([string(1, "text"), int32(2, 1, 2), string_array(3, ["a", "b"])])
    parse_header(raw, MAIN_HEADER_LIMITS, "input")
    for length in range(len(raw)):
        with pytest.raises(SourceError, match="input: truncated header"):
            parse_header(raw[:length], MAIN_HEADER_LIMITS, "input")


def test_bytes_after_the_header_are_not_its_own() -> None:
    raw = build_header([string(1, "x")], region=None) + b"more\0"
    header = parse_header(raw, MAIN_HEADER_LIMITS, "input")
    assert header.data == b"x\0"


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (Entry(1, 10, 1, b"x\0"), "unknown type 10"),
        (Entry(1, 0xFFFFFFFF, 1, b"x\0"), "unknown type 4294967295"),
        (Entry(1, TagType.STRING, 1, b"x\0", offset=3), "at 3 beyond 2 bytes"),
        (Entry(1, TagType.STRING, 1, b"x\0", offset=-4), "at 4294967292 beyond 2 bytes"),
        (Entry(1, TagType.INT32, -1, b"\0\0\0\1"), "4294967295 values in 4 bytes"),
        (Entry(1, TagType.BIN, 3, b"\0\0"), "3 values in 2 bytes"),
    ],
)
def test_index_is_checked_at_once(entry: Entry, words: str) -> None:
    with pytest.raises(SourceError, match=words):
        parsed([entry])


@pytest.mark.parametrize("counts", [(8, 8), (1, 16), (15, 2)])
def test_entries_cannot_share_their_data(counts: tuple[int, int]) -> None:
    """Else a hundred tags could each stand for the whole of a large header."""
    first, second = counts
    data = b"\0" * 16
    entries = [Entry(1, TagType.STRING_ARRAY, first, data), Entry(2, 8, second, b"", offset=0)]
    if first + second <= 16:
        assert len(parsed(entries).strings(2)) == second
    else:
        with pytest.raises(SourceError, match="17 values in 16 bytes"):
            parsed(entries)


@pytest.mark.parametrize(
    ("make", "width"), [(int16, 2), (int32, 4), (int64, 8)], ids=["int16", "int32", "int64"]
)
def test_misaligned_numbers(make: Callable[..., Entry], width: int) -> None:
    value = make(1, 5)
    for offset in range(width + 1):
        header = parsed([value._replace(data=bytes(2 * width), offset=offset)])
        if offset % width:
            with pytest.raises(SourceError, match=f"tag 1: offset {offset} is not aligned"):
                header.integer(1)
        else:
            assert header.integer(1) == 0


@pytest.mark.parametrize(
    "entry",
    [
        Entry(1, TagType.INT16, 2, b"\0" * 3),
        Entry(1, TagType.INT32, 2, b"\0" * 7),
        Entry(1, TagType.INT64, 2, b"\0" * 15),
        Entry(1, TagType.INT32, 1, b"\0" * 7, offset=4),
    ],
)
def test_numbers_beyond_the_data(entry: Entry) -> None:
    header = parsed([entry])
    for read in (header.integers, header.integer, header.text_of_any_type):
        with pytest.raises(SourceError, match="input: tag 1: numbers up to"):
            read(1)
    assert parsed([entry._replace(data=entry.data + b"\0")]).integer(1) == 0


def test_bytes_beyond_the_data() -> None:
    entry = Entry(1, TagType.BIN, 4, b"abcd", offset=1)
    with pytest.raises(SourceError, match="input: tag 1: bytes up to 5 in 4"):
        parsed([entry]).binary(1)
    assert parsed([entry._replace(data=b"abcde")]).binary(1) == b"bcde"


@pytest.mark.parametrize(
    "entry",
    [
        Entry(1, TagType.STRING, 1, b"abc"),
        Entry(1, TagType.STRING, 1, b"abc\0", offset=4),
        Entry(1, TagType.STRING_ARRAY, 2, b"a\0bc"),
        Entry(1, TagType.I18NSTRING, 2, b"a\0bc"),
        Entry(1, TagType.STRING_ARRAY, 3, b"a\0b\0"),
        Entry(1, TagType.STRING_ARRAY, 1, b"abcd"),
    ],
)
def test_text_without_end(entry: Entry) -> None:
    header = parsed([entry])
    for read in (header.strings, header.joined_strings):
        with pytest.raises(SourceError, match="input: tag 1: "):
            read(1)
    if b"\0" not in entry.data[entry.offset or 0 :]:
        with pytest.raises(SourceError, match="input: tag 1: text without end"):
            header.string(1)


@pytest.mark.parametrize("name", READERS)
def test_values_of_another_type(name: str) -> None:
    """Each reader takes its own types and refuses all others, naming the tag."""
    texts = {TagType.STRING, TagType.STRING_ARRAY, TagType.I18NSTRING}
    numbers = {TagType.CHAR, TagType.INT8, TagType.INT16, TagType.INT32, TagType.INT64}
    wanted: dict[str, set[TagType]] = {
        "integers": numbers,
        "integer": numbers,
        "binary": {TagType.BIN, TagType.CHAR, TagType.INT8},
        "text_of_any_type": texts | numbers,
    }
    for kind in TagType:
        header = parsed([Entry(1, kind, 1, bytes(8))])
        if kind in wanted.get(name, texts):
            READERS[name](header, 1)
        else:
            with pytest.raises(SourceError, match=f"input: tag 1: type {int(kind)} where"):
                READERS[name](header, 1)


# Properties

_texts = st.binary(max_size=12).map(lambda text: text.replace(b"\0", b""))
_values = st.one_of(
    st.lists(st.integers(0, 255), max_size=5).map(lambda v: ("int8", v)),
    st.lists(st.integers(0, 2**16 - 1), max_size=5).map(lambda v: ("int16", v)),
    st.lists(st.integers(0, 2**32 - 1), max_size=5).map(lambda v: ("int32", v)),
    st.lists(st.integers(0, 2**64 - 1), max_size=5).map(lambda v: ("int64", v)),
    _texts.map(lambda v: ("string", v)),
    st.lists(_texts, max_size=6).map(lambda v: ("array", v)),
    st.binary(max_size=20).map(lambda v: ("binary", v)),
)
_MAKERS: dict[str, Callable[[int, object], Entry]] = {
    "int8": lambda tag, v: int8(tag, *v),  # type: ignore[misc]
    "int16": lambda tag, v: int16(tag, *v),  # type: ignore[misc]
    "int32": lambda tag, v: int32(tag, *v),  # type: ignore[misc]
    "int64": lambda tag, v: int64(tag, *v),  # type: ignore[misc]
    "string": lambda tag, v: string(tag, v),  # type: ignore[arg-type]
    "array": lambda tag, v: string_array(tag, v),  # type: ignore[arg-type]
    "binary": lambda tag, v: binary(tag, v),  # type: ignore[arg-type]
}


def _read(header: Header, kind: str, tag: int) -> object:
    if kind == "string":
        return header.string(tag)
    if kind == "array":
        return header.strings(tag)
    return header.binary(tag) if kind == "binary" else header.integers(tag).tolist()


@settings(deadline=None)
@given(st.lists(_values, max_size=12), st.booleans(), st.sampled_from([None, 63]))
def test_what_was_written_is_read(
    values: list[tuple[str, object]], backwards: bool, region: int | None
) -> None:
    """Any values in any order of the index, with and without a region."""
    entries = [_MAKERS[kind](1000 + n, value) for n, (kind, value) in enumerate(values)]
    header = parsed(entries[::-1] if backwards else entries, region=region, sort=False)
    for n, (kind, value) in enumerate(values):
        assert _read(header, kind, 1000 + n) == value


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 40), st.integers(0, 20)), max_size=6),
    st.binary(max_size=40),
)
def test_any_index_is_read_or_refused(index: list[tuple[int, int, int]], data: bytes) -> None:
    """Nothing but a SourceError comes out, whatever the entries say."""
    packed = b"".join(struct.pack(">IIII", 1, *fields) for fields in index)
    raw = intro(len(index), len(data)) + packed + data
    try:
        header = parse_header(raw, MAIN_HEADER_LIMITS, "input")
    except SourceError:
        return
    for read in READERS.values():
        try:
            read(header, 1)
        except SourceError as error:
            assert str(error).startswith("input: tag 1: ")
