"""What the views and the materialized views make of rows."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID, uuid4

import pytest

from altrepodb.db.database import Database
from altrepodb.errors import DatabaseError

DAY = 86400
MONDAY = 1_700_000_000 // DAY * DAY
ROOT_ONLY = UUID(int=0)


def insert(database: Database, table: str, *rows: Mapping[str, Any]) -> None:
    """Rows with the same keys, in one block."""
    database.insert(table, {name: [row[name] for row in rows] for name in rows[0]})


def add_packages(database: Database, *hashes: int, **values: Any) -> None:
    """Packages named after their hash."""
    for pkg_hash in hashes:
        row = {
            "pkg_hash": pkg_hash,
            "pkg_name": f"package-{pkg_hash}",
            "pkg_version": "1.0",
            "pkg_release": "alt1",
            "pkg_arch": "x86_64",
            **values,
        }
        insert(database, "Packages", row)


def node(
    uuid: UUID, parent: UUID, root: UUID, depth: int, name: str, day: int, **kv: str
) -> dict[str, Any]:
    return {
        "pkgset_uuid": uuid,
        "pkgset_puuid": parent,
        "pkgset_ruuid": root,
        "pkgset_depth": depth,
        "pkgset_nodename": name,
        "pkgset_date": day,
        "pkgset_tag": kv.pop("tag", ""),
        "pkgset_complete": 1,
        "pkgset_kv.k": list(kv),
        "pkgset_kv.v": list(kv.values()),
    }


def add_members(
    database: Database, root: UUID, day: int, packages: Sequence[int], class_: str = "repository"
) -> UUID:
    """The tree below a root: an architecture with one component that holds the packages."""
    arch, component = uuid4(), uuid4()
    for pkg_hash in packages:
        insert(database, "PackageSet", {"pkgset_uuid": component, "pkg_hash": pkg_hash})
    insert(
        database,
        "PackageSetName",
        node(arch, root, root, 1, "x86_64", day, **{"class": class_}),
        node(component, arch, root, 2, "classic", day, **{"class": class_}),
    )
    return component


def add_state(database: Database, branch: str, day: int, packages: Sequence[int]) -> UUID:
    """A state of a branch, its root last."""
    root = uuid4()
    add_members(database, root, day, packages)
    root_row = node(root, ROOT_ONLY, root, 0, branch, day, **{"class": "repository"})
    insert(database, "PackageSetName", root_row)
    return root


# --- package sets


def test_root_copies_the_packages_below_it(database: Database) -> None:
    add_packages(database, 1, 2, 3)
    add_state(database, "p10", MONDAY, [1, 2])
    rows = database.query("SELECT * FROM StaticLastPackages ORDER BY pkg_hash")
    assert rows == [
        ("p10", MONDAY, 1, "package-1", "1.0", "alt1", 0),
        ("p10", MONDAY, 2, "package-2", "1.0", "alt1", 0),
    ]


def test_root_before_its_members_copies_nothing(database: Database) -> None:
    add_packages(database, 1)
    root = uuid4()
    root_row = node(root, ROOT_ONLY, root, 0, "p10", MONDAY, **{"class": "repository"})
    insert(database, "PackageSetName", root_row)
    add_members(database, root, MONDAY, [1])
    assert database.query("SELECT * FROM StaticLastPackages") == []


def test_second_state_copies_only_its_own_packages(database: Database) -> None:
    add_packages(database, 1, 2, 3)
    add_state(database, "p10", MONDAY, [1, 2])
    add_state(database, "p10", MONDAY + DAY, [2, 3])
    rows = database.query("SELECT pkgset_date, pkg_hash FROM StaticLastPackages ORDER BY ALL")
    assert rows == [(MONDAY, 1), (MONDAY, 2), (MONDAY + DAY, 2), (MONDAY + DAY, 3)]
    current = database.query("SELECT pkg_hash FROM static_last_packages ORDER BY pkg_hash")
    assert current == [(2,), (3,)]


def test_two_roots_in_one_insert_keep_their_packages_apart(database: Database) -> None:
    add_packages(database, 1, 2)
    first, second = uuid4(), uuid4()
    add_members(database, first, MONDAY, [1])
    add_members(database, second, MONDAY, [2])
    insert(
        database,
        "PackageSetName",
        node(first, ROOT_ONLY, first, 0, "p9", MONDAY, **{"class": "repository"}),
        node(second, ROOT_ONLY, second, 0, "p10", MONDAY, **{"class": "repository"}),
    )
    rows = database.query("SELECT pkgset_name, pkg_hash FROM StaticLastPackages ORDER BY ALL")
    assert rows == [("p10", 2), ("p9", 1)]


def test_older_state_loaded_later_is_not_current(database: Database) -> None:
    add_packages(database, 1, 2)
    add_state(database, "p10", MONDAY, [1])
    add_state(database, "p10", MONDAY - DAY, [2])
    assert database.query("SELECT pkg_hash FROM static_last_packages") == [(1,)]


def test_branches_have_their_own_newest_state(database: Database) -> None:
    add_packages(database, 1, 2)
    add_state(database, "p10", MONDAY, [1])
    add_state(database, "sisyphus", MONDAY + DAY, [1, 2])
    rows = database.query("SELECT pkgset_name, pkg_hash FROM last_packages ORDER BY ALL")
    assert rows == [("p10", 1), ("sisyphus", 1), ("sisyphus", 2)]


def test_buffered_members_are_copied_too(database: Database) -> None:
    root, component = uuid4(), uuid4()
    insert(database, "Packages_buffer", {"pkg_hash": 1, "pkg_name": "one"})
    insert(database, "PackageSet_buffer", {"pkgset_uuid": component, "pkg_hash": 1})
    kv = {"class": "repository"}
    insert(database, "PackageSetName", node(component, root, root, 1, "srpm", MONDAY, **kv))
    insert(database, "PackageSetName", node(root, ROOT_ONLY, root, 0, "p10", MONDAY, **kv))
    assert database.query("SELECT pkg_name FROM StaticLastPackages") == [("one",)]


def test_names_of_nodes(database: Database) -> None:
    old = add_state(database, "p10", MONDAY, [])
    new = add_state(database, "p10", MONDAY + DAY, [])
    rows = database.query(
        "SELECT pkgset_ruuid, pkgset_depth, pkgset_nodename, pkgset_name, pkgset_class,"
        " pkgset_pname FROM last_pkgnames ORDER BY pkgset_depth"
    )
    assert rows == [
        (new, 0, "p10", "p10", "repository", ""),
        (new, 1, "x86_64", "p10", "repository", "p10"),
        (new, 2, "classic", "p10", "repository", "x86_64"),
    ]
    ((roots, count),) = database.query(
        "SELECT groupUniqArray(pkgset_ruuid), count() FROM all_pkgnames"
    )
    assert (set(roots), count) == ({old, new}, 6)


def test_members_of_last_and_of_all_sets(database: Database) -> None:
    add_packages(database, 1, 2)
    add_state(database, "p10", MONDAY, [1])
    add_state(database, "p10", MONDAY + DAY, [2])
    assert database.query("SELECT pkg_hash, pkgset_pname FROM last_pkgset") == [(2, "x86_64")]
    both = database.query("SELECT pkg_hash, pkgset_date FROM all_pkgset ORDER BY pkg_hash")
    assert both == [(1, MONDAY), (2, MONDAY + DAY)]
    names = database.query("SELECT pkg_name, pkgset_name FROM all_packages ORDER BY pkg_name")
    assert names == [("package-1", "p10"), ("package-2", "p10")]


def test_statistics_of_states(database: Database) -> None:
    add_packages(database, 1, pkg_sourcepackage=1, pkg_sourcerpm="a.src.rpm")
    add_packages(database, 2, pkg_sourcepackage=1, pkg_sourcerpm="b.src.rpm")
    add_packages(database, 3, 4, pkg_arch="noarch", pkg_sourcerpm="a.src.rpm")
    add_packages(database, 5, pkg_sourcerpm="b.src.rpm")
    add_packages(database, 6, pkg_arch="x86_64-i586", pkg_sourcerpm="c.src.rpm")
    add_state(database, "p10", MONDAY, [5])
    add_state(database, "p10", MONDAY + DAY, [1, 3, 4])
    add_state(database, "sisyphus", MONDAY, [1, 2, 3, 4, 5, 6])
    rows = database.query("SELECT * FROM lv_pkgset_stat ORDER BY pkgset_name, pkg_arch")
    assert rows == [
        ("p10", MONDAY + DAY, "noarch", 1),
        ("p10", MONDAY + DAY, "srpm", 1),
        ("sisyphus", MONDAY, "noarch", 1),
        ("sisyphus", MONDAY, "srpm", 2),
        ("sisyphus", MONDAY, "x86_64", 1),
    ]


def test_repository_statistics(database: Database) -> None:
    root, source = uuid4(), uuid4()
    add_packages(database, 1, 2, pkg_filesize=100)
    add_packages(database, 3, pkg_sourcepackage=1, pkg_filesize=7)
    component = add_members(database, root, MONDAY, [1, 2])
    insert(database, "PackageSet", {"pkgset_uuid": source, "pkg_hash": 3})
    kv = {"class": "repository"}
    insert(database, "PackageSetName", node(source, root, root, 1, "srpm", MONDAY, **kv))
    insert(database, "PackageSetName", node(root, ROOT_ONLY, root, 0, "p10", MONDAY, **kv))
    add_packages(database, 1, pkg_filesize=100)
    assert database.query("SELECT * FROM lv_repository_statistics") == [
        (
            "p10",
            MONDAY,
            [("srpm", "srpm", 1, 7, str(source)), ("x86_64", "classic", 2, 200, str(component))],
        )
    ]


# --- images


def image_root(root: UUID, **kv: str) -> dict[str, Any]:
    given = {"class": "iso", "branch": "p10", "edition": "alt-server", **kv}
    return node(root, ROOT_ONLY, root, 0, "alt-server", MONDAY, **given)


def test_image_root_becomes_a_row(database: Database) -> None:
    root = uuid4()
    kv = {
        "flavor": "f",
        "platform": "p",
        "release": "release",
        "version_major": "10",
        "version_minor": "2",
        "version_sub": "1",
        "arch": "x86_64",
        "variant": "install",
        "image_type": "iso",
        "file": "a.iso",
        "size": "5",
        "tag": "the:tag",
    }
    insert(database, "PackageSetName", image_root(root, **kv))
    assert database.query("SELECT * FROM ImagePackageSetName") == [
        (
            *(root, MONDAY, "the:tag", "p10", "alt-server", "f", "p", "release", 10, 2, 1),
            *("x86_64", "install", "iso"),
            {"class": "iso", "file": "a.iso", "size": "5"},
        )
    ]


@pytest.mark.parametrize("version", [{}, {"version_major": ""}, {"version_major": "ten"}])
def test_image_without_a_version_has_version_0(database: Database, version: dict[str, str]) -> None:
    insert(database, "PackageSetName", image_root(uuid4(), **version))
    rows = database.query(
        "SELECT img_version_major, img_version_minor, img_version_sub FROM ImagePackageSetName"
    )
    assert rows == [(0, 0, 0)]


def test_repositories_and_inner_nodes_are_no_images(database: Database) -> None:
    add_state(database, "p10", MONDAY, [])
    root = uuid4()
    add_members(database, root, MONDAY, [], class_="iso")
    assert database.query("SELECT * FROM ImagePackageSetName") == []


def add_image(database: Database, tag: str, branch: str, packages: Sequence[int]) -> UUID:
    root = uuid4()
    add_members(database, root, MONDAY, packages, class_="iso")
    row = image_root(root, branch=branch, file=f"{tag}.iso", tag=tag)
    insert(database, "PackageSetName", row)
    return root


def test_packages_of_images(database: Database) -> None:
    add_packages(database, 1)
    add_packages(database, 2, pkg_sourcepackage=1)
    root = add_image(database, "tag", "p10", [1, 2])
    assert database.query("SELECT * FROM lv_all_image_packages") == [
        (
            *(root, MONDAY, "p10", "alt-server", "tag", "tag.iso"),
            *(1, "package-1", "1.0", "alt1", "x86_64"),
        )
    ]


def test_branches_with_active_images(database: Database) -> None:
    for branch in ("p9", "p10", "p11"):
        add_image(database, f"tag-{branch}", branch, [])
    for branch, edition_show, tag_show in (
        ("p9", "show", "hide"),
        ("p10", "show", "show"),
        ("p11", "hide", "show"),
    ):
        status = {"img_branch": branch, "img_edition": "alt-server", "img_show": edition_show}
        insert(database, "ImageStatus", status)
        insert(database, "ImageTagStatus", {"img_tag": f"tag-{branch}", "img_show": tag_show})
    assert database.query("SELECT * FROM lv_image_packageset") == [("p10",)]


# --- packages


def test_last_packages_show_the_checksum_as_text(database: Database) -> None:
    add_packages(database, 1, pkg_cs=bytes(range(20)), pkg_vcs="https://git")
    add_state(database, "p10", MONDAY, [1])
    rows = database.query("SELECT pkg_cs, pkg_vcs, pkgset_date FROM last_packages")
    assert rows == [(bytes(range(20)).hex(), "https://git", MONDAY)]
    assert database.query("SELECT pkg_cs FROM all_packages") == [(bytes(range(20)).hex(),)]


def test_packages_with_their_source(database: Database) -> None:
    add_packages(database, 10, pkg_sourcepackage=1, pkg_srcrpm_hash=10)
    add_packages(database, 1, pkg_srcrpm_hash=10)
    add_packages(database, 2, pkg_srcrpm_hash=99)
    add_packages(database, 3, pkg_srcrpm_hash=0)
    rows = database.query(
        "SELECT pkg_hash, sourcepkgname FROM all_packages_with_source ORDER BY pkg_hash"
    )
    assert rows == [(1, "package-10"), (2, "")]
    add_state(database, "p10", MONDAY, [1, 3, 10])
    current = database.query(
        "SELECT pkg_hash, pkg_name, sourcepkgname, pkgset_name, pkgset_date"
        " FROM last_packages_with_source"
    )
    assert current == [(1, "package-1", "package-10", "p10", MONDAY)]


def test_image_editions_appear_beside_branches(database: Database) -> None:
    add_packages(database, 1, pkg_srcrpm_hash=10)
    add_image(database, "tag", "p10", [1])
    rows = database.query("SELECT pkgset_name FROM last_packages_with_source")
    assert rows == [("alt-server",)]


def test_source_and_binary_names(database: Database) -> None:
    source = {"pkg_srcrpm_hash": 1, "pkg_sourcerpm": "lib-foo-1.0-alt1.src.rpm"}
    add_packages(database, 1, pkg_name="lib-foo", pkg_sourcepackage=1, pkg_buildtime=5, **source)
    add_packages(database, 2, pkg_name="foo-tools", pkg_buildtime=6, **source)
    add_packages(database, 3, pkg_name="i586-foo-tools", pkg_buildtime=7, **source)
    add_packages(database, 4, pkg_name="foo-tools", pkg_buildtime=9, **source)
    add_packages(database, 5, pkg_name="orphan", pkg_srcrpm_hash=0)
    database.execute("OPTIMIZE TABLE PackagesSourceAndBinaries FINAL")
    rows = database.query("SELECT * FROM PackagesSourceAndBinaries ORDER BY buildtime")
    assert rows == [(5, "lib-foo", "lib-foo"), (9, "lib-foo", "foo-tools")]


def test_digests_as_text(database: Database) -> None:
    md5 = hashlib.md5(b"").digest()
    insert(database, "PackageHash", {"pkgh_mmh": 1, "pkgh_md5": md5})
    rows = database.query("SELECT * FROM PackageHash_view")
    assert rows == [(1, md5.hex(), "0" * 40, "0" * 64, "0" * 128)]


# --- changelogs

IVAN = "Ivan Petrov <ivp at altlinux.org>"


def changelog(*entries: tuple[int, str, str, int]) -> dict[str, Any]:
    columns = zip(*entries, strict=True) if entries else [(), (), (), ()]
    names = ("date", "name", "evr", "hash")
    return {f"pkg_changelog.{name}": list(v) for name, v in zip(names, columns, strict=True)}


def add_text(database: Database, text: str) -> int:
    ((text_hash,),) = database.query("SELECT murmurHash3_64({text:String})", {"text": text})
    insert(database, "Changelog", {"chlog_hash": text_hash, "chlog_text": text})
    return int(text_hash)


def test_last_changelog_of_a_source(database: Database) -> None:
    text = add_text(database, "- new foo")
    assert text == 12376893621134046064
    entries = changelog((MONDAY, IVAN, "2-alt1", text), (MONDAY - DAY, IVAN, "1-alt1", 5))
    add_packages(database, 1, pkg_sourcepackage=1, **entries)
    add_packages(database, 2, pkg_sourcepackage=0, **entries)
    assert database.query("SELECT * FROM SrcPackagesLastChangelog") == [
        (1, "ivp", IVAN, MONDAY, "2-alt1", "- new foo")
    ]


def test_late_changelog_text_stays_empty(database: Database) -> None:
    add_packages(database, 1, pkg_sourcepackage=1, **changelog((MONDAY, IVAN, "1-alt1", 7)))
    insert(database, "Changelog", {"chlog_hash": 7, "chlog_text": "late"})
    assert database.query("SELECT chlog_text FROM SrcPackagesLastChangelog") == [("",)]


@pytest.mark.parametrize(
    ("author", "nick"),
    [
        (IVAN, "ivp"),
        ("Ivan <ivp@altlinux.org>", "ivp"),
        ("Ivan <a@b at c>", "a@b"),
        ("Ivan", ""),
        ("", ""),
    ],
)
def test_nickname_of_an_author(database: Database, author: str, nick: str) -> None:
    add_packages(database, 1, pkg_sourcepackage=1, **changelog((MONDAY, author, "1", 1)))
    assert database.query("SELECT chlog_nick FROM SrcPackagesLastChangelog") == [(nick,)]


def test_source_without_changelog(database: Database) -> None:
    add_packages(database, 1, pkg_sourcepackage=1)
    assert database.query("SELECT * FROM SrcPackagesLastChangelog") == [(1, "", "", 0, "", "")]


def test_whole_changelog(database: Database) -> None:
    first, second = add_text(database, "- first"), add_text(database, "- second")
    add_packages(
        database,
        1,
        **changelog(
            (MONDAY - DAY, IVAN, "1-alt1", first),
            (MONDAY, IVAN, "2-alt1", second),
            (MONDAY, IVAN, "2-alt2", first),
            (MONDAY, IVAN, "3-alt1", 404),
        ),
    )
    add_packages(database, 2)
    ((pkg_hash, entries),) = database.query("SELECT * FROM PackageChangelog_view")
    assert pkg_hash == 1
    day = MONDAY // DAY
    assert entries == [
        (day, IVAN, "2-alt2", "- first"),
        (day, IVAN, "2-alt1", "- second"),
        (day - 1, IVAN, "1-alt1", "- first"),
    ]


def test_packages_with_their_last_changelog(database: Database) -> None:
    text = add_text(database, "- new foo")
    add_packages(database, 1, **changelog((MONDAY, IVAN, "2-alt1", text)))
    add_packages(database, 2)
    rows = database.query(
        "SELECT pkg_hash, pkg_changelog_date, pkg_changelog_name, pkg_changelog_evr,"
        " pkg_changelog_message FROM PackagesWithLastChangelog_view ORDER BY pkg_hash"
    )
    assert rows == [(1, MONDAY // DAY, IVAN, "2-alt1", "- new foo"), (2, 0, "", "", "")]


# --- files, dependencies, spec files


def test_inserted_files_are_spread(database: Database) -> None:
    insert(
        database,
        "Files_insert",
        {"pkg_hash": 1, "file_name": "/usr/bin/ls", "file_class": "file", "file_size": 9},
        {"pkg_hash": 1, "file_name": "/usr/bin", "file_class": "directory", "file_size": 0},
        {"pkg_hash": 2, "file_name": "foo.spec", "file_class": "file", "file_size": 1},
        {"pkg_hash": 2, "file_name": "/x", "file_class": "symlink", "file_size": 1},
    )
    rows = database.query(
        "SELECT DISTINCT file_name, pkg_hash, file_hashname, file_hashdir, file_class"
        " FROM Files_view ORDER BY pkg_hash, file_name"
    )
    usr = database.query("SELECT murmurHash3_64('/usr'), murmurHash3_64('/x')")[0]
    assert rows == [
        ("/usr/bin", 1, 18015308893723861606, usr[0], "directory"),
        ("/usr/bin/ls", 1, 1365359022807651899, 18015308893723861606, "file"),
        ("/x", 2, usr[1], 0, "symlink"),
        ("foo.spec", 2, 11368820251271359474, 0, "file"),
    ]
    names = database.query("SELECT DISTINCT fn_name FROM FileNames_buffer ORDER BY fn_name")
    expected = ["", "/usr", "/usr/bin", "/usr/bin/ls", "/x", "foo.spec"]
    assert [name for (name,) in names] == expected


def test_file_name_hashes_are_computed(database: Database) -> None:
    insert(database, "FileNames", {"fn_name": ""}, {"fn_name": "Привет"})
    rows = database.query("SELECT fn_hash FROM FileNames ORDER BY fn_name")
    assert rows == [(0,), (15380334964941119718,)]


def test_unknown_file_class_is_refused(database: Database) -> None:
    with pytest.raises(DatabaseError):
        insert(database, "Files_insert", {"pkg_hash": 1, "file_name": "/a", "file_class": ""})


def test_chroots_are_identified_by_their_packages(database: Database) -> None:
    insert(database, "TaskChroots", {"tch_chroot": [1, 2, 3]}, {"tch_chroot": []})
    rows = database.query("SELECT tch_hash FROM TaskChroots ORDER BY tch_chroot")
    assert rows == [(4761183170873013810,), (11179080114391065198,)]


def test_checked_vulnerability_identity(database: Database) -> None:
    insert(
        database,
        "CveChecked",
        {
            "cve_id": "CVE",
            "pkg_name": "pkg",
            "cc_checked_ver.pkg_evr": ["1", "2"],
            "cc_checked_ver.pkg_branch": ["*", "*"],
        },
    )
    ((found, computed),) = database.query(
        "SELECT cc_id, murmurHash3_64('CVE', 'pkg', ['1', '2'], ['*', '*']) FROM CveChecked"
    )
    assert found == computed


def test_spec_file_arrives_as_bytes(database: Database) -> None:
    spec = "Name: foo\nSummary: тест\n".encode() + b"\xff\x00"
    insert(
        database,
        "Specfiles_insert",
        {"pkg_hash": 1, "specfile_content_base64": base64.b64encode(spec).decode()},
    )
    rows = database.query("SELECT pkg_hash, hex(specfile_content) FROM Specfiles_buffer")
    assert rows == [(1, spec.hex().upper())]


def test_spec_file_that_is_not_base64_is_refused(database: Database) -> None:
    with pytest.raises(DatabaseError, match="base64Decode"):
        database.execute(
            "INSERT INTO Specfiles_insert (pkg_hash, specfile_content_base64)"
            " VALUES (1, {text:String})",
            {"text": "Name: foo!"},
        )
    assert database.query("SELECT * FROM Specfiles_buffer") == []


def test_dependencies_of_current_packages(database: Database) -> None:
    add_packages(database, 1, pkg_filename="f.rpm", pkg_sourcerpm="s.src.rpm")
    add_packages(database, 2)
    add_state(database, "p10", MONDAY, [1])
    for pkg_hash in (1, 2):
        insert(
            database,
            "Depends",
            {"pkg_hash": pkg_hash, "dp_name": "libc.so", "dp_flag": 8, "dp_type": "require"},
        )
    assert database.query("SELECT * FROM last_depends") == [
        (
            *(1, "libc.so", "", 8, "require", "package-1", "1.0", "p10", MONDAY, 0, "x86_64"),
            *("f.rpm", "s.src.rpm"),
        )
    ]


# --- tasks


def plan_hash(text: str) -> int:
    import mmh3

    low, high = mmh3.hash64(text, 0, True, signed=False)
    return int(low ^ high)


def sha256(number: int) -> bytes:
    return hashlib.sha256(str(number).encode()).digest()


def add_iteration(database: Database, task: int, changed: int, run: tuple[int, int]) -> None:
    insert(
        database,
        "TaskIterations",
        {
            "task_id": task,
            "subtask_id": 100,
            "subtask_arch": "x86_64",
            "task_changed": changed,
            "task_try": run[0],
            "task_iter": run[1],
        },
    )


def set_state(database: Database, task: int, state: str, changed: int = MONDAY) -> None:
    insert(
        database,
        "TaskStates",
        {"task_id": task, "task_state": state, "task_changed": changed, "task_message": "note"},
    )


def test_plan_hashes_of_done_tasks(database: Database) -> None:
    add_iteration(database, 300001, MONDAY - 1, (9, 9))
    add_iteration(database, 300001, MONDAY, (1, 2))
    add_iteration(database, 300002, MONDAY, (1, 1))
    set_state(database, 300001, "DONE")
    set_state(database, 300002, "EPERM")
    rows = database.query("SELECT * FROM task_plan_hashes ORDER BY tplan_arch")
    assert {(task, arch) for task, _, arch in rows} == {
        (300001, arch) for arch in ("noarch", "src", "x86_64", "x86_64-i586")
    }
    assert len(rows) == 4
    assert {arch: key for _, key, arch in rows} == {
        arch: plan_hash(f"30000112{arch}") for arch in ("noarch", "src", "x86_64", "x86_64-i586")
    }
    assert (300001, 4398232223384881624, "x86_64") in rows


def add_planned(database: Database, arch: str, action: str, pkg_hash: int) -> None:
    insert(
        database,
        "TaskPlanPkgHash",
        {
            "tplan_hash": plan_hash(f"30000112{arch}"),
            "tplan_action": action,
            "tplan_sha256": sha256(pkg_hash),
        },
    )
    insert(database, "PackageHash", {"pkgh_mmh": pkg_hash, "pkgh_sha256": sha256(pkg_hash)})


def test_done_task_becomes_history(database: Database) -> None:
    text = add_text(database, "- new foo")
    add_packages(
        database, 1, pkg_sourcepackage=1, pkg_epoch=3, **changelog((MONDAY, IVAN, "1-alt1", text))
    )
    add_packages(database, 2)
    insert(database, "Tasks", {"task_id": 300001, "subtask_id": 100, "task_repo": "p10"})
    insert(database, "Tasks", {"task_id": 300001, "subtask_id": 200, "task_repo": "p10"})
    add_iteration(database, 300001, MONDAY, (1, 2))
    add_planned(database, "src", "add", 1)
    add_planned(database, "x86_64", "delete", 2)
    insert(
        database,
        "TaskPlanPkgHash",
        {"tplan_hash": plan_hash("30000112src"), "tplan_sha256": sha256(404)},
    )
    for state in ("NEW", "BUILDING", "TESTED"):
        set_state(database, 300001, state, MONDAY - 1)
    assert database.query("SELECT * FROM BranchPackageHistory") == []
    set_state(database, 300001, "DONE")
    head = ("p10", 300001, MONDAY, "note")
    assert database.query("SELECT * FROM BranchPackageHistory ORDER BY pkg_hash") == [
        (
            *(*head, "add", 1, "package-1", 3, "1.0", "alt1", "x86_64", 1),
            *(MONDAY, IVAN, "ivp", "1-alt1", "- new foo"),
        ),
        (*head, "delete", 2, "package-2", 0, "1.0", "alt1", "x86_64", 0, 0, "", "", "", ""),
    ]


def test_done_task_without_plan_has_an_empty_row(database: Database) -> None:
    insert(database, "Tasks", {"task_id": 300001, "subtask_id": 100, "task_repo": "p10"})
    set_state(database, 300001, "DONE")
    rows = database.query(
        "SELECT pkgset_name, task_id, pkg_hash, pkg_name FROM BranchPackageHistory"
    )
    assert rows == [("p10", 300001, 0, "")]


def add_history(database: Database, task: int, action: str, pkg_hash: int, name: str) -> None:
    insert(
        database,
        "BranchPackageHistory",
        {
            "pkgset_name": "p10",
            "task_id": task,
            "task_changed": MONDAY + task,
            "tplan_action": action,
            "pkg_hash": pkg_hash,
            "pkg_name": name,
            "pkg_sourcepackage": 1,
        },
    )


def test_packages_that_left_a_branch(database: Database) -> None:
    add_history(database, 1, "add", 11, "gone")
    add_history(database, 2, "delete", 11, "gone")
    add_history(database, 2, "add", 21, "updated")
    add_history(database, 3, "delete", 21, "updated")
    add_history(database, 3, "add", 22, "updated")
    add_history(database, 4, "delete", 31, "returned")
    add_history(database, 5, "add", 31, "returned")
    rows = database.query("SELECT * FROM lv_branch_deleted_packages")
    assert rows == [("p10", "gone", 11, 2, MONDAY + 2)]


# --- access lists


def add_acl(database: Database, name: str, members: Sequence[str], day: int = MONDAY) -> None:
    row = {"acl_branch": "p10", "acl_for": name, "acl_list": list(members), "acl_date": day}
    insert(database, "Acl", row)


def test_newest_access_list(database: Database) -> None:
    add_acl(database, "foo", ["ivp"], MONDAY)
    add_acl(database, "foo", ["petr", "ivp"], MONDAY + DAY)
    add_acl(database, "foo", ["older"], MONDAY - DAY)
    rows = database.query("SELECT * FROM last_acl")
    assert rows == [("p10", MONDAY + DAY, "foo", ["petr", "ivp"])]


def test_running_list_keeps_the_newest_of_a_block(database: Database) -> None:
    row = {"acl_branch": "p10", "acl_for": "foo"}
    insert(
        database,
        "Acl",
        {**row, "acl_list": ["new"], "acl_date": MONDAY},
        {**row, "acl_list": ["old"], "acl_date": MONDAY - DAY},
    )
    rows = database.query("SELECT * FROM last_acl_stage1")
    assert rows == [("p10", MONDAY, "foo", ["new"])]


def test_running_list_keeps_what_was_inserted_last(database: Database) -> None:
    add_acl(database, "foo", ["new"], MONDAY)
    add_acl(database, "foo", ["old"], MONDAY - DAY)
    database.execute("OPTIMIZE TABLE last_acl_stage1 FINAL")
    rows = database.query("SELECT acl_date_last, acl_list FROM last_acl_stage1")
    assert rows == [(MONDAY, ["old"])]


def access(database: Database, name: str) -> list[tuple[Any, ...]]:
    return database.query(
        "SELECT acl_user, order_u, order_g FROM last_acl_with_groups"
        " WHERE pkgname = {name:String} ORDER BY order_u, order_g",
        {"name": name},
    )


def test_groups_are_expanded_in_order(database: Database) -> None:
    add_acl(database, "@python", ["sbolshakov", "ivp", "@everybody"])
    add_acl(database, "foo", ["lead", "@python", "@unknown"])
    assert access(database, "foo") == [
        ("lead", 1, 0),
        ("sbolshakov", 2, 1),
        ("ivp", 2, 2),
        ("@everybody", 2, 3),
        ("@unknown", 3, 0),
    ]
    assert access(database, "@python")[0] == ("sbolshakov", 1, 0)


def test_members_who_leave_a_group_are_gone_at_once(database: Database) -> None:
    add_acl(database, "@python", ["ivp", "petr"])
    add_acl(database, "foo", ["@python", "lead"])
    add_acl(database, "@python", ["petr"], MONDAY + DAY)
    add_acl(database, "foo", ["@python"], MONDAY + DAY)
    assert access(database, "foo") == [("petr", 1, 1)]


def test_groups_belong_to_a_branch(database: Database) -> None:
    add_acl(database, "foo", ["@python"])
    row = {"acl_branch": "sisyphus", "acl_for": "@python", "acl_list": ["x"], "acl_date": MONDAY}
    insert(database, "Acl", row)
    assert access(database, "foo") == [("@python", 1, 0)]


# --- errata and users


def test_errata_identifiers(database: Database) -> None:
    insert(database, "ErrataHistory", {"errata_id": "ALT-PU-2023-1234-5"})
    derived = "SELECT errata_id_noversion, errata_id_version FROM ErrataHistory"
    assert database.query(derived) == [("ALT-PU-2023-1234", 5)]
    called = (
        "SELECT extractErrataIdNoVersion(errata_id) AS a, extractErrataIdVersion(errata_id) AS b"
        " FROM ErrataHistory"
    )
    assert database.query(called) == [("ALT-PU-2023-1234", 5)]


def test_discarded_errata(database: Database) -> None:
    for errata, change in (("A-1", "create"), ("A-1", "discard"), ("A-2", "create")):
        insert(database, "ErrataChangeHistory", {"errata_id": errata, "ec_type": change})
        database.query("SELECT sleep(0.002)")
    assert database.query("SELECT * FROM last_discarded_erratas") == [("A-1",)]


def test_names_of_users(database: Database) -> None:
    insert(database, "ErrataUsersAliases", {"user": "ivan", "aliases": ["vanya", "ivp"]})
    rows = database.query(
        "SELECT name, get_errata_user_original_name(name) AS a, get_errata_user_aliases(name) AS b"
        " FROM (SELECT arrayJoin(['ivan', 'ivp', 'petr']) AS name)"
    )
    assert rows[0][:2] == ("ivan", "ivan")
    assert rows[1][:2] == ("ivp", "ivan")
    assert rows[2] == ("petr", "petr", ["petr"])
    assert set(rows[1][2]) == {"ivan", "vanya", "ivp"}


# --- statements as readers write them


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT DISTINCT pkg_name, pkg_version FROM last_packages WHERE pkgset_name = 'p10'"
        " AND pkg_sourcepackage = 1 AND pkg_packager_email LIKE 'ivp@%'",
        "SELECT pkg_hash FROM last_packages_with_source WHERE sourcepkgname IN"
        " (SELECT pkg_name FROM static_last_packages) AND pkgset_name = 'p10'"
        " AND pkg_arch IN ('x86_64', 'noarch')",
        "SELECT DISTINCT pkg_name FROM last_depends WHERE dp_name IN"
        " (SELECT dp_name FROM last_depends WHERE dp_type = 'provide') AND pkgset_name = 'p10'",
        "SELECT toString(pkg_hash), groupUniqArray(dp_name) FROM Depends_buffer"
        " WHERE dp_type = 'require' GROUP BY pkg_hash",
        "SELECT file_name, file_hashdir FROM Files_view WHERE pkg_hash = 1",
        "SELECT pkg_hash, changelog FROM PackageChangelog_view WHERE pkg_hash IN (1, 2)",
        "SELECT argMax(acl_list, ts) FROM (SELECT acl_list, now() AS ts FROM last_acl)",
        "SELECT acl_user, groupUniqArray(pkgname) FROM last_acl_with_groups"
        " WHERE acl_branch = 'sisyphus' AND order_u = 1 AND order_g < 2 GROUP BY acl_user",
        "SELECT src_pkg_name, argMax(bz_status, ts) FROM Bugzilla INNER JOIN"
        " (SELECT src_pkg_name, bin_pkg_name FROM PackagesSourceAndBinaries) AS pair"
        " ON pair.bin_pkg_name = Bugzilla.bz_component GROUP BY src_pkg_name",
        "SELECT pkgset_kv.v[indexOf(pkgset_kv.k, 'task')] FROM PackageSetName"
        " WHERE pkgset_depth = 0 ORDER BY pkgset_date DESC LIMIT 1",
        "SELECT task_id, argMax(task_state, task_changed) FROM TaskStates GROUP BY task_id",
        "SELECT pkgh_mmh FROM PackageHash WHERE pkgh_sha256 IN (SELECT tplan_sha256 FROM"
        " TaskPlanPkgHash WHERE tplan_action = 0 AND tplan_hash IN"
        " (SELECT tplan_hash FROM task_plan_hashes WHERE task_id = 300001))",
        "SELECT img_tag, argMax(img_show, ts) AS shown FROM ImageTagStatus GROUP BY img_tag"
        " HAVING shown = 1",
        "SELECT img_kv['url'] FROM ImagePackageSetName WHERE img_branch = 'p10'",
        "SELECT * EXCEPT (ts, eh_json) FROM ErrataHistory",
        "SELECT * FROM last_cve",
    ],
)
def test_statements_of_readers_are_understood(database: Database, statement: str) -> None:
    add_packages(database, 1)
    add_state(database, "p10", MONDAY, [1])
    database.query(statement)


@pytest.mark.parametrize("name", ["last_depends", "last_packages_with_source"])
def test_readers_may_hide_a_view_behind_their_own_table(database: Database, name: str) -> None:
    with database.temporary_table(name, {"pkg_hash": "UInt64"}):
        database.execute(f"INSERT INTO {name} VALUES (5)")
        assert database.query(f"SELECT * FROM {name}") == [(5,)]
    assert database.query(f"SELECT count() FROM {name}") == [(0,)]


def test_load_intents_are_a_journal(database: Database) -> None:
    root, nodes = uuid4(), [uuid4(), uuid4()]
    insert(
        database,
        "LoadIntents",
        {
            "intent_root": root,
            "intent_nodes": nodes,
            "intent_name": "p10",
            "intent_date": MONDAY,
            "intent_state": "pending",
            "intent_host": "host",
            "intent_process": 5,
            "intent_process_start": 2**40,
        },
    )
    rows = database.query("SELECT intent_root, intent_nodes, intent_state FROM LoadIntents")
    assert rows == [(root, nodes, "pending")]
