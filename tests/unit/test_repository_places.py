"""What stands in a repository in the place of something else is an error, never left out."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from altrepodb.errors import SourceError
from altrepodb.repository.members import collect_members
from altrepodb.repository.tree import read_list, read_tree
from tests.support import damage
from tests.support.privileges import without_privileges
from tests.support.repository import RepositoryPlan, compose_repository

ARCH = "x86_64"
PLACES = {
    "files/list": "directory",
    "files/list/task.info": "regular file",
    "files/list/src.hash.xz": "regular file",
    f"files/list/{ARCH}.hash.xz": "regular file",
    ARCH: "directory",
    f"{ARCH}/base": "directory",
    f"{ARCH}/base/release": "regular file",
    f"{ARCH}/base/pkglist.classic.xz": "regular file",
    f"{ARCH}/base/srclist.classic.xz": "regular file",
}


@pytest.fixture(scope="module")
def composed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("places") / "tree"
    plan = RepositoryPlan(
        sources=3,
        binaries=3,
        files=6,
        dependencies=3,
        architectures=(ARCH,),
        components=("classic",),
    )
    return compose_repository(root, plan).root


@pytest.fixture
def root(composed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(composed, tmp_path / "tree", symlinks=True))


def dangling_link(path: Path) -> None:
    path.symlink_to("nowhere")


def link_to_itself(path: Path) -> None:
    path.symlink_to(path.name)


def link_to_a_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


INTRUDERS: dict[str, Callable[[Path], object]] = {
    "pipe": os.mkfifo,
    "dangling link": dangling_link,
    "link to itself": link_to_itself,
    "device": link_to_a_device,
}
INTRUDERS_OF_KIND: dict[str, dict[str, Callable[[Path], object]]] = {
    "directory": {"file": Path.touch, **INTRUDERS},
    "regular file": {"directory": Path.mkdir, **INTRUDERS},
}


@pytest.mark.parametrize(
    ("place", "make"),
    [
        pytest.param(place, make, id=f"{name} as {place}")
        for place, kind in PLACES.items()
        for name, make in INTRUDERS_OF_KIND[kind].items()
    ],
)
def test_intruder(place: str, make: Callable[[Path], object], root: Path) -> None:
    damage.remove(root, place)
    make(root / place)
    with pytest.raises(SourceError) as caught:
        read_tree(root)
    assert str(caught.value).startswith(f"{root / place}: ")
    assert "\n" not in str(caught.value)


def test_missing_list_of_source_hashes_is_said(root: Path) -> None:
    damage.remove(root, "files/list/src.hash.xz")
    (warning,) = read_tree(root).warnings
    assert warning.startswith(f"{root}/files/list/src.hash.xz: missing")


def test_task_info_has_a_limit(root: Path) -> None:
    damage.write_task_info(root, b"task 1\n" * 200_000)
    with pytest.raises(SourceError, match=r"task\.info: more than"):
        read_tree(root)


@pytest.fixture
def open_root(composed: Path) -> Iterator[Path]:
    """A copy in a directory that everybody can enter."""
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        yield Path(shutil.copytree(composed, Path(directory, "tree"), symlinks=True))


@pytest.mark.parametrize("place", [".", "files", "files/list", ARCH, f"{ARCH}/base"])
def test_unreadable_directory(place: str, open_root: Path) -> None:
    (open_root / place).chmod(0)
    try:
        with without_privileges(), pytest.raises(SourceError, match="Permission denied") as caught:
            read_tree(open_root)
    finally:
        (open_root / place).chmod(0o755)
    assert str(caught.value).startswith(str(open_root))


def test_unreadable_sources(open_root: Path) -> None:
    tree = read_tree(open_root)
    name = min(path.name for path in (open_root / "files/SRPMS").iterdir())
    damage.unlist_source(open_root, name)
    lists = [read_list(file) for file in read_tree(open_root).list_files]
    (open_root / "files/SRPMS").chmod(0)
    try:
        with without_privileges(), pytest.raises(SourceError, match=f"{name}: Permission denied"):
            collect_members(tree, lists)
    finally:
        (open_root / "files/SRPMS").chmod(0o755)


def test_lists_come_in_any_order(composed: Path) -> None:
    tree = read_tree(composed)
    lists = [read_list(file) for file in tree.list_files]
    members = collect_members(tree, lists)
    again = collect_members(tree, reversed(lists))
    assert [*again.all()] == [*members.all()]
    assert again == members


@pytest.mark.parametrize("count", [1, 2, 3, 50])
def test_lists_are_shared_out_evenly(composed: Path, count: int) -> None:
    tree = read_tree(composed)
    shares = tree.list_shares(count)
    assert sorted(file for share in shares for file in share) == sorted(tree.list_files)
    assert len(shares) == count
    sizes = [sum(file.path.stat().st_size for file in share) for share in shares]
    assert max(sizes) - min(sizes) <= max(file.size for file in tree.list_files)


def test_lost_and_found_is_no_architecture(open_root: Path) -> None:
    (open_root / "lost+found").mkdir(mode=0)
    try:
        with without_privileges():
            assert read_tree(open_root).warnings == []
    finally:
        (open_root / "lost+found").chmod(0o755)
