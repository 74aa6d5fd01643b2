"""Images read in a process with limits: the entry of the loader, and the limits themselves."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from altrepodb.errors import AltrepodbError, ConfigurationError, SourceError
from altrepodb.image.contents import read_system_image
from altrepodb.image.limited import ProcessLimits, run_limited
from tests.support.disk_images import convert, make_ext, write_files
from tests.support.rpm_databases import blobs_of, hash_file
from tests.support.rpm_file import RpmPackage
from tests.support.tar_images import COMPRESSIONS, tar

DATABASE = hash_file(blobs_of([RpmPackage("one"), RpmPackage("two")]))
NAMES = ["one-1.0-alt1 x86_64", "two-1.0-alt1 x86_64"]
OS_RELEASE = b"ID=altlinux\n"
LIMITS = ProcessLimits(memory_bytes=1 << 30, cpu_s=60, wall_s=120.0)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A disk and an archive with the same system; anybody may read them."""
    directory = tmp_path_factory.mktemp("images")
    files = {"var/lib/rpm/Packages": DATABASE, "etc/os-release": OS_RELEASE}
    write_files(directory / "root", files)
    make_ext(directory / "disk.img", directory / "root", "-t", "ext4")
    convert(directory / "disk.img", directory / "disk.qcow2", "-c")
    (directory / "root.tar.xz").write_bytes(COMPRESSIONS["xz"](tar(files)))
    return directory


@pytest.mark.parametrize(
    ("name", "image_type"), [("disk.img", "img"), ("disk.qcow2", "qcow"), ("root.tar.xz", "tar")]
)
def test_images(images: Path, tmp_path: Path, name: str, image_type: str) -> None:
    system = read_system_image(
        images / name,
        image_type,  # type: ignore[arg-type]
        "x86_64",
        scratch_directory=tmp_path,
    )
    assert [str(one) for one in system.packages] == NAMES
    assert system.os_release == OS_RELEASE
    assert list(tmp_path.iterdir()) == []


def test_errors_come_back(images: Path, tmp_path: Path) -> None:
    path = tmp_path / "image.tar"
    path.write_bytes(tar({"x": b""}))
    with pytest.raises(SourceError, match=r"image\.tar: no rpm database"):
        read_system_image(path, "tar", "x86_64")
    with pytest.raises(SourceError, match="no partition 7; whole disk"):
        read_system_image(images / "disk.img", "img", "x86_64", partition=7)
    with pytest.raises(SourceError, match="cannot be opened: No such file"):
        read_system_image(tmp_path / "missing", "img", "x86_64")
    with pytest.raises(SourceError, match="not a regular file"):
        read_system_image(tmp_path, "img", "x86_64")
    with pytest.raises(AltrepodbError, match="nowhere: No such file"):
        read_system_image(path, "tar", "x86_64", scratch_directory=tmp_path / "nowhere")


def test_no_packages_are_an_error(tmp_path: Path) -> None:
    path = tmp_path / "image.tar"
    path.write_bytes(tar({"var/lib/rpm/Packages": hash_file([])}))
    with pytest.raises(SourceError, match="an rpm database without packages"):
        read_system_image(path, "tar", "x86_64")


WHOLE_CHAIN = """
import os, sys, tempfile
from pathlib import Path
from altrepodb.image.contents import read_system_image

if __name__ == "__main__":
    path, kind, scratch = sys.argv[1:]
    system = read_system_image(Path(path), kind, "x86_64", scratch_directory=Path(scratch))
    print(os.getuid(), *system.packages, system.os_release, os.listdir(scratch), sep="|")
"""


def set_readable(path: Path) -> None:
    for one in (path, *path.parents):
        if one != Path("/tmp") and one.is_relative_to("/tmp"):
            one.chmod(0o755)


@pytest.mark.parametrize(("name", "image_type"), [("disk.qcow2", "qcow"), ("root.tar.xz", "tar")])
def test_as_an_ordinary_user_without_programs(
    images: Path, tmp_path: Path, name: str, image_type: str
) -> None:
    """No program is run, no device is opened: PATH is empty, and the user is nobody."""
    if os.getuid():
        pytest.skip("only root can become another user")
    script, scratch = tmp_path / "read.py", tmp_path / "scratch"
    script.write_text(WHOLE_CHAIN)
    scratch.mkdir()
    scratch.chmod(0o777)
    set_readable(tmp_path)
    set_readable(images)
    for place in [Path(sys.executable), Path(__file__)]:
        assert os.access(place, os.R_OK)
    result = subprocess.run(
        [sys.executable, str(script), str(images / name), image_type, str(scratch)],
        user=65534,
        group=65534,
        extra_groups=[],
        cwd="/",
        env={"PATH": "", "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stderr == ""
    assert result.stdout == f"65534|{'|'.join(NAMES)}|{OS_RELEASE!r}|[]\n"


# Limits


def identity(value: object) -> object:
    return value


def own_limits() -> tuple[int, int]:
    return resource.getrlimit(resource.RLIMIT_AS)[0], resource.getrlimit(resource.RLIMIT_CPU)[0]


def needs_memory() -> int:
    return len(bytearray(2 << 30))


def needs_depth() -> int:
    return needs_depth() + 1


def burns_time() -> None:
    while True:
        pass


def sleeps() -> None:
    time.sleep(600)


def dies() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def is_wrong_input() -> None:
    raise SourceError("file: broken")


def is_not_configured() -> None:
    raise ConfigurationError("package missing")


def has_a_bug() -> None:
    raise KeyError("bug")


def is_hung_in_c() -> None:
    signal.signal(signal.SIGXCPU, signal.SIG_IGN)
    burns_time()


def test_result_comes_back() -> None:
    value = {"a": [1, 2, 3], "large": bytes(5 << 20)}
    assert run_limited(identity, value, name="file", limits=LIMITS) == value
    assert run_limited(own_limits, name="file", limits=LIMITS) == (1 << 30, 60)


def test_own_errors_come_back() -> None:
    with pytest.raises(SourceError, match="file: broken"):
        run_limited(is_wrong_input, name="file", limits=LIMITS)
    with pytest.raises(ConfigurationError, match="package missing"):
        run_limited(is_not_configured, name="file", limits=LIMITS)


def test_bugs_come_back_with_their_traceback() -> None:
    with pytest.raises(RuntimeError, match=r"(?s)KeyError while reading.*in has_a_bug"):
        run_limited(has_a_bug, name="file", limits=LIMITS)


@pytest.mark.parametrize("function", [needs_memory, needs_depth, dies])
def test_exceeded_limits(function: object) -> None:
    with pytest.raises(SourceError, match="file: image damaged or too complex"):
        run_limited(function, name="file", limits=LIMITS)  # type: ignore[arg-type]


@pytest.mark.parametrize("function", [burns_time])
def test_processor_time_is_limited(function: object) -> None:
    limits = ProcessLimits(memory_bytes=1 << 30, cpu_s=1, wall_s=120.0)
    with pytest.raises(SourceError, match="file: image damaged or too complex"):
        run_limited(function, name="file", limits=limits)  # type: ignore[arg-type]


def test_time_is_limited() -> None:
    limits = ProcessLimits(memory_bytes=1 << 30, cpu_s=60, wall_s=0.5)
    with pytest.raises(SourceError, match="too complex: not read in"):
        run_limited(sleeps, name="file", limits=limits)
    assert_no_children()


def assert_no_children() -> None:
    import multiprocessing

    assert multiprocessing.active_children() == []


PARENT = """
import os, sys, time
from altrepodb.image.limited import ProcessLimits, run_limited

def child(path):
    with open(path, "w") as file:
        file.write(str(os.getpid()))
    time.sleep(600)

if __name__ == "__main__":
    if len(sys.argv) > 2:
        import chdb
    run_limited(child, sys.argv[1], name="file", limits=ProcessLimits(1 << 30, 60, 600.0))
"""


@pytest.fixture
def parent(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, str(script), str(tmp_path / "pid")]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) as process:
        yield process
        process.kill()


def wait_for(condition: object, what: str) -> None:
    deadline = time.monotonic() + 60
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_dies_with_its_parent(parent: subprocess.Popen[bytes], tmp_path: Path) -> None:
    """Also when the parent is killed."""
    pid_file = tmp_path / "pid"
    wait_for(lambda: pid_file.exists() and pid_file.read_text(), "the process did not start")
    pid = int(pid_file.read_text())
    assert is_running(pid)
    parent.kill()
    parent.wait()
    wait_for(lambda: not is_running(pid), "the process outlives its parent")


def test_works_beside_an_embedded_database(images: Path, tmp_path: Path) -> None:
    """Its threads are not in the process that reads."""
    from altrepodb.db.embedded import open_embedded

    with open_embedded(tmp_path / "database", "repodb", with_schema=False) as database:
        assert database.query("SELECT 1")
        system = read_system_image(images / "disk.img", "img", "x86_64")
    assert [str(one) for one in system.packages] == NAMES
