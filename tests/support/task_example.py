"""The worked example of the specification of the task loader: task 500123."""

from __future__ import annotations

from pathlib import Path

from tests.support.task_compose import ComposedTask, compose_task
from tests.support.task_packages import ChrootPackage, TaskRpm, make_rpm
from tests.support.task_plan import Approval, Build, EventLog, Subtask, TaskPlan, TaskTimes, at

_DAY = "2021-10-05"
_TIMES = TaskTimes(
    created=at("2021-10-04 12:00:00"),
    run=at(f"{_DAY} 09:00:00"),
    iter=at(f"{_DAY} 09:00:00"),
    build_directory=at(f"{_DAY} 09:05:00"),
    built=at(f"{_DAY} 09:10:00"),
    planned=at(f"{_DAY} 10:15:00"),
    state=at(f"{_DAY} 10:20:30"),
    info=at(f"{_DAY} 10:20:31"),
)
_CHROOT_BASE = (
    ChrootPackage("bash", sha1="c8a16b493c487d9f0d43546b842106bf2ffa7152"),
    ChrootPackage("glibc-core", sha1="68a0ce26206bb8c76778fa55f615f230aa4ceaab"),
)
_CHROOT_BR = (ChrootPackage("gcc", "10-alt1", sha1="fce79b7fe1fee3a977fa1bd4efbd9e9a06c29c14"),)
_BUILD_LOG = (
    b"[00:00:00] Installing source package\n[00:00:01]   indented step\n\n[00:04:59] finished\n"
)
_SRPM_LOG = (
    b"Installing pkg.tar\n<13>Oct  5 09:01:02 rpmi: libfoo-1-alt1 installed\n"
    b"Building target platforms: x86_64\n"
)
_EVENTS_1 = b"""\
2021-Oct-05 06:00:00 :: task #500123 for p10 started by alice:
#100 build 1.4-alt1 from /people/alice/packages/libexample.git
2021-Oct-05 06:40:00 :: task #500123 for p10 FAILED
"""
_EVENTS_2 = b"""\
2021-Oct-05 09:00:10 :: task #500123 for p10 resumed by alice:
2021-Oct-05 09:00:10 :: message: rebuild with new libexample
"""
_HEAD = "--- /repo/{0}.list\t2021-10-05\n+++ plan/next.{0}\t2021-10-05\n@@ -1,3 +1,2 @@\n"
_HASH_HEAD = "--- /repo/{0}.hash\t2021-10-05\n+++ plan/next.{0}.hash\t2021-10-05\n@@ -1 +1 @@\n"
_OLD_SOURCE = "libexample\t1.3-alt1\tlibexample-1.3-alt1.src.rpm\n"
_OLD_BINARY = "libexample\t1.3-alt1\tx86_64\tlibexample-1.3-alt1.x86_64.rpm"
_GONE_SOURCE = "oldpkg\t0.1-alt1\toldpkg-0.1-alt1.src.rpm\n"
_GONE_BINARY = "oldpkg-debuginfo\t0.1-alt1\tx86_64\toldpkg-debuginfo-0.1-alt1.x86_64.rpm"
_NEW_SOURCE = "libexample\t1.4-alt1\tlibexample-1.4-alt1.src.rpm"
_NEW_BINARY = "libexample\t1.4-alt1\tx86_64\tlibexample-1.4-alt1.x86_64.rpm"
_NEW_DOC = "libexample-doc\t1.4-alt1\tnoarch\tlibexample-doc-1.4-alt1.noarch.rpm"
_RPMS = "build/100/x86_64/rpms"
_PLAN_FILES = {
    "add-src": (
        f"{_NEW_SOURCE}\tbuild/100/x86_64/srpm/libexample-1.4-alt1.src.rpm\t100\n"
        "toolbox\t3.2-alt1\ttoolbox-3.2-alt1.src.rpm\t"
        "build/200/x86_64/srpm/toolbox-3.2-alt1.src.rpm\t200\n"
        "bar\t5-alt1\tbar-5-alt1.src.rpm\tbuild/600/x86_64/srpm/bar-5-alt1.src.rpm\t600\n"
    ),
    "add-bin": (
        f"{_NEW_BINARY}\t{_RPMS}/libexample-1.4-alt1.x86_64.rpm\t100\tclassic\n"
        f"{_NEW_DOC}\t{_RPMS}/libexample-doc-1.4-alt1.noarch.rpm\t100\tclassic\n"
    ),
    "rm-src": _OLD_SOURCE + _GONE_SOURCE,
    "rm-bin": f"{_OLD_BINARY}\tclassic\n{_GONE_BINARY}\tdebuginfo\n",
    "src.list.diff": (
        f"{_HEAD.format('src')} aaa\t1-alt1\taaa-1-alt1.src.rpm\n"
        f"-{_OLD_SOURCE}+{_NEW_SOURCE}\n-{_GONE_SOURCE}"
    ),
    "bin.list.diff": (
        f"{_HEAD.format('bin')}-{_OLD_BINARY}\tlibexample-1.3-alt1.src.rpm\n"
        f"+{_NEW_BINARY}\tlibexample-1.4-alt1.src.rpm\n"
        f"+{_NEW_DOC}\tlibexample-1.4-alt1.src.rpm\n"
        f"-{_GONE_BINARY}\toldpkg-0.1-alt1.src.rpm\n"
    ),
    "src.hash.diff": (
        f"{_HASH_HEAD.format('src')}"
        "-3c121c38de117bacfa83b7a7c05644bd7aefe09d91ee681fd93a6c702904d898"
        "  libexample-1.3-alt1.src.rpm\n"
        "+418ffe7a3cd34a2e9c38943b375cc1216693de830649db0af494448d6692abe5"
        "  libexample-1.4-alt1.src.rpm\n"
    ),
    "x86_64.hash.diff": (
        f"{_HASH_HEAD.format('x86_64')}"
        "-76bdb563530c997e6fdf55cc894b3c8d454b14f052427b5e26487816f20643fb"
        "  libexample-1.3-alt1.x86_64.rpm\n"
        "+1cc8ff5e6aa02f9fae19675155bbd0541480d2677abdadd1f248fc66daf9e9d2"
        "  libexample-1.4-alt1.x86_64.rpm\n"
    ),
    "x86_64-i586.hash.diff": (
        f"{_HASH_HEAD.format('x86_64-i586')}"
        "+808e66ec55e19cf01a72e71cf57d39b5e3fee1070d30d9c97975d8d0fbfe99bd"
        "  i586-libexample-1.4-alt1.i586.rpm\n"
    ),
}
PLAN_FILE_NAMES = tuple(_PLAN_FILES)


def compose_worked_example(parent: Path) -> ComposedTask:
    """Write the worked example to ``parent/500123``."""
    return compose_task(parent / "500123", worked_example())


def worked_example() -> TaskPlan:
    """The worked example as a plan, to be changed with ``dataclasses.replace``."""
    return TaskPlan(
        task_id=500123,
        task_try=2,
        depends=(500100, 500111),
        message="rebuild with new libexample",
        fail_early=True,
        shared=True,
        subtasks=_subtasks(),
        approvals=(
            Approval("approved", 100, "carol", at(f"{_DAY} 07:00:00"), "looks\n\nfine"),
            Approval("approved", 400, "dave", at(f"{_DAY} 07:30:00"), "ok, drop it"),
            Approval("disapproved", 200, "erin", at(f"{_DAY} 07:45:10"), "too early"),
        ),
        events=(
            EventLog(1, 1, _EVENTS_1, at(f"{_DAY} 06:40:00")),
            EventLog(2, 1, _EVENTS_2, at(f"{_DAY} 09:00:10")),
        ),
        arepo=(make_rpm("i586-libexample", "1.4-alt1", "i586", source="libexample"),),
        plan_files={name: text.encode() for name, text in _PLAN_FILES.items()},
        indexes=False,
        times=_TIMES,
        extra={
            "build/100/pkgname": b"libexample\n",
            "build/100/changelog": b"* Mon Oct 04 2021 Alice Example\n- 1.4\n",
            "logs/commit.log": b"not read\n",
            "logs/perms.log": b"not read\n",
            "arepo/x86_64-i586/done.list": b"i586-libexample\n",
        },
    )


def _subtasks() -> tuple[Subtask, ...]:
    return (
        Subtask(
            100,
            "gear",
            "libexample",
            "1.4-alt1",
            identity="1" * 40,
            builds=(_libexample("x86_64"), _libexample("i586")),
            time=at("2021-10-04 12:00:05"),
            userid_time=at("2021-10-04 12:00:00"),
        ),
        Subtask(
            200,
            "srpm",
            "toolbox",
            "3.2-alt1",
            user="bob",
            identity="2" * 40,
            builds=_toolbox(),
            time=at("2021-10-04 12:05:00"),
        ),
        Subtask(
            300,
            "gear-rebuild",
            "foo",
            "1:2.0-alt3",
            directory="/gears/f/foo.git",
            identity="3" * 40,
            tag_author="Carol Example <carol@altlinux.org>",
            builds=(_excluded(),),
            time=at("2021-10-04 12:10:00"),
            files={"pkg.tar": None},
        ),
        Subtask(400, "delete", "oldpkg", time=at("2021-10-04 12:15:00")),
        Subtask(500, "removed", user="bob", time=at("2021-10-04 18:30:00")),
        Subtask(
            600,
            "copy",
            "bar",
            builds=(_copied("x86_64"), _copied("i586")),
            time=at("2021-10-04 12:20:00"),
        ),
    )


def _source(name: str, evr: str, arch: str) -> TaskRpm:
    """Each architecture builds its own source package: same name, another identity."""
    return make_rpm(name, evr, "src", buildtime=1_633_424_500 + len(arch))


def _built(arch: str, source: TaskRpm, *binaries: TaskRpm, status: bytes = b"built\n") -> Build:
    return Build(
        arch,
        source,
        binaries,
        status,
        chroot_base=_CHROOT_BASE,
        chroot_br=_CHROOT_BR,
        log=_BUILD_LOG,
        srpm_log=_SRPM_LOG,
        time=at(f"{_DAY} 09:10:00"),
        srpm_log_time=at(f"{_DAY} 09:02:00"),
        extra={"try_iter": b"2.1"},
    )


def _libexample(arch: str) -> Build:
    binaries = [make_rpm("libexample", "1.4-alt1", arch)]
    if arch == "x86_64":
        binaries.append(make_rpm("libexample-doc", "1.4-alt1", "noarch", source="libexample"))
    return _built(arch, _source("libexample", "1.4-alt1", arch), *binaries)


def _toolbox() -> tuple[Build, ...]:
    source = _source("toolbox", "3.2-alt1", "x86_64")
    binary = make_rpm("toolbox", "3.2-alt1", "x86_64")
    failed = Build(
        "i586",
        status=b"",
        log=_BUILD_LOG,
        time=at(f"{_DAY} 09:12:00"),
        log_time=at(f"{_DAY} 09:12:30"),
    )
    return _built("x86_64", source, binary, status=b"cached\n"), failed


def _excluded() -> Build:
    return Build(
        "x86_64",
        status=b"excluded\n",
        srpm_log=_SRPM_LOG,
        time=at(f"{_DAY} 09:13:00"),
        extra={"excluded": b"ExclusiveArch: i586\n"},
    )


def _copied(arch: str) -> Build:
    return Build(
        arch,
        _source("bar", "5-alt1", arch),
        (make_rpm("bar", "5-alt1", arch),),
        status=None,
        log=b"'bar-5-alt1.src.rpm' -> 'srpm/bar-5-alt1.src.rpm'\n",
        directory_time=at(f"{_DAY} 09:00:31"),
        log_time=at(f"{_DAY} 09:00:30"),
    )
