"""``image_loader`` as a command: its own options, systems without a database, odd files."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from altrepodb.cli.command import make_parser
from altrepodb.cli.image_loader import COMMAND, main
from altrepodb.cli.image_options import image_options
from tests.support.alt_images import INSTALLED, LOADER_OPTIONS, compose_root, identities
from tests.support.content import run_tool
from tests.support.disk_images import convert, make_disk, make_ext
from tests.support.loading import CommandResult, open_database_in, run_command


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compose_root(tmp_path_factory.mktemp("root") / "root", INSTALLED)


@pytest.fixture(scope="module")
def archive(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("archive") / "root.tar.gz"
    run_tool(["tar", "-C", root, "-czf", path, "."])
    return path


@pytest.fixture
def database(branches_template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(branches_template, tmp_path / "database", symlinks=True))


def image_loader(home: Path, *arguments: str | Path) -> CommandResult:
    return run_command("image_loader", *arguments, home=home)


def images(database: Path) -> int:
    with open_database_in(database) as opened:
        ((count,),) = opened.query("SELECT count() FROM PackageSetName WHERE pkgset_tag != ''")
    return int(count)


def test_load_again_and_force(database: Path, archive: Path, tmp_path: Path) -> None:
    arguments = ("--json", "-e", database, "--type", "tar", *LOADER_OPTIONS, archive)
    first = image_loader(tmp_path, *arguments)
    assert (first.exit_code, first.summary["sets"]) == (0, {"rpms": 3})
    assert first.summary["tag"] == "p10:alt-workstation:::release.10.0.1:x86_64:install:tar"
    assert image_loader(tmp_path, *arguments).exit_code == 3
    forced = image_loader(tmp_path, "-F", *arguments)
    assert forced.summary["replaced"] == [first.summary["root"]]
    with open_database_in(database) as opened:
        rows = opened.query(
            "SELECT pkg_hash FROM PackageSet WHERE pkgset_uuid IN"
            " (SELECT pkgset_uuid FROM PackageSetName WHERE pkgset_tag != '')"
        )
    assert {pkg_hash for (pkg_hash,) in rows} == identities(INSTALLED)
    assert images(database) == 2


def test_own_options() -> None:
    """More editions, platforms and flavours than an ISO, and the partition of a disk."""
    words = list(LOADER_OPTIONS)
    words[words.index("--edition") + 1] = "cloud"
    words[words.index("--platform") + 1] = "rpi4"
    words[words.index("--flavor") + 1] = "any text"
    arguments = make_parser(COMMAND).parse_args(
        ["--type", "qcow", "--partition", "3", *words, "disk.img"]
    )
    options = image_options(arguments, arguments.type)
    assert options.partition == 3
    assert options.tag == "p10:cloud:any text:rpi4:release.10.0.1:x86_64:install:qcow"


@pytest.mark.parametrize("words", [("--type", "iso"), (), ("--type", "img", "--partition", "0")])
def test_wrong_arguments(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, *LOADER_OPTIONS, "disk.img"]) == 2
    assert "image_loader: error: " in capsys.readouterr().err


def test_partition_is_chosen(database: Path, root: Path, tmp_path: Path) -> None:
    """Of two systems on a disk none is picked silently."""
    volume, disk, packed = tmp_path / "root.ext4", tmp_path / "disk.img", tmp_path / "disk.qcow2"
    make_ext(volume, root)
    table = "label: dos\nstart=2048,size=16384,type=83\nstart=18432,size=16384,type=83\n"
    make_disk(disk, table, {2048: volume, 18432: volume}, 20 << 20)
    convert(disk, packed)
    arguments = ("--quiet", "-e", database, "--type", "qcow", *LOADER_OPTIONS, packed)
    refused = image_loader(tmp_path, *arguments)
    assert refused.exit_code == 1
    assert refused.stderr.startswith(f"image_loader: error: {packed}: ")
    assert images(database) == 0
    assert image_loader(tmp_path, "--partition", "2", *arguments).exit_code == 0
    assert images(database) == 2


def test_system_without_database(database: Path, tmp_path: Path) -> None:
    root = compose_root(tmp_path / "root", INSTALLED, has_database=False)
    run_tool(["tar", "-C", root, "-cf", tmp_path / "root.tar", "."])
    arguments = ("--quiet", "-e", database, "--type", "tar", *LOADER_OPTIONS)
    result = image_loader(tmp_path, *arguments, tmp_path / "root.tar")
    (line,) = result.stderr.splitlines()
    assert (result.exit_code, line) == (
        1, f"image_loader: error: {tmp_path / 'root.tar'}: no rpm database",
    )  # fmt: skip
    assert images(database) == 0


@pytest.mark.parametrize("image_type", ["tar", "img", "qcow"])
def test_text_is_no_image(database: Path, image_type: str, tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_text("This is no image.\n" * 1000)
    arguments = ("--quiet", "-e", database, "--type", image_type, *LOADER_OPTIONS, path)
    result = image_loader(tmp_path, *arguments)
    (line,) = result.stderr.splitlines()
    assert result.exit_code == 1
    assert line.startswith(f"image_loader: error: {path}: ")


def test_scratch_directory_is_missing(database: Path, archive: Path, tmp_path: Path) -> None:
    arguments = ("--quiet", "-e", database, "--type", "tar", *LOADER_OPTIONS, archive)
    result = image_loader(tmp_path, "--tmpdir", tmp_path / "nowhere", *arguments)
    assert result.exit_code == 2
    assert f"{tmp_path / 'nowhere'}: no such directory" in result.stderr
