"""The repository composer, held against librpm, createrepo_c and plain arithmetic."""

from __future__ import annotations

import hashlib
import json
import lzma
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support import damage, librpm
from tests.support.apt_lists import TAG_BLAKE2B, TAG_DIRECTORY, TAG_FILE_NAME, TAG_MD5
from tests.support.blueprints import (
    BINARY_ODDITIES,
    SOURCE_ODDITIES,
    BinaryBlueprint,
    SourceBlueprint,
    share,
)
from tests.support.placing import place_binary, place_source
from tests.support.repository import (
    ComposedPackage,
    ComposedRepository,
    RepositoryPlan,
    compose_repository,
    evolve_repository,
    main,
)
from tests.support.rpm_header import Entry, parse_header, string, texts_of, to_bytes
from tests.support.rpm_package import RpmFile, RpmPackage

needs_rpm = pytest.mark.skipif(not librpm.has_command(), reason="the rpm command is missing")
needs_binding = pytest.mark.skipif(not librpm.has_binding(), reason="python3-rpm is missing")
needs_createrepo = pytest.mark.skipif(
    shutil.which("createrepo_c") is None, reason="createrepo_c is missing"
)

PLAN = RepositoryPlan(
    sources=40, binaries=120, files=4000, dependencies=1500, odd_share=0.6, list_streams=3
)
DESCRIBED_TAGS = (
    "NAME",
    "ARCH",
    "SOURCERPM",
    "BUILDTIME",
    "DISTTAG",
    "FILENAMES",
    "REQUIRENAME",
    "PROVIDEVERSION",
    "CHANGELOGTEXT",
    "SHA1HEADER",
    "SIGMD5",
    "SIGGPG",
)
EMPTY = RepositoryPlan(sources=0, binaries=0, files=0, dependencies=0)


@pytest.fixture(scope="module")
def composed(tmp_path_factory: pytest.TempPathFactory) -> ComposedRepository:
    """A tree full of odd packages that no test changes."""
    return compose_repository(tmp_path_factory.mktemp("composed") / "tree", PLAN)


@pytest.fixture
def small(tmp_path: Path) -> ComposedRepository:
    """A tree to damage."""
    return compose_repository(tmp_path / "small", RepositoryPlan(sources=8, binaries=20))


def snapshot(root: Path) -> dict[str, str]:
    """Digest of every file and target of every link in a tree."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if path.is_symlink():
            found[name] = str(path.readlink())
        elif path.is_file():
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def entries_of(header: bytes) -> dict[int, Entry]:
    """Entries of a header by tag."""
    return {entry.tag: entry for entry in parse_header(header)[0]}


def text_of(header: bytes, tag: int) -> str:
    """The one text of a tag in a header."""
    return texts_of(entries_of(header)[tag])[0].decode()


def listed_names(root: Path, arch: str, name: str) -> list[str]:
    """File names in a header list."""
    return [text_of(header, TAG_FILE_NAME) for header in damage.read_list(root, arch, name)]


def hashes(root: Path, name: str) -> dict[str, str]:
    """A hash list as a mapping."""
    text = lzma.decompress((root / f"files/list/{name}.hash.xz").read_bytes()).decode()
    return {key: digest for digest, key in (line.split("  ") for line in text.splitlines())}


def release(root: Path, arch: str) -> bytes:
    """The release file of an arch directory."""
    return (root / arch / "base/release").read_bytes()


# What is composed


def test_counts_are_exact(composed: ComposedRepository) -> None:
    """The tree holds what the plan asks for, by its own account and by its descriptions."""
    packages = [package.package for package in composed.packages]
    relations = [(p.requires, p.provides, p.conflicts, p.obsoletes) for p in packages]
    totals = composed.totals()
    assert totals["sources"] == PLAN.sources
    assert totals["binaries"] == PLAN.binaries
    assert totals["files"] == PLAN.files == sum(len(p.files) for p in packages)
    assert totals["dependencies"] == PLAN.dependencies
    assert sum(len(kind) for kinds in relations for kind in kinds) == PLAN.dependencies
    assert totals["bytes"] == sum(
        (composed.root / p.path).stat().st_size for p in composed.packages
    )


@pytest.mark.parametrize(
    ("sources", "binaries", "files", "dependencies"),
    [(0, 0, 0, 0), (1, 1, 2, 1), (5, 2, 10, 2), (3, 40, 6, 40), (7, 9, 1000, 9), (4, 0, 40, 10)],
)
def test_small_counts_are_exact_too(
    tmp_path: Path, sources: int, binaries: int, files: int, dependencies: int
) -> None:
    """Corners of the plan compose as well."""
    plan = RepositoryPlan(sources, binaries, files, dependencies, odd_share=0.5)
    totals = compose_repository(tmp_path / "tree", plan).totals()
    del totals["bytes"]
    assert list(totals.values()) == [sources, binaries, files, dependencies]


@pytest.mark.parametrize(
    "wrong",
    [
        {"dependencies": 1},
        {"files": 1},
        {"architectures": ()},
        {"architectures": ("x86_64-i586",)},
    ],
)
def test_impossible_plans_are_refused(wrong: dict[str, object]) -> None:
    """A plan that cannot be kept says why."""
    with pytest.raises(ValueError, match=r"needed|must"):
        replace(RepositoryPlan(), **wrong)  # type: ignore[arg-type]


def test_every_oddity_occurs(composed: ComposedRepository) -> None:
    """A large share of odd packages covers all kinds, so the other tests see them."""
    sources = {p.blueprint.oddity for p in composed.sources.values()}
    binaries = {p.blueprint.oddity for p in composed.binaries.values()}
    assert sources >= {None, *SOURCE_ODDITIES}
    assert binaries >= {None, *BINARY_ODDITIES}


def test_same_seed_same_bytes(composed: ComposedRepository, tmp_path: Path) -> None:
    """A tree follows from its plan alone."""
    again = compose_repository(tmp_path / "again", PLAN)
    assert snapshot(again.root) == snapshot(composed.root)
    other = compose_repository(tmp_path / "other", replace(PLAN, seed=2))
    assert snapshot(other.root) != snapshot(composed.root)


def test_share_adds_up() -> None:
    """Parts follow the weights and add up."""
    assert share(10, [1, 1, 2]) == [3, 2, 5] or share(10, [1, 1, 2]) == [2, 3, 5]
    assert sum(share(1001, [0.1, 5, 7.7])) == 1001
    assert share(5, []) == []


@needs_rpm
def test_digests_and_payloads_are_right(composed: ComposedRepository) -> None:
    """librpm accepts every package and finds all files in its payload."""
    paths = [composed.root / package.path for package in composed.packages]
    assert librpm.check(paths) == []
    for package in composed.packages[::9]:
        files = [file for file in package.package.files if not file.is_ghost]
        assert len(librpm.unpack(composed.root / package.path)) == len(files)


@needs_rpm
def test_librpm_agrees_with_descriptions(composed: ComposedRepository) -> None:
    """Names, files, dependencies, changelogs and identities are as described."""
    for item in composed.packages:
        package = item.package
        tags = librpm.read_tags(
            composed.root / item.path,
            DESCRIBED_TAGS,
        )
        paths = [to_bytes(file.path) for file in package.files]
        assert [to_bytes(name) for name in tags["FILENAMES"]] == paths
        assert tags["NAME"] == [package.name]
        assert tags["ARCH"] == [package.arch]
        assert tags["REQUIRENAME"] == [str(item.name) for item in package.requires]
        assert tags["PROVIDEVERSION"] == [str(item.version) for item in package.provides]
        assert tags["CHANGELOGTEXT"] == [str(entry.text) for entry in package.changelog]
        assert tags["SHA1HEADER"] == [item.header_sha1.hex()]
        assert tags["SIGMD5"] == [item.body_md5.hex()]
        assert tags["SIGGPG"] == [item.gpg.hex()]
        assert tags["BUILDTIME"] == [str(item.buildtime)]
        assert tags["DISTTAG"] == [package.disttag]
        if isinstance(item.blueprint, BinaryBlueprint):
            assert tags["SOURCERPM"] == [item.blueprint.sourcerpm]


def test_identities_differ(composed: ComposedRepository) -> None:
    """No two packages of a tree have one identity."""
    identities = {package.pkg_hash for package in composed.packages}
    assert len(identities) == len(composed.packages)
    assert 0 not in identities


@needs_createrepo
def test_createrepo_accepts_the_tree(composed: ComposedRepository, tmp_path: Path) -> None:
    """Another indexer reads every package."""
    shutil.copytree(composed.root / "files", tmp_path / "files")
    command = ["createrepo_c", "--quiet", "--no-database", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True)
    primary = next((tmp_path / "repodata").glob("*-primary.xml*"))
    reader = {".gz": ["gzip", "-dc"], ".zst": ["zstd", "-dc"]}[primary.suffix]
    text = subprocess.run([*reader, str(primary)], check=True, capture_output=True).stdout
    match = re.search(rb'packages="(\d+)"', text)
    assert match
    assert int(match[1]) == len(composed.packages)


# Indexes


def test_lists_name_the_members(composed: ComposedRepository) -> None:
    """Header lists, links and the account of the composer agree."""
    for arch, components in composed.components.items():
        for component in components:
            names = composed.members(arch, component)
            links = sorted(
                path.name for path in (composed.root / arch / f"RPMS.{component}").iterdir()
            )
            assert (
                sorted(listed_names(composed.root, arch, f"pkglist.{component}")) == names == links
            )
        if not arch.endswith("-i586"):
            assert listed_names(composed.root, arch, "srclist.classic") == composed.listed_sources(
                arch
            )
    assert all(path.exists() for path in composed.root.rglob("*.rpm"))


def test_some_sources_are_in_no_list(composed: ComposedRepository) -> None:
    """Sources that only build other components' binaries stand in src.hash alone."""
    listed = {name for arch in composed.components for name in composed.listed_sources(arch)}
    assert set(composed.sources) - listed
    assert set(hashes(composed.root, "src")) == set(composed.sources)


def test_repackaged_binaries_have_no_source(composed: ComposedRepository) -> None:
    """Names of 32-bit twins begin with i586- and their sources exist nowhere."""
    twins = [p for (arch, _, _), p in composed.binaries.items() if arch == "x86_64-i586"]
    assert twins
    for twin in twins:
        assert twin.package.name.startswith("i586-")
        assert twin.package.arch == "i586"
        assert composed.source_of(twin) is None


def test_digests_in_lists(composed: ComposedRepository) -> None:
    """MD5, BLAKE2b, size and SHA-256 in the lists are those of the files."""
    for (arch, component, name), package in composed.binaries.items():
        data = (composed.root / arch / f"RPMS.{component}" / name).read_bytes()
        assert package.md5 == hashlib.md5(data).hexdigest()
        assert package.blake2b == hashlib.blake2b(data).hexdigest()
        assert package.sha256 == hashes(composed.root, arch)[name]
        assert package.sha256 == hashlib.sha256(data).hexdigest()
    header = damage.read_list(composed.root, "noarch", "pkglist.classic")[0]
    package = composed.binaries["noarch", "classic", text_of(header, TAG_FILE_NAME)]
    assert text_of(header, TAG_MD5) == package.md5
    assert text_of(header, TAG_BLAKE2B) == package.blake2b
    assert text_of(header, TAG_DIRECTORY) == "RPMS.classic"


@pytest.mark.parametrize(("section", "algorithm"), [("MD5Sum", "md5"), ("BLAKE2b", "blake2b")])
def test_release_digests(composed: ComposedRepository, section: str, algorithm: str) -> None:
    """Release files name lists compressed and not, with right sizes and digests."""
    for arch in composed.components:
        text = release(composed.root, arch).decode()
        assert "-----BEGIN PGP SIGNATURE-----" in text
        lines = re.search(rf"^{section}:\n((?: .*\n)+)", text, re.M)
        assert lines
        checked = 0
        for digest, size, path in re.findall(r" (\w+) (\d+) (\S+)\n", lines[1]):
            file = composed.root / arch / path
            data = (
                file.read_bytes()
                if file.exists()
                else lzma.decompress(Path(f"{file}.xz").read_bytes())
            )
            assert (digest, int(size)) == (hashlib.new(algorithm, data).hexdigest(), len(data))
            checked += 1
        assert checked >= 3 * len(composed.components[arch])


@needs_binding
def test_librpm_reads_the_lists(composed: ComposedRepository, tmp_path: Path) -> None:
    """Lists are plain concatenations of headers, also when their streams cut headers in two."""
    compressed = (composed.root / "x86_64/base/pkglist.classic.xz").read_bytes()
    assert compressed.count(b"\xfd7zXZ\0") == PLAN.list_streams
    path = tmp_path / "pkglist"
    path.write_bytes(lzma.decompress(compressed))
    headers = librpm.read_header_list(path, ["NAME", "SOURCERPM", "PROVIDENAME"])
    members = composed.members("x86_64", "classic")
    assert len(headers) == len(members)
    described = {(p.package.name, str(p.package.sourcerpm)) for p in composed.binaries.values()}
    assert {(h["NAME"][0], h["SOURCERPM"][0]) for h in headers} <= described
    assert all(header["NAME"][0] in header["PROVIDENAME"] for header in headers)


def test_plain_text_lists(composed: ComposedRepository) -> None:
    """task.info and the tables of packages are there."""
    lists = composed.root / "files/list"
    assert (lists / "task.info").read_text() == f"task {PLAN.task}\nprev {PLAN.task - 1}\n"
    rows = lzma.decompress((lists / "src.list.xz").read_bytes()).decode().splitlines()
    assert len(rows) == PLAN.sources
    assert rows == sorted(rows)
    assert {row.split("\t")[2] for row in rows} == set(composed.sources)
    binaries = lzma.decompress((lists / "bin.list.xz").read_bytes()).decode().splitlines()
    repackaged = composed.members("x86_64-i586", "classic")
    assert len(binaries) == PLAN.binaries - len(repackaged)


def test_plan_without_blake2b(tmp_path: Path) -> None:
    """Neither release files nor header lists speak of BLAKE2b then."""
    plan = RepositoryPlan(blake2b=False, architectures=("aarch64",), orphans=3)
    repository = compose_repository(tmp_path / "tree", plan)
    assert b"BLAKE2b" not in release(repository.root, "aarch64")
    for header in damage.read_list(repository.root, "aarch64", "pkglist.classic"):
        assert TAG_BLAKE2B not in entries_of(header)
    orphans = [p for p in repository.binaries.values() if repository.source_of(p) is None]
    assert len(orphans) == 3


# The next day


def test_next_day_shares_unchanged_files(composed: ComposedRepository) -> None:
    """Most files are hard links; rebuilt, new and removed sources take their binaries along."""
    root = composed.root.parent / "next"
    later = evolve_repository(composed, root, changed=0.1, added=0.05, removed=0.05)
    old_names = {p.blueprint.name for p in composed.sources.values()}
    new_names = {p.blueprint.name for p in later.sources.values()}
    assert len(old_names - new_names) == 2
    assert len(new_names - old_names) == 2
    rebuilt = [p.blueprint for p in later.sources.values() if _step(p) == 1]
    assert len(rebuilt) == 4
    for binary in later.binaries.values():
        assert isinstance(binary.blueprint, BinaryBlueprint)
        assert binary.blueprint.source in [p.blueprint for p in later.sources.values()]
    same = set(later.binaries) & set(composed.binaries)
    assert len(same) > 0.7 * len(composed.binaries)
    for key in same:
        path = composed.binaries[key].path
        assert os.path.samefile(composed.root / path, later.root / path)
    assert f"prev {PLAN.task}\n" in (later.root / "files/list/task.info").read_text()
    assert hashes(later.root, "src").keys() == later.sources.keys()


def _step(package: ComposedPackage) -> int:
    assert isinstance(package.blueprint, SourceBlueprint)
    return package.blueprint.step


def test_rebuilt_source_has_a_new_changelog_entry(small: ComposedRepository) -> None:
    """A rebuild adds one entry and keeps the older ones."""
    later = evolve_repository(small, small.root.parent / "later", changed=0.01, added=0, removed=0)
    fresh = [p for p in later.sources.values() if _step(p)]
    assert len(fresh) == 1
    name = fresh[0].blueprint.name
    before = next(p for p in small.sources.values() if p.blueprint.name == name)
    assert list(fresh[0].package.changelog[1:]) == list(before.package.changelog)
    assert fresh[0].package.evr in str(fresh[0].package.changelog[0].author)
    assert fresh[0].pkg_hash > before.pkg_hash


def test_unchanged_day(small: ComposedRepository) -> None:
    """A snapshot without changes differs in its release files and task.info only."""
    later = evolve_repository(small, small.root.parent / "later", changed=0, added=0, removed=0)
    before, after = snapshot(small.root), snapshot(later.root)
    differing = {name.split("/")[-1] for name in before if before[name] != after[name]}
    assert before.keys() == after.keys()
    assert {name.split(".")[0] for name in differing} == {"release", "task"}


# Damage


Damage = Callable[[Path], object]
LIST = ("x86_64", "pkglist.classic")


def _first(root: Path) -> str:
    return listed_names(root, *LIST)[0]


@pytest.mark.parametrize(
    ("harm", "changed"),
    [
        (lambda root: damage.empty_list(root, *LIST), b""),
        (lambda root: damage.truncate_list(root, *LIST, -3), None),
        (lambda root: damage.insert_into_list(root, *LIST, b"garbage"), None),
        (lambda root: damage.drop_from_list(root, *LIST, _first(root)), None),
        (lambda root: damage.drop_tag_from_list(root, *LIST, TAG_FILE_NAME), None),
        (
            lambda root: damage.change_listed(
                root, *LIST, _first(root), {TAG_MD5: string(TAG_MD5, "0" * 31)}
            ),
            None,
        ),
    ],
    ids=["empty", "truncated", "garbage", "dropped", "no names", "short digest"],
)
def test_list_damage_keeps_release_in_step(
    small: ComposedRepository, harm: Damage, changed: bytes | None
) -> None:
    """A damaged list is what the release file announces, so that only the damage is wrong."""
    path = damage.list_path(small.root, *LIST)
    before = lzma.decompress(path.read_bytes())
    harm(small.root)
    after = lzma.decompress(path.read_bytes())
    assert after != before
    assert changed is None or after == changed
    digest = hashlib.md5(path.read_bytes()).hexdigest()
    plain = hashlib.md5(after).hexdigest()
    assert f" {digest} {path.stat().st_size} base/pkglist.classic.xz".encode() in release(
        small.root, "x86_64"
    )
    assert f" {plain} {len(after)} base/pkglist.classic\n".encode() in release(small.root, "x86_64")


def test_raw_list_damage(small: ComposedRepository) -> None:
    """A list can be anything, with or without an announcement of it."""
    before = release(small.root, "x86_64")
    damage.write_raw_list(small.root, *LIST, b"not xz", refresh=False)
    assert release(small.root, "x86_64") == before
    damage.refresh_release(small.root, "x86_64")
    assert hashlib.md5(b"not xz").hexdigest().encode() in release(small.root, "x86_64")


def test_release_damage(small: ComposedRepository) -> None:
    """Fields, sections and single digests can be changed alone."""
    root, path = small.root, "base/pkglist.classic.xz"
    whole = release(root, "x86_64")
    damage.wrong_release_digest(root, "x86_64", path, "MD5Sum")
    wrong = release(root, "x86_64")
    assert sum(a != b for a, b in zip(whole, wrong, strict=True)) == 1
    damage.refresh_release(root, "x86_64")
    assert release(root, "x86_64") == whole
    damage.drop_release_entry(root, "x86_64", path)
    assert path.encode() not in release(root, "x86_64")
    damage.drop_release_section(root, "x86_64", "BLAKE2b")
    assert b"BLAKE2b" not in release(root, "x86_64")
    assert b"MD5Sum:\n " in release(root, "x86_64")
    damage.set_release_field(root, "x86_64", "Label", b"\xcc\xee\xe9")
    assert b"Label: \xcc\xee\xe9\n" in release(root, "x86_64")
    damage.set_release_field(root, "x86_64", "Components", None)
    assert b"Components" not in release(root, "x86_64")


def test_tree_damage(small: ComposedRepository) -> None:
    """Links, arch directories and whole trees can be broken."""
    root = small.root
    name = _first(root)
    damage.dangle(root, "x86_64", "classic", name)
    link = root / "x86_64/RPMS.classic" / name
    assert link.is_symlink()
    assert not link.exists()
    damage.link_arch(root, "noarch")
    assert (root / "noarch").is_symlink()
    assert (root / "noarch/base/release").exists()
    damage.rename_arch(root, "x86_64", "sparc")
    assert not (root / "x86_64").exists()
    damage.remove(root, "sparc/base")
    assert not (root / "sparc/base").exists()
    damage.squeeze(root)
    assert sorted(path.name for path in root.iterdir()) == ["daily", "files"]
    assert (root / "daily/task.info").exists()


def test_hash_list_damage(small: ComposedRepository) -> None:
    """Hash lists can lack names, and hold names that are nowhere else."""
    root = small.root
    source = small.listed_sources("x86_64")[0]
    damage.drop_hash(root, "src", source)
    assert source not in hashes(root, "src")
    damage.add_stale_hash(root, "mipsel", "old-1-alt1.mipsel.rpm")
    assert list(hashes(root, "mipsel")) == ["old-1-alt1.mipsel.rpm"]
    damage.unlist_source(root, source)
    assert source not in listed_names(root, "x86_64", "srclist.classic")
    damage.write_task_info(root, b"one two three\n")
    assert (root / "files/list/task.info").read_bytes() == b"one two three\n"


def test_file_damage_spares_hard_links(small: ComposedRepository) -> None:
    """Damage in one snapshot does not reach the other."""
    later = evolve_repository(small, small.root.parent / "later", changed=0, added=0, removed=0)
    package = small.packages[0]
    path = later.root / package.path
    size = path.stat().st_size
    damage.flip_bytes(path, -1)
    damage.append_bytes(path, b"tail")
    damage.truncate(path, size)
    assert path.read_bytes() != (small.root / package.path).read_bytes()
    assert (small.root / package.path).read_bytes()[:-1] == path.read_bytes()[:-1]


def test_cuts_are_inside_the_file(small: ComposedRepository) -> None:
    """Each part of a package has a place to cut it, in order."""
    rpm = (small.root / small.packages[0].path).read_bytes()
    cuts = list(damage.rpm_cuts(rpm).values())
    assert cuts == sorted(cuts)
    assert cuts[-1] < len(rpm)


def test_same_name_in_two_components(small: ComposedRepository) -> None:
    """A package can be listed twice, and hold other bytes in its second place."""
    root, name = small.root, _first(small.root)
    damage.move_between_components(root, "x86_64", name, "classic", "checkinstall", copy=True)
    assert name in listed_names(root, "x86_64", "pkglist.checkinstall")
    assert name in listed_names(root, *LIST)
    twin = small.binaries["x86_64", "classic", name].package
    other = place_binary(root, "x86_64", "gostcrypto", replace(twin, url="/"), beside=True)
    assert (root / "x86_64/RPMS.gostcrypto" / name).read_bytes() == other.data
    assert other.data != (root / "x86_64/RPMS.classic" / name).read_bytes()


@needs_rpm
def test_placed_packages_are_part_of_the_tree(tmp_path: Path) -> None:
    """An empty tree takes packages of any description, with all digests in place."""
    root = compose_repository(tmp_path / "tree", EMPTY).root
    source = place_source(root, RpmPackage("placed", source=True))
    binary = place_binary(
        root, "x86_64", "classic", RpmPackage("placed", files=[RpmFile("/x", b"x")])
    )
    for arch, name, file_name, rpm in (
        ("x86_64", "srclist.classic", "placed-1.0-alt1.src.rpm", source),
        ("x86_64", "pkglist.classic", "placed-1.0-alt1.x86_64.rpm", binary),
    ):
        headers = damage.read_list(root, arch, name)
        assert [text_of(header, TAG_FILE_NAME) for header in headers] == [file_name]
        assert text_of(headers[0], TAG_MD5) == hashlib.md5(rpm.data).hexdigest()
        link = root / arch / text_of(headers[0], TAG_DIRECTORY) / file_name
        assert link.read_bytes() == rpm.data
        assert librpm.check([link]) == []
    digest = hashlib.sha256(source.data).hexdigest()
    assert hashes(root, "src") == {"placed-1.0-alt1.src.rpm": digest}


# The command


def test_command_composes_two_days(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command writes a tree, its next day, and says what is in them."""
    counts = ["--sources", "6", "--binaries", "12", "--files", "90", "--depends", "60"]
    days = [str(tmp_path / "one"), "--next-day", str(tmp_path / "two")]
    assert main([*days, *counts, "--seed", "7", "--json"]) == 0
    first, second = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (first["sources"], first["binaries"], first["files"]) == (6, 12, 90)
    assert second["root"] == str(tmp_path / "two")
    assert (tmp_path / "two/x86_64/base/release").exists()
