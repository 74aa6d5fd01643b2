"""Reading task trees: the worked example, and what each odd shape of it changes."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from altrepodb.errors import SourceError
from altrepodb.task import tree
from altrepodb.task.files import number, raw
from altrepodb.task.identify import package_paths, package_sources
from altrepodb.task.plan import plan_hash
from altrepodb.task.rows import (
    ITERATION_COLUMNS,
    PLAN_DIGEST_COLUMNS,
    PLAN_PACKAGE_COLUMNS,
    STATE_COLUMNS,
    SUBTASK_COLUMNS,
    chroot_rows,
    iteration_rows,
    plan_digest_rows,
    plan_package_rows,
    state_row,
    subtask_rows,
)
from altrepodb.task.tree import Task, read_task
from tests.support import task_changes as change
from tests.support.privileges import without_privileges
from tests.support.task_facts import array_hash
from tests.support.task_shapes import HOSTILE_SHAPES, SHAPES
from tests.support.task_tree import SECOND, ComposedTask, at, compose_worked_example, make_rpm

SOON_S = 5.0
CHANGED = at("2021-10-05 10:20:31") // SECOND
GONE = "gone"
ROWS = {
    "state": (STATE_COLUMNS, ()),
    "subtask": (SUBTASK_COLUMNS, ("subtask_id",)),
    "iteration": (ITERATION_COLUMNS, ("subtask_id", "subtask_arch")),
    "plan": (PLAN_PACKAGE_COLUMNS, ("tplan_action", "tplan_arch", "tplan_bin_file")),
    "digest": (PLAN_DIGEST_COLUMNS, ("tplan_hash", "tplan_action", "tplan_sha256")),
}

Facts = dict[str, Any]


class _Paths(dict[Path, Any]):
    """Stands for the identities of packages: each file is identified by its path."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.root = root

    def __missing__(self, path: Path) -> str:
        return str(path.relative_to(self.root))


def facts(root: Path) -> Facts:
    """All values of all rows of a task by names like ``iteration 100 x86_64 titer_status``."""
    task = read_task(root)
    rows = {
        "state": [state_row(task)],
        "subtask": subtask_rows(task),
        "iteration": iteration_rows(task, _Paths(root)),
        "plan": plan_package_rows(task),
        "digest": plan_digest_rows(task),
    }
    found: Facts = {}
    for kind, (columns, key_columns) in ROWS.items():
        for row in rows[kind]:
            values = dict(zip(columns, row, strict=True))
            key = " ".join([kind, *(_word(values[column]) for column in key_columns)])
            found |= {f"{key} {column}": value for column, value in values.items()}
            found[key] = True
    for approval in task.approvals if task.approvals is not None else ():
        found[f"{approval.kind} {approval.subtask_id} {approval.name}"] = approval[3::2]
    return found | {
        "approvals": task.approvals is not None,
        "chroots": len(chroot_rows(task.iterations)),
        "arepo": [path.name for path in task.arepo],
        "warnings": len(task.warnings),
    }


def _word(value: Any) -> str:
    return value.hex()[:8] if isinstance(value, bytes) else str(value)


def differences(before: Facts, after: Facts) -> Facts:
    """What is not as before; of rows that are only in one of them just that."""
    found = {}
    for name in sorted({*before, *after}):
        if before.get(name) == after.get(name) or _is_within(name, {*found}):
            continue
        found[name] = after.get(name, GONE)
    return found


def _is_within(name: str, rows: set[str]) -> bool:
    """Whether a value belongs to a row that is new or gone."""
    return name.rpartition(" ")[0] in rows


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> ComposedTask:
    """A worked example that no test changes."""
    return compose_worked_example(tmp_path_factory.mktemp("example"))


@pytest.fixture(scope="module")
def base(example: ComposedTask) -> Facts:
    return facts(example.root)


@pytest.fixture
def root(example: ComposedTask, tmp_path: Path) -> Path:
    """A copy to be changed."""
    return copied(example, tmp_path)


def copied(example: ComposedTask, directory: Path) -> Path:
    place = directory / example.root.name
    shutil.copytree(example.root, place, symlinks=True)
    return place


@contextlib.contextmanager
def within(limit_s: float) -> Iterator[None]:
    """The block must not take more of the processor; a busy machine tells nothing of it."""
    started = time.thread_time()
    yield
    assert time.thread_time() - started < limit_s


# The worked example


def test_state_of_the_worked_example(base: Facts) -> None:
    assert {name[6:]: base[name] for name in base if name.startswith("state ")} == {
        "task_changed": CHANGED,
        "task_id": 500123,
        "task_state": "TESTED",
        "task_runby": "alice",
        "task_depends": [500100, 500111],
        "task_try": 2,
        "task_testonly": 0,
        "task_failearly": 1,
        "task_shared": 1,
        "task_message": "rebuild with new libexample",
        "task_version": "8309eff132884a47e73669636e10b6222b94190e",
        "task_prev": 500099,
        "task_eventlog_hash": [14778251897179570011, 8847081203857294114],
    }
    assert base["warnings"] == 0
    assert base["arepo"] == ["i586-libexample-1.4-alt1.i586.rpm"]


def test_packages_of_the_worked_example(example: ComposedTask) -> None:
    """Sources come first, so that a binary's source is there before it."""
    paths = [str(p.relative_to(example.root)) for p in package_paths([read_task(example.root)])]
    assert sorted(paths[:3]) == [
        "build/100/x86_64/srpm/libexample-1.4-alt1.src.rpm",
        "build/200/x86_64/srpm/toolbox-3.2-alt1.src.rpm",
        "build/600/x86_64/srpm/bar-5-alt1.src.rpm",
    ]
    assert sorted(paths[3:]) == [
        "arepo/x86_64-i586/rpms/i586-libexample-1.4-alt1.i586.rpm",
        "build/100/i586/rpms/libexample-1.4-alt1.i586.rpm",
        "build/100/x86_64/rpms/libexample-1.4-alt1.x86_64.rpm",
        "build/100/x86_64/rpms/libexample-doc-1.4-alt1.noarch.rpm",
        "build/200/x86_64/rpms/toolbox-3.2-alt1.x86_64.rpm",
        "build/600/i586/rpms/bar-5-alt1.i586.rpm",
        "build/600/x86_64/rpms/bar-5-alt1.x86_64.rpm",
    ]


@pytest.mark.parametrize(
    ("arch", "expected"),
    [
        ("src", 17979921840237298785),
        ("noarch", 12104879047057178565),
        ("x86_64", 13284988821318775494),
        ("i586", 4837362908522750460),
        ("x86_64-i586", 2027718986071714179),
    ],
)
def test_plan_hashes(arch: str, expected: int) -> None:
    assert plan_hash(500123, 2, 1, arch) == expected


# Odd shapes: everything is as in the worked example but for what stands here

X86, I586 = "iteration 100 x86_64 ", "iteration 100 i586 "
NO_PLAN: Facts = {
    "plan add noarch libexample-doc-1.4-alt1.noarch.rpm": GONE,
    "plan add src libexample-1.4-alt1.src.rpm": GONE,
    "plan add x86_64 libexample-1.4-alt1.x86_64.rpm": GONE,
    "plan delete src libexample-1.3-alt1.src.rpm": GONE,
    "plan delete src oldpkg-0.1-alt1.src.rpm": GONE,
    "plan delete x86_64 libexample-1.3-alt1.x86_64.rpm": GONE,
    "plan delete x86_64 oldpkg-debuginfo-0.1-alt1.x86_64.rpm": GONE,
    "digest 13284988821318775494 add 1cc8ff5e": GONE,
    "digest 13284988821318775494 delete 76bdb563": GONE,
    "digest 17979921840237298785 add 418ffe7a": GONE,
    "digest 17979921840237298785 delete 3c121c38": GONE,
    "digest 2027718986071714179 add 808e66ec": GONE,
}
DOC = "build/100/x86_64/rpms/libexample-doc-1.4-alt1.noarch.rpm"
I586_SOURCE = "build/100/i586/srpm/libexample-1.4-alt1.src.rpm"


def _later(seconds: int) -> Facts:
    """All rows carry the same time."""
    rows = ["state", *(f"subtask {n}" for n in range(100, 700, 100))]
    rows += [f"iteration {n} {a}" for n in (100, 200, 600) for a in ("x86_64", "i586")]
    rows += ["iteration 300 x86_64", "iteration 400 x86_64"]
    return {f"{row} task_changed": CHANGED + seconds for row in rows}


def _without_try() -> Facts:
    rows = [f"iteration {n} {a}" for n in (100, 200, 600) for a in ("x86_64", "i586")]
    rows += ["iteration 300 x86_64", "iteration 400 x86_64"]
    logs = {
        f"{row} titer_{kind}log_hash": ...
        for row in rows[:6] for kind in ("build", "srpm")
        if kind == "build" or row not in ("iteration 200 i586", *rows[4:6])
    }  # fmt: skip
    logs["iteration 300 x86_64 titer_srpmlog_hash"] = ...
    numbers = {f"{row} task_{name}": 0 for row in rows for name in ("try", "iter")}
    return {**NO_PLAN, **logs, **numbers, "state task_try": 0}


def _without_components() -> Facts:
    names = (
        "add noarch libexample-doc-1.4-alt1.noarch.rpm",
        "add x86_64 libexample-1.4-alt1.x86_64.rpm",
        "delete x86_64 libexample-1.3-alt1.x86_64.rpm",
        "delete x86_64 oldpkg-debuginfo-0.1-alt1.x86_64.rpm",
    )
    return {f"plan {name} tplan_comp": "" for name in names}


EXPECTED: dict[str, Facts] = {
    "5 old info": _later(-1),
    "5 no info": {**_later(-1), "state task_shared": 0},
    "6 info is no JSON": {"state task_shared": 0},
    "6 info is a list": {"state task_shared": 0},
    "6 info is a list with the word": {"state task_shared": 0},
    "6 shared is 0": {"state task_shared": 0},
    "6 shared is a text": {},
    "7 parts of seconds": {},
    "8 no numbers": _without_try(),
    "8 empty numbers": _without_try(),
    "8 blank numbers": _without_try(),
    "10 prev without a number": {"state task_prev": 0, "warnings": 1},
    "10 prev is a directory": {"state task_prev": 0},
    "10 prev by links": {},
    "10 prev is a loop": {"state task_prev": 0, "warnings": 1},
    "11 blank dependencies": {},
    "11 no dependencies": {"state task_depends": []},
    "11 empty dependencies": {"state task_depends": []},
    "12 flags": {"state task_testonly": 1},
    "13 cyrillic message": {"state task_message": "пересборка"},
    "13 latin message": {"state task_message": "cafÿ"},
    "15 no userid": {"subtask 100 subtask_userid": ""},
    "16 late userid": {"subtask 100 subtask_changed": at("2021-10-04 13:00:00") // SECOND},
    "18 srpm rebuild": {
        "subtask 200 subtask_type": "rebuild",
        "subtask 200 subtask_pkg_from": "sisyphus",
        "subtask 200 subtask_package": "toolbox",
    },
    "18 srpm with package": {"subtask 200 subtask_package": "toolbox"},
    "19 two rebuilds": {"subtask 300 subtask_pkg_from": "p10"},
    "19 empty rebuild": {"subtask 300 subtask_pkg_from": ""},
    "20 empty copy_repo": {},
    "20 empty dir": {},
    "21 sid with two colons": {"subtask 100 subtask_sid": "aa"},
    "21 sid without colon": {
        "subtask 100 subtask_sid": "deadbeef", "subtask 100 subtask_type": "unknown", "warnings": 1,
    },
    "21 sid of another kind": {
        "subtask 100 subtask_sid": "x", "subtask 100 subtask_type": "unknown", "warnings": 1,
    },
    "21 no sid": {"subtask 100 subtask_sid": "", "subtask 100 subtask_type": "unknown"},
    "22 nevr without tab": {"subtask 200 subtask_srpm_evr": "", "warnings": 1},
    "22 nevr with more fields": {"subtask 200 subtask_srpm_evr": "1:3.2-alt1"},
    "23 odd names in gears": {"subtask 1000": True, "iteration 1000 x86_64": True},
    "24 swept": {},
    "24 cached": {},
    "25 left from an earlier try": {f"{X86}titer_status": "failed", f"{X86}titer_pkgs_hash": [0]},
    "26 no status": {},
    "26 no status, no packages": {},
    "27 blank status": {f"{X86}titer_status": "failed", f"{X86}titer_pkgs_hash": [0]},
    "27 status of two lines": {"iteration 300 x86_64 titer_status": "built\nextra"},
    "28 no source on x86_64": {
        **NO_PLAN, f"{X86}titer_srcrpm_hash": 0, f"{I586}titer_srcrpm_hash": I586_SOURCE,
    },
    "28 no source on x86_64, trusted": {
        f"{X86}titer_srcrpm_hash": I586_SOURCE, f"{I586}titer_srcrpm_hash": I586_SOURCE,
    },
    "29 only aarch64": {
        **NO_PLAN,
        "iteration 600 x86_64": GONE,
        "iteration 600 i586": GONE,
        "iteration 600 aarch64": True,
    },
    "30 plan names a missing file": {},
    "30 plan names a file outside": {"warnings": 1},
    "30 plan goes up": {"warnings": 1},
    "30 plan goes up inside": {"warnings": 1},
    "31 no binaries": {f"{X86}titer_pkgs_hash": [0]},
    "32 strays": {},
    "33 repackaged build": {"iteration 600 x86_64-i586": True},
    "34 build of a deletion": {"iteration 400 x86_64 titer_status": "failed"},
    "34 empty build of a deletion": {},
    "35 noarch twice": {
        f"{I586}titer_pkgs_hash": [
            "build/100/i586/rpms/libexample-1.4-alt1.i586.rpm",
            "build/100/i586/rpms/libexample-doc-1.4-alt1.noarch.rpm",
        ],
    },
    "37 odd chroot": {f"{X86}titer_chroot_base": ..., "chroots": 3, "warnings": 1},
    "38 empty chroot": {f"{X86}titer_chroot_br": 0},
    "39 plan as old as the run": NO_PLAN,
    "39 plan one nanosecond later": {},
    "41 no components": _without_components(),
    "42 more columns": {},
    "43 short names": {
        "plan add x86_64 j-1-alt1.x86_64.rpm": True, "plan delete x86_64 R-1-alt1.x86_64.rpm": True,
    },
    "45 same file on both sides": {
        "digest 13284988821318775494 add bbbbbbbb": True,
        "digest 13284988821318775494 delete aaaaaaaa": True,
    },
    "53 vote revoked": {"approve 100 carol": GONE},
    "56 no disapprovals": {"disapprove 200 erin": GONE},
    "57 no votes at all": {
        "approvals": False, "approve 100 carol": GONE, "approve 400 dave": GONE,
        "disapprove 200 erin": GONE,
    },
    "58 odd votes": {
        "approve 300 header": (at("2021-10-05 07:00:00") // SECOND, ""),
        "approve 300 latin": (at("2021-10-05 07:00:00") // SECOND, "  café  \nlast"),
        "warnings": 4,
    },
    "62 empty events": {},
    "67 no log": {f"{X86}titer_buildlog_hash": 0},
    "68 events of one hash": {"state task_eventlog_hash": ...},
    "70 broken package": {},
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_shape(name: str, root: Path, base: Facts) -> None:
    SHAPES[name](root)
    found = differences(base, facts(root))
    for key, value in EXPECTED[name].items():
        if value is ...:
            assert key in found
            found.pop(key)
    assert found == {key: value for key, value in EXPECTED[name].items() if value is not ...}


@pytest.mark.parametrize("name", ["47 only headers", "47 empty diff"])
def test_diff_without_changes(name: str, root: Path, base: Facts) -> None:
    SHAPES[name](root)
    assert differences(base, facts(root)) == {
        key: GONE for key in NO_PLAN if key.startswith("plan") and " src " in key
    }


def test_done_task_trusts_an_old_plan(root: Path, base: Facts) -> None:
    SHAPES["39 old plan, DONE"](root)
    assert differences(base, facts(root)) == {"state task_state": "DONE"}


def test_failed_task_without_a_plan(root: Path, base: Facts) -> None:
    SHAPES["40 no plan"](root)
    assert differences(base, facts(root)) == {**NO_PLAN, "state task_state": "FAILED"}


def test_empty_package_file_is_no_deletion(root: Path, base: Facts) -> None:
    SHAPES["17 empty package"](root)
    after = facts(root)
    assert differences(base, after) == {"subtask 700": True}
    assert after["subtask 700 subtask_type"] == "unknown"
    assert after["subtask 700 subtask_deleted"] == 0


def test_removed_subtask(root: Path, base: Facts) -> None:
    change.put(root, "gears/500/sid", b"gear:ff\n")
    after = facts(root)
    assert differences(base, after) == {"subtask 500 subtask_sid": "ff"}
    assert after["subtask 500 subtask_userid"] == "bob"
    assert after["subtask 500 subtask_type"] == "unknown"


def test_subtask_removed_later(root: Path) -> None:
    SHAPES["60 subtask removed"](root)
    after = facts(root)
    assert after["subtask 100 subtask_deleted"] == 1
    assert not [name for name in after if name.startswith(("iteration 100", "approve 100"))]


def test_times_of_a_build_without_a_status(root: Path) -> None:
    SHAPES["26 no status"](root)
    change.touch(root, "build/100/x86_64", at("2021-10-05 09:11:12", 999_999_999))
    assert facts(root)[f"{X86}titer_ts"] == at("2021-10-05 09:11:12") // SECOND


def test_later_time_is_cut_not_rounded(root: Path) -> None:
    change.touch(root, "task/state", at("2021-10-05 10:20:31", 999_999_999))
    assert facts(root)["state task_changed"] == CHANGED


@pytest.mark.parametrize("time", [-5 * SECOND, 2**33 * SECOND])
def test_times_that_no_column_holds(time: int, root: Path) -> None:
    change.touch(root, "build/100/x86_64/status", time)
    change.touch(root, "gears/100/userid", time)
    change.touch(root, "gears/100", time)
    after = facts(root)
    limit = 0 if time < 0 else 2**32 - 1
    assert after[f"{X86}titer_ts"] == after["subtask 100 subtask_changed"] == limit


def test_single_architecture_that_comes_last_by_name(root: Path) -> None:
    """Architectures are visited in a fixed order; the plan is not trusted."""
    SHAPES["29 only aarch64"](root)
    for arch in ("zarch", "armh"):
        shutil.copytree(root / "build/600/aarch64", root / "build/600" / arch)
    after = facts(root)
    sources = [after[f"iteration 600 {a} titer_srcrpm_hash"] for a in ("aarch64", "armh", "zarch")]
    assert sources == ["build/600/aarch64/srpm/bar-5-alt1.src.rpm"] * 3
    change.remove(root, "build/600/aarch64/srpm")
    after = facts(root)
    sources = [after[f"iteration 600 {a} titer_srcrpm_hash"] for a in ("aarch64", "armh", "zarch")]
    assert sources == [0, *["build/600/armh/srpm/bar-5-alt1.src.rpm"] * 2]


def test_plan_stands_in_for_missing_binaries(root: Path) -> None:
    """Only records of the very architecture count, and only files that are there."""
    change.put_package(root, "build/100/x86_64/elsewhere", make_rpm("planned"))
    path = f"build/100/x86_64/elsewhere/{make_rpm('planned').file_name}"
    for arch in ("x86_64", "noarch"):
        change.add_plan_record(
            root, "add-bin", "planned", "1.0-alt1", arch, "planned.rpm", path, "100", "classic"
        )
    SHAPES["31 no binaries"](root)
    assert facts(root)[f"{X86}titer_pkgs_hash"] == [path]


def test_last_planned_source_wins(root: Path) -> None:
    SHAPES["30 plan names a missing file"](root)
    change.add_plan_record(
        root, "add-src", "libexample", "1.4-alt1", "libexample.src.rpm", I586_SOURCE, "100"
    )
    after = facts(root)
    assert after[f"{X86}titer_srcrpm_hash"] == after[f"{I586}titer_srcrpm_hash"] == I586_SOURCE


def test_link_out_of_the_tree_is_no_planned_file(root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.src.rpm"
    outside.write_bytes(b"secret")
    change.link(root, "build/100/x86_64/srpm/out.src.rpm", str(outside))
    change.add_plan_record(
        root, "add-src", "x", "1", "out.src.rpm", "build/100/x86_64/srpm/out.src.rpm", "100"
    )
    assert facts(root)[f"{X86}titer_srcrpm_hash"] == (
        "build/100/x86_64/srpm/libexample-1.4-alt1.src.rpm"
    )


def test_stub_of_a_task_that_never_ran(root: Path) -> None:
    SHAPES["8 no numbers"](root)
    SHAPES["34 no build"](root)
    change.set_state(root, "NEW", at("2021-10-05 10:20:30"))
    after = facts(root)
    iterations = [name for name in after if name.startswith("iteration") and after[name] is True]
    assert iterations == ["iteration 400 x86_64"]
    assert after["iteration 400 x86_64 task_try"] == 0
    assert after["iteration 400 x86_64 titer_status"] == "deleted"
    assert after["iteration 400 x86_64 titer_ts"] == CHANGED


def test_chroots_with_odd_lines(root: Path) -> None:
    SHAPES["37 odd chroot"](root)
    bash, libc = 13155985489784542306, 5057892201506924115
    assert facts(root)[f"{X86}titer_chroot_base"] == array_hash([bash, libc, bash, libc, bash])


def test_events_of_one_hash_are_both_there(root: Path) -> None:
    SHAPES["68 events of one hash"](root)
    task = read_task(root)
    names = [log.path.name for log in task.event_logs]
    assert names == [
        "events.1.1.log", "events.1.12.log", "events.2.1.log", "events.11.2.log"
    ]  # fmt: skip
    assert task.event_logs[1].log_hash == task.event_logs[3].log_hash


@pytest.mark.parametrize("name", ["events.1.log", "events.1.2.3.log", "events.a.1.log", "events"])
def test_names_that_are_no_event_logs(name: str, root: Path, base: Facts) -> None:
    change.put(root, f"logs/{name}", b"x\n")
    assert differences(base, facts(root)) == {}


def test_archived_task(example: ComposedTask, tmp_path: Path, base: Facts) -> None:
    """Empty files and directories are gone from an archive, and with them the flags."""
    place = change.archive(copied(example, tmp_path), tmp_path / "archive")
    assert place == tmp_path / "archive/_488/500123"
    after = facts(place)
    assert differences(base, after) == {"state task_failearly": 0}


# What must not be loaded


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("2 no id", "task/id"),
        ("2 empty id", "task/id"),
        ("2 id 0", "task/id"),
        ("3 no state", "no task/state"),
        ("4 other id", "500124"),
        ("9 iter 256", "256"),
        ("huge numbers", "no number"),
    ],
)
def test_malformed_tree(name: str, words: str, root: Path) -> None:
    {**SHAPES, **HOSTILE_SHAPES}[name](root)
    with pytest.raises(SourceError, match=words) as failure:
        read_task(root)
    assert str(root) in str(failure.value)


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("task/try", b"65536\n"),
        ("task/try", b"-1\n"),
        ("task/iter", "٢".encode()),
        ("task/id", b"4294967296\n"),
        ("task/depends", b"500100\nx\n"),
        ("task/depends", b"4294967296\n"),
    ],
)
def test_numbers_that_no_column_holds(path: str, content: bytes, root: Path) -> None:
    change.put(root, path, content)
    with pytest.raises(SourceError, match=path):
        read_task(root)


@pytest.mark.parametrize("name", ["tasks", "0", "500123x", "4294967296", ""])
def test_directories_that_are_no_tasks(name: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError):
        tree.task_number(tmp_path / name if name else Path("."))


@pytest.fixture
def open_root(example: ComposedTask) -> Iterator[Path]:
    """A copy in a directory that everybody can enter."""
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        yield copied(example, Path(directory))


@pytest.mark.parametrize(
    "path",
    ["gears/200", "gears", "task/message", "build/100/x86_64", "acl/approved/100", "logs",
     "build/100/x86_64/rpms", "plan", "arepo/x86_64-i586/rpms", "info.json"],
)  # fmt: skip
def test_unreadable_parts_are_not_missing_parts(path: str, open_root: Path) -> None:
    with without_privileges():
        read_task(open_root)
    mode = stat.S_IMODE((open_root / path).stat().st_mode)
    change.deny(open_root, path)
    try:
        with without_privileges(), pytest.raises(SourceError, match="Permission denied"):
            read_task(open_root)
    finally:
        (open_root / path).chmod(mode)


@pytest.mark.parametrize(
    "path", ["gears", "build", "logs", "acl/approved", "build/100/x86_64/rpms"]
)
def test_file_in_place_of_a_directory(path: str, example: ComposedTask, tmp_path: Path) -> None:
    root = copied(example, tmp_path)
    change.remove(root, path)
    (root / path).touch()
    with pytest.raises(SourceError, match=f"{path}: Not a directory"):
        read_task(root)


# Hostile trees


@pytest.mark.parametrize("name", sorted(HOSTILE_SHAPES))
def test_hostile_shape_is_read_or_refused_soon(name: str, root: Path) -> None:
    HOSTILE_SHAPES[name](root)
    with within(SOON_S):
        try:
            task = read_task(root)
        except SourceError as error:
            assert "\n" not in str(error)
            assert len(str(error)) < 1000
        else:
            check_rows(task)


def check_rows(task: Task) -> None:
    """Every row can be made, and every number fits its column."""
    rows = [state_row(task), *subtask_rows(task), *iteration_rows(task, _Paths(task.root))]
    rows += [*plan_package_rows(task), *plan_digest_rows(task), *chroot_rows(task.iterations)]
    for row in rows:
        numbers = [value for value in row if isinstance(value, int)]
        assert all(0 <= value < 2**64 for value in numbers)


PARSED_FILES = (
    "task/id", "task/state", "task/try", "task/iter", "task/depends", "task/message", "info.json",
    "gears/100/sid", "gears/200/nevr", "gears/300/rebuild_from", "gears/400/package",
    "build/100/x86_64/status", "build/100/x86_64/chroot_base", "plan/add-src", "plan/add-bin",
    "plan/rm-src", "plan/rm-bin", "plan/src.list.diff", "plan/bin.list.diff",
    "plan/src.hash.diff", "acl/approved/100/carol", "build/repo/x86_64/base/pkglist.task.xz",
)  # fmt: skip


@pytest.fixture(scope="module")
def victim(example: ComposedTask, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy for one damaged file after the other, with an index."""
    place = copied(example, tmp_path_factory.mktemp("victim"))
    headers = [rpm.index_header() for rpm in example.binaries(100, "x86_64")]
    change.write_index(place, "x86_64", headers)
    return place


def read_or_refuse(root: Path) -> None:
    with within(SOON_S):
        try:
            check_rows(read_task(root))
        except SourceError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize("path", PARSED_FILES)
def test_damaged_file(path: str, victim: Path) -> None:
    """Every byte of a sample flipped in turn, and cuts at every place of it."""
    file = victim / path
    sound = file.read_bytes()
    rng = Random(path)
    places = range(len(sound)) if len(sound) < 40 else sorted(rng.sample(range(len(sound)), 40))
    try:
        for place in places:
            flipped = bytearray(sound)
            flipped[place] ^= rng.choice((0x01, 0x20, 0x80, 0xFF))
            for damaged in (bytes(flipped), sound[:place]):
                file.write_bytes(damaged)
                read_or_refuse(victim)
    finally:
        file.write_bytes(sound)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(path=st.sampled_from(PARSED_FILES), content=st.binary(max_size=200))
def test_any_content(victim: Path, path: str, content: bytes) -> None:
    file = victim / path
    sound = file.read_bytes()
    try:
        file.write_bytes(content)
        read_or_refuse(victim)
    finally:
        file.write_bytes(sound)


@given(content=st.binary(max_size=60))
def test_small_texts(content: bytes) -> None:
    """Text is UTF-8 if it can be, else Latin-1; a number is a number or refused."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        path = Path(file.name)
        try:
            expected = content.decode()
        except UnicodeDecodeError:
            expected = content.decode("latin-1")
        assert raw(path) == expected
        try:
            found = number(path, 255)
        except SourceError:
            assert (
                not expected.strip().isascii()
                or not expected.strip().isdigit()
                or (int(expected) > 255)
            )
        else:
            assert found == int(expected.strip() or "0")


# What indexes and plans tell of files


def hints(root: Path) -> dict[str, tuple[bool, bool, bool]]:
    """For each package whether MD5, SHA-256 and BLAKE2b are believed without reading it."""
    task = read_task(root)
    sources = package_sources([task], package_paths([task]))
    return {
        os.path.basename(os.fsdecode(source.path)): (
            source.md5 is not None, source.sha256 is not None, source.blake2b is not None,
        )
        for source in sources
    }  # fmt: skip


LIBRARY = "libexample-1.4-alt1.x86_64.rpm"


def index(root: Path, example: ComposedTask, arch: str = "x86_64", **options: Any) -> None:
    headers = [rpm.index_header(**options) for rpm in example.binaries(100, arch)]
    change.write_index(root, arch, headers)


def test_hints_of_the_plan(root: Path) -> None:
    """A package of no architecture is always read, whatever is said of it."""
    found = hints(root)
    assert {name for name, hint in found.items() if any(hint)} == {
        LIBRARY, "libexample-1.4-alt1.src.rpm", "i586-libexample-1.4-alt1.i586.rpm"
    }  # fmt: skip
    assert found[LIBRARY] == (False, True, False)


def test_hints_of_an_index(root: Path, example: ComposedTask) -> None:
    index(root, example)
    assert hints(root)[LIBRARY] == (True, True, True)
    assert hints(root)["libexample-doc-1.4-alt1.noarch.rpm"] == (False, False, False)


def test_index_of_another_size_is_not_believed(root: Path, example: ComposedTask) -> None:
    index(root, example, size=1)
    assert hints(root)[LIBRARY] == (False, True, False)


def test_index_without_size_or_blake2b(root: Path, example: ComposedTask) -> None:
    index(root, example, with_size=False, blake2b=False)
    assert hints(root)[LIBRARY] == (True, True, False)


def test_indexes_that_contradict_each_other(root: Path, example: ComposedTask) -> None:
    index(root, example)
    change.write_index(
        root, "i586", [rpm.index_header(md5="0" * 32) for rpm in example.binaries(100, "x86_64")]
    )
    assert hints(root)[LIBRARY] == (False, True, False)


@pytest.mark.parametrize("name", ["index that ends early", "index of rubbish"])
def test_broken_index_is_a_warning(name: str, root: Path) -> None:
    HOSTILE_SHAPES[name](root)
    task = read_task(root)
    assert len(task.warnings) == 1
    assert "pkglist.task.xz" in task.warnings[0]
    assert task.listed == {}
