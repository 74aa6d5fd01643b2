"""Compose rpm databases from package headers, in the three formats, sound or not.

A database is a mapping of file names to bytes. `db5.3_load` writes a second kind of Berkeley DB,
as an opinion that is not ours.
"""

from __future__ import annotations

import sqlite3
import struct
import subprocess
import zlib
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path

from altrepodb.rpm.header import SIGNATURE_LIMITS, header_size
from altrepodb.rpm.package_file import PackageFile
from tests.support.rpm_file import ComposedRpm, RpmPackage, compose
from tests.support.rpm_header import MAGIC, Entry, binary, string

TAG_MERGED_MD5 = 261
TAG_MERGED_GPG = 262
TAG_MERGED_SHA1 = 269

_HASH_MAGIC = 0x00061561
_PAGE_HEADER_BYTES = 26
_OFF_PAGE_BYTES = 12


def header_blob(rpm: ComposedRpm, *, has_sha1: bool = True) -> bytes:
    """The main header of a package as a database holds it, signature tags merged."""
    entries = [binary(TAG_MERGED_MD5, rpm.body_md5)]
    if rpm.gpg:
        entries.append(binary(TAG_MERGED_GPG, rpm.gpg))
    if has_sha1:
        entries.append(string(TAG_MERGED_SHA1, rpm.header_sha1.hex()))
    return merged_blob(rpm.main_header, entries)


def package_file_blob(data: bytes, package: PackageFile) -> bytes:
    """The main header of a package file as a database holds it."""
    signature_end = 96 + header_size(data[96:112], SIGNATURE_LIMITS, package.name)
    header = data[-(-signature_end // 8) * 8 : package.payload_offset]
    entries = [
        binary(TAG_MERGED_MD5, package.signed_md5),
        string(TAG_MERGED_SHA1, package.signed_sha1.hex()),
    ]
    if package.gpg_signature:
        entries.append(binary(TAG_MERGED_GPG, package.gpg_signature))
    return merged_blob(header, entries)


def merged_blob(main_header: bytes, entries: Iterable[Entry]) -> bytes:
    """A header without its magic, with more entries behind the immutable region, as rpm does."""
    body = main_header.removeprefix(MAGIC)
    count, _ = struct.unpack_from(">II", body)
    index, data = body[8 : 8 + 16 * count], body[8 + 16 * count :]
    for entry in entries:
        index += struct.pack(">IIII", entry.tag, entry.type, len(data), entry.items)
        data += entry.data
    return struct.pack(">II", len(index) // 16, len(data)) + index + data


def blobs_of(packages: Iterable[RpmPackage]) -> list[bytes]:
    """Header blobs of described packages."""
    return [header_blob(compose(package)) for package in packages]


# SQLite


def write_sqlite(path: Path, blobs: Sequence[bytes], *, in_log: Sequence[bytes] = ()) -> None:
    """A database in WAL mode; `in_log` are packages that stand in the write-ahead log alone."""
    living = path.with_name("living.sqlite")
    with closing(sqlite3.connect(living)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob BLOB NOT NULL)")
        connection.execute("CREATE TABLE Name (key TEXT, hnum INTEGER, idx INTEGER)")
        _insert(connection, blobs, 1)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        _insert(connection, in_log, len(blobs) + 1)
        # Copied while it is open: closing would move the log into the file.
        for suffix in ("", "-wal", "-shm"):
            data = living.with_name(living.name + suffix).read_bytes()
            path.with_name(path.name + suffix).write_bytes(data)
    living.unlink()


def _insert(connection: sqlite3.Connection, blobs: Sequence[bytes], first: int) -> None:
    connection.executemany("INSERT INTO Packages VALUES (?, ?)", enumerate(blobs, first))
    connection.commit()


# ndb


def ndb_file(blobs: Sequence[bytes], *, slot_pages: int = 1) -> bytes:
    """A package file of ndb."""
    slots, stored = b"", b""
    for index, blob in enumerate(blobs, 1):
        record = _ndb_blob(index, blob)
        block = (slot_pages * 4096 + len(stored)) // 16
        slots += struct.pack("<4sIII", b"Slot", index, block, len(record) // 16)
        stored += record
    header = struct.pack("<4sIIII12x", b"RpmP", 0, 1, slot_pages, len(blobs) + 1)
    free = (slot_pages * 4096 - len(header) - len(slots)) // 16
    return header + slots + struct.pack("<4sIII", b"Slot", 0, 0, 0) * free + stored


def _ndb_blob(index: int, blob: bytes) -> bytes:
    padding = bytes(-(16 + len(blob) + 12) % 16)
    head = struct.pack("<4sIII", b"BlbS", index, 1, len(blob)) + blob + padding
    return head + struct.pack("<II4s", zlib.adler32(head), len(blob), b"BlbE")


# Berkeley DB


class HashFile:
    """A hash file of Berkeley DB with one bucket, written page by page."""

    def __init__(self, *, page_size: int = 4096, order: str = "<") -> None:
        self.page_size = page_size
        self.order = order
        self.pages: list[bytes] = [b""]

    def hash_page(self, items: Sequence[bytes], number: int | None = None) -> None:
        """A page of raw items, keys and values in turn; its first byte says of which type."""
        place = self.page_size
        index = body = b""
        for item in items:
            place -= len(item)
            index += struct.pack(f"{self.order}H", place)
            body = item + body
        gap = bytes(place - _PAGE_HEADER_BYTES - len(index))
        self._append(index + gap + body, 13, len(items), place, number)

    def overflow_chain(self, data: bytes) -> int:
        """Overflow pages for a value; returns the first one's number."""
        first = len(self.pages)
        room = self.page_size - _PAGE_HEADER_BYTES
        parts = [data[start : start + room] for start in range(0, len(data), room)]
        for part in parts:
            following = 0 if part is parts[-1] else len(self.pages) + 1
            self._append(part, 7, 1, len(part), following=following)
        return first

    def _append(
        self,
        body: bytes,
        kind: int,
        entries: int,
        high: int,
        number: int | None = None,
        following: int = 0,
    ) -> None:
        number = len(self.pages) if number is None else number
        header = struct.pack(f"{self.order}8xIIIHHBB", number, 0, following, entries, high, 0, kind)
        self.pages.append((header + body).ljust(self.page_size, b"\0"))

    def key(self, number: int) -> bytes:
        """An item: the number of an instance."""
        return b"\1" + struct.pack(f"{self.order}I", number)

    def off_page(self, first: int, size: int) -> bytes:
        """An item: a value of so many bytes that begins on an overflow page."""
        return struct.pack(f"{self.order}B3xII", 3, first, size)

    def data(self, *, version: int = 9, last_page: int | None = None, flags: int = 0) -> bytes:
        """The whole file."""
        last = len(self.pages) - 1 if last_page is None else last_page
        metadata = struct.pack(
            f"{self.order}8xIIIIBBBxIIIII", 0, _HASH_MAGIC, version, self.page_size, 0, 8, flags,
            0, last, 0, 0, 0,
        ).ljust(72, b"\0")  # fmt: skip
        # One bucket, number 0, whose page is the first; so librpm finds everything too.
        metadata += struct.pack(f"{self.order}IIIIII", 0, 1, 0, 0, 0, 0)
        metadata += struct.pack(f"{self.order}32I", 1, *([0] * 31))
        return b"".join([metadata.ljust(self.page_size, b"\0"), *self.pages[1:]])


def hash_file(blobs: Sequence[bytes], *, page_size: int = 4096, order: str = "<") -> bytes:
    """A `Packages` file: the counter of instances, small values inline, others off their page."""
    file = HashFile(page_size=page_size, order=order)
    pairs = [[file.key(0), b"\1" + struct.pack(f"{order}I", len(blobs))]]
    file.pages += [b""] * (len(blobs) + 1)
    for number, blob in enumerate(blobs, 1):
        if len(blob) <= page_size // 4:
            value = b"\1" + blob
        else:
            value = file.off_page(file.overflow_chain(blob), len(blob))
        pairs.append([file.key(number), value])
    tail = file.pages[len(pairs) + 1 :]
    del file.pages[1:]
    for pair in pairs:
        file.hash_page(pair)
    _link(file, len(pairs))
    file.pages += tail
    return file.data()


def _link(file: HashFile, count: int) -> None:
    """Chain the pages of the bucket."""
    for number in range(1, count):
        page = bytearray(file.pages[number])
        struct.pack_into(f"{file.order}I", page, 16, number + 1)
        file.pages[number] = bytes(page)


def load_hash_file(path: Path, blobs: Sequence[bytes], *, page_size: int = 4096) -> None:
    """A `Packages` file as Berkeley DB's own program writes it."""
    pairs = [(0, struct.pack("<I", len(blobs))), *enumerate(blobs, 1)]
    lines = ["VERSION=3", "format=bytevalue", "type=hash", f"db_pagesize={page_size}", "HEADER=END"]
    for number, value in pairs:
        lines += [f" {struct.pack('<I', number).hex()}", f" {value.hex()}"]
    text = "\n".join([*lines, "DATA=END", ""])
    subprocess.run(["db5.3_load", str(path)], input=text.encode(), check=True)
