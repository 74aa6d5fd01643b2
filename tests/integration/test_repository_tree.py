"""Trees, lists and digests of repositories: what is accepted, refused, and stored of them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from altrepodb.db.database import Database
from altrepodb.errors import SourceError
from altrepodb.hashing import EMPTY_BLAKE2B, EMPTY_SHA256
from altrepodb.repository.load import RepositorySummary
from tests.support import damage
from tests.support.apt_lists import TAG_BLAKE2B, TAG_FILE_NAME, TAG_FILE_SIZE, TAG_MD5
from tests.support.expected_rows import digest_row
from tests.support.loading import Loader, open_loader
from tests.support.placing import place_binary, place_source
from tests.support.repository import ComposedRepository, RepositoryPlan, compose_repository
from tests.support.rpm_header import int32, string
from tests.support.rpm_package import RpmFile, RpmPackage

ARCH = "x86_64"
CLASSIC = "pkglist.classic"
SOURCES = "srclist.classic"
EMPTY = RepositoryPlan(
    sources=0, binaries=0, files=0, dependencies=0, architectures=(ARCH,), components=("classic",)
)
_seeds = count(1)

_ROW_COUNTS = """
SELECT name, total_rows FROM system.tables
WHERE database = currentDatabase() AND engine LIKE '%MergeTree' ORDER BY name
"""
_NODES = """
SELECT pkgset_uuid, pkgset_puuid, pkgset_depth, pkgset_nodename, `pkgset_kv.k`, `pkgset_kv.v`
FROM PackageSetName WHERE pkgset_ruuid = {root:UUID} ORDER BY pkgset_depth, pkgset_nodename
"""
_MEMBERS = """
SELECT pkg_filename FROM Packages
WHERE pkg_hash IN (SELECT pkg_hash FROM PackageSet WHERE pkgset_uuid = {node:UUID})
"""


@pytest.fixture(scope="module")
def loader(schema_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loader]:
    """One database for all tests here: their packages differ."""
    directory = tmp_path_factory.mktemp("trees") / "database"
    with open_loader(schema_template, directory) as opened:
        yield opened


@pytest.fixture
def compose(tmp_path: Path) -> Callable[..., ComposedRepository]:
    """Composes trees whose packages no other test has."""

    def make(**plan: Any) -> ComposedRepository:
        seed = next(_seeds)
        sizes = {"sources": 5, "binaries": 14, "files": 60, "dependencies": 40}
        return compose_repository(
            tmp_path / f"tree{seed}", RepositoryPlan(**{**sizes, "seed": 1000 + seed, **plan})
        )

    return make


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    """The worked example of the specification: one source, one binary."""
    root = compose_repository(tmp_path / "demo", EMPTY).root
    name = f"hello{next(_seeds)}"
    place_source(root, RpmPackage(name, source=True))
    place_binary(root, ARCH, "classic", RpmPackage(name))
    damage.write_task_info(root, b"task 900001\nprev 900000\n")
    return root


def row_counts(database: Database) -> list[Any]:
    return database.query(_ROW_COUNTS)


def assert_refused(loader: Loader, root: Path, *words: str, **options: Any) -> None:
    """The load fails with an error that has these words, and nothing is written."""
    before = row_counts(loader.database)
    with pytest.raises(SourceError) as caught:
        loader.load(root, **options)
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert "\n" not in message
    assert row_counts(loader.database) == before


def _path(names: dict[Any, str], parent: Any, depth: int, name: str) -> str:
    return f"{names[parent]}/{name}" if depth == 2 else name if depth else "/"


def nodes_of(database: Database, summary: RepositorySummary) -> dict[str, dict[str, str]]:
    """Attributes of the nodes of a set, by path."""
    rows = database.query(_NODES, {"root": summary.root})
    names = {node: name for node, _, _, name, _, _ in rows}
    return {
        _path(names, parent, depth, name): dict(zip(keys, values, strict=True))
        for _, parent, depth, name, keys, values in rows
    }


def members_of(database: Database, summary: RepositorySummary) -> dict[str, set[str]]:
    """File names on the nodes of a set, by path."""
    rows = database.query(_NODES, {"root": summary.root})
    names = {node: name for node, _, _, name, _, _ in rows}
    return {
        _path(names, parent, depth, name): {
            file_name for (file_name,) in database.query(_MEMBERS, {"node": node})
        }
        for node, parent, depth, name, _, _ in rows
        if name == "srpm" or depth == 2
    }


def expected_members(repository: ComposedRepository) -> dict[str, set[str]]:
    components = {
        f"{arch}/{component}": set(repository.members(arch, component))
        for arch, names in repository.components.items()
        for component in names
    }
    return {"srpm": set(repository.sources), **components}


def digest_rows(database: Database, repository: ComposedRepository) -> set[Any]:
    hashes = [item.pkg_hash for item in repository.packages]
    return set(
        database.query(
            "SELECT * FROM PackageHash WHERE has({hashes:Array(UInt64)}, pkgh_mmh)",
            {"hashes": hashes},
        )
    )


# The set records


def test_worked_example(loader: Loader, demo: Path) -> None:
    summary = loader.load(demo, "worked")
    root_attributes = [
        "depth=0", "type=repo", "size=2", "class=repository", "task=900001", "prev=900000",
        "archs=x86_64", "comps=classic",
    ]  # fmt: skip
    expected = [
        (0, "worked", root_attributes),
        (1, "srpm", ["depth=1", "type=srpm", "size=1", "class=repository",
                     "SRPMS=x86_64/SRPMS.classic", "repo=worked"]),
        (1, ARCH, ["depth=1", "type=arch", "size=0", "class=repository", "path=x86_64",
                   "repo=worked"]),
        (2, "classic", ["depth=2", "type=comp", "size=1", "class=repository",
                        "path=x86_64/RPMS.classic", "repo=worked"]),
    ]  # fmt: skip
    rows = loader.database.query(_NODES, {"root": summary.root})
    found = [
        (depth, name, [f"{k}={v}" for k, v in zip(keys, values, strict=True)])
        for _, _, depth, name, keys, values in rows
    ]
    assert found == sorted(expected)
    by_name = {name: (str(node), str(parent)) for node, parent, _, name, _, _ in rows}
    assert by_name["worked"] == (summary.root, "00000000-0000-0000-0000-000000000000")
    assert by_name["srpm"][1] == by_name[ARCH][1] == summary.root
    assert by_name["classic"][1] == by_name[ARCH][0]
    members = loader.database.query(
        "SELECT pkgset_uuid, count() FROM PackageSet"
        " WHERE pkgset_uuid IN"
        " (SELECT pkgset_uuid FROM PackageSetName WHERE pkgset_ruuid = {root:UUID})"
        " GROUP BY pkgset_uuid",
        {"root": summary.root},
    )
    assert {str(node): n for node, n in members} == {
        by_name["srpm"][0]: 1,
        by_name["classic"][0]: 1,
    }


def test_all_nodes_and_members(loader: Loader, compose: Callable[..., ComposedRepository]) -> None:
    repository = compose(architectures=("aarch64", ARCH, "noarch", "x86_64-i586"), binaries=40)
    summary = loader.load(repository.root, tag="a tag")
    assert members_of(loader.database, summary) == expected_members(repository)
    nodes = nodes_of(loader.database, summary)
    # In the order of the list of known names, which is not that of the alphabet.
    archs = "aarch64, x86_64, x86_64-i586, noarch"
    sources = ", ".join(f"{arch}/SRPMS.classic" for arch in archs.split(", "))
    binaries = {name for _, _, name in repository.binaries}
    assert nodes["/"] == {
        "depth": "0", "type": "repo", "size": str(len(repository.sources) + len(binaries)),
        "class": "repository", "task": "305000", "prev": "304999", "archs": archs,
        "comps": "checkinstall, classic, debuginfo, gostcrypto",
    }  # fmt: skip
    assert nodes["srpm"]["SRPMS"] == sources
    for path, names in expected_members(repository).items():
        assert nodes[path]["size"] == str(len(names)), path
    common = loader.database.query(
        "SELECT DISTINCT pkgset_tag, pkgset_complete, toString(pkgset_date) FROM PackageSetName"
        " WHERE pkgset_ruuid = {root:UUID}",
        {"root": summary.root},
    )
    assert common == [("a tag", 1, "2022-08-18 00:00:00")]


# Lists


def test_list_of_several_streams(
    loader: Loader, compose: Callable[..., ComposedRepository]
) -> None:
    repository = compose(list_streams=4)
    for name in (CLASSIC, SOURCES):
        damage.split_list(repository.root, ARCH, name, [3, 1000])
    summary = loader.load(repository.root)
    assert members_of(loader.database, summary) == expected_members(repository)


def test_empty_list(loader: Loader, compose: Callable[..., ComposedRepository]) -> None:
    repository = compose()
    damage.empty_list(repository.root, ARCH, "pkglist.debuginfo")
    summary = loader.load(repository.root)
    assert nodes_of(loader.database, summary)["x86_64/debuginfo"]["size"] == "0"
    expected = {**expected_members(repository), "x86_64/debuginfo": set()}
    assert members_of(loader.database, summary) == expected


def test_repository_of_nothing(loader: Loader, tmp_path: Path) -> None:
    root = compose_repository(tmp_path / "nothing", EMPTY).root
    nodes = nodes_of(loader.database, loader.load(root))
    assert {name: node["size"] for name, node in nodes.items()} == {
        "/": "0",
        "srpm": "0",
        ARCH: "0",
        "x86_64/classic": "0",
    }


def _first(root: Path) -> str:
    return sorted(path.name for path in (root / f"{ARCH}/RPMS.classic").iterdir())[0]


BROKEN_LISTS: dict[str, Callable[[Path], None]] = {
    "garbage": lambda root: damage.insert_into_list(root, ARCH, CLASSIC, b"garbage" * 9),
    "left over": lambda root: damage.insert_into_list(root, ARCH, CLASSIC, b"\0" * 5, after=9999),
    "cut": lambda root: damage.truncate_list(root, ARCH, CLASSIC, -11),
    "no file name": lambda root: damage.drop_tag_from_list(root, ARCH, CLASSIC, TAG_FILE_NAME),
    "no md5": lambda root: damage.drop_tag_from_list(root, ARCH, CLASSIC, TAG_MD5),
    "short md5": lambda root: damage.change_listed(
        root, ARCH, CLASSIC, _first(root), {TAG_MD5: string(TAG_MD5, "0" * 31)}
    ),
    "path": lambda root: damage.change_listed(
        root, ARCH, CLASSIC, _first(root), {TAG_FILE_NAME: string(TAG_FILE_NAME, "../x.rpm")}
    ),
    "not xz": lambda root: damage.write_raw_list(root, ARCH, CLASSIC, b"no xz at all"),
    "cut xz": lambda root: damage.write_raw_list(
        root, ARCH, CLASSIC, damage.list_path(root, ARCH, CLASSIC).read_bytes()[:-30]
    ),
    "damaged xz": lambda root: _damage_xz(root),
}


def _damage_xz(root: Path) -> None:
    path = damage.list_path(root, ARCH, CLASSIC)
    damage.flip_bytes(path, path.stat().st_size // 2, 8)
    damage.refresh_release(root, ARCH)


@pytest.mark.parametrize("fault", BROKEN_LISTS)
def test_broken_list(
    fault: str, loader: Loader, compose: Callable[..., ComposedRepository]
) -> None:
    root = compose().root
    BROKEN_LISTS[fault](root)
    assert_refused(loader, root, f"{ARCH}/base/{CLASSIC}.xz")


@pytest.mark.parametrize("name", ["src", ARCH])
def test_broken_hash_list(
    name: str, loader: Loader, compose: Callable[..., ComposedRepository]
) -> None:
    root = compose().root
    damage.truncate(root / f"files/list/{name}.hash.xz", -5)
    assert_refused(loader, root, f"{name}.hash.xz")


def test_source_lists_that_disagree(
    loader: Loader, compose: Callable[..., ComposedRepository]
) -> None:
    repository = compose(architectures=("aarch64", ARCH))
    both = set(repository.listed_sources("aarch64")) & set(repository.listed_sources(ARCH))
    name = min(both)
    damage.change_listed(repository.root, ARCH, SOURCES, name, {TAG_MD5: string(TAG_MD5, "0" * 32)})
    assert_refused(loader, repository.root, name, f"{SOURCES}.xz")


# The release file


@pytest.mark.parametrize("section", ["MD5Sum", "BLAKE2b"])
def test_list_without_its_digest(
    section: str, loader: Loader, compose: Callable[..., ComposedRepository]
) -> None:
    """A wrong digest is an error, or a warning when that is asked for."""
    repository = compose(blake2b=section == "BLAKE2b")
    damage.wrong_release_digest(repository.root, ARCH, f"base/{CLASSIC}.xz", section)
    assert_refused(loader, repository.root, f"{CLASSIC}.xz", "does not match")
    summary = loader.load(repository.root, accept_bad_checksums=True)
    assert summary.warnings == 1
    assert members_of(loader.database, summary) == expected_members(repository)


def test_blake2b_is_preferred(loader: Loader, compose: Callable[..., ComposedRepository]) -> None:
    repository = compose()
    damage.wrong_release_digest(repository.root, ARCH, f"base/{CLASSIC}.xz", "MD5Sum")
    assert loader.load(repository.root).warnings == 0


def test_list_of_another_size(loader: Loader, compose: Callable[..., ComposedRepository]) -> None:
    root = compose().root
    damage.append_bytes(damage.list_path(root, ARCH, CLASSIC), b"\0\0\0\0")
    assert_refused(loader, root, f"{CLASSIC}.xz", "bytes where")


def test_list_that_release_does_not_mention(
    loader: Loader, compose: Callable[..., ComposedRepository], caplog: pytest.LogCaptureFixture
) -> None:
    repository = compose()
    damage.drop_release_entry(repository.root, ARCH, f"base/{CLASSIC}.xz")
    summary = loader.load(repository.root)
    assert summary.warnings == 1
    assert f"base/{CLASSIC}.xz is not mentioned" in caplog.text
    assert members_of(loader.database, summary) == expected_members(repository)


def test_release_without_blake2b_and_with_odd_label(
    loader: Loader, compose: Callable[..., ComposedRepository]
) -> None:
    repository = compose()
    damage.drop_release_section(repository.root, ARCH, "BLAKE2b")
    damage.set_release_field(repository.root, ARCH, "Label", b"\xd1\xff")
    summary = loader.load(repository.root)
    assert summary.warnings == 0
    assert members_of(loader.database, summary) == expected_members(repository)


def test_release_without_components(
    loader: Loader, compose: Callable[..., ComposedRepository]
) -> None:
    root = compose().root
    damage.set_release_field(root, ARCH, "Components", None)
    nodes = nodes_of(loader.database, loader.load(root))
    assert ARCH in nodes
    assert not [path for path in nodes if path.startswith(f"{ARCH}/")]


# The tree


def test_tree_without_lists(loader: Loader, compose: Callable[..., ComposedRepository]) -> None:
    root = compose().root
    damage.remove(root, "files/list")
    assert_refused(loader, root, str(root), "files/list")


def test_tree_of_unknown_architectures(
    loader: Loader, compose: Callable[..., ComposedRepository]
) -> None:
    root = compose(architectures=(ARCH,)).root
    damage.rename_arch(root, ARCH, "z80")
    assert_refused(loader, root, str(root), "no architecture")


def test_squeezed_tree(loader: Loader, compose: Callable[..., ComposedRepository]) -> None:
    root = compose().root
    damage.squeeze(root)
    assert_refused(loader, root, str(root), "no architecture")


def test_unknown_architecture_beside_known_ones(
    loader: Loader, compose: Callable[..., ComposedRepository], caplog: pytest.LogCaptureFixture
) -> None:
    repository = compose(architectures=(ARCH, "aarch64"))
    damage.rename_arch(repository.root, "aarch64", "z80")
    summary = loader.load(repository.root)
    assert "z80: unknown architecture" in caplog.text
    assert [path for path in nodes_of(loader.database, summary) if "z80" in path] == []


def test_architecture_without_base(
    loader: Loader, compose: Callable[..., ComposedRepository]
) -> None:
    root = compose().root
    damage.remove(root, "noarch/base")
    nodes = nodes_of(loader.database, loader.load(root))
    assert nodes["noarch"]["size"] == "0"
    assert not [path for path in nodes if path.startswith("noarch/")]
    assert "noarch" in nodes["/"]["archs"]


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ("base/release", "No such file"),
        (f"base/{CLASSIC}.xz", "the list of a component is missing"),
        (f"base/{SOURCES}.xz", "the list of sources is missing"),
    ],
)
def test_missing_list(
    missing: str, words: str, loader: Loader, compose: Callable[..., ComposedRepository]
) -> None:
    root = compose().root
    damage.remove(root, f"{ARCH}/{missing}")
    assert_refused(loader, root, f"{ARCH}/{missing}: {words}", accept_bad_checksums=True)


def test_architecture_without_sources(
    loader: Loader, compose: Callable[..., ComposedRepository]
) -> None:
    """A source list that release does not mention need not be there."""
    repository = compose()
    damage.remove(repository.root, f"{ARCH}/base/{SOURCES}.xz")
    damage.refresh_release(repository.root, ARCH)
    summary = loader.load(repository.root)
    assert members_of(loader.database, summary)["srpm"] == set(repository.sources)


def test_architecture_that_is_a_link(
    loader: Loader, compose: Callable[..., ComposedRepository]
) -> None:
    repository = compose()
    damage.link_arch(repository.root, ARCH)
    summary = loader.load(repository.root)
    assert members_of(loader.database, summary) == expected_members(repository)


@pytest.mark.parametrize(
    ("info", "attributes", "warnings"),
    [
        (None, {"task": "0"}, 1),
        (b"prev 5\n", {"prev": "5", "task": "0"}, 1),
        (b"task x\nprev 5\n", {"prev": "5", "task": "0"}, 1),
        (b"task 7\n\nprev a b\n   \nlone\nnext\t9\n", {"task": "7", "next": "9"}, 2),
        (b"task 7\nsize 9\nname \xff\xd0\x96\n", {"task": "7", "name": "\udcffЖ"}, 0),
    ],
)
def test_task_info(
    info: bytes | None,
    attributes: dict[str, str],
    warnings: int,
    loader: Loader,
    tmp_path: Path,
) -> None:
    root = compose_repository(tmp_path / "tree", EMPTY).root
    if info is None:
        damage.remove(root, "files/list/task.info")
    else:
        damage.write_task_info(root, info)
    summary = loader.load(root, f"task-info-{tmp_path.name}")
    assert summary.warnings == warnings
    ((keys, values),) = loader.database.query(
        "SELECT `pkgset_kv.k`, `pkgset_kv.v` FROM PackageSetName WHERE pkgset_uuid = {root:UUID}",
        {"root": summary.root},
    )
    replaced_size = "9" if info and b"size" in info else "0"
    expected = {"depth": "0", "type": "repo", "size": replaced_size, "class": "repository"}
    assert list(zip(keys, values, strict=True)) == list(
        {**expected, **attributes, "archs": ARCH, "comps": "classic"}.items()
    )


# Members that only one list knows


def test_source_in_the_hash_list_only(
    loader: Loader, compose: Callable[..., ComposedRepository]
) -> None:
    """Sources of gostcrypto binaries are in no source list, others may be taken out of it."""
    repository = compose(sources=8, binaries=20)
    listed = {
        name for arch in repository.plan.architectures for name in repository.listed_sources(arch)
    }
    unlisted = set(repository.sources) - listed
    assert unlisted
    damage.unlist_source(repository.root, min(listed))
    summary = loader.load(repository.root)
    assert members_of(loader.database, summary)["srpm"] == set(repository.sources)
    assert digest_rows(loader.database, repository) == set(map(digest_row, repository.packages))
    again = loader.load(repository.root, date="2022-08-19")
    assert again.read == 0


def test_stale_names_in_hash_lists(
    loader: Loader, compose: Callable[..., ComposedRepository], caplog: pytest.LogCaptureFixture
) -> None:
    repository = compose()
    damage.add_stale_hash(repository.root, "src", "gone-1-alt1.src.rpm")
    damage.add_stale_hash(repository.root, ARCH, "gone-1-alt1.x86_64.rpm")
    damage.add_stale_hash(repository.root, "mipsel", "gone-1-alt1.mipsel.rpm")
    summary = loader.load(repository.root)
    assert (summary.warnings, summary.ignored_hashes) == (1, 1)
    assert "SRPMS/gone-1-alt1.src.rpm: in the hash list" in caplog.text
    assert members_of(loader.database, summary) == expected_members(repository)
    size = len(repository.sources) + len({name for _, _, name in repository.binaries})
    assert nodes_of(loader.database, summary)["/"]["size"] == str(size)


# Digests


@pytest.mark.parametrize("blake2b", [True, False])
@pytest.mark.parametrize("missing", ["sha256", "blake2b", "both", "hash lists"])
def test_missing_digests_are_computed(
    missing: str, blake2b: bool, loader: Loader, compose: Callable[..., ComposedRepository]
) -> None:
    repository = compose(blake2b=blake2b, components=("classic", "debuginfo"))
    root = repository.root
    if missing in ("sha256", "both"):
        for name in ("src", *repository.plan.architectures):
            damage.change_hashes(root, name, lambda digests: dict(list(digests.items())[1::2]))
    if missing == "hash lists":
        for path in (root / "files/list").glob("*.hash.xz"):
            path.unlink()
    if missing in ("blake2b", "both"):
        damage.drop_tag_from_list(root, ARCH, CLASSIC, TAG_BLAKE2B)
        damage.drop_tag_from_list(root, ARCH, SOURCES, TAG_BLAKE2B)
    loader.load(root)
    rows = digest_rows(loader.database, repository)
    assert rows == set(map(digest_row, repository.packages))
    assert not [row for row in rows if EMPTY_SHA256 in row or EMPTY_BLAKE2B in row]


def test_digests_of_the_lists_are_trusted_unless_verified(
    loader: Loader, compose: Callable[..., ComposedRepository]
) -> None:
    repository = compose()
    name = repository.members(ARCH, "classic")[0]
    wrong = hashlib.sha256(b"something else").digest()
    damage.change_hashes(repository.root, ARCH, lambda digests: {**digests, name: wrong.hex()})
    assert_refused(loader, repository.root, name, "sha256", verify=True)
    loader.load(repository.root)
    assert wrong in {row[3] for row in digest_rows(loader.database, repository)}


@pytest.mark.parametrize(
    ("tag", "digits", "word"), [(TAG_MD5, 32, "md5"), (TAG_BLAKE2B, 128, "blake2b")]
)
def test_verification_finds_wrong_digest(
    tag: int, digits: int, word: str, loader: Loader, compose: Callable[..., ComposedRepository]
) -> None:
    repository = compose()
    name = repository.members(ARCH, "classic")[0]
    change = {tag: string(tag, "0" * digits)}
    damage.change_listed(repository.root, ARCH, CLASSIC, name, change)
    assert_refused(loader, repository.root, name, word, verify=True)


def test_verification_of_a_sound_tree(
    loader: Loader, compose: Callable[..., ComposedRepository]
) -> None:
    repository = compose()
    summary = loader.load(repository.root, verify=True)
    assert summary.read == len(repository.packages)


# Files that are not as their lists say


def test_same_name_in_two_components(loader: Loader, tmp_path: Path) -> None:
    """The packages differ, and so do their identities and digests."""
    plan = RepositoryPlan(0, 0, 0, 0, architectures=(ARCH,), components=("classic", "gostcrypto"))
    root = compose_repository(tmp_path / "twins", plan).root
    package = RpmPackage(f"twin{next(_seeds)}")
    twin = RpmPackage(package.name, files=[RpmFile("/etc/twin", b"twin")])
    first = place_binary(root, ARCH, "classic", package, beside=True)
    second = place_binary(root, ARCH, "gostcrypto", twin, beside=True)
    summary = loader.load(root)
    rows = loader.database.query(
        "SELECT pkgset_nodename, pkgh_md5, pkgh_sha256, pkgh_blake2b FROM PackageSetName"
        " INNER JOIN PackageSet USING pkgset_uuid INNER JOIN PackageHash ON pkg_hash = pkgh_mmh"
        " WHERE pkgset_ruuid = {root:UUID}",
        {"root": summary.root},
    )
    assert sorted(rows) == [
        (
            component,
            hashlib.md5(d).digest(),
            hashlib.sha256(d).digest(),
            hashlib.blake2b(d).digest(),
        )
        for component, d in (("classic", first.data), ("gostcrypto", second.data))
    ]
    nodes = nodes_of(loader.database, summary)
    assert nodes["/"]["size"] == "1"


def test_one_file_in_two_components(
    loader: Loader, compose: Callable[..., ComposedRepository]
) -> None:
    repository = compose()
    name = repository.members(ARCH, "classic")[0]
    damage.move_between_components(repository.root, ARCH, name, "classic", "gostcrypto", copy=True)
    summary = loader.load(repository.root)
    members = members_of(loader.database, summary)
    assert name in members["x86_64/classic"] & members["x86_64/gostcrypto"]
    assert loader.database.query(
        "SELECT count() FROM Packages WHERE pkg_filename = {name:String}", {"name": name}
    ) == [(1,)]


def test_dangling_link(loader: Loader, compose: Callable[..., ComposedRepository]) -> None:
    repository = compose()
    names = repository.members(ARCH, "classic")
    for name in names[:2]:
        damage.dangle(repository.root, ARCH, "classic", name)
    assert_refused(loader, repository.root, names[0], "No such file", "1 more")


def test_missing_source_file(loader: Loader, compose: Callable[..., ComposedRepository]) -> None:
    repository = compose()
    name = repository.listed_sources(ARCH)[0]
    damage.remove(repository.root, f"files/SRPMS/{name}")
    assert_refused(loader, repository.root, f"files/SRPMS/{name}", "No such file")


def test_file_of_another_size(loader: Loader, compose: Callable[..., ComposedRepository]) -> None:
    repository = compose()
    name = repository.members(ARCH, "classic")[-1]
    damage.truncate(repository.root / f"files/{ARCH}/RPMS/{name}", -1)
    assert_refused(loader, repository.root, name, "bytes where its list says")


def test_directory_instead_of_a_package(
    loader: Loader, compose: Callable[..., ComposedRepository]
) -> None:
    repository = compose()
    name = repository.members(ARCH, "classic")[0]
    link = repository.root / f"{ARCH}/RPMS.classic/{name}"
    link.unlink()
    link.mkdir()
    assert_refused(loader, repository.root, name, "not a regular file")


@pytest.mark.parametrize("part", ["lead", "signature index", "main data"])
def test_truncated_package(
    part: str, loader: Loader, compose: Callable[..., ComposedRepository]
) -> None:
    """The lists agree with the cut file, so only reading it finds the fault."""
    repository = compose()
    name = repository.members(ARCH, "classic")[0]
    path = repository.root / f"files/{ARCH}/RPMS/{name}"
    size = damage.rpm_cuts(path.read_bytes())[part]
    damage.truncate(path, size)
    change = {TAG_FILE_SIZE: int32(TAG_FILE_SIZE, size)}
    damage.change_listed(repository.root, ARCH, CLASSIC, name, change)
    assert_package_named(loader, repository, name)


def test_corrupt_package(loader: Loader, compose: Callable[..., ComposedRepository]) -> None:
    repository = compose()
    name = repository.members(ARCH, "classic")[0]
    damage.flip_bytes(repository.root / f"files/{ARCH}/RPMS/{name}", 96, 8)
    assert_package_named(loader, repository, name)


def assert_package_named(loader: Loader, repository: ComposedRepository, name: str) -> None:
    """The load fails naming the package, and no set is written."""
    counts = "SELECT count() FROM PackageSetName UNION ALL SELECT count() FROM PackageSet"
    before = loader.database.query(counts)
    with pytest.raises(SourceError, match=re.escape(name)):
        loader.load(repository.root)
    assert sorted(loader.database.query(counts)) == sorted(before)


def test_header_that_does_not_match_its_digest(
    loader: Loader, compose: Callable[..., ComposedRepository]
) -> None:
    """A warning, and an error when we are strict."""
    repository = compose()
    item = repository.binaries[ARCH, "classic", repository.members(ARCH, "classic")[0]]
    path = repository.root / item.path
    data = path.read_bytes()
    position = data.index(b"A package" if b"A package" in data else item.package.name.encode(), 400)
    damage.flip_bytes(path, position, 1, 0x20)
    assert_refused(loader, repository.root, item.file_name, "SHA-1", strict=True)
    assert loader.load(repository.root).warnings == 1
