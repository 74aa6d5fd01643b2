"""Plans: lists of additions and removals, and diffs of lists."""

from __future__ import annotations

import time
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from altrepodb.task.plan import Plan, PlannedPackage, plan_hash, read_plan
from tests.support.task_tree import SampleSize, compose_task, sample_plan

SUM_A, SUM_B = "a" * 64, "b" * 64
NAMES = (
    "add-src", "add-bin", "rm-src", "rm-bin", "src.list.diff", "bin.list.diff", "x86_64.hash.diff",
)  # fmt: skip
LINES = st.lists(
    st.sampled_from(
        [
            "+", "-", " ", "@@ -1 +1 @@", "--- a", "+++ b", "---", "+++", "\t", "\n", "\n\n",
            "name\t1-alt1\tx86_64\tfile.rpm\tsource.rpm", "name\t1\tfile.rpm", "path\t100",
            "build/100/x86_64/rpms/x.rpm", "../x", "/etc/passwd", "\0", "ы", f"{SUM_A}  x.rpm",
            f"{SUM_B.upper()}  x.rpm", "9" * 30, "-1", "\r", "\udcff", "x" * 300,
        ]
    ),
    max_size=30,
)  # fmt: skip


class Directory:
    """A task root with nothing but a plan."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.warnings: list[str] = []
        (root / "plan").mkdir()

    def read(self, **contents: str) -> Plan:
        """Read a plan of these files; an underscore stands for a hyphen, two for a point."""
        for name, content in contents.items():
            path = self.root / "plan" / name.replace("__", ".").replace("_", "-")
            path.write_text(content)
        return read_plan(self.root, self.warnings)


@pytest.fixture
def plan(tmp_path: Path) -> Directory:
    return Directory(tmp_path)


def names(found: Plan) -> list[tuple[str, str]]:
    return [(package.action, package.name) for package in found.packages]


def test_whole_plan_of_a_sample(tmp_path: Path) -> None:
    task = compose_task(tmp_path / "7", sample_plan(7, SampleSize(12, packages=200)))
    warnings: list[str] = []
    found = read_plan(task.root, warnings)
    assert warnings == []
    added = {p.file_name for p in found.packages if p.action == "add"}
    assert added == {
        path.rpartition("/")[2] for path in task.packages if not path.startswith("arepo")
    }
    digests = {rpm.file_name: bytes.fromhex(rpm.sha256) for rpm in task.packages.values()}
    for name, digest in found.sha256_of.items():
        if not name.endswith((".src.rpm", ".noarch.rpm")):
            assert digest == digests[name]
    assert all(path.is_file() for path in found.source_paths.values())
    assert {p.component for p in found.packages if p.arch != "src"} >= {"classic", "debuginfo"}
    assert all(p.subtask == 0 for p in found.packages if p.action == "delete")
    assert all(p.subtask for p in found.packages if p.action == "add")


def test_columns(plan: Directory) -> None:
    found = plan.read(
        bin__list__diff="+ name \t1-alt1\tx86_64\tfile.rpm\tsource.rpm\tmore\n",
        add_bin="name\t1\tx86_64\tfile.rpm\tbuild/x\t100\tdebuginfo\n",
    )
    assert found.packages == [
        PlannedPackage(
            "add", "name", "1-alt1", "x86_64", "file.rpm", "source.rpm", "debuginfo", 100
        )
    ]
    assert plan.warnings == []


def test_short_names(plan: Directory) -> None:
    found = plan.read(src__list__diff="+j\t1\tj.rpm\n-R\t1\tR.rpm\n+-x\t1\tx.rpm\n+ы\t1\tы.rpm\n")
    assert names(found) == [("add", "j"), ("delete", "R"), ("add", "-x"), ("add", "ы")]


def test_lines_that_are_no_changes(plan: Directory) -> None:
    found = plan.read(
        src__list__diff="--- a\tb\tc\n+++ b\tb\tc\n@@ -1 +1 @@\n same\t1\tc.rpm\n\n"
        "\\ No newline at end of file\n"
    )
    assert (found.packages, plan.warnings) == ([], [])


@pytest.mark.parametrize("line", ["+x", "+x\t1", "-x"])
def test_lines_of_too_few_columns(line: str, plan: Directory) -> None:
    found = plan.read(src__list__diff=f"{line}\n+y\t1\ty.rpm\n")
    assert names(found) == [("add", "y")]
    assert len(plan.warnings) == 1
    assert "line 1" in plan.warnings[0]


@pytest.mark.parametrize("subtask", ["", "x", "-1", "4294967296", "9" * 30, "١"])
def test_record_without_a_subtask(subtask: str, plan: Directory) -> None:
    found = plan.read(
        add_src=f"x\t1\tx.rpm\tbuild/x\t{subtask}\n", src__list__diff="+x\t1\tx.rpm\n"
    )
    assert found.packages[0].subtask == 0
    assert "add-src: line 1" in plan.warnings[0]


def test_component_by_action(plan: Directory) -> None:
    """A file may leave one component and enter another; the last line about it counts."""
    lines = ("-x\t1\tnoarch\tx.rpm\ts.rpm\n", "+x\t1\tnoarch\tx.rpm\ts.rpm\n")
    lists = {
        "add_bin": "x\t1\tnoarch\tx.rpm\tbuild/x\t100\tclassic\n",
        "rm_bin": "x\t1\tnoarch\tx.rpm\tdebuginfo\n",
    }
    for order, expected in (
        (lines, ("add", "classic", 100)),
        (lines[::-1], ("delete", "debuginfo", 0)),
    ):
        (found,) = plan.read(bin__list__diff="".join(order), **lists).packages
        assert (found.action, found.component, found.subtask) == expected


def test_last_line_of_a_key_wins(plan: Directory) -> None:
    found = plan.read(
        src__list__diff="+x\t1\tx.rpm\n+y\t2\tx.rpm\n",
        src__hash__diff=f"+{SUM_A}  x.rpm\n+{SUM_B}  x.rpm\n",
    )
    assert names(found) == [("add", "y")]
    assert [d.sha256.hex() for d in found.digests] == [SUM_B]


def test_digests(plan: Directory) -> None:
    found = plan.read(
        i586__hash__diff=f"--- {SUM_A}  a\n+++ {SUM_A}  b\n {SUM_A}  same.rpm\n-{SUM_A}  x.rpm\n"
        f"+{SUM_B} \t x.rpm\n+{SUM_B[:-1]}  short.rpm\n+{SUM_A.upper()}  upper.rpm\n+{SUM_A}\n"
    )
    assert [(d.action, d.arch, d.file_name, d.sha256.hex()) for d in found.digests] == [
        ("delete", "i586", "x.rpm", SUM_A), ("add", "i586", "x.rpm", SUM_B),
    ]  # fmt: skip
    assert found.sha256_of == {"x.rpm": bytes.fromhex(SUM_B)}
    assert found.packages == []


def test_all_list_diffs_are_read(plan: Directory) -> None:
    line = "+x\t1\tx86_64\tx.rpm\ts.rpm\n"
    found = plan.read(other__list__diff=line, list__diff=line.replace("x", "y"), next__src=line)
    assert sorted(names(found)) == [("add", "x")]


def test_no_plan(tmp_path: Path) -> None:
    assert read_plan(tmp_path, []) == Plan()


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "../x",
        "build/../../x",
        "build/..",
        "",
        "plan/add-src",
        "./build/x",
        "build/\0",
    ],
)
def test_paths_out_of_the_build_directory(path: str, plan: Directory) -> None:
    (plan.root / "x").write_bytes(b"")
    found = plan.read(add_src=f"x\t1\tx.rpm\t{path}\t100\n")
    assert found.source_paths == {}
    assert len(plan.warnings) == 1


def test_hash_without_separators() -> None:
    assert plan_hash(5, 1, 12, "src") == plan_hash(5, 11, 2, "src")


@settings(max_examples=200, deadline=None)
@given(contents=st.dictionaries(st.sampled_from(NAMES), LINES, max_size=7))
def test_any_lines(contents: dict[str, list[str]]) -> None:
    """Anything is read soon, and nothing but warnings comes of it."""
    # Of the processor: a busy machine tells nothing of the program.
    started = time.thread_time()
    with TemporaryDirectory() as directory:
        root = Path(directory)
        (root / "plan").mkdir()
        for name, parts in contents.items():
            content = "".join(parts).encode("utf-8", "surrogateescape")
            (root / "plan" / name).write_bytes(content)
        found = read_plan(root, warnings := [])
    assert time.thread_time() - started < 2
    assert all(0 <= package.subtask < 2**32 for package in found.packages)
    assert all(len(digest.sha256) == 32 for digest in found.digests)
    assert all("\n" not in warning for warning in warnings)
    assert found.source_paths == {}
