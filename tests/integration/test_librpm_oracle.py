"""Rows in the database against librpm, over composed packages and over those of other projects.

librpm shares no code with ours. Where we differ from it on purpose, the oracle below says so.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from altrepodb.db.database import Database
from altrepodb.errors import SourceError
from altrepodb.packages.batch import PackageBatch, PackageDigests, add_package
from altrepodb.packages.insert import PackageWriter
from altrepodb.packages.people import split_changelog_author, split_packager
from altrepodb.packages.read import PackageSource, ReadOptions, read_packages
from altrepodb.rpm.package_file import open_package
from altrepodb.rpm.payload import read_spec_file
from tests.support.damage import rpm_cuts
from tests.support.identity import package_hash, text_hash
from tests.support.repository import RepositoryPlan, compose_repository
from tests.support.rpm_file import compose, compose_rpm, fake_gpg_signature
from tests.support.rpm_header import Entry, int32, string, string_array
from tests.support.rpm_package import Dependency, RpmFile, RpmLayout, RpmPackage, directory

try:
    import rpm
except ImportError:
    pytest.skip("python3-rpm is not installed: no librpm to compare with", allow_module_level=True)

CHECKOUT = Path(__file__).parents[2]
_PROVIDED_LANGUAGE = {"LANGUAGE": "C", "LC_ALL": "C", "LC_MESSAGES": "C", "LANG": "C"}
_CLASSES = {
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symlink",
    stat.S_IFSOCK: "socket",
    stat.S_IFBLK: "block",
    stat.S_IFCHR: "char",
    stat.S_IFIFO: "fifo",
}
_TEXT_COLUMNS = {
    "pkg_name": "NAME", "pkg_version": "VERSION", "pkg_release": "RELEASE",
    "pkg_buildhost": "BUILDHOST", "pkg_rpmversion": "RPMVERSION", "pkg_cookie": "COOKIE",
    "pkg_disttag": "DISTTAG", "pkg_distribution": "DISTRIBUTION", "pkg_vendor": "VENDOR",
    "pkg_license": "LICENSE", "pkg_url": "URL", "pkg_os": "OS", "pkg_prein": "PREIN",
    "pkg_postin": "POSTIN", "pkg_preun": "PREUN", "pkg_postun": "POSTUN",
    "pkg_pretrans": "PRETRANS", "pkg_posttrans": "POSTTRANS", "pkg_summary": "SUMMARY",
    "pkg_description": "DESCRIPTION", "pkg_group_": "GROUP", "pkg_optflags": "OPTFLAGS",
    "pkg_disturl": "DISTURL", "pkg_payloadformat": "PAYLOADFORMAT",
    "pkg_payloadcompressor": "PAYLOADCOMPRESSOR", "pkg_payloadflags": "PAYLOADFLAGS",
    "pkg_platform": "PLATFORM", "pkg_verifyscript": "VERIFYSCRIPT", "pkg_vcs": "VCS",
    "pkg_gif": "GIF", "pkg_xpm": "XPM", "pkg_icon": "ICON",
}  # fmt: skip
_LIST_COLUMNS = {
    "pkg_preinprog": "PREINPROG", "pkg_postinprog": "POSTINPROG", "pkg_preunprog": "PREUNPROG",
    "pkg_postunprog": "POSTUNPROG", "pkg_buildarchs": "BUILDARCHS",
    "pkg_verifyscriptprog": "VERIFYSCRIPTPROG", "pkg_prefixes": "PREFIXES",
    "pkg_instprefixes": "INSTPREFIXES",
}  # fmt: skip
_DEPENDENCIES = {
    "require": "REQUIRE", "conflict": "CONFLICT", "obsolete": "OBSOLETE", "provide": "PROVIDE",
}  # fmt: skip
Row = dict[str, Any]


def read_by_librpm(path: Path) -> Any:
    """The header as librpm reads it, nothing verified; None when it refuses the file."""
    transaction = rpm.TransactionSet()
    transaction.setVSFlags(-1)
    with path.open("rb") as file:
        try:
            return transaction.hdrFromFdno(file.fileno())
        except rpm.error:
            return None


class Oracle:
    """What librpm says of a package, as the rows that we should have of it."""

    def __init__(self, path: Path, header: Any) -> None:
        self._path = path
        self._header = header

    def _value(self, tag: str) -> Any:
        return self._header[getattr(rpm, f"RPMTAG_{tag}")]

    def _text(self, tag: str) -> bytes:
        value = self._value(tag)
        if isinstance(value, list):
            value = value[0] if value else None
        return b"" if value is None else _raw(value)

    def _texts(self, tag: str) -> list[bytes]:
        value = self._value(tag)
        values = value if isinstance(value, list) else [] if value is None else [value]
        return [_raw(item) for item in values]

    def _numbers(self, tag: str) -> list[int]:
        value = self._value(tag)
        return value if isinstance(value, list) else [] if value is None else [value]

    def _number(self, tag: str) -> int:
        return next(iter(self._numbers(tag)), 0)

    @property
    def is_source(self) -> bool:
        return bool(self._header.isSource())

    @property
    def header_sha1(self) -> bytes:
        return bytes.fromhex(self._text("SHA1HEADER").decode())

    @property
    def identity(self) -> int:
        md5, gpg = self._text("SIGMD5"), self._text("SIGGPG")
        return package_hash(self._number("BUILDTIME"), self.header_sha1, md5, gpg)

    def package(self) -> Row:
        """The row of Packages, but for the link to the source package."""
        row: Row = {column: self._text(tag) for column, tag in _TEXT_COLUMNS.items()}
        row |= {column: self._texts(tag) for column, tag in _LIST_COLUMNS.items()}
        name, arch = self._text("NAME"), self._text("ARCH")
        packager, address = split_packager(self._text("PACKAGER"))
        file_name = os.fsencode(self._path.name)
        source_rpm = file_name if self.is_source else self._text("SOURCERPM")
        return row | {
            "pkg_hash": self.identity,
            "pkg_cs": self.header_sha1.ljust(20, b"\0"),
            # The repository of that name holds 32-bit packages for a 64-bit system.
            "pkg_arch": b"x86_64-i586" if name.startswith(b"i586-") else arch,
            "pkg_packager": packager,
            "pkg_packager_email": address,
            "pkg_epoch": self._number("EPOCH"),
            "pkg_serial_": self._number("EPOCH"),
            "pkg_buildtime": self._number("BUILDTIME"),
            "pkg_size": self._number("LONGSIZE"),
            "pkg_archivesize": self._number("LONGARCHIVESIZE"),
            "pkg_filesize": self._path.stat().st_size,
            "pkg_sourcepackage": int(self.is_source),
            # librpm makes this text up for a binary package that names no source.
            "pkg_sourcerpm": b"" if source_rpm == b"(none)" else source_rpm,
            "pkg_filename": file_name,
            **self._changelog(),
        }

    def _changelog(self) -> Row:
        authors = list(map(split_changelog_author, self._texts("CHANGELOGNAME")))
        return {
            "pkg_changelog.date": self._numbers("CHANGELOGTIME"),
            "pkg_changelog.name": [author for author, _ in authors],
            "pkg_changelog.evr": [evr for _, evr in authors],
            "pkg_changelog.hash": list(map(text_hash, self._texts("CHANGELOGTEXT"))),
        }

    def changelog_texts(self) -> dict[int, bytes]:
        return {text_hash(text): text for text in self._texts("CHANGELOGTEXT")}

    def files(self) -> list[Row]:
        """The rows of Files."""
        names = self._texts("FILENAMES")
        modes = [mode & 0xFFFF for mode in self._numbers("FILEMODES")] or [0] * len(names)
        # 64-bit sizes do not fit the column: the largest that does stands for them.
        sizes = [min(size, 0xFFFFFFFF) for size in self._numbers("LONGFILESIZES")]
        return [
            {
                "file_hashname": text_hash(name),
                "file_hashdir": text_hash(name.rpartition(b"/")[0]),
                "file_linkto": link,
                "file_md5": digest,
                "file_size": size,
                "file_mode": mode,
                "file_rdev": rdev & 0xFFFF,
                "file_mtime": mtime,
                "file_flag": min(flags, 0xFFFF),
                "file_username": user,
                "file_groupname": group,
                "file_verifyflag": verify,
                "file_device": device,
                "file_lang": language,
                # By the mode, never by the words of libmagic that upstream's builder stores.
                "file_class": _CLASSES.get(stat.S_IFMT(mode), "file"),
            }
            for name, link, digest, size, mode, rdev, mtime, flags, user, group, verify, device,
            language in zip(
                names,
                self._fitted(self._texts("FILELINKTOS"), names, b""),
                self._file_digests(names),
                self._fitted(sizes, names, 0),
                modes,
                self._fitted(self._numbers("FILERDEVS"), names, 0),
                self._fitted(self._numbers("FILEMTIMES"), names, 0),
                self._fitted(self._numbers("FILEFLAGS"), names, 0),
                self._fitted(self._texts("FILEUSERNAME"), names, b""),
                self._fitted(self._texts("FILEGROUPNAME"), names, b""),
                self._fitted(self._numbers("FILEVERIFYFLAGS"), names, 0),
                self._fitted(self._numbers("FILEDEVICES"), names, 0),
                self._fitted(self._texts("FILELANGS"), names, b""),
                strict=True,
            )
        ]  # fmt: skip

    def file_names(self) -> set[bytes]:
        """The names of files and directories that FileNames must know."""
        names = self._texts("FILENAMES")
        return {*names, *(name.rpartition(b"/")[0] for name in names)}

    def _file_digests(self, names: Sequence[bytes]) -> list[bytes]:
        """MD5 or nothing: the column cannot hold what other algorithms give."""
        if self._number("FILEDIGESTALGO") not in (0, 1):
            return [bytes(16)] * len(names)
        digests = self._fitted(self._texts("FILEDIGESTS"), names, b"")
        return [bytes.fromhex(digest.decode()).ljust(16, b"\0") for digest in digests]

    @staticmethod
    def _fitted(values: list[Any], names: Sequence[bytes], blank: Any) -> list[Any]:
        """Missing arrays are empty; no package here has an array of another length."""
        return values or [blank] * len(names)

    def dependencies(self) -> set[tuple[str, bytes, bytes, int]]:
        """Rows of Depends; the table keeps equal rows once."""
        rows = set()
        for kind, prefix in _DEPENDENCIES.items():
            names = self._texts(f"{prefix}NAME")
            versions = self._texts(f"{prefix}VERSION") or [b""] * len(names)
            flags = self._numbers(f"{prefix}FLAGS") or [0] * len(names)
            rows |= {(kind, *row) for row in zip(names, versions, flags, strict=True)}
        return rows

    def spec(self) -> tuple[bytes, int, bytes] | None:
        """Name, time and MD5 of the spec file, as the header states them."""
        arrays = ("FILEFLAGS", "FILENAMES", "FILEMTIMES", "FILEDIGESTS")
        files = zip(*[self._value(tag) or [] for tag in arrays], strict=True)
        for flags, name, mtime, digest in files:
            if flags & rpm.RPMFILE_SPECFILE:
                return _raw(name), mtime, bytes.fromhex(digest)
        return None


def _raw(value: Any) -> bytes:
    """Texts come as str with escapes for bytes that are no UTF-8, numbers stand for themselves."""
    if isinstance(value, bytes):
        return value
    return str(value).encode("utf-8", "surrogateescape")


@pytest.fixture(autouse=True)
def plain_language(monkeypatch: pytest.MonkeyPatch) -> None:
    """librpm chooses translations by the environment; ours must not need this."""
    for name, value in _PROVIDED_LANGUAGE.items():
        monkeypatch.setenv(name, value)


# Rows back from the database


def stored(database: Database, paths: Sequence[Path]) -> list[str]:
    """Read all package files and write their rows; returns the warnings."""
    sources = [PackageSource(os.fsencode(path)) for path in paths]
    batch = read_packages((sources, ReadOptions()))
    writer = PackageWriter(database)
    writer.add(batch)
    writer.flush()
    return batch.warnings


def rows_of(database: Database, table: str, columns: Sequence[str]) -> list[Row]:
    """Rows with texts as bytes."""
    listed = ", ".join(f"`{column}`" for column in columns)
    return [
        {column: _as_bytes(value) for column, value in zip(columns, row, strict=True)}
        for row in database.query(f"SELECT {listed} FROM {table}")
    ]


def _as_bytes(value: Any) -> Any:
    if isinstance(value, list):
        return [_as_bytes(item) for item in value]
    return _raw(value) if isinstance(value, str) else value


def compare(database: Database, oracles: Sequence[Oracle]) -> None:
    """Every row of every package against librpm."""
    packages = rows_of(database, "Packages", list(oracles[0].package()))
    by_name = {row["pkg_filename"]: row for row in packages}
    assert len(packages) == len(oracles) == len(by_name)
    for oracle in oracles:
        expected = oracle.package()
        assert by_name[expected["pkg_filename"]] == expected
    compare_files(database, oracles)
    compare_dependencies(database, oracles)
    compare_texts(database, oracles)


def compare_files(database: Database, oracles: Sequence[Oracle]) -> None:
    """Files and the names of files, in any order."""
    example = next(rows[0] for oracle in oracles if (rows := oracle.files()))
    found: dict[int, list[Row]] = defaultdict(list)
    for row in rows_of(database, "Files", ["pkg_hash", *example]):
        row["file_class"] = row["file_class"].decode()
        found[row.pop("pkg_hash")].append(row)
    for oracle in oracles:
        expected = sorted(oracle.files(), key=repr)
        assert sorted(found[oracle.identity], key=repr) == expected
    names = {row["fn_name"] for row in rows_of(database, "FileNames", ["fn_name"])}
    assert names == set().union(*(oracle.file_names() for oracle in oracles))


def compare_dependencies(database: Database, oracles: Sequence[Oracle]) -> None:
    found: dict[int, set[tuple[str, bytes, bytes, int]]] = defaultdict(set)
    columns = ["pkg_hash", "dp_type", "dp_name", "dp_version", "dp_flag"]
    for row in rows_of(database, "Depends", columns):
        identity, kind, *rest = row.values()
        found[identity].add((kind.decode(), *rest))
    for oracle in oracles:
        assert found[oracle.identity] == oracle.dependencies()


def compare_texts(database: Database, oracles: Sequence[Oracle]) -> None:
    """Changelogs, spec files and digests of whole files."""
    texts = rows_of(database, "Changelog", ["chlog_hash", "chlog_text"])
    expected: dict[int, bytes] = {}
    for oracle in oracles:
        expected |= oracle.changelog_texts()
    assert {row["chlog_hash"]: row["chlog_text"] for row in texts} == expected
    columns = ["pkg_hash", "specfile_name", "specfile_date", "specfile_content"]
    specs = {row["pkg_hash"]: row for row in rows_of(database, "Specfiles", columns)}
    for oracle in oracles:
        spec = oracle.spec()
        row = specs.get(oracle.identity)
        if oracle.is_source and spec and row:
            assert (row["specfile_name"], row["specfile_date"]) == spec[:2]
            digest = hashlib.new("md5" if len(spec[2]) == 16 else "sha256")
            digest.update(row["specfile_content"])
            assert digest.digest() == spec[2]
    compare_digests(database, oracles)


def compare_digests(database: Database, oracles: Sequence[Oracle]) -> None:
    columns = ["pkgh_mmh", "pkgh_md5", "pkgh_sha1", "pkgh_sha256", "pkgh_blake2b"]
    found = {row["pkgh_mmh"]: row for row in rows_of(database, "PackageHash", columns)}
    for oracle in oracles:
        data = oracle._path.read_bytes()
        assert found[oracle.identity] == {
            "pkgh_mmh": oracle.identity,
            "pkgh_md5": hashlib.md5(data).digest(),
            "pkgh_sha1": oracle.header_sha1.ljust(20, b"\0"),
            "pkgh_sha256": hashlib.sha256(data).digest(),
            "pkgh_blake2b": hashlib.blake2b(data).digest(),
        }


# Packages of ours


def odd_packages() -> Iterator[tuple[RpmPackage, RpmLayout]]:
    """Packages with what the composed repository does not have."""
    every = RpmPackage(
        "every-kind",
        epoch=0,
        summary={"C": "Plain", "ru_RU.UTF-8": "Просто"},
        files=[
            directory("/d"),
            RpmFile("/d/char", mode=0o020620, rdev=1281),
            RpmFile("/d/block", mode=0o060660, rdev=2049),
            RpmFile("/d/fifo", mode=0o010644),
            RpmFile("/d/socket", mode=0o140755),
            RpmFile(b"/d/\xff\xfe", b"x", owner=b"\xfe"),
            RpmFile("/nothing", mode=0, verify=0),
            RpmFile("/x", b"x"),
        ],
        gif=bytes(range(256)),
    )
    for style in ("alt", "upstream"):
        yield every, RpmLayout(style=style, gpg=fake_gpg_signature(b"x", 1))
    yield RpmPackage("huge", files=[RpmFile("/huge", size=5 << 30, flags=64)]), RpmLayout()
    yield RpmPackage("no-source"), RpmLayout(main={1044: None})
    yield RpmPackage("old", epoch=4), RpmLayout(region=False)
    provides = [Dependency("older", "1.0-alt1", 8), Dependency("other")]
    yield RpmPackage("older", provides=provides), RpmLayout(region=False)
    names = {
        **dict.fromkeys([1116, 1117, 1118]),
        1027: string_array(1027, ["/usr/bin/a", "/usr/lib/b", "/c"]),
    }
    files = [RpmFile("/usr/bin/a", b"a"), RpmFile("/usr/lib/b", b"b"), RpmFile("/c", b"c")]
    yield RpmPackage("oldest", files=files), RpmLayout(region=False, main=names)
    yield RpmPackage("i586-arepo", arch="i586", packager=b"\xcf\xe5\xf2 <p@x>"), RpmLayout()
    twice = {1020: string(1020, "first")}
    yield RpmPackage("twice"), RpmLayout(main=twice, signature={1004: None, 269: None})
    for n in range(8):
        yield RpmPackage(f"padding-{n}", buildtime=2 * n), RpmLayout(padding=n, reserved_space=4128)


def write_odd_packages(directory_path: Path) -> list[Path]:
    directory_path.mkdir()
    paths = []
    for number, (package, layout) in enumerate(odd_packages()):
        path = directory_path / f"{number}-{package.file_name}"
        path.write_bytes(compose_rpm(package, layout))
        paths.append(path)
    return paths


def oracles_of(paths: Sequence[Path]) -> list[Oracle]:
    """What librpm says of each; it must accept all of them."""
    headers = [read_by_librpm(path) for path in paths]
    assert None not in headers
    return [Oracle(path, header) for path, header in zip(paths, headers, strict=True)]


def test_composed_packages(tmp_path: Path, database: Database) -> None:
    """A whole repository and a row of odd packages: every column that librpm can tell."""
    plan = RepositoryPlan(sources=20, binaries=40, files=1500, dependencies=600, odd_share=0.5)
    repository = compose_repository(tmp_path / "tree", plan)
    paths = sorted(
        path for path in (repository.root / "files").rglob("*.rpm") if not path.is_symlink()
    )
    paths += write_odd_packages(tmp_path / "odd")
    oracles = oracles_of(paths)
    assert len(oracles) >= 70
    assert sum(oracle.is_source for oracle in oracles) >= 20
    stored(database, paths)
    compare(database, oracles)
    assert len(database.query("SELECT pkg_hash FROM Specfiles")) >= 19


# What librpm refuses

_OURS_ALONE = (
    "lead names unknown package type",
    "tag 269: ",
    "file names with 0",
    "tag 1116: no such",
)


def test_broken_packages_are_refused_by_both(tmp_path: Path) -> None:
    """Cut in any part before the payload: librpm reads nothing, and so do we."""
    data = compose_rpm(RpmPackage("x", files=[RpmFile("/a", b"a")]), RpmLayout(reserved_space=300))
    for part, length in rpm_cuts(data).items():
        path = tmp_path / f"cut in {part}.rpm"
        path.write_bytes(data[:length])
        accepted = read_by_librpm(path) is not None
        assert accepted == (part == "payload")
        assert accepted == is_read(path)


def is_read(path: Path) -> bool:
    """Whether we read a package file."""
    return refusal_of(path) is None


def refusal_of(path: Path) -> str | None:
    """The one error in which reading a package ends, which names it."""
    batch = PackageBatch()
    try:
        with open_package(path) as package:
            spec = None
            if package.is_source:
                try:
                    spec = read_spec_file(package)
                except SourceError as error:
                    assert str(error).startswith(f"{path}: ")
            add_package(batch, package, PackageDigests(b"", b"", b""), spec)
    except SourceError as error:
        assert str(error).startswith(f"{path}: ")
        assert "\n" not in str(error)
        return str(error)
    return None


@pytest.mark.parametrize(
    ("entry", "accepted"),
    [
        (Entry(1000, 10, 1, b"x\0"), False),
        (Entry(1000, 6, 1, b"x\0", offset=1 << 20), False),
        (Entry(1003, 4, -1, b"\0\0\0\1"), False),
        (Entry(1003, 4, 1, b"\0\0\0\1", offset=1), False),
        (int32(1003, 1), True),
        (string_array(1085, ["a", "b"]), True),
        (string(1085, "a"), True),
    ],
)
def test_broken_entries_are_refused_by_both(tmp_path: Path, entry: Entry, accepted: bool) -> None:
    path = tmp_path / "x.rpm"
    path.write_bytes(compose_rpm(RpmPackage("x"), RpmLayout(main={entry.tag: entry})))
    assert (read_by_librpm(path) is not None) == accepted
    assert is_read(path) == accepted


def test_what_librpm_reads_of_a_damaged_header_we_read(tmp_path: Path) -> None:
    """Bytes changed one by one: we refuse no more than librpm does.

    It looks neither at the type in the lead nor, when verification is off, at digests, which
    are the identity of a package; and names without directories are none for it until asked for.
    """
    rpm_file = compose(RpmPackage("x", files=[RpmFile("/a", b"a")]), RpmLayout(compressor="none"))
    path = tmp_path / "x.rpm"
    accepted = 0
    for position in range(0, rpm_file.header_end, 3):
        damaged = bytearray(rpm_file.data)
        damaged[position] ^= 0x40
        path.write_bytes(damaged)
        if read_by_librpm(path) is not None:
            accepted += 1
            refusal = refusal_of(path)
            assert refusal is None or any(words in refusal for words in _OURS_ALONE), refusal
    assert accepted > 100


# Packages of others


# Its arrays have no values, which librpm takes for damage and we for arrays without values.
_OF_NO_VALUES = ("rpms-corrupt", "redline", "test-1.0-1.noarch.rpm")


def fixtures() -> Path:
    """The folder of packages that other projects made."""
    given = os.environ.get("ALTREPODB_FIXTURES")
    folder = Path(given) if given else CHECKOUT / "../shared/fixtures"
    if not folder.is_dir():
        pytest.skip(f"no packages of other projects: {folder} (ALTREPODB_FIXTURES) is missing")
    return folder.resolve()


def test_packages_of_other_projects(database: Database) -> None:
    """All that librpm accepts has its rows; all that it refuses ends in one error."""
    paths = sorted(path for path in fixtures().rglob("*.rpm") if path.is_file())
    accepted: dict[int, Path] = {}
    for path in paths:
        header = read_by_librpm(path)
        assert is_read(path) == (header is not None or path.parts[-3:] == _OF_NO_VALUES), path
        if header is not None:
            accepted.setdefault(Oracle(path, header).identity, path)
    by_name = {path.name: path for path in accepted.values()}
    oracles = oracles_of(list(by_name.values()))
    assert len(oracles) > 100
    stored(database, list(by_name.values()))
    compare(database, oracles)
