"""``package_loader``: single packages, source and binary, new, known, forced, and broken."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from altrepodb.db.database import Database
from altrepodb.errors import SourceError
from altrepodb.packages import read
from altrepodb.packages.load import PackageOptions, load_package
from altrepodb.rpm.package_file import PackageFile
from altrepodb.rpm.payload import SpecFile, read_spec_file
from tests.support import damage
from tests.support.identity import package_hash
from tests.support.loading import (
    DATABASE_NAME,
    CommandResult,
    open_database_in,
    run_command,
    stored_rows,
)
from tests.support.rpm_file import compose
from tests.support.rpm_package import (
    FLAG_SPEC,
    ChangelogEntry,
    Dependency,
    RpmFile,
    RpmPackage,
)

SPEC = b"Name: hello\n# caf\xe9\n"
SOURCE = RpmPackage(
    "hello",
    source=True,
    files=[RpmFile("hello.spec", SPEC, flags=FLAG_SPEC), RpmFile("hello.tar", b"tar")],
    requires=[Dependency("gcc")],
    changelog=[ChangelogEntry(1_660_176_000, "Ivan <ivan@altlinux.org> 1.0-alt1", "- first")],
)
BINARY = RpmPackage("hello", files=[RpmFile("/usr/bin/hello", b"hello", 0o100755)])
TABLES = ("Packages", "PackageHash", "Files", "FileNames", "Depends", "Changelog", "Specfiles")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source package, a binary of it, and one whose source is unknown."""
    directory = tmp_path_factory.mktemp("packages")
    for package in (SOURCE, BINARY, RpmPackage("orphan")):
        (directory / package.file_name).write_bytes(compose(package).data)
    return directory


def load(database: Database, path: Path, **options: bool) -> tuple[bool, int, bool]:
    """Whether the package is a source and was skipped, and the identity of its source."""
    summary = load_package(PackageOptions(str(path), **options), database)
    return summary.is_source, summary.source_hash, summary.skipped


def identity(package: RpmPackage) -> int:
    rpm = compose(package)
    assert package.buildtime is not None
    return package_hash(package.buildtime, rpm.header_sha1, rpm.body_md5, rpm.gpg)


def count(database: Database, table: str) -> int:
    ((number,),) = database.query(f"SELECT count() FROM {table}")
    return int(number)


def test_source_and_its_binary(database: Database, files: Path) -> None:
    source, binary = identity(SOURCE), identity(BINARY)
    assert load(database, files / SOURCE.file_name) == (True, source, False)
    assert load(database, files / BINARY.file_name) == (False, source, False)
    rows = database.query(
        "SELECT pkg_hash, pkg_srcrpm_hash, pkg_sourcepackage, pkg_filename, pkg_sourcerpm"
        " FROM Packages"
    )
    assert set(rows) == {
        (source, source, 1, SOURCE.file_name, SOURCE.file_name),
        (binary, source, 0, BINARY.file_name, SOURCE.file_name),
    }
    digests = database.query("SELECT pkgh_mmh, hex(pkgh_blake2b) = '' FROM PackageHash")
    assert set(digests) == {(source, 0), (binary, 0)}
    (spec,) = database.query("SELECT pkg_hash, specfile_name, specfile_content FROM Specfiles")
    assert spec == (source, "hello.spec", SPEC.decode("utf-8", "surrogateescape"))
    assert {table: count(database, table) for table in ("Files", "Changelog", "Depends")} == {
        "Files": 3,
        "Changelog": 1,
        "Depends": 1,
    }
    assert count(database, "PackageSetName") == count(database, "PackageSet") == 0


def test_again_and_by_force(database: Database, files: Path) -> None:
    """A known package is skipped; rows that are inserted again collapse to the same ones."""
    path = files / SOURCE.file_name
    load(database, path)
    before = stored_rows(database)
    rows = {table: count(database, table) for table in TABLES}
    assert load(database, path)[2] is True
    assert {table: count(database, table) for table in TABLES} == rows
    assert load(database, path, force=True)[2] is False
    assert stored_rows(database) == before


def test_half_stored_package_is_loaded_again(database: Database, files: Path) -> None:
    """The row of digests is the last one: without it a load was cut short."""
    path = files / SOURCE.file_name
    load(database, path)
    before = stored_rows(database)
    database.execute("TRUNCATE TABLE PackageHash")
    database.execute("TRUNCATE TABLE Specfiles")
    assert load(database, path)[2] is False
    assert stored_rows(database) == before


def test_known_under_another_file_name(database: Database, files: Path, tmp_path: Path) -> None:
    load(database, files / SOURCE.file_name)
    other = tmp_path / "other-1.0-alt1.src.rpm"
    shutil.copy(files / SOURCE.file_name, other)
    assert load(database, other)[2] is False


def test_binary_without_its_source(database: Database, files: Path) -> None:
    assert load(database, files / "orphan-1.0-alt1.x86_64.rpm") == (False, 0, False)
    assert database.query("SELECT pkg_srcrpm_hash FROM Packages") == [(0,)]


def test_binary_with_the_file_name_of_a_source(
    database: Database, files: Path, tmp_path: Path
) -> None:
    path = tmp_path / SOURCE.file_name
    shutil.copy(files / "orphan-1.0-alt1.x86_64.rpm", path)
    load(database, path)
    assert load(database, files / BINARY.file_name)[1] == 0


def test_newest_source_of_a_name_is_taken(database: Database, files: Path, tmp_path: Path) -> None:
    """Rebuilds keep the file name; the identity tells which is the latest."""
    for age in (0, -100, 100):
        path = tmp_path / SOURCE.file_name
        damage.replace_file(path, compose(rebuilt(age)).data)
        load(database, path)
    assert load(database, files / BINARY.file_name)[1] == identity(rebuilt(100))


def rebuilt(later: int) -> RpmPackage:
    return RpmPackage("hello", source=True, buildtime=1_660_176_000 + later)


def test_dry_run(database: Database, files: Path) -> None:
    summary = load_package(PackageOptions(str(files / SOURCE.file_name), dry_run=True), database)
    assert (summary.package, summary.pkg_hash) == ("hello-1.0-alt1", identity(SOURCE))
    assert summary.inserted == {}
    assert count(database, "Packages") == 0


def test_header_that_does_not_match(database: Database, files: Path, tmp_path: Path) -> None:
    """A warning, and an error when we are strict."""
    path = tmp_path / BINARY.file_name
    data = (files / BINARY.file_name).read_bytes()
    path.write_bytes(data.replace(b"A package for tests.", b"A package for texts."))
    options = PackageOptions(str(path), strict=True)
    with pytest.raises(SourceError, match=r"SHA-1"):
        load_package(options, database)
    assert count(database, "Packages") == 0
    assert load_package(PackageOptions(str(path)), database).warnings == 1


def test_buffers_are_flushed(database: Database, files: Path) -> None:
    """What another program left in a buffer is in the table beneath afterwards."""
    database.insert("Changelog_buffer", {"chlog_hash": [1], "chlog_text": ["text"]})
    database.insert("PackageHash_buffer", {"pkgh_mmh": [2]})
    assert count(database, "Changelog") == count(database, "PackageHash") == 0
    load(database, files / SOURCE.file_name, flush_buffers=True)
    stored = database.query("SELECT chlog_hash FROM Changelog WHERE chlog_hash = 1")
    assert stored == [(1,)]
    assert database.query("SELECT pkgh_mmh FROM PackageHash WHERE pkgh_mmh = 2") == [(2,)]


# The command


@pytest.fixture(scope="module")
def command_database(
    schema_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    directory = tmp_path_factory.mktemp("package-command") / DATABASE_NAME
    shutil.copytree(schema_template, directory, symlinks=True)
    yield directory


def package_loader(home: Path, *arguments: str | Path) -> CommandResult:
    return run_command("package_loader", *arguments, home=home)


def test_command(command_database: Path, files: Path, tmp_path: Path) -> None:
    arguments = ("--json", "-e", command_database, files / SOURCE.file_name)
    first = package_loader(tmp_path, *arguments)
    assert first.exit_code == 0
    assert first.summary["pkg_hash"] == identity(SOURCE)
    assert first.summary["inserted"]["Files"] == 2
    again = package_loader(tmp_path, *arguments)
    assert (again.exit_code, again.summary["skipped"]) == (0, True)
    forced = package_loader(tmp_path, "-F", "-f", *arguments)
    assert (forced.exit_code, forced.summary["skipped"]) == (0, False)
    with open_database_in(command_database) as database:
        assert len(stored_rows(database)["Packages"]) == 1


@pytest.mark.parametrize("kind", ["missing", "directory", "text", "cut"])
def test_command_refuses(kind: str, command_database: Path, files: Path, tmp_path: Path) -> None:
    """One line that names the file, and exit code 1."""
    path = tmp_path / "broken.rpm"
    if kind == "directory":
        path.mkdir()
    elif kind == "text":
        path.write_text("no package\n" * 20)
    elif kind == "cut":
        path.write_bytes((files / SOURCE.file_name).read_bytes()[:500])
    result = package_loader(tmp_path, "--quiet", "-e", command_database, path)
    assert (result.exit_code, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"package_loader: error: {path}: ")


def test_command_without_a_file(tmp_path: Path) -> None:
    assert package_loader(tmp_path).exit_code == 2


def test_file_replaced_while_it_is_read(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Header, spec file and digests are of one file, whatever takes its name meanwhile."""
    path = tmp_path / SOURCE.file_name
    original = compose(SOURCE).data
    path.write_bytes(original)

    def replace_first(package: PackageFile) -> SpecFile | None:
        (tmp_path / "new").write_bytes(bytes(len(original)))
        (tmp_path / "new").replace(path)
        return read_spec_file(package)

    monkeypatch.setattr(read, "read_spec_file", replace_first)
    load(database, path)
    assert path.read_bytes() != original
    ((md5, sha256),) = database.query("SELECT pkgh_md5, pkgh_sha256 FROM PackageHash")
    assert (md5, sha256) == (hashlib.md5(original).digest(), hashlib.sha256(original).digest())
