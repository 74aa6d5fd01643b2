"""Loading images: the rows of a set, checks against the database, faults at every step."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from datetime import date, timedelta
from itertools import count as counter
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from altrepodb.db.database import Database
from altrepodb.errors import AlreadyLoadedError, LockHeldError, SourceError
from altrepodb.hashing import file_digests, squashfs_hash
from altrepodb.image.load import ImageSummary
from altrepodb.image.options import ImageOptions
from tests.support.alt_images import (
    AREPO,
    BRANCH,
    DATA,
    DISC_TEXTS,
    EXTRA,
    FOREIGN,
    HELLO,
    INSTALLED,
    MEMBER_TIME,
    NEWER,
    OTHER_BRANCH,
    UNKNOWN,
    URL,
    IsoPlan,
    compose_disc,
    compose_iso,
    compose_root,
    identities,
    identity,
    image_options,
    load,
)
from tests.support.content import run_tool
from tests.support.disk_images import convert, make_ext
from tests.support.loading import open_database_in
from tests.support.rpm_package import RpmPackage

TAG = "p10:alt-workstation:::release.10.0.1:x86_64:install:iso"
LEAF_KEYS = ["type", "size", "class", "branch"]
SQUASHFS_KEYS = [*LEAF_KEYS, "hash", "sha1", "image_size", "orphaned_files", "mtime"]
ISO_KEYS = (
    "type size class branch arch date info commit isoinfo md5_cs sha256_cs gost12_cs url file"
    " flavor edition variant platform release version_major version_minor version_sub image_type"
).split()

_days = counter()


@pytest.fixture(scope="module")
def database(
    branches_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Database]:
    """One database for all tests, each of which loads an image of a day of its own."""
    directory = tmp_path_factory.mktemp("images") / "database"
    shutil.copytree(branches_template, directory, symlinks=True)
    with open_database_in(directory) as opened:
        yield opened


@pytest.fixture
def day() -> str:
    return str(date(2023, 1, 1) + timedelta(days=next(_days)))


def load_plan(
    database: Database, place: Path, plan: IsoPlan, day: str, **changes: Any
) -> ImageSummary:
    return load(database, image_options(compose_iso(place, plan), date=day, **changes))


def nodes(database: Database, root: str) -> dict[str, dict[str, str]]:
    """The leaves of a set by name, with their attributes in stored order."""
    rows = database.query(
        "SELECT pkgset_nodename, pkgset_kv.k, pkgset_kv.v FROM PackageSetName"
        " WHERE pkgset_ruuid = {root:UUID} AND pkgset_depth = 1",
        {"root": UUID(root)},
    )
    return {name: dict(zip(keys, values, strict=True)) for name, keys, values in rows}


def members(database: Database, root: str, leaf: str) -> set[int]:
    rows = database.query(
        "SELECT pkg_hash FROM PackageSet WHERE pkgset_uuid IN"
        " (SELECT pkgset_uuid FROM PackageSetName WHERE pkgset_ruuid = {root:UUID}"
        " AND pkgset_nodename = {leaf:String})",
        {"root": UUID(root), "leaf": leaf},
    )
    assert len(rows) == len(set(rows))
    return {pkg_hash for (pkg_hash,) in rows}


def image_rows(database: Database, day: str) -> dict[str, int]:
    """How many rows there are of images of a day."""
    found = {}
    for table in ("PackageSetName", "ImagePackageSetName"):
        ((found[table],),) = database.query(
            f"SELECT count() FROM {table} WHERE toDate(pkgset_date) = toDate({{day:String}})",
            {"day": day},
        )
    return found


NOTHING = {"PackageSetName": 0, "ImagePackageSetName": 0}


# The disc that most tests load


@pytest.fixture(scope="module")
def disc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compose_disc(tmp_path_factory.mktemp("disc"))


class Loaded:
    """The disc after it was loaded."""

    def __init__(self, database: Database, path: Path) -> None:
        self.database = database
        self.path = path
        self.summary = load(database, image_options(path))
        self.root = self.summary.root
        self.nodes = nodes(database, self.root)

    def members(self, leaf: str) -> set[int]:
        return members(self.database, self.root, leaf)


@pytest.fixture(scope="module")
def loaded(database: Database, disc: Path) -> Loaded:
    return Loaded(database, disc)


def test_root_row(loaded: Loaded) -> None:
    """Keys, their order and their values."""
    ((uuid, parent, root, depth, name, day, tag, complete, keys, values),) = loaded.database.query(
        "SELECT * FROM PackageSetName WHERE pkgset_uuid = {root:UUID}",
        {"root": UUID(loaded.root)},
    )
    assert (uuid, root, parent) == (UUID(loaded.root), UUID(loaded.root), UUID(int=0))
    assert (depth, name, tag, complete) == (0, "alt-workstation", TAG, 1)
    assert day == 1_660_780_800
    assert keys == ISO_KEYS
    digests = file_digests(loaded.path, ["md5", "sha256"])
    found = dict(zip(keys, values, strict=True))
    description = found.pop("isoinfo")
    assert "Volume id: ALT" in description.splitlines()
    assert found == {
        "type": "iso", "size": str(loaded.path.stat().st_size), "class": "iso", "branch": BRANCH,
        "arch": "x86_64", "date": "2022-08-18T00:00:00", "info": DISC_TEXTS["info"].strip(),
        "commit": DISC_TEXTS["commit"].strip(), "md5_cs": (digests.md5 or b"").hex(),
        "sha256_cs": (digests.sha256 or b"").hex(), "gost12_cs": loaded.summary.gost12,
        "url": URL, "file": "alt.iso", "flavor": "", "edition": "alt-workstation",
        "variant": "install", "platform": "", "release": "release", "version_major": "10",
        "version_minor": "0", "version_sub": "1", "image_type": "iso",
    }  # fmt: skip
    assert len(found["gost12_cs"]) == 64


def test_image_row(loaded: Loaded) -> None:
    """What the view makes of the root; the API needs some of the keys."""
    ((tag, version, arch, kind, attributes),) = loaded.database.query(
        "SELECT img_tag, (img_version_major, img_version_minor, img_version_sub), img_arch,"
        " img_type, img_kv FROM ImagePackageSetName WHERE pkgset_uuid = {root:UUID}",
        {"root": UUID(loaded.root)},
    )
    assert (tag, tuple(version), arch, kind) == (TAG, (10, 0, 1), "x86_64", "iso")
    assert set(attributes) == set(
        "type size class date info commit isoinfo md5_cs sha256_cs gost12_cs url file".split()
    )


def test_leaves(loaded: Loaded) -> None:
    assert list(loaded.nodes["rpms"].items()) == [
        ("type", "rpms"), ("size", "3"), ("class", "iso"), ("branch", BRANCH),
    ]  # fmt: skip
    assert list(loaded.nodes["live"]) == list(loaded.nodes["altinst"]) == SQUASHFS_KEYS
    live = loaded.nodes["live"]
    assert (live["size"], live["orphaned_files"]) == ("3", "0")
    assert live["mtime"] == "2022-04-16T15:37:36+00:00"
    sizes = {name: int(node["size"]) for name, node in loaded.nodes.items()}
    assert sizes == {"rpms": 3, "live": 3, "altinst": 4} == loaded.summary.sets


def test_members(loaded: Loaded) -> None:
    """Those on the disc, in the database of a system, and found by files."""
    assert loaded.members("rpms") == identities([HELLO, DATA, EXTRA])
    assert loaded.members("live") == identities(INSTALLED)
    meta = int(loaded.nodes["altinst"]["hash"])
    assert loaded.members("altinst") == {*identities(INSTALLED), meta}


def test_identity_of_squashfs(loaded: Loaded) -> None:
    for name in ("live", "altinst"):
        image = loaded.path.with_name(f"alt.iso.{name}")
        sha1 = file_digests(image, ["sha1"]).sha1
        node = loaded.nodes[name]
        size = image.stat().st_size
        assert sha1 is not None
        assert node["hash"] == str(squashfs_hash(sha1, MEMBER_TIME, size))
        assert (node["sha1"], node["image_size"]) == (sha1.hex(), str(size))


def test_orphaned_files(loaded: Loaded) -> None:
    """Content alone does not make a file a package's, nor does the name; links take part."""
    meta = int(loaded.nodes["altinst"]["hash"])
    rows = loaded.database.query(
        "SELECT fn_name, file_linkto, file_md5, file_size, file_mode, file_mtime, file_username,"
        " file_groupname, file_class FROM Files"
        " INNER JOIN FileNames ON file_hashname = fn_hash WHERE pkg_hash = {meta:UInt64}",
        {"meta": meta},
    )
    found = {row[0]: row[1:] for row in rows}
    assert set(found) == {
        "/etc/os-release", "/etc/passwd", "/usr/bin/own", "/usr/bin/own-link",
        "/usr/bin/directory-link", "/usr/share/copy-of-empty",
    }  # fmt: skip
    assert loaded.nodes["altinst"]["orphaned_files"] == "6"
    assert loaded.summary.orphaned_files == {"altinst": 6}
    link = found["/usr/bin/own-link"]
    assert (link[0], link[1], link[-1]) == ("own", bytes(16), "symlink")
    own = found["/usr/bin/own"]
    assert (own[2], own[3], own[5], own[6], own[7]) == (3, 0o100644, "root", "", "file")


def test_meta_package(loaded: Loaded) -> None:
    meta = int(loaded.nodes["altinst"]["hash"])
    image = loaded.path.with_name("alt.iso.altinst")
    digests = file_digests(image, ["md5", "sha1", "sha256", "blake2b"])
    name = "altinst_orphaned-files_alt.iso_20220818"
    rows = loaded.database.query(
        "SELECT pkg_cs, pkg_packager, pkg_packager_email, pkg_name, pkg_filename, pkg_arch,"
        " pkg_buildtime, pkg_size, pkg_archivesize, pkg_filesize, pkg_sourcerpm, pkg_complete,"
        " pkg_distribution, pkg_vendor, pkg_os, pkg_group_, pkg_sourcepackage, pkg_srcrpm_hash"
        " FROM Packages WHERE pkg_hash = {meta:UInt64}",
        {"meta": meta},
    )
    assert rows == [
        (
            digests.sha1, "ISO Loader", "iso_loader@altlinux.org", name, name, "x86_64",
            MEMBER_TIME, digests.size, digests.size, digests.size, "altinst", 1, "ALT p10",
            "BASEALT LTD", "ALT Linux", "Other", 0, 0,
        )
    ]  # fmt: skip
    rows = loaded.database.query(
        "SELECT pkgh_md5, pkgh_sha1, pkgh_sha256, pkgh_blake2b FROM PackageHash"
        " WHERE pkgh_mmh = {meta:UInt64}",
        {"meta": meta},
    )
    assert rows == [(digests.md5, digests.sha1, digests.sha256, digests.blake2b)]


def test_status_rows(loaded: Loaded) -> None:
    rows = loaded.database.query("SELECT * EXCEPT (img_start_date) FROM ImageStatus")
    summary = "p10 alt-workstation"
    assert rows == [
        (
            BRANCH, "alt-workstation", "ALT-WORKSTATION 10.0 x86_64", "hide", 4_070_908_800,
            summary, summary, "", "", "", "", "{}",
        )
    ]  # fmt: skip
    rows = loaded.database.query(
        "SELECT * FROM ImageTagStatus WHERE img_tag = {tag:String}", {"tag": TAG}
    )
    assert rows == [(TAG, "hide")]


def test_summary(loaded: Loaded) -> None:
    """The newest of two states that fit equally well."""
    summary = loaded.summary
    assert summary.base == dict.fromkeys(("rpms", "live", "altinst"), "p10 2022-08-15")
    assert (summary.tag, summary.warnings, summary.unknown) == (TAG, 0, {})
    assert summary.inserted == {
        "Files": 6, "Packages": 1, "PackageHash": 1, "ImageStatus": 1, "ImageTagStatus": 1,
        "PackageSet": 10, "PackageSetName": 4,
    }  # fmt: skip


def test_packages_of_all_images_are_seen(loaded: Loaded) -> None:
    """By the view that the API searches images with."""
    rows = loaded.database.query(
        "SELECT count() FROM lv_all_image_packages WHERE img_tag = {tag:String}", {"tag": TAG}
    )
    assert rows[0][0] >= 4


# A second load


def test_already_loaded(loaded: Loaded, tmp_path: Path) -> None:
    """It is refused whatever the file holds now; a dry run goes on."""
    broken = tmp_path / "alt.iso"
    broken.write_bytes(b"no image")
    with pytest.raises(AlreadyLoadedError, match=f"{TAG} of 2022-08-18: already loaded"):
        load(loaded.database, image_options(broken))
    before = image_rows(loaded.database, "2022-08-18")
    summary = load(loaded.database, image_options(loaded.path, dry_run=True))
    assert (summary.root, summary.inserted, summary.sets) == ("", {}, loaded.summary.sets)
    assert image_rows(loaded.database, "2022-08-18") == before


def test_force_replaces(database: Database, disc: Path, day: str) -> None:
    first = load(database, image_options(disc, date=day))
    second = load(database, image_options(disc, date=day, force=True))
    assert second.replaced == [first.root]
    assert second.sets == first.sets
    assert image_rows(database, day) == {"PackageSetName": 4, "ImagePackageSetName": 1}
    rows = database.query(
        "SELECT count() FROM PackageSet WHERE pkgset_uuid NOT IN"
        " (SELECT pkgset_uuid FROM PackageSetName)"
    )
    assert rows == [(0,)]


def test_other_day_is_another_image(
    database: Database, disc: Path, loaded: Loaded, day: str
) -> None:
    summary = load(database, image_options(disc, date=day))
    # Status rows belong to the tag and to the edition, meta packages to the squashfs.
    assert "ImageStatus" not in summary.inserted
    assert "ImageTagStatus" not in summary.inserted
    rows = database.query("SELECT count() FROM Packages FINAL WHERE pkg_complete = 1")
    assert rows == [(1,)]


def test_status_rows_are_kept(database: Database, disc: Path, day: str) -> None:
    changes = {"date": day, "edition": "alt-server", "flavor": "own", "platform": "baikalm"}
    options = image_options(disc, **changes)
    assert options.tag == "p10:alt-server:own:baikalm:release.10.0.1:x86_64:install:iso"
    database.insert(
        "ImageStatus",
        {
            "img_branch": [BRANCH], "img_edition": ["alt-server"], "img_name": ["mine"],
            "img_show": ["show"],
        },
    )  # fmt: skip
    database.insert("ImageTagStatus", {"img_tag": [options.tag], "img_show": ["show"]})
    load(database, options)
    rows = database.query(
        "SELECT img_name, img_show FROM ImageStatus WHERE img_edition = 'alt-server'"
    )
    assert rows == [("mine", "show")]
    rows = database.query(
        "SELECT img_show FROM ImageTagStatus WHERE img_tag = {tag:String}", {"tag": options.tag}
    )
    assert rows == [("show",)]
    # An image is active while both show it.
    assert database.query("SELECT img_branch FROM lv_image_packageset") == [(BRANCH,)]


# What does not fit the database


def assert_refused(database: Database, options: ImageOptions, words: str) -> str:
    """The load fails with these words and leaves nothing of the day; returns the message."""
    with pytest.raises(SourceError, match=words) as caught:
        load(database, options)
    assert str(caught.value).startswith(f"{options.path}: ")
    assert "\n" not in str(caught.value)
    assert image_rows(database, options.date) == NOTHING
    return str(caught.value)


def test_unknown_packages(database: Database, tmp_path: Path, day: str) -> None:
    """All leaves are named in one error; a meta package is not asked for."""
    live = compose_root(tmp_path / "live", [*INSTALLED, UNKNOWN])
    rescue = compose_root(tmp_path / "rescue", INSTALLED, has_database=False)
    plan = IsoPlan([HELLO, UNKNOWN], squashfs={"live": live, "rescue": rescue})
    options = image_options(compose_iso(tmp_path / "alt.iso", plan), date=day)
    message = assert_refused(database, options, "not in the database")
    assert "1 package of rpms not in the database: unknown-1.0-alt1 x86_64" in message
    assert "1 package of live not in the database: unknown-1.0-alt1 x86_64" in message
    assert "rescue" not in message
    dry = load(database, image_options(options.path, date=day, dry_run=True))
    assert dry.unknown == {"rpms": 1, "live": 1}
    assert image_rows(database, day) == NOTHING
    forced = load(database, image_options(options.path, date=day, force=True))
    assert members(database, forced.root, "rpms") == identities([HELLO, UNKNOWN])
    rows = database.query(
        "SELECT count() FROM Packages WHERE pkg_hash = {hash:UInt64}", {"hash": identity(UNKNOWN)}
    )
    assert rows == [(0,)]


def test_branch_mismatch(database: Database, tmp_path: Path, day: str) -> None:
    """Packages that no state of the branch has are refused, and taken when forced."""
    path = compose_iso(tmp_path / "alt.iso", IsoPlan([EXTRA, NEWER, HELLO]))
    words = "branch mismatch: 1 of 3 packages of rpms are in one state of sisyphus"
    options = image_options(path, date=day, branch=OTHER_BRANCH)
    assert_refused(database, options, words)
    dry = load(database, image_options(path, date=day, branch=OTHER_BRANCH, dry_run=True))
    # The mismatch, and that another branch fits better.
    assert dry.warnings == 2
    forced = load(database, image_options(path, date=day, branch=OTHER_BRANCH, force=True))
    assert forced.base == {"rpms": "sisyphus 2022-08-16"}


def test_better_branch_is_a_warning(
    database: Database, tmp_path: Path, day: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = compose_iso(tmp_path / "alt.iso", IsoPlan([HELLO, DATA, EXTRA]))
    summary = load(database, image_options(path, date=day, branch=OTHER_BRANCH))
    assert summary.warnings == 1
    assert "the newest p10 has 3 of its packages, the newest sisyphus 2" in caplog.text


def test_unknown_branch(database: Database, disc: Path, day: str) -> None:
    options = image_options(disc, date=day, branch="p9")
    message = assert_refused(database, options, "branch mismatch")
    for part in ("rpms", "live", "altinst"):
        assert part in message
    forced = load(database, image_options(disc, date=day, branch="p9", force=True))
    assert forced.base == {}
    # Without a state to look in, all files belong to none.
    assert forced.sets == {"rpms": 3, "live": 3, "altinst": 1}


def test_state_with_most_packages(database: Database, tmp_path: Path, day: str) -> None:
    path = compose_iso(tmp_path / "alt.iso", IsoPlan([HELLO, NEWER]))
    assert load(database, image_options(path, date=day)).base == {"rpms": "p10 2022-08-15"}


def test_empty_leaf(database: Database, tmp_path: Path, day: str) -> None:
    """A squashfs without files and packages is a leaf without packages, and nothing to check."""
    (tmp_path / "live").mkdir()
    plan = IsoPlan([HELLO], squashfs={"live": tmp_path / "live"})
    summary = load_plan(database, tmp_path / "alt.iso", plan, day)
    assert summary.sets == {"rpms": 1, "live": 0}
    live = nodes(database, summary.root)["live"]
    assert (live["size"], live["orphaned_files"]) == ("0", "0")


def test_disc_without_packages(database: Database, tmp_path: Path, day: str) -> None:
    live = compose_root(tmp_path / "live", INSTALLED)
    summary = load_plan(database, tmp_path / "alt.iso", IsoPlan(squashfs={"live": live}), day)
    assert summary.sets == {"live": 3}


# Files of a system without a database


def load_files(
    database: Database, work: Path, day: str, packages: list[RpmPackage], **changes: Any
) -> tuple[set[int], set[str]]:
    """Load an ISO with a rescue system of these packages; its packages and its orphans."""
    further = changes.pop("further", {})
    lists = changes.pop("lists", {})
    root = compose_root(work / "rescue", packages, has_database=False, further=further)
    (root / "etc/os-release").unlink()
    plan = IsoPlan(squashfs={"rescue": root}, lists=lists)
    summary = load_plan(database, work / "alt.iso", plan, day, **changes)
    meta = int(nodes(database, summary.root)["rescue"]["hash"])
    rows = database.query(
        "SELECT fn_name FROM FileNames WHERE fn_hash IN"
        " (SELECT file_hashname FROM Files WHERE pkg_hash = {meta:UInt64})",
        {"meta": meta},
    )
    return members(database, summary.root, "rescue") - {meta}, {name for (name,) in rows}


def test_package_of_another_architecture(database: Database, tmp_path: Path, day: str) -> None:
    """It is left out, and its files are nobody's."""
    packages, orphans = load_files(database, tmp_path, day, [HELLO, AREPO, FOREIGN])
    assert packages == identities([HELLO, AREPO])
    assert orphans == {"/usr/lib64/hello-arm"}


def test_arepo_is_of_one_architecture(database: Database, tmp_path: Path, day: str) -> None:
    """32-bit packages belong to images for x86_64 only."""
    packages, orphans = load_files(database, tmp_path, day, [AREPO, FOREIGN], arch="aarch64")
    assert packages == {identity(FOREIGN)}
    assert orphans == {"/usr/lib/libhello.so.1"}


def test_changed_file(database: Database, tmp_path: Path, day: str) -> None:
    """Another content under the name of a package's file belongs to no package."""
    further = {"etc/hello.conf": b"greeting = moin\n", "opt/hello.conf": b"greeting = hello\n"}
    packages, orphans = load_files(database, tmp_path, day, [HELLO], further=further)
    assert packages == {identity(HELLO)}
    assert orphans == {"/etc/hello.conf", "/opt/hello.conf"}


def test_mostly_files_of_no_package(
    database: Database, tmp_path: Path, day: str, caplog: pytest.LogCaptureFixture
) -> None:
    further = {f"opt/file{number}": b"x" for number in range(9)}
    load_files(database, tmp_path, day, [HELLO], further=further)
    assert "rescue: 9 of its 13 files are in no package of p10" in caplog.text


def test_names_of_any_bytes(database: Database, tmp_path: Path, day: str) -> None:
    name = os.fsdecode(b"opt/\xff\xfe\nname")
    _, orphans = load_files(database, tmp_path, day, [HELLO], further={name: b"x"})
    assert orphans == {"/" + name}


def test_list_of_packages_on_the_disc(
    database: Database, tmp_path: Path, day: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The list counts: not every package with an equal file was installed."""
    caplog.set_level("INFO")
    lists = {"rescue": [HELLO, AREPO, UNKNOWN]}
    packages, orphans = load_files(database, tmp_path, day, [HELLO, DATA, AREPO], lists=lists)
    assert packages == identities([HELLO, AREPO])
    assert orphans == {"/usr/share/hello/text"}
    assert "rescue: 2 of 3 packages on the disc's list found" in caplog.text


def test_system_without_its_database(database: Database, tmp_path: Path, day: str) -> None:
    """Environment files of a database that is gone are no database, but files of the system."""
    further = {"var/lib/rpm/__db.001": b"\0" * 100, "var/lib/rpm/.dbenv.lock": b""}
    packages, orphans = load_files(database, tmp_path, day, [HELLO], further=further)
    assert packages == {identity(HELLO)}
    assert orphans == {"/var/lib/rpm/__db.001", "/var/lib/rpm/.dbenv.lock"}


def test_two_loads_of_one_image(database: Database, disc: Path, day: str) -> None:
    """While another process writes the image, it is not written a second time."""
    options = image_options(disc, date=day)
    ((midnight,),) = database.query(
        "SELECT toUnixTimestamp(toDateTime(concat({day:String}, ' 00:00:00')))", {"day": day}
    )
    parent = os.getppid()
    start = Path(f"/proc/{parent}/stat").read_text().rpartition(")")[2].split()[19]
    columns: dict[str, list[Any]] = {
        "intent_root": [UUID(int=1)], "intent_nodes": [[UUID(int=1)]],
        "intent_name": [options.tag], "intent_date": [midnight], "intent_state": ["pending"],
        "intent_host": [os.uname().nodename], "intent_process": [parent],
        "intent_process_start": [int(start)],
    }  # fmt: skip
    database.insert("LoadIntents", columns)
    with pytest.raises(LockHeldError, match=f"being loaded by process {parent}"):
        load(database, options)
    assert image_rows(database, day) == NOTHING


# Systems: archives and disks

SYSTEM_KEYS = (
    "type size class branch mtime md5_cs sha256_cs gost12_cs osrelease url arch date file flavor"
    " edition variant platform release version_major version_minor version_sub image_type"
).split()


@pytest.fixture(scope="module")
def systems(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One system as an archive, a disk and a compressed disk."""
    work = tmp_path_factory.mktemp("systems")
    root = compose_root(work / "root", INSTALLED)
    archive, disk, compressed = work / "root.tar.xz", work / "disk.img", work / "disk.qcow2c"
    run_tool(["tar", "-C", root, "-cJf", archive, "."])
    make_ext(disk, root)
    convert(disk, compressed, "-c", "-O", "qcow2")
    return {"tar": archive, "img": disk, "qcow": compressed}


@pytest.mark.parametrize("image_type", ["tar", "img", "qcow"])
def test_system(database: Database, systems: dict[str, Path], image_type: str, day: str) -> None:
    path = systems[image_type]
    os.utime(path, (MEMBER_TIME, MEMBER_TIME))
    summary = load(database, image_options(path, image_type, date=day, variant="live"))
    assert summary.tag == f"p10:alt-workstation:::release.10.0.1:x86_64:live:{image_type}"
    ((keys, values),) = database.query(
        "SELECT pkgset_kv.k, pkgset_kv.v FROM PackageSetName WHERE pkgset_uuid = {root:UUID}",
        {"root": UUID(summary.root)},
    )
    assert keys == SYSTEM_KEYS
    found = dict(zip(keys, values, strict=True))
    assert found["type"] == found["class"] == found["image_type"] == image_type
    assert found["mtime"] == "2022-04-16T15:37:36+00:00"
    assert found["osrelease"] == 'ID=altlinux\nVERSION_ID="10.0"\n'
    assert found["md5_cs"] == (file_digests(path, ["md5"]).md5 or b"").hex() == summary.md5
    assert nodes(database, summary.root) == {
        "rpms": {"type": "rpms", "size": "3", "class": image_type, "branch": BRANCH}
    }
    assert members(database, summary.root, "rpms") == identities(INSTALLED)


def test_system_without_database(database: Database, tmp_path: Path, day: str) -> None:
    """The files of a system alone, or an empty database directory, are no image to load."""
    root = compose_root(tmp_path / "root", INSTALLED, has_database=False)
    run_tool(["tar", "-C", root, "-cf", tmp_path / "root.tar", "."])
    assert_refused(
        database, image_options(tmp_path / "root.tar", "tar", date=day), "no rpm database"
    )


def test_type_is_not_taken_from_the_name(
    database: Database, systems: dict[str, Path], tmp_path: Path, day: str
) -> None:
    path = tmp_path / "odd.name"
    shutil.copyfile(systems["qcow"], path)
    assert load(database, image_options(path, "qcow", date=day)).sets == {"rpms": 3}
