"""``iso_loader`` as a command: options, exit codes, odd and hostile discs, no rights at all."""

from __future__ import annotations

import os
import pwd
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from altrepodb.db.database import Database
from tests.support.alt_images import (
    DATA,
    DISC_TEXTS,
    EXTRA,
    HELLO,
    IMAGE_DAY,
    INSTALLED,
    LOADER_OPTIONS,
    IsoPlan,
    compose_disc,
    compose_iso,
    compose_root,
)
from tests.support.iso_images import make_iso
from tests.support.loading import (
    ROOT,
    CommandResult,
    command_line,
    environment,
    open_database_in,
    run_command,
    run_measured_command,
)
from tests.support.rpm_file import compose
from tests.support.squashfs_images import STORED, make_squashfs, with_field, zeros_in

TAG = "p10:alt-workstation:::release.10.0.1:x86_64:install:iso"
HOSTILE_S = 10
HOSTILE_BYTES = 500 << 20
# The command waits half a minute for a database, which is not enough on every machine.
PATIENT_COMMAND = """
import sys
import altrepodb.db
altrepodb.db.open_database.__defaults__ = (300.0,)
from altrepodb.cli.iso_loader import main
sys.exit(main())
"""


@pytest.fixture(scope="module")
def disc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compose_disc(tmp_path_factory.mktemp("disc"))


@pytest.fixture
def database(branches_template: Path, tmp_path: Path) -> Path:
    """The directory of a closed database that knows the branches."""
    return Path(shutil.copytree(branches_template, tmp_path / "database", symlinks=True))


def iso_loader(home: Path, *arguments: str | Path) -> CommandResult:
    return run_command("iso_loader", *arguments, home=home)


def image_count(database: Database) -> int:
    """Images, and that there is no part of any beside."""
    ((images,),) = database.query("SELECT count() FROM ImagePackageSetName")
    rows = database.query("SELECT count() FROM PackageSetName WHERE pkgset_tag != ''")
    assert images or rows == [(0,)]
    return int(images)


def test_load_again_and_force(database: Path, disc: Path, tmp_path: Path) -> None:
    """0, 3, and 0 again; one JSON object on standard output."""
    arguments = ("-e", database, *LOADER_OPTIONS, disc)
    dry = iso_loader(tmp_path, "--json", "-t", *arguments)
    assert (dry.exit_code, dry.summary["inserted"], dry.summary["dry_run"]) == (0, {}, True)
    assert "dry run, nothing is written" in dry.stderr
    first = iso_loader(tmp_path, "--json", *arguments)
    assert (first.exit_code, first.stdout.count("\n")) == (0, 1)
    summary = first.summary
    expected = {
        "program": "iso_loader", "exit_code": 0, "tag": TAG, "date": IMAGE_DAY,
        "sets": {"rpms": 3, "live": 3, "altinst": 4}, "orphaned_files": {"altinst": 6},
        "unknown": {}, "replaced": [], "image": str(disc), "size": disc.stat().st_size,
    }  # fmt: skip
    assert {name: summary[name] for name in expected} == expected
    assert dry.summary["sets"] == summary["sets"]
    second = iso_loader(tmp_path, *arguments)
    assert second.exit_code == 3
    last = second.stderr.splitlines()[-1]
    assert last == f"iso_loader: error: {TAG} of {IMAGE_DAY}: already loaded"
    forced = iso_loader(tmp_path, "--json", "--force", *arguments)
    assert (forced.exit_code, forced.summary["replaced"]) == (0, [summary["root"]])
    with open_database_in(database) as opened:
        assert image_count(opened) == 1


def test_versions(tmp_path: Path) -> None:
    """``--version`` is the image's; the program's is printed by ``-V``."""
    result = iso_loader(tmp_path, "-V")
    assert (result.exit_code, result.stdout.split()[0]) == (0, "iso_loader")
    assert iso_loader(tmp_path, "--version").exit_code == 2


def changed(name: str, value: str) -> list[str]:
    options = list(LOADER_OPTIONS)
    options[options.index(name) + 1] = value
    return options


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("--version", "1.2.3.4"),
        ("--version", "a"),
        ("--version", "10."),
        ("--version", "-1"),
        ("--date", "2022-02-30"),
        ("--date", "20220818"),
        ("--url", "somewhere"),
        ("--arch", "vax"),
        ("--arch", "e2kv"),
        ("--edition", "cloud"),
        ("--flavor", "own"),
        ("--platform", "rpi4"),
        ("--variant", "other"),
        ("--release", "final"),
    ],
)
def test_wrong_arguments(name: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    from altrepodb.cli.iso_loader import main

    assert main([*changed(name, value), "alt.iso"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines()[-1].startswith(f"iso_loader: error: argument {name}: ")


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("--version", "10", (10, 0, 0)),
        ("--version", "10.1", (10, 1, 0)),
        ("--version", "10.1.2", (10, 1, 2)),
        ("--arch", "e2kv6", "e2kv6"),
        ("--arch", "riscv64", "riscv64"),
        ("--url", "www.example.org/x.iso", "www.example.org/x.iso"),
        ("--url", "user@example.org:x.iso", "user@example.org:x.iso"),
    ],
)
def test_arguments(name: str, value: str, found: object) -> None:
    from altrepodb.cli.command import make_parser
    from altrepodb.cli.iso_loader import COMMAND

    arguments = make_parser(COMMAND).parse_args([*changed(name, value), "alt.iso"])
    assert getattr(arguments, name.strip("-")) == found


def test_empty_options_may_be_left_out() -> None:
    from altrepodb.cli.command import make_parser
    from altrepodb.cli.image_options import image_options
    from altrepodb.cli.iso_loader import COMMAND

    words = [word for word in LOADER_OPTIONS if word not in ("--platform", "--flavor", "")]
    arguments = make_parser(COMMAND).parse_args([*words, "alt.iso"])
    assert image_options(arguments, "iso").tag == TAG


# Files that are no image


def place_nothing(path: Path) -> None:
    pass


def place_directory(path: Path) -> None:
    path.mkdir()


def place_pipe(path: Path) -> None:
    os.mkfifo(path)


def place_empty(path: Path) -> None:
    path.touch()


def place_text(path: Path) -> None:
    path.write_text("This is no image.\n" * 100)


@pytest.mark.parametrize(
    ("place", "words"),
    [
        (place_nothing, "cannot be opened: No such file or directory"),
        (place_directory, "not a regular file"),
        (place_pipe, "not a regular file"),
        (place_empty, "an empty file"),
        (place_text, "ISO 9660"),
    ],
)
def test_no_image(
    place: Callable[[Path], None], words: str, database: Path, tmp_path: Path
) -> None:
    path = tmp_path / "alt.iso"
    place(path)
    result = iso_loader(tmp_path, "--quiet", "-e", database, *LOADER_OPTIONS, path)
    assert (result.exit_code, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"iso_loader: error: {path}: ")
    assert words in line


# Damaged and hostile discs


def squashfs_disc(work: Path, image: bytes) -> Path:
    """An ISO with these bytes as its live system, and with packages."""
    plan = IsoPlan([HELLO], further={"live": image})
    return compose_iso(work / "alt.iso", plan)


def small_squashfs(work: Path) -> bytes:
    root = compose_root(work / "root", [HELLO], has_database=False)
    return make_squashfs(work / "small", root).read_bytes()


def truncated(work: Path) -> Path:
    path = compose_iso(work / "alt.iso", IsoPlan([HELLO, DATA]))
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 2048 * 160)
    return path


def truncated_package(work: Path) -> Path:
    name = f"ALTLinux/RPMS.main/{DATA.file_name}"
    plan = IsoPlan([HELLO], further={name: compose(DATA).data[:500]})
    return compose_iso(work / "alt.iso", plan)


def squashfs_of_another_version(work: Path) -> Path:
    return squashfs_disc(work, with_field(small_squashfs(work), "major", 3))


def squashfs_too_long(work: Path) -> Path:
    return squashfs_disc(work, with_field(small_squashfs(work), "bytes_used", 1 << 40))


def no_squashfs(work: Path) -> Path:
    return squashfs_disc(work, b"nothing of the kind" * 1000)


def bomb(work: Path) -> Path:
    """A block of a file that unpacks to half a GiB."""
    content = os.urandom(262_144)
    image = make_squashfs(work / "image", {"file": content}, options=STORED).read_bytes()
    zeros = zeros_in("xz", 512 << 20)
    stored_word = struct.pack("<I", 1 << 24 | len(content))
    assert image.count(stored_word) == 1
    image = image.replace(content, zeros.ljust(len(content), b"\0"))
    return squashfs_disc(work, image.replace(stored_word, struct.pack("<I", len(zeros))))


def broken_database(work: Path) -> Path:
    root = compose_root(work / "root", INSTALLED)
    path = root / "var/lib/rpm/Packages"
    data = bytearray(path.read_bytes())
    data[4096 + 60 :] = b"\xff" * (len(data) - 4096 - 60)
    path.write_bytes(data)
    return squashfs_disc(work, make_squashfs(work / "image", root).read_bytes())


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (truncated, "truncated"),
        (truncated_package, f"{DATA.file_name}: truncated"),
        (squashfs_of_another_version, "live: squashfs 3.0 is not supported"),
        (squashfs_too_long, "live: truncated"),
        (no_squashfs, "live: no squashfs image"),
        (bomb, "live"),
        (broken_database, "Packages"),
    ],
)
def test_damaged_disc(
    damage: Callable[[Path], Path], words: str, database: Path, tmp_path: Path
) -> None:
    """One line that names the place, soon and in little memory, and nothing is stored or left."""
    path = damage(tmp_path)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    before = sorted(os.listdir(tmp_path))
    arguments = ("--quiet", "--tmpdir", scratch, "-e", database, *LOADER_OPTIONS, path)
    result, cost = run_measured_command("iso_loader", *arguments, home=tmp_path)
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"iso_loader: error: {path}: ")
    assert words in line
    assert cost.cpu_s < HOSTILE_S
    assert cost.peak_bytes < HOSTILE_BYTES
    assert sorted(os.listdir(tmp_path)) == before
    assert os.listdir(scratch) == []
    with open_database_in(database) as opened:
        assert image_count(opened) == 0


# Discs that are odd, and fine


def load_disc(database: Path, path: Path, home: Path, *options: str) -> CommandResult:
    result = iso_loader(home, "--json", "-e", database, *LOADER_OPTIONS, *options, path)
    assert result.exit_code == 0, result.stderr
    return result


def attributes(database: Path) -> dict[str, str]:
    """Those of the only image's root."""
    with open_database_in(database) as opened:
        ((keys, values),) = opened.query(
            "SELECT pkgset_kv.k, pkgset_kv.v FROM PackageSetName"
            " WHERE pkgset_depth = 0 AND pkgset_tag != ''"
        )
    return dict(zip(keys, values, strict=True))


def test_no_texts(database: Path, tmp_path: Path) -> None:
    path = compose_iso(tmp_path / "alt.iso", IsoPlan([HELLO], texts={}))
    result = load_disc(database, path, tmp_path)
    assert "there is no directory .disk" in result.stderr
    found = attributes(database)
    assert (found["info"], found["commit"], found["arch"]) == ("", "", "x86_64")


def test_further_texts(database: Path, tmp_path: Path) -> None:
    """Only four texts are read: archives and lists beside them do no harm, nor do odd bytes."""
    further = {
        ".disk/profile.tgz": b"\x1f\x8b\x08\x00\xff", ".disk/md5_cs": b"forged",
        ".disk/pkglists/main/rpm.txt": b"hello\n", ".disk/info": b"ALT \xff build\n\n",
    }  # fmt: skip
    texts = {**DISC_TEXTS, "arch": "i586\n", "date": ""}
    path = compose_iso(tmp_path / "alt.iso", IsoPlan([HELLO], texts=texts, further=further))
    result = load_disc(database, path, tmp_path)
    assert "its .disk/arch says i586, not x86_64" in result.stderr
    found = attributes(database)
    assert found["info"] == "ALT \udcff build"
    assert found["md5_cs"] != "forged"
    assert found["arch"] == "x86_64"


def test_empty_date_and_no_accounts(database: Path, tmp_path: Path) -> None:
    """The meta package is named after the day that was given, and files belong to nobody."""
    rescue = compose_root(tmp_path / "rescue", INSTALLED, has_database=False)
    plan = IsoPlan(squashfs={"rescue": rescue}, texts={"date": "", "info": "x"})
    path = compose_iso(tmp_path / "alt.iso", plan)
    load_disc(database, path, tmp_path)
    with open_database_in(database) as opened:
        assert opened.query("SELECT pkg_name, pkg_arch FROM Packages WHERE pkg_complete = 1") == [
            ("rescue_orphaned-files_alt.iso_20220818", "x86_64")
        ]
        assert opened.query(
            "SELECT DISTINCT file_username, file_groupname FROM Files WHERE pkg_hash IN"
            " (SELECT pkg_hash FROM Packages WHERE pkg_complete = 1)"
        ) == [("", "")]


def test_components(database: Path, tmp_path: Path) -> None:
    """All components make one leaf; what is no package file is passed over."""
    further = {"ALTLinux/RPMS.main/README.txt": b"no package", "ALTLinux/base/release": b"x"}
    plan = IsoPlan([HELLO, DATA], [EXTRA, DATA], further=further)
    result = load_disc(database, compose_iso(tmp_path / "alt.iso", plan), tmp_path)
    assert result.summary["sets"] == {"rpms": 3}


def test_no_component(database: Path, tmp_path: Path) -> None:
    live = compose_root(tmp_path / "live", INSTALLED)
    plan = IsoPlan(squashfs={"live": live}, further={"ALTLinux/base/release": b"x"})
    result = load_disc(database, compose_iso(tmp_path / "alt.iso", plan), tmp_path)
    assert result.summary["sets"] == {"live": 3}


def test_without_rock_ridge(database: Path, tmp_path: Path) -> None:
    """Names in capitals with a version behind them are the same names."""
    work = tmp_path / "disc"
    live = compose_root(tmp_path / "live", INSTALLED)
    files = work / "ALTLinux/RPMS.main"
    files.mkdir(parents=True)
    (files / "hello.rpm").write_bytes(compose(HELLO).data)
    make_squashfs(work / "live", live)
    shutil.rmtree(work / "live.files", ignore_errors=True)
    path = make_iso(tmp_path / "alt.iso", work, ("-iso-level", "2", "-V", "ALT"))
    result = load_disc(database, path, tmp_path)
    assert result.summary["sets"] == {"rpms": 1, "live": 3}


def test_member_before_identities_began(database: Path, tmp_path: Path) -> None:
    live = compose_root(tmp_path / "live", INSTALLED)
    path = compose_iso(tmp_path / "alt.iso", IsoPlan(squashfs={"live": live}), member_time=999)
    result = iso_loader(tmp_path, "--quiet", "-e", database, *LOADER_OPTIONS, path)
    assert result.exit_code == 1
    assert "live: dated 999 s after 1970" in result.stderr


# Rights and neighbours


@pytest.fixture
def nobody() -> pwd.struct_passwd:
    """A user without rights, who can read this checkout."""
    if os.getuid() != 0:
        pytest.skip("only root can become another user; everything else here runs without rights")
    user = pwd.getpwnam("nobody")
    as_nobody = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    try:
        command = command_line("iso_loader", "-V")
        subprocess.run(command, capture_output=True, check=True, cwd="/", **as_nobody)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"the user nobody cannot run commands of this checkout: {error}")
    return user


def test_as_user_without_rights_and_programs(
    branches_template: Path, disc: Path, nobody: pwd.struct_passwd
) -> None:
    """The whole chain as nobody, with no program to be found and an own working directory."""
    # Not below pytest's directories, which are closed to others.
    with TemporaryDirectory(prefix="altrepodb-tests-") as name:
        work = Path(name)
        shutil.copyfile(disc, work / "alt.iso")
        shutil.copytree(branches_template, work / "database", symlinks=True)
        for path in (work, *work.rglob("*")):
            os.chown(path, nobody.pw_uid, nobody.pw_gid, follow_symlinks=False)
        arguments = ("--json", "-e", work / "database", *LOADER_OPTIONS, work / "alt.iso")
        result = subprocess.run(
            command_line("iso_loader", *arguments),
            env={**environment(work), "PATH": "", "TMPDIR": str(work)},
            capture_output=True,
            text=True,
            cwd=work,
            user=nobody.pw_uid,
            group=nobody.pw_gid,
            extra_groups=[],
            check=False,
            timeout=300,
        )
        assert result.returncode == 0, result.stderr
        assert sorted(os.listdir(work)) == ["alt.iso", "database"]


def test_no_rights_on_the_database(disc: Path, tmp_path: Path) -> None:
    """The message names the directory."""
    place = tmp_path / "file"
    place.touch()
    result = iso_loader(tmp_path, "--quiet", "-e", place / "database", *LOADER_OPTIONS, disc)
    assert result.exit_code == 2
    assert str(place / "database") in result.stderr


def test_two_at_a_time(database: Path, disc: Path, tmp_path: Path) -> None:
    """Two loaders of different days share a database one after the other."""
    running = [
        subprocess.Popen(
            [sys.executable, "-c", PATIENT_COMMAND, "--quiet", "-e", str(database),
             *changed("--date", day), str(disc)],
            env=environment(tmp_path, PYTHONPATH=str(ROOT)),
            stderr=subprocess.PIPE,
        )
        for day in ("2022-09-01", "2022-09-02")
    ]  # fmt: skip
    for process in running:
        _, complaint = process.communicate(timeout=300)
        assert process.returncode == 0, complaint
    with open_database_in(database) as opened:
        assert image_count(opened) == 2
