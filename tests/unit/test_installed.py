"""What is installed in a system."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from altrepodb.errors import SourceError
from altrepodb.image import installed
from altrepodb.image.installed import (
    InstalledPackage,
    InstalledSystem,
    installed_package,
    iter_installed,
    read_installed,
)
from altrepodb.image.kept_tree import BytesSource, KeptTree, file_entry, link_entry
from altrepodb.packages.batch import package_identity
from altrepodb.rpm.header import parse_header_blob
from altrepodb.rpm.package_file import open_package
from tests.support.rpm_databases import (
    blobs_of,
    hash_file,
    header_blob,
    merged_blob,
    ndb_file,
    write_sqlite,
)
from tests.support.rpm_file import RpmLayout, RpmPackage, compose, fake_gpg_signature
from tests.support.rpm_header import build_header, int32, string

PACKAGES = [RpmPackage("one"), RpmPackage("two", version="2", release="alt2", epoch=3)]
DATABASE = hash_file(blobs_of(PACKAGES))
NAMES = ["one-1.0-alt1 x86_64", "two-2-alt2 x86_64"]


def tree_of(files: Mapping[str, bytes], links: Mapping[str, str] | None = None) -> KeptTree:
    tree = KeptTree("image")
    for name, data in files.items():
        path = name.encode()
        tree.add(path, file_entry(path, BytesSource(data, f"image: {name}")))
    for name, target in (links or {}).items():
        tree.add(name.encode(), link_entry(name.encode(), target.encode()))
    return tree


def read(files: Mapping[str, bytes], links: Mapping[str, str] | None = None) -> InstalledSystem:
    system = read_installed(tree_of(files, links))
    assert system is not None
    return system


@pytest.mark.parametrize("gpg", [b"", fake_gpg_signature(b"seed", 1), bytes(20000)])
def test_identity_is_that_of_the_package_file(tmp_path: Path, gpg: bytes) -> None:
    rpm = compose(RpmPackage("name", epoch=1), RpmLayout(gpg=gpg or None))
    path = tmp_path / "name.rpm"
    path.write_bytes(rpm.data)
    (package,) = iter_installed([header_blob(rpm)], "database")
    with open_package(path) as file:
        assert package == InstalledPackage(
            package_identity(file), "name", 1, "1.0", "alt1", "x86_64"
        )


def test_identity_without_sha1(tmp_path: Path) -> None:
    """A package file without the tag has the same identity as here: of what is there."""
    rpm = compose(RpmPackage("name"), RpmLayout(signature={269: None}))
    path = tmp_path / "name.rpm"
    path.write_bytes(rpm.data)
    (package,) = iter_installed([header_blob(rpm, has_sha1=False)], "database")
    with open_package(path) as file:
        assert package.hash == package_identity(file)


@pytest.mark.parametrize(
    ("package", "arch"),
    [
        (RpmPackage("i586-libfoo", arch="i586"), "x86_64-i586"),
        (RpmPackage("i586", arch="i586"), "i586"),
        (RpmPackage("libfoo", arch="noarch"), "noarch"),
    ],
)
def test_architecture(package: RpmPackage, arch: str) -> None:
    (found,) = iter_installed(blobs_of([package]), "database")
    assert (found.name, found.arch) == (package.name, arch)


def public_key() -> bytes:
    """A public key as rpm stores it: no digests, architecture ``(none)``."""
    texts = {1000: "gpg-pubkey", 1001: "39db7c82", 1002: "5e5ca2d1", 1044: "(none)"}
    entries = [string(tag, text) for tag, text in texts.items()]
    return merged_blob(build_header([*entries, int32(1006, 1)], region=None), [])


def test_public_keys_are_no_packages() -> None:
    blobs = [public_key(), *blobs_of(PACKAGES)]
    assert [str(one) for one in iter_installed(blobs, "database")] == NAMES


def test_names_are_shown_escaped() -> None:
    (package,) = iter_installed(blobs_of([RpmPackage("a\udcffb")]), "database")
    assert package.name == "a\\xffb"


@pytest.mark.parametrize(
    ("blob", "message"),
    [
        (b"\xff" * 8, "header has 4294967295 entries"),
        (bytes(4) + b"\xff" * 4, "header has 4294967295 bytes"),
        (blobs_of(PACKAGES)[0] + b"\0", "a header of"),
        (blobs_of(PACKAGES)[0][:-1], "a header of"),
        (bytes(8), "a package without a name"),
        (merged_blob(build_header([string(1000, "a"), string(269, "12")]), []), "no SHA-1"),
    ],
)
def test_damaged_header(blob: bytes, message: str) -> None:
    with pytest.raises(SourceError, match=f"^database: package 1: .*{message}"):
        list(iter_installed([blob], "database"))


def test_a_header_of_a_package() -> None:
    header = parse_header_blob(blobs_of(PACKAGES)[1], "database")
    assert str(installed_package(header)) == NAMES[1]


# Where the database is


@pytest.mark.parametrize("directory", ["var/lib/rpm", "usr/lib/sysimage/rpm", "usr/share/rpm"])
def test_places_of_the_database(directory: str) -> None:
    system = read({f"{directory}/Packages": DATABASE, "etc/os-release": b"ID=altlinux\n"})
    assert [str(one) for one in system.packages] == NAMES
    assert system.os_release == b"ID=altlinux\n"


def test_formats(tmp_path: Path) -> None:
    blobs = blobs_of(PACKAGES)
    write_sqlite(tmp_path / "rpmdb.sqlite", blobs[:1], in_log=blobs[1:])
    sqlite = {f"var/lib/rpm/{path.name}": path.read_bytes() for path in tmp_path.iterdir()}
    for files in (sqlite, {"var/lib/rpm/Packages.db": ndb_file(blobs)}):
        assert [str(one) for one in read(files).packages] == NAMES


def test_links_inside_the_image() -> None:
    """Relative and absolute, on the way and at the end, never out of the image."""
    files = {"usr/lib/sysimage/rpm/Packages": DATABASE, "usr/share/release": b"ID=x\n"}
    links = {
        "var/lib/rpm": "../../../../usr/lib/sysimage/rpm",
        "etc/os-release": "/run/release",
        "run": "usr/share",
    }
    system = read(files, links)
    assert [str(one) for one in system.packages] == NAMES
    assert system.os_release == b"ID=x\n"


def test_os_release_elsewhere() -> None:
    files = {"var/lib/rpm/Packages": DATABASE, "usr/lib/os-release": b"ID=y\n"}
    assert read(files).os_release == b"ID=y\n"
    assert read(files, {"etc/os-release": "/nowhere"}).os_release == b"ID=y\n"
    decoy = {"var/lib/rpm/Packages": DATABASE, "usr/share/doc/x/os-release": b"ID=z\n"}
    assert read(decoy).os_release == b""


def test_os_release_is_small() -> None:
    files = {"var/lib/rpm/Packages": DATABASE, "etc/os-release": bytes(65536)}
    assert len(read(files).os_release) == 65536
    with pytest.raises(SourceError, match="65537 bytes, expected at most 65536"):
        read({**files, "etc/os-release": bytes(65537)})


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"var/lib/rpm/__db.001": b"\0", "var/lib/rpm/.dbenv.lock": b""},
        {"var/lib/rpm/Packages": b""},
        {"var/lib/rpm/Name": DATABASE},
        {"lib/rpm/Packages": DATABASE},
    ],
)
def test_no_database(files: dict[str, bytes]) -> None:
    assert read_installed(tree_of(files)) is None


def test_a_directory_is_no_database() -> None:
    assert read_installed(tree_of({"var/lib/rpm/Packages/x": DATABASE})) is None


def test_a_damaged_database_is_an_error() -> None:
    with pytest.raises(SourceError, match="Packages: truncated"):
        read_installed(tree_of({"var/lib/rpm/Packages": DATABASE[:-1]}))


def test_two_databases() -> None:
    """Which of them rpm uses cannot be known."""
    files = {"var/lib/rpm/Packages": DATABASE, "var/lib/rpm/Packages.db": ndb_file([])}
    with pytest.raises(SourceError, match="several rpm databases: Packages"):
        read_installed(tree_of(files))


def test_a_loop_of_links() -> None:
    with pytest.raises(SourceError, match="too many links"):
        read_installed(tree_of({}, {"var/lib/rpm": "rpm"}))


def test_directories_are_tried_in_order() -> None:
    files = {f"{path.decode()}/Packages": DATABASE for path in installed.DATABASE_DIRECTORIES}
    found = installed.find_database(tree_of(files))
    assert found is not None
    assert found.files["Packages"].name == "image: var/lib/rpm/Packages"
