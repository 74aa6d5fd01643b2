"""The task composer, held against the specification's vectors, librpm and plain facts."""

from __future__ import annotations

import filecmp
import json
import lzma
import os
import shutil
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support import librpm
from tests.support import task_changes as change
from tests.support.apt_lists import TAG_BLAKE2B, TAG_FILE_NAME, TAG_FILE_SIZE, TAG_MD5
from tests.support.rpm_header import parse_header, texts_of
from tests.support.task_facts import array_hash, log_lines, log_rows
from tests.support.task_shapes import HOSTILE_SHAPES, SHAPES
from tests.support.task_tree import (
    SECOND,
    ChrootPackage,
    LogPattern,
    SampleSize,
    TaskPlan,
    at,
    chroot_hash,
    compose_task,
    compose_worked_example,
    loaded_packages,
    main,
    make_rpm,
    sample_plan,
    sample_plans,
    totals,
    worked_example,
)

needs_rpm = pytest.mark.skipif(not librpm.has_command(), reason="the rpm command is missing")

Snapshot = dict[str, tuple[int, int, bytes]]

SMALL = SampleSize(subtasks=14, packages=60, log_bytes=300_000)


def mtime(path: Path) -> int:
    return path.stat().st_mtime_ns


def snapshot(root: Path) -> Snapshot:
    """Modes, times and contents of everything below a directory; links are not followed."""
    found = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        data = b""
        if stat.S_ISLNK(status.st_mode):
            data = os.fsencode(os.readlink(path))
        elif stat.S_ISREG(status.st_mode):
            data = path.read_bytes()
        found[str(path.relative_to(root))] = (status.st_mode, status.st_mtime_ns, data)
    return found


# Oracles against the vectors of the specification


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], 4761183170873013810),
        ([1], 4630192589584957839),
        ([1, 2, 3], 11179080114391065198),
        ([13720803726858584048, 7], 725073751516519711),
        ([13155985489784542306, 5057892201506924115], 4412892365431498),
    ],
)
def test_array_hash(values: list[int], expected: int) -> None:
    assert array_hash(values) == expected


def test_log_rows_of_the_worked_example(tmp_path: Path) -> None:
    task = compose_worked_example(tmp_path)

    def rows(kind: str, path: str) -> list[tuple[str, str]]:
        file = task.root / path
        found = log_rows(kind, file.read_bytes(), mtime(file) // SECOND)  # type: ignore[arg-type]
        start = at("2021-10-05 00:00:00") // SECOND
        return [(f"{(r.time - start) // 60:03d}:{(r.time - start) % 60:02d}", r.message)
                for r in found]  # fmt: skip

    assert rows("build", "build/100/x86_64/log") == [
        ("545:01", "Installing source package"),
        ("545:02", "indented step"),
        ("545:02", ""),
        ("550:00", "finished"),
    ]
    assert rows("srpm", "build/100/x86_64/srpm.log") == [
        ("542:00", "Installing pkg.tar"),
        ("541:02", "rpmi: libfoo-1-alt1 installed"),
        ("541:02", "Building target platforms: x86_64"),
    ]
    assert rows("events", "logs/events.1.1.log") == [
        ("360:00", "task #500123 for p10 started by alice:"),
        ("360:00", "#100 build 1.4-alt1 from /people/alice/packages/libexample.git"),
        ("400:00", "task #500123 for p10 FAILED"),
    ]


def times_of(kind: str, lines: list[bytes], end: str) -> list[int]:
    data = b"\n".join(lines)
    return [row.time for row in log_rows(kind, data, at(end) // SECOND)]  # type: ignore[arg-type]


def seconds(*texts: str) -> list[int]:
    return [at(text) // SECOND for text in texts]


def test_build_log_wraps_after_a_day() -> None:
    lines = [b"head", b"[23:59:58] a", b"[00:00:03] b", b"[100:00:01] c", b"tail"]
    assert times_of("build", lines, "2021-10-06 00:00:03") == seconds(
        "2021-10-05 00:00:00",
        "2021-10-05 23:59:58",
        *["2021-10-06 00:00:03"] * 3,
    )


@pytest.mark.parametrize(
    ("end", "stamps", "expected"),
    [
        (
            "2022-01-01 00:00:03",
            [b"<13>Dec 31 23:59:58 a", b"<6>Jan  1 00:00:02 b"],
            ["2021-12-31 23:59:58", "2022-01-01 00:00:02"],
        ),
        ("2021-05-05 00:00:00", [b"<150>Feb 29 01:02:03 a"], ["2020-02-29 01:02:03"]),
        ("2020-03-01 00:00:00", [b"<13>Feb 29 01:02:03 a"], ["2020-02-29 01:02:03"]),
        ("2021-05-05 00:00:00", [b"<13>May  5 00:05:00 a"], ["2021-05-05 00:05:00"]),
        ("2021-05-05 00:00:00", [b"<13>May  7 00:00:00 a"], ["2020-05-07 00:00:00"]),
        ("2021-05-05 00:00:00", [b"<13>Feb 30 00:00:00 a"], ["2021-05-05 00:00:00"]),
    ],
)
def test_srpm_log_years(end: str, stamps: list[bytes], expected: list[str]) -> None:
    assert times_of("srpm", stamps, end) == seconds(*expected)


def test_events_without_a_stamp_at_the_start() -> None:
    lines = [b"early", b"2021-Oct-05 06:00:00 :: a :: b", b"2021-Foo-05 07:00:00 :: c"]
    rows = log_rows("events", b"\n".join(lines), 99)
    assert [row.time for row in rows] == seconds(*["2021-10-05 06:00:00"] * 3)
    assert [row.message for row in rows] == ["early", "a :: b", "2021-Foo-05 07:00:00 :: c"]
    assert [row.time for row in log_rows("events", b"a\nb\n", 99)] == [99, 99]


def test_log_lines() -> None:
    data = "a\rb\r\nc\fd\u2028e\n\n\0 \n".encode() + b"\xffz"
    assert log_lines(data) == ["a", "b", "c\fd\u2028e", "", "\0 ", "\\xffz"]
    assert log_lines(b"") == []


# The worked example


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A worked example that no test changes."""
    return compose_worked_example(tmp_path_factory.mktemp("example")).root


@pytest.fixture(scope="module")
def before(example: Path) -> Snapshot:
    return snapshot(example)


def test_identities_of_the_worked_example(tmp_path: Path) -> None:
    task = compose_worked_example(tmp_path)
    assert task.root == tmp_path / "500123"
    assert task.events_hash(1, 1) == 14778251897179570011
    assert task.events_hash(2, 1) == 8847081203857294114
    assert task.log_hash("build", 100, "x86_64") == 17054564336848718281
    assert task.log_hash("build", 600, "i586") == 6495639894240702252
    assert task.log_hash("srpm", 300, "x86_64") == 1972087966807511484
    assert task.plan_hash("src") == 17979921840237298785
    assert task.plan_hash("x86_64-i586") == 2027718986071714179
    build = task.plan.subtasks[0].builds[0]
    assert chroot_hash(build.chroot_base or ()) == 4412892365431498
    assert chroot_hash(build.chroot_br or ()) == 4271886977888739907
    empty_sha1 = "da39a3ee5e6b4b0d3255bfef95601890afd80709"
    assert ChrootPackage("x", sha1=empty_sha1).hash == 13720803726858584048


def test_times_of_the_worked_example(tmp_path: Path) -> None:
    root = compose_worked_example(tmp_path).root
    stated = {
        "info.json": "2021-10-05 10:20:31",
        "task/state": "2021-10-05 10:20:30",
        "task/try": "2021-10-05 09:00:00",
        "gears/100": "2021-10-04 12:00:05",
        "gears/100/userid": "2021-10-04 12:00:00",
        "gears/500": "2021-10-04 18:30:00",
        "build": "2021-10-05 09:05:00",
        "build/100/i586/srpm.log": "2021-10-05 09:02:00",
        "build/200/i586/status": "2021-10-05 09:12:00",
        "build/200/i586/log": "2021-10-05 09:12:30",
        "build/600/x86_64": "2021-10-05 09:00:31",
        "plan": "2021-10-05 10:15:00",
    }
    assert {path: mtime(root / path) for path in stated} == {
        path: at(text) for path, text in stated.items()
    }


def test_contents_of_the_worked_example(tmp_path: Path) -> None:
    task = compose_worked_example(tmp_path)
    root = task.root
    assert json.loads((root / "info.json").read_bytes()) == {
        "updated": 1633429231, "taskid": 500123, "shared": True, "state": "TESTED",
    }  # fmt: skip
    assert os.readlink(root / "build/repo/prev") == "/repo/p10/task/_488/500099"
    assert (root / "gears/300/nevr").read_bytes() == b"foo\t1:2.0-alt3\n"
    assert sorted(path.name for path in (root / "gears/500").iterdir()) == ["userid"]
    assert sorted(path.name for path in (root / "acl/approved").iterdir()) == [
        "100", "200", "300", "400", "600",
    ]  # fmt: skip
    logs = [path for path, size in task.log_sizes.items() if size and path.startswith("build/")]
    assert len(logs) == 10
    # Builds of two architectures are two source packages of one name.
    assert task.source(100, "x86_64").pkg_hash != task.source(100, "i586").pkg_hash
    assert [rpm.file_name for rpm in task.binaries(100, "x86_64")] == [
        "libexample-1.4-alt1.x86_64.rpm",
        "libexample-doc-1.4-alt1.noarch.rpm",
    ]
    assert len(loaded_packages(task)) == 10


@needs_rpm
def test_librpm_reads_the_packages(tmp_path: Path) -> None:
    task = compose_task(tmp_path / "7", sample_plan(7, replace_size(log_bytes=0)))
    paths = [task.root / path for path in task.packages]
    assert librpm.check(paths) == []
    for path, rpm in list(task.packages.items())[:5]:
        tags = librpm.read_tags(task.root / path, ("NAME", "SHA1HEADER", "SIGMD5", "FILENAMES"))
        assert tags["NAME"] == [rpm.package.name]
        assert tags["SHA1HEADER"] == [rpm.rpm.header_sha1.hex()]
        assert tags["SIGMD5"] == [rpm.rpm.body_md5.hex()]
        assert tags["FILENAMES"] == [file.path for file in rpm.package.files]


# Sample tasks


def replace_size(**values: int) -> SampleSize:
    return replace(SMALL, **values)  # type: ignore[arg-type]


def test_sample_is_as_big_as_asked(tmp_path: Path) -> None:
    task = compose_task(tmp_path / "7", sample_plan(7, SMALL))
    found = totals(task)
    assert found["subtasks"] == 14
    assert found["packages"] == 60 + len(task.plan.arepo)
    assert found["log_bytes"] == pytest.approx(300_000, rel=0.15)
    assert {subtask.kind for subtask in task.plan.subtasks} == {
        "gear", "srpm", "gear-rebuild", "srpm-rebuild", "copy", "delete", "removed", "image",
    }  # fmt: skip
    assert [subtask.number for subtask in task.plan.subtasks][6:9] == [700, 1000, 1100]


def test_same_seed_same_tree(tmp_path: Path) -> None:
    for name in ("one", "two"):
        compose_task(tmp_path / name, sample_plan(7, SMALL, seed=3))
    assert snapshot(tmp_path / "one") == snapshot(tmp_path / "two")
    compose_task(tmp_path / "three", sample_plan(7, SMALL, seed=4))
    assert not filecmp.cmp(tmp_path / "one/plan/add-bin", tmp_path / "three/plan/add-bin", False)


def test_indexes_name_the_packages(tmp_path: Path) -> None:
    task = compose_task(tmp_path / "7", sample_plan(7, SMALL))
    repository = task.root / "build/repo"
    for arch in ("x86_64", "i586", "x86_64-i586"):
        data = lzma.decompress((repository / arch / "base/pkglist.task.xz").read_bytes())
        position, listed = 0, []
        while position < len(data):
            entries, position = parse_header(data, position)
            tags = {entry.tag: entry for entry in entries}
            name = texts_of(tags[TAG_FILE_NAME])[0].decode()
            file = repository / arch / "RPMS.task" / name
            rpm = next(rpm for rpm in task.packages.values() if rpm.data == file.read_bytes())
            assert int.from_bytes(tags[TAG_FILE_SIZE].data, "big") == file.stat().st_size
            assert texts_of(tags[TAG_MD5])[0].decode() == rpm.md5
            assert texts_of(tags[TAG_BLAKE2B])[0].decode() == rpm.blake2b
            listed.append(name)
        assert sorted(listed) == sorted(os.listdir(repository / arch / "RPMS.task"))


def test_derived_plan_agrees_with_itself(tmp_path: Path) -> None:
    task = compose_task(tmp_path / "7", sample_plan(7, SMALL))
    plan = task.root / "plan"
    records = [line.split("\t") for line in (plan / "add-bin").read_text().splitlines()]
    assert all((task.root / record[4]).is_file() for record in records)
    added = [line[1:].split("\t") for line in (plan / "bin.list.diff").read_text().splitlines()
             if line.startswith("+") and "\t" in line and "+++" not in line]  # fmt: skip
    assert {row[3] for row in added} == {record[3] for record in records}
    assert {len(row) for row in added} == {5}
    sums = dict(
        reversed(line[1:].split("  "))
        for line in (plan / "i586.hash.diff").read_text().splitlines()
        if line.startswith("+") and "  " in line
    )
    by_name = {rpm.file_name: rpm.sha256 for rpm in task.packages.values()}
    assert sums and all(by_name[name] == digest for name, digest in sums.items())


def test_pattern_logs_have_rising_times(tmp_path: Path) -> None:
    plan = replace(worked_example(), subtasks=(), extra={"x": b""}, approvals=())
    build = replace(worked_example().subtasks[0].builds[0], log=LogPattern(400_000), srpm_log=None)
    subtask = replace(worked_example().subtasks[0], builds=(build,))
    task = compose_task(tmp_path / "7", replace(plan, subtasks=(subtask,)))
    file = task.root / "build/100/x86_64/log"
    rows = log_rows("build", file.read_bytes(), mtime(file) // SECOND)
    assert file.stat().st_size == pytest.approx(400_000, rel=0.2)
    assert rows[-1].time == mtime(file) // SECOND
    assert [row.time for row in rows] == sorted(row.time for row in rows)
    assert 30 < file.stat().st_size / len(rows) < 90


def test_many_small_tasks_share_packages() -> None:
    plans = list(sample_plans(1000, 81, SampleSize(packages=3), max_subtasks=3))
    assert [len(plan.subtasks) for plan in plans[:4]] == [1, 2, 3, 1]
    first, again = plans[0].subtasks[0].builds[0], plans[40].subtasks[0].builds[0]
    assert first.source is again.source
    assert plans[0].task_id + 40 == plans[40].task_id


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = "--id 7 --tasks 2 --subtasks 1 --arches x86_64 --packages 3 --log-mb 0.01".split()
    assert main([str(tmp_path), *arguments]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [Path(line["path"]).name for line in lines] == ["7", "8"]
    assert (tmp_path / "8/task/id").read_text() == "8\n"


def test_empty_plan(tmp_path: Path) -> None:
    task = compose_task(tmp_path / "7", TaskPlan(task_id=7, previous=None, plan_files="absent"))
    assert sorted(os.listdir(task.root)) == ["info.json", "logs", "task"]


# Changes


def test_put_leaves_other_times_alone(tmp_path: Path) -> None:
    root = compose_worked_example(tmp_path).root
    before = snapshot(root)
    change.put(root, "plan/add-src", b"new")
    change.put(root, "gears/1000/package", b"x\n")
    change.touch(root, "plan", at("2021-10-05 09:00:00", 1))
    after = snapshot(root)
    assert after["plan/add-src"] == (*before["plan/add-src"][:2], b"new")
    assert after["plan"][1] == at("2021-10-05 09:00:00", 1)
    assert after["gears/1000"][1] == after["gears"][1] == before["gears"][1]
    assert {*after} - {*before} == {"gears/1000", "gears/1000/package"}


@pytest.mark.parametrize("name", sorted({**SHAPES, **HOSTILE_SHAPES}))
def test_every_shape_changes_something(
    name: str, example: Path, before: Snapshot, tmp_path: Path
) -> None:
    root = tmp_path / example.name
    shutil.copytree(example, root, symlinks=True)
    {**SHAPES, **HOSTILE_SHAPES}[name](root)
    assert snapshot(root) != before


def archived_task(directory: Path) -> Path:
    root = compose_worked_example(directory).root
    return change.archive(root, directory / "archive")


def test_archive_has_nothing_empty(tmp_path: Path) -> None:
    root = archived_task(tmp_path)
    assert root == tmp_path / "archive/_488/500123"
    for path in root.rglob("*"):
        assert path.is_symlink() or (any(path.iterdir()) if path.is_dir() else path.stat().st_size)
    assert not (root / "task/fail-early").exists()
    assert not (root / "acl/approved/200").exists()
    assert mtime(root / "plan") == at("2021-10-05 10:15:00")


STEPS: list[Callable[[Path], None]] = [
    lambda root: change.run_again(root, 3, 1, at("2021-10-06 08:00:00")),
    lambda root: change.set_state(root, "TESTED", at("2021-10-06 09:00:00")),
    lambda root: change.remove_subtask(root, 100, at("2021-10-06 10:00:00")),
]


def test_a_task_lives_on(tmp_path: Path) -> None:
    root = compose_worked_example(tmp_path).root
    for step in STEPS:
        step(root)
    assert (root / "task/state").read_bytes() == b"NEW\n"
    assert json.loads((root / "info.json").read_bytes())["state"] == "NEW"
    assert mtime(root / "info.json") == at("2021-10-06 10:00:01")
    assert b"resumed" in (root / "logs/events.3.1.log").read_bytes()
    assert not (root / "acl/approved/100").exists()
    assert os.listdir(root / "gears/100") == ["userid"]


def test_same_arguments_same_package() -> None:
    assert make_rpm("x") is make_rpm("x")
    assert make_rpm("x", arch="noarch").pkg_hash != make_rpm("x").pkg_hash
