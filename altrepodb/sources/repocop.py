"""Repocop -> rows of PackagesRepocop: what package tests found, one object per package and test.

The upstream file is a bzip2 stream of one JSON array. It is decompressed and decoded piece by
piece, stored whole, and dated by its ``Last-Modified`` when that is later than all that is
stored.
"""

from __future__ import annotations

import codecs
import json
import logging
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from operator import itemgetter
from typing import Any, BinaryIO, cast

from altrepodb.db.database import Columns, Database
from altrepodb.errors import SourceError
from altrepodb.http import HttpLimits, shown_url
from altrepodb.json_values import is_text
from altrepodb.rpm.compression import iter_decompressed
from altrepodb.sources.dated_file import DatedTable, load_dated_file
from altrepodb.sources.run import (
    Findings,
    SourceOptions,
    SourceRun,
    SourceSummary,
    check_malformed,
)

__all__ = ["PROGRAM", "ArrayReader", "Results", "load_repocop", "parse_results"]

logger = logging.getLogger(__name__)

PROGRAM = "repocop_loader"
DEFAULT_URL = (
    "http://repocop.altlinux.org/pub/repocop/prometheus3/packages.altlinux-sisyphus.json.bz2"
)

# The limit of decoded bytes is that of the transfer; bzip2 is what the file itself is.
_LIMITS = HttpLimits(
    read_timeout_s=60, deadline_s=900, wire_bytes=256 << 20, decoded_bytes=256 << 20
)
_MAX_DECODED_BYTES = 8 << 30
_MAX_OBJECT_CHARS = 1 << 20
_MAX_MALFORMED_SHARE = 0.001
_READ_CHARS = 1 << 16
_PIECES_AHEAD = 8
_STATUSES = frozenset({"skip", "ok", "info", "experimental", "warn", "fail"})
_NOT_SPACE = re.compile(r"[^ \t\n\r]")

_Texts = tuple[str, ...]

_PACKAGE = ("pkg_name", "pkg_version", "pkg_release", "pkg_arch", "pkgset_name")
_SOURCE = ("rc_srcpkg_name", "rc_srcpkg_version", "rc_srcpkg_release")
_TEST = ("rc_test_name", "rc_test_status", "rc_test_message")
_VALUES = itemgetter(*_PACKAGE, *_SOURCE, *_TEST)

_TABLE = DatedTable(
    "PackagesRepocop",
    newest="SELECT toUnixTimestamp(max(rc_test_date)) FROM PackagesRepocop",
    count="""
SELECT least(
    uniqExact(
        sipHash128(pkg_name, pkg_version, pkg_release, pkg_arch, pkgset_name, rc_test_name)
    ),
    toUInt64({expected:UInt32})
)
FROM PackagesRepocop
WHERE rc_test_date = toDateTime({moment:UInt32})
""",
)


def load_repocop(options: SourceOptions, database: Database) -> SourceSummary:
    """Store the file if it is news.

    Raises SourceError, TemporaryError, DatabaseError and LockHeldError; nothing is stored then.
    """
    url = options.url or DEFAULT_URL
    shown = shown_url(url)
    summary = SourceSummary(url=shown)
    with SourceRun(PROGRAM, options, database, summary) as run:

        def read(chunks: Iterator[bytes]) -> Results:
            results = parse_results(cast("BinaryIO", _Stream(chunks)), shown, run.findings)
            summary.fetched = results.objects
            check_malformed(
                shown, summary.skipped, results.objects, share=_MAX_MALFORMED_SHARE, few=0
            )
            for status in sorted(results.unknown_statuses):
                run.findings.repair(shown, None, "unknown status", status)
            return results

        load_dated_file(run, url, _TABLE, _LIMITS, read)
    return summary


class _Stream:
    """Chunks to be read like a file."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks

    def read(self, size: int = -1) -> bytes:
        """The next chunk, whatever its size; nothing at the end."""
        return next(self._chunks, b"")


# --- parse


class Results:
    """Results by package and test; of several that agree in both the last one counts."""

    def __init__(self) -> None:
        self.objects = 0
        self.unknown_statuses: set[str] = set()
        self._rows: dict[tuple[_Texts, str], tuple[_Texts, str, str]] = {}
        # Nearly everything but messages occurs again and again.
        self._shared: dict[Any, Any] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, decoded: Mapping[str, Any]) -> None:
        """Take one object. Raises ValueError that says what is wrong with it."""
        try:
            values = list(_VALUES(decoded))
        except KeyError as error:
            raise ValueError(f"no {error.args[0]}") from None
        if set(map(type, values)) != {str}:
            values = list(map(_as_text, values))
        if not is_text("".join(values)):
            raise ValueError("a text that cannot be encoded")
        *texts, test, status, message = values
        package, source = tuple(texts[: len(_PACKAGE)]), tuple(texts[len(_PACKAGE) :])
        if status not in _STATUSES:
            self.unknown_statuses.add(status)
        share = self._shared.setdefault
        key = share(package, package), share(test, test)
        self._rows[key] = share(source, source), share(status, status), message

    def take_columns(self, moment: int) -> Columns:
        """Rows of PackagesRepocop, all of one moment. Nothing is left here, to save memory.

        They are in the order of the table, which saves the engine a copy.
        """
        keys = sorted(self._rows)
        rows = [self._rows[key] for key in keys]
        self._rows.clear()
        self._shared.clear()
        columns: dict[str, list[Any]] = {}
        for place, name in enumerate(_PACKAGE):
            columns[name] = [package[place] for package, _ in keys]
        for place, name in enumerate(_SOURCE):
            columns[name] = [source[place] for source, _, _ in rows]
        columns["rc_test_name"] = [test for _, test in keys]
        columns["rc_test_status"] = [status for _, status, _ in rows]
        columns["rc_test_message"] = [message for _, _, message in rows]
        columns["rc_test_date"] = [moment] * len(keys)
        return columns


def _as_text(value: object) -> str:
    """A plain value as text; numbers are texts already. Raises ValueError for others."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return value
    raise ValueError("a list or an object in place of a text")


def parse_results(packed: BinaryIO, name: str, findings: Findings) -> Results:
    """The results in a bzip2 stream of a JSON array.

    Objects that lack a value are skipped and counted. Raises SourceError for a stream or an
    array that is damaged, cut off or too large.
    """
    results = Results()
    with read_ahead(_limited(iter_decompressed(packed, "bzip2", name), name)) as pieces:
        for number, decoded in enumerate(ArrayReader(pieces, name), start=1):
            try:
                results.add(decoded)
            except ValueError as error:
                findings.skip(f"{name}: object {number}", None, str(error), str(decoded)[:200])
            results.objects = number
    return results


@contextmanager
def read_ahead(pieces: Iterator[bytes]) -> Iterator[Iterator[bytes]]:
    """The same pieces, made by another thread meanwhile, a few at a time.

    Decompression takes longer than decoding, and both can run at once.
    """
    with ThreadPoolExecutor(1, "decompress") as pool:
        waiting = deque(pool.submit(next, pieces, b"") for _ in range(_PIECES_AHEAD))

        def taken() -> Iterator[bytes]:
            while piece := waiting.popleft().result():
                waiting.append(pool.submit(next, pieces, b""))
                yield piece

        try:
            yield taken()
        finally:
            pool.shutdown(cancel_futures=True)


def _limited(pieces: Iterable[bytes], name: str) -> Iterator[bytes]:
    total = 0
    for piece in pieces:
        total += len(piece)
        if total > _MAX_DECODED_BYTES:
            raise SourceError(f"{name}: more than {_MAX_DECODED_BYTES} bytes when decompressed")
        yield piece


class ArrayReader:
    """The objects of one JSON array, read piece by piece; ``name`` is for error messages.

    Takes the memory of one piece and one object. Raises SourceError for what is no array of
    objects, for an object beyond ``max_object_chars``, and for what follows the array.
    """

    def __init__(
        self, pieces: Iterable[bytes], name: str, max_object_chars: int = _MAX_OBJECT_CHARS
    ) -> None:
        self._pieces = iter(pieces)
        self._name = name
        self._max_object_chars = max_object_chars
        # Invalid bytes are preserved as lone surrogates; a piece may end within a character.
        self._text = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._is_ended = False
        self._buffer = ""
        self._position = 0
        # Numbers keep the digits that they were written with.
        self._decode = json.JSONDecoder(
            parse_int=str, parse_float=str, parse_constant=str
        ).raw_decode

    def __iter__(self) -> Iterator[dict[str, Any]]:
        self._take("[")
        if self._next_character() == "]":
            self._take("]")
        else:
            yield from self._objects()
        if self._next_character():
            raise self._error("data after the end of the array")

    def _objects(self) -> Iterator[dict[str, Any]]:
        """Everything up to and with the closing bracket."""
        yield self._object()
        while self._next_character() == ",":
            self._position += 1
            yield self._object()
        self._take("]")

    def _take(self, wanted: str) -> None:
        found = self._next_character()
        if found != wanted:
            shown = repr(found) if found else "the end"
            raise self._error(f"not an array of objects: expected {wanted!r}, found {shown}")
        self._position += 1

    def _next_character(self) -> str:
        """The character after white space, not taken yet; nothing at the end."""
        while True:
            found = _NOT_SPACE.search(self._buffer, self._position)
            if found:
                self._position = found.start()
                return found.group()
            self._position = len(self._buffer)
            if not self._read_on():
                return ""

    def _object(self) -> dict[str, Any]:
        if self._next_character() != "{":
            raise self._error("not an array of objects")
        while True:
            try:
                decoded, self._position = self._decode(self._buffer, self._position)
                return decoded  # type: ignore[no-any-return]
            except json.JSONDecodeError as error:
                waiting = len(self._buffer) - self._position
                if waiting > self._max_object_chars:
                    raise self._error(
                        f"an object of more than {self._max_object_chars} "
                        f"characters, or not JSON: {error.msg}"
                    ) from error
                if not self._read_on():
                    raise self._error(f"not JSON: {error.msg}") from error
            except RecursionError as error:
                raise self._error("nested too deeply") from error

    def _read_on(self) -> bool:
        """Put further text behind what is not read yet; whether there was any.

        Some amount at once, because an object that is cut by its end is decoded anew.
        """
        texts = [self._buffer[self._position :]]
        length = 0
        while length < _READ_CHARS and not self._is_ended:
            piece = next(self._pieces, None)
            self._is_ended = piece is None
            texts.append(self._text.decode(piece or b"", final=self._is_ended))
            length += len(texts[-1])
        self._buffer, self._position = "".join(texts), 0
        return length > 0

    def _error(self, words: str) -> SourceError:
        return SourceError(f"{self._name}: {words}")
