"""rpm databases of three formats, sound and damaged."""

from __future__ import annotations

import csv
import os
import sqlite3
import struct
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from altrepodb.errors import AltrepodbError, SourceError
from altrepodb.hashing import package_hash
from altrepodb.image.installed import iter_installed
from altrepodb.image.kept_tree import BytesSource
from altrepodb.rpm import berkeley_db, database, sqlite_db
from altrepodb.rpm.database import database_files, iter_header_blobs
from tests.support.fixtures import fixtures
from tests.support.rpm_databases import (
    HashFile,
    blobs_of,
    hash_file,
    load_hash_file,
    ndb_file,
    write_sqlite,
)
from tests.support.rpm_file import RpmFile, RpmPackage

PACKAGES = [
    RpmPackage("small", files=[]),
    RpmPackage("large", files=[RpmFile(f"/usr/share/large/{n:04}") for n in range(300)]),
    RpmPackage("i586-small", arch="i586", epoch=2),
]
BLOBS = blobs_of(PACKAGES)


def sources(files: Mapping[str, bytes]) -> dict[str, BytesSource]:
    return {name: BytesSource(data, name) for name, data in files.items()}


def read(files: Mapping[str, bytes]) -> list[bytes]:
    """The blobs of the only database among the files."""
    opened = sources(files)
    (name,) = database_files(opened)
    return list(iter_header_blobs(opened, name))


def read_directory(directory: Path) -> list[bytes]:
    return read({path.name: path.read_bytes() for path in directory.iterdir()})


def sqlite_files(directory: Path, in_log: Sequence[bytes] = ()) -> dict[str, bytes]:
    write_sqlite(directory / "rpmdb.sqlite", BLOBS, in_log=in_log)
    return {path.name: path.read_bytes() for path in directory.iterdir()}


# Sound databases


@pytest.mark.parametrize("page_size", [512, 4096, 8192, 65536])
@pytest.mark.parametrize("order", ["<", ">"])
def test_berkeley_db(page_size: int, order: str) -> None:
    data = hash_file(BLOBS, page_size=page_size, order=order)
    assert read({"Packages": data}) == BLOBS


@pytest.mark.parametrize("page_size", [1024, 4096, 8192])
def test_berkeley_db_of_its_own_program(tmp_path: Path, page_size: int) -> None:
    """Many small values on a page, splits, and free pages between."""
    blobs = [*BLOBS, *[BLOBS[0] + bytes(number) for number in range(200)]]
    load_hash_file(tmp_path / "Packages", blobs, page_size=page_size)
    assert sorted(read_directory(tmp_path)) == sorted(blobs)


@pytest.mark.parametrize("version", [8, 9])
def test_berkeley_db_versions(version: int) -> None:
    file = HashFile()
    file.hash_page([file.key(1), b"\1" + BLOBS[0]])
    assert read({"Packages": file.data(version=version)}) == BLOBS[:1]


def test_sqlite_with_empty_log(tmp_path: Path) -> None:
    files = sqlite_files(tmp_path)
    assert files["rpmdb.sqlite-wal"] == b""
    assert files["rpmdb.sqlite"][18:20] == b"\2\2"
    assert read(files) == BLOBS
    assert read({"rpmdb.sqlite": files["rpmdb.sqlite"]}) == BLOBS


def test_sqlite_rows_in_log_only(tmp_path: Path) -> None:
    late = blobs_of([RpmPackage("late")])
    files = sqlite_files(tmp_path, in_log=late)
    assert read(files) == BLOBS + late
    assert read({"rpmdb.sqlite": files["rpmdb.sqlite"]}) == BLOBS


def test_large_sqlite_is_read_from_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "scratch").mkdir()
    files = sources(sqlite_files(tmp_path / "source"))
    monkeypatch.setattr(sqlite_db, "_MEMORY_LIMIT_BYTES", 1)
    blobs = iter_header_blobs(files, "rpmdb.sqlite", tmp_path / "scratch")
    assert next(blobs) == BLOBS[0]
    assert list((tmp_path / "scratch").iterdir())
    assert [*blobs] == BLOBS[1:]
    assert not list((tmp_path / "scratch").iterdir())


def test_no_place_for_a_copy(tmp_path: Path) -> None:
    files = sources(sqlite_files(tmp_path, in_log=BLOBS[:1]))
    with pytest.raises(AltrepodbError, match="no place for a copy of it: No such"):
        list(iter_header_blobs(files, "rpmdb.sqlite", tmp_path / "nowhere" / "place"))


def test_ndb() -> None:
    assert read({"Packages.db": ndb_file(BLOBS)}) == BLOBS
    assert read({"Packages.db": ndb_file(BLOBS * 100, slot_pages=2)}) == BLOBS * 100


def test_what_is_no_database(tmp_path: Path) -> None:
    """A directory with files of these names is no database without their signatures."""
    files = dict.fromkeys(database.DATABASE_FILES, b"")
    assert database_files(sources(files)) == []
    assert database_files(sources({name: bytes(4096) for name in files})) == []
    assert database_files(sources({"__db.001": hash_file(BLOBS), "Name": hash_file(BLOBS)})) == []


READ_AS_NOBODY = """
import os, sys
os.setgroups([]); os.setgid(65534); os.setuid(65534)
from contextlib import ExitStack
from altrepodb.byte_source import open_file
from altrepodb.rpm.database import DATABASE_FILES, iter_header_blobs
with ExitStack() as stack:
    files = {
        name: stack.enter_context(open_file(f"{sys.argv[1]}/{name}"))
        for name in DATABASE_FILES if os.path.exists(f"{sys.argv[1]}/{name}")
    }
    assert not os.access(sys.argv[1], os.W_OK)
    print(sum(1 for _ in iter_header_blobs(files, "rpmdb.sqlite")))
"""


@pytest.mark.parametrize("has_log", [False, True])
def test_sqlite_in_a_read_only_place(tmp_path: Path, has_log: bool) -> None:
    """As another user, who may read and nothing else. librpm's SQLite refuses that."""
    if os.getuid():
        pytest.skip("only root can become another user")
    late = blobs_of([RpmPackage("late")]) if has_log else []
    sqlite_files(tmp_path, in_log=late)
    for path in [*tmp_path.parents, tmp_path]:
        if path.owner() == "root" and path.is_relative_to("/tmp") and path != Path("/tmp"):
            path.chmod(0o755)
    command = [sys.executable, "-c", READ_AS_NOBODY, str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (result.stderr, result.stdout) == ("", f"{len(BLOBS) + has_log}\n")


# Databases of other projects


@pytest.mark.parametrize(
    ("directory", "expected"),
    [
        ("libuuid", ["libuuid-2.32.1-42.el8_8 x86_64"]),
        ("zif-1", ["depend-0.1-1.fc13 noarch", "test-0.1-1.fc14 noarch"]),
        ("zif-2", ["test-0.1-1.fc13 noarch"]),
        ("rpm-testsuite", ["foo-1.0-1 noarch", "hlinktest-1.0-1 noarch"]),
    ],
)
def test_databases_of_others(directory: str, expected: list[str]) -> None:
    blobs = read_directory(fixtures() / "rpmdb" / directory)
    assert sorted(map(str, iter_installed(blobs, directory))) == expected


def test_ndb_of_suse() -> None:
    """Against what ``rpm -qa`` said about this file."""
    directory = fixtures() / "rpmdb" / "sle15-bci"
    with (directory / "packages.csv").open(encoding="utf-8", newline="") as file:
        listed = sorted(tuple(row[1:5]) for row in csv.reader(file, delimiter="¶"))
    blobs = read({"Packages.db": (directory / "Packages.db").read_bytes()})
    found = iter_installed(blobs, "Packages.db")
    assert len(listed) > 30
    assert sorted((one.name, one.version, one.release, one.arch) for one in found) == [
        row for row in listed if row[0] != "gpg-pubkey"
    ]


def test_sqlite_of_mariner() -> None:
    blobs = read_directory(fixtures() / "rpmdb" / "cbl-mariner-2.0")
    assert len(list(iter_installed(blobs, "mariner"))) == 129


def test_sqlite_without_the_table() -> None:
    with pytest.raises(SourceError, match="without the table Packages"):
        read_directory(fixtures() / "rpmdb" / "sqlite-without-packages")


# librpm as the oracle

ASK_LIBRPM = """
import sys, rpm
rpm.addMacro("_dbpath", sys.argv[1])
for header in rpm.TransactionSet().dbMatch():
    if header[rpm.RPMTAG_NAME] == "gpg-pubkey":
        continue
    names = [header[tag] for tag in (rpm.RPMTAG_NAME, rpm.RPMTAG_VERSION, rpm.RPMTAG_RELEASE)]
    digests = [header[rpm.RPMTAG_SIGMD5] or b"", header[rpm.RPMTAG_SIGGPG] or b""]
    print(header[rpm.RPMTAG_BUILDTIME], header[rpm.RPMTAG_SHA1HEADER], *map(bytes.hex, digests),
          *names, header[rpm.RPMTAG_EPOCH] or 0, sep="|")
"""


def said_by_librpm(directory: Path) -> list[tuple[int, str, str, str, int]]:
    """Identity, name, version, release and epoch of all packages."""
    command = [sys.executable, "-c", ASK_LIBRPM, str(directory)]
    output = subprocess.check_output(command, text=True, stderr=subprocess.DEVNULL)
    found = []
    for line in output.splitlines():
        time, sha1, md5, gpg, name, version, release, epoch = line.split("|")
        digests = map(bytes.fromhex, ("" if sha1 == "None" else sha1, md5, gpg))
        found.append((package_hash(int(time), *digests), name, version, release, int(epoch)))
    return sorted(found)


def write_own_hash_file(directory: Path) -> None:
    (directory / "Packages").write_bytes(hash_file(BLOBS))


def write_loaded_hash_file(directory: Path) -> None:
    load_hash_file(directory / "Packages", BLOBS)


def write_sqlite_file(directory: Path) -> None:
    """rpm makes all the tables itself."""
    subprocess.run(["rpm", "--dbpath", str(directory), "--initdb"], check=True)
    with closing(sqlite3.connect(directory / "rpmdb.sqlite")) as connection:
        connection.executemany("INSERT INTO Packages VALUES (?, ?)", enumerate(BLOBS, 1))
        connection.commit()


def copy_of(name: str) -> Callable[[Path], None]:
    def copy(directory: Path) -> None:
        for path in (fixtures() / "rpmdb" / name).iterdir():
            (directory / path.name).write_bytes(path.read_bytes())

    copy.__name__ = f"copy_of_{name}"
    return copy


@pytest.mark.parametrize(
    ("write", "count"),
    [
        (write_own_hash_file, 3),
        (write_loaded_hash_file, 3),
        (write_sqlite_file, 3),
        (copy_of("libuuid"), 1),
        (copy_of("cbl-mariner-2.0"), 129),
        (copy_of("rpm-testsuite"), 2),
    ],
)
def test_librpm_reads_the_same(tmp_path: Path, write: Callable[[Path], None], count: int) -> None:
    """The same identities and names; what is composed here is a database for librpm too."""
    pytest.importorskip("rpm")
    write(tmp_path)
    found = iter_installed(read_directory(tmp_path), "database")
    packages = sorted((one.hash, one.name, one.version, one.release, one.epoch) for one in found)
    assert len(packages) == count
    assert packages == said_by_librpm(tmp_path)


# Damage


def refuse(files: Mapping[str, bytes], message: str) -> None:
    with pytest.raises(SourceError, match=message) as caught:
        read(files)
    assert str(caught.value).startswith(("Packages", "rpmdb.sqlite"))
    assert "\n" not in str(caught.value)


def hash_file_of(*items: bytes, number: int | None = None) -> bytes:
    file = HashFile()
    file.hash_page(items, number)
    return file.data()


KEY = b"\1\1\0\0\0"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (HashFile().data(version=7), "hash version 7"),
        (HashFile().data(version=10), "hash version 10"),
        (HashFile(page_size=256).data(), "damaged metadata"),
        (HashFile(page_size=768).data(), "damaged metadata"),
        (HashFile().data(flags=1), "encryption or checksums"),
        (HashFile().data(last_page=1), "truncated: 4096 bytes for 2 pages"),
        (HashFile().data(last_page=0xFFFFFFFF), "truncated"),
        (hash_file_of(KEY), "1 items"),
        (hash_file_of(KEY, b"\2" + BLOBS[0]), "a value of type 2"),
        (hash_file_of(KEY, b"\3" + bytes(10)), "a value of type 3 in 11 bytes"),
        (hash_file_of(b"\3" + KEY[1:], b"\1" + BLOBS[0]), "a key that is not on its page"),
        (hash_file_of(KEY, b"\1" + BLOBS[0], number=2), "says it is page 2"),
        (hash_file_of(KEY, b"\1" + bytes(7)), "a package of 7 bytes"),
        (hash_file_of(KEY, b"\3" + bytes(3) + struct.pack("<II", 1, 9999)), "a value of 9999"),
    ],
)
def test_damaged_berkeley_db(data: bytes, message: str) -> None:
    refuse({"Packages": data}, message)


def test_what_is_no_hash_file() -> None:
    with pytest.raises(SourceError, match="not a hash file of Berkeley DB"):
        list(berkeley_db.iter_values(BytesSource(bytes(4096), "Packages"), 1 << 20))


def chained(change: Callable[[HashFile, int], None], size: int = 8000) -> bytes:
    """A value of two overflow pages, which are changed before the item is written."""
    file = HashFile()
    first = file.overflow_chain(bytes(8000))
    change(file, first)
    file.hash_page([file.key(1), file.off_page(first, size)])
    return file.data()


def set_field(offset: int, format_: str, value: int) -> Callable[[HashFile, int], None]:
    def change(file: HashFile, first: int) -> None:
        page = bytearray(file.pages[first])
        struct.pack_into(format_, page, offset, value)
        file.pages[first] = bytes(page)

    return change


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (chained(set_field(16, "<I", 1)), "an overflow page is used twice"),
        (chained(set_field(16, "<I", 0)), "an overflow page outside the file"),
        (chained(set_field(16, "<I", 4)), "an overflow page outside the file"),
        (chained(set_field(16, "<I", 3)), "type 13 where an overflow page is needed"),
        (chained(set_field(8, "<I", 2)), "says it is page 2"),
        (chained(set_field(22, "<H", 0)), "overflow of 0 bytes"),
        (chained(set_field(22, "<H", 4071)), "overflow of 4071 bytes"),
        (chained(lambda *_: None, size=8001), "an overflow page outside the file"),
        (chained(lambda *_: None, size=7999), "bytes where a value has 3929 left"),
    ],
)
def test_damaged_overflow_chain(data: bytes, message: str) -> None:
    refuse({"Packages": data}, message)


def test_items_may_not_overlap() -> None:
    """Else a page of items could stand for gigabytes."""
    data = bytearray(hash_file_of(KEY, b"\1" + BLOBS[0]))
    struct.pack_into("<H", data, 4096 + 28, 4095)
    refuse({"Packages": bytes(data)}, "an item from 4095 to 4091")


def test_two_values_may_not_share_overflow_pages() -> None:
    file = HashFile()
    first = file.overflow_chain(bytes(8000))
    value = file.off_page(first, 8000)
    file.hash_page([file.key(1), value, file.key(2), value])
    refuse({"Packages": file.data()}, "an overflow page is used twice")


def changed(data: bytes, offset: int, format_: str, *values: int) -> bytes:
    result = bytearray(data)
    struct.pack_into(format_, result, offset, *values)
    return bytes(result)


NDB = ndb_file(BLOBS)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (changed(NDB, 4, "<I", 1), "not an ndb file of version 0"),
        (changed(NDB, 12, "<I", 0), "0 pages of slots"),
        (changed(NDB, 12, "<I", 0xFFFFFFFF), "4294967295 pages of slots"),
        (changed(NDB, 32, "<I", 0), "damaged slots"),
        (changed(NDB, 40, "<I", 2), "blocks at block 2"),
        (changed(NDB, 40, "<I", 0xFFFFFFF), "truncated or damaged"),
        (changed(NDB, 44, "<I", 0xFFFFFFF), "268435455 blocks at block"),
        (changed(NDB, 44, "<I", 1), "16 bytes are no blob"),
        (changed(NDB, 36, "<I", 9), "damaged blob"),
        (changed(NDB, 4096 + 12, "<I", 20), "damaged blob"),
        (changed(NDB, 4096 + 40, "<I", 0xABCDEF), "wrong checksum"),
        (NDB[:-16], "truncated or damaged"),
    ],
)
def test_damaged_ndb(data: bytes, message: str) -> None:
    refuse({"Packages.db": data}, message)


def test_ndb_blob_of_wrong_length() -> None:
    """Head and tail agree on a length that is not that of the blocks."""
    data = ndb_file([BLOBS[0]])
    wrong = changed(data, 4096 + 12, "<I", 8)
    refuse({"Packages.db": changed(wrong, len(data) - 8, "<I", 8)}, "a blob of 8 bytes where")


def test_ndb_slots_may_not_share_a_blob() -> None:
    """Two hundred slots for one blob: more bytes than the file has."""
    slots = NDB[32:48] * 254
    refuse({"Packages.db": NDB[:32] + slots + NDB[4096:]}, "more bytes of packages than of file")


# Hostile SQLite files


def sqlite_of(path: Path, *statements: str) -> dict[str, bytes]:
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()
    return {"rpmdb.sqlite": path.read_bytes()}


ENDLESS = (
    "WITH RECURSIVE n(hnum, blob) AS (SELECT 1, zeroblob(9) UNION ALL SELECT hnum + 1, blob FROM n)"
)


@pytest.mark.parametrize(
    ("statements", "message"),
    [
        ([f"CREATE VIEW Packages AS {ENDLESS} SELECT * FROM n"], "no table of its own"),
        (["CREATE VIRTUAL TABLE Packages USING fts5(hnum, blob)"], "no table of its own"),
        (
            ["CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob AS (zeroblob(hnum)))"],
            "no plain column named blob",
        ),
        (["CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, data BLOB)"], "no plain column"),
        (
            ["CREATE TABLE Packages (hnum, blob)", "INSERT INTO Packages VALUES (1, NULL)"],
            "a package that is no blob",
        ),
        (
            ["CREATE TABLE Packages (hnum, blob)", "INSERT INTO Packages VALUES (1, 77)"],
            "a package that is no blob",
        ),
        ([f"CREATE TABLE Packages (hnum, blob, c {'x' * 100_000})"], "damaged SQLite file"),
        (
            [f"CREATE TABLE Packages (hnum, blob, {','.join(f'c{n}' for n in range(100))})"],
            "damaged SQLite file: .*too many columns",
        ),
    ],
)
def test_hostile_sqlite(tmp_path: Path, statements: list[str], message: str) -> None:
    refuse(sqlite_of(tmp_path / "file", *statements), message)


@pytest.mark.parametrize("name", [b"Nam\xff", b"a\nb\n"])
def test_messages_that_quote_the_file(tmp_path: Path, name: bytes) -> None:
    """SQLite quotes a name that is no text, or several lines of it."""
    table = "Q" * len(name)
    files = sqlite_of(tmp_path / "file", f"CREATE TABLE {table} (a)", "CREATE TABLE b (a)")
    data = files["rpmdb.sqlite"].replace(b"CREATE TABLE Q", b"CREATE TABLX Q")
    refuse({"rpmdb.sqlite": data.replace(table.encode(), name)}, "damaged SQLite file")


def test_text_is_taken_as_it_is(tmp_path: Path) -> None:
    """Text that is not UTF-8 is no error of Python's own; as a header it will be refused."""
    statements = (
        "CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob)",
        "INSERT INTO Packages VALUES (1, CAST(x'ff00000000000000' AS TEXT))",
    )
    assert read(sqlite_of(tmp_path / "file", *statements)) == [b"\xff" + bytes(7)]


def test_sqlite_takes_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_db, "_TIME_LIMIT_S", -1.0)
    monkeypatch.setattr(sqlite_db, "_INSTRUCTIONS_PER_CHECK", 1)
    refuse(sqlite_files(tmp_path), "damaged SQLite file: interrupted")


def test_sqlite_pages_may_not_be_shared(tmp_path: Path) -> None:
    """An inner page that names one leaf again and again: more bytes than the file has."""
    path = tmp_path / "file"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob BLOB)")
        blobs = enumerate([*[bytes(60_000)] * 8, *[bytes(400)] * 1000])
        connection.executemany("INSERT INTO Packages VALUES (?, ?)", blobs)
        connection.commit()
    data = bytearray(path.read_bytes())
    root = 4096
    assert data[root] == 5, "not an inner page"
    (cells,) = struct.unpack_from(">H", data, root + 3)
    places = struct.unpack_from(f">{cells}H", data, root + 12)
    for place in places:
        struct.pack_into(
            ">I", data, root + place, struct.unpack_from(">I", data, root + places[0])[0]
        )
    refuse({"rpmdb.sqlite": bytes(data)}, "more bytes of packages than of file")


@pytest.mark.parametrize("limit", ["_MAX_BLOB_BYTES", "_MAX_DATABASE_BYTES"])
def test_limits_of_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    monkeypatch.setattr(database, limit, 2000)
    refuse({"Packages": hash_file(BLOBS)}, "bytes")
    refuse({"Packages.db": NDB}, "blocks at block|limit 2000")
    refuse(sqlite_files(tmp_path), "too big|limit 2000")


# Any damage ends in an error or a result, soon

SMALL_HASH_FILE = hash_file(BLOBS, page_size=512)
SEEDS = {"Packages": SMALL_HASH_FILE, "Packages.db": NDB}


@st.composite
def damaged_files(draw: st.DrawFn, name: str, data: bytes) -> dict[str, bytes]:
    result = bytearray(data)
    interesting = st.one_of(st.integers(0, len(data) - 1), st.integers(0, 150))
    for _ in range(draw(st.integers(0, 4))):
        result[draw(interesting)] = draw(st.integers(0, 255))
    return {name: bytes(result[: draw(st.integers(0, len(data)) | st.just(len(data)))])}


def read_or_refuse(files: Mapping[str, bytes]) -> None:
    opened = sources(files)
    try:
        for name in database_files(opened):
            blobs = list(iter_header_blobs(opened, name))
            assert sum(map(len, blobs)) <= sum(map(len, files.values()))
            list(iter_installed(blobs, name))
    except SourceError as error:
        assert "\n" not in str(error)


@settings(max_examples=400, deadline=None)
@given(st.one_of([damaged_files(name, data) for name, data in SEEDS.items()]))
def test_any_damage(files: dict[str, bytes]) -> None:
    read_or_refuse(files)


@pytest.fixture(scope="module")
def sqlite_seed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return sqlite_files(tmp_path_factory.mktemp("seed"))["rpmdb.sqlite"]


@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_any_damage_of_sqlite(sqlite_seed: bytes, data: st.DataObject) -> None:
    read_or_refuse(data.draw(damaged_files("rpmdb.sqlite", sqlite_seed)))


def test_no_more_than_a_few_pages_are_kept() -> None:
    """A large file is read in pieces, each once."""
    file = HashFile()
    for number in range(1, 500):
        file.hash_page([file.key(number), b"\1" + bytes(1000)])
    source = CountingSource(file.data(), "Packages")
    assert sum(1 for _ in berkeley_db.iter_values(source, 1 << 20)) == 499
    assert source.read_bytes <= source.size + 100
    assert source.largest <= 256 * 1024


class CountingSource(BytesSource):
    read_bytes = 0
    largest = 0

    def pread(self, count: int, offset: int) -> bytes:
        self.read_bytes += count
        self.largest = max(self.largest, count)
        return super().pread(count, offset)


def test_sources_are_closed_with_the_files(tmp_path: Path) -> None:
    """Readers hold no file of their own."""
    from altrepodb.byte_source import open_file

    write_own_hash_file(tmp_path)
    with ExitStack() as stack:
        source = stack.enter_context(open_file(tmp_path / "Packages"))
        assert list(iter_header_blobs({"Packages": source}, "Packages")) == BLOBS
