"""Odd shapes of the worked example: the tree cases of the specification's test list by number.

Each changes a composed worked example in place; what a load must then do stands in the tests.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.support import task_changes as change
from tests.support.task_example import PLAN_FILE_NAMES
from tests.support.task_packages import make_rpm
from tests.support.task_plan import Approval, at

Change = Callable[[Path], None]

_RUN = at("2021-10-05 09:00:00")
_LIBEXAMPLE = "build/100/x86_64"


def _changes(*steps: Change) -> Change:
    """Several changes as one."""

    def apply(root: Path) -> None:
        for step in steps:
            step(root)

    return apply


def _put(path: str, data: bytes, time: int | None = None) -> Change:
    return partial(change.put, path=path, data=data, time=time)


def _remove(*paths: str) -> Change:
    return lambda root: change.remove(root, *paths)


def _directory(path: str) -> Change:
    return partial(change.make_directory, path=path)


def _link(path: str, target: str) -> Change:
    return partial(change.link, path=path, target=target)


def _touch(path: str, time: int) -> Change:
    return partial(change.touch, path=path, time=time)


def _replace(path: str, old: bytes, new: bytes) -> Change:
    return partial(change.replace_text, path=path, old=old, new=new)


def _add_package(path: str, name: str, evr: str, arch: str, buildtime: int) -> Change:
    rpm = make_rpm(name, evr, arch, buildtime=buildtime)
    return partial(change.put_package, path=path, rpm=rpm)


def _add_source_record(path: str) -> Change:
    return lambda root: change.add_plan_record(
        root, "add-src", "libexample", "1.4-alt1", "libexample-1.4-alt1.src.rpm", path, "100"
    )


def _add_odd_names(root: Path, directory: str) -> None:
    change.add_odd_names(root, directory)


_UNTRUSTED = _touch("plan", _RUN)
_CROWDED_DIRECTORIES = (
    "gears", "gears/100", "build/100", f"{_LIBEXAMPLE}/srpm", f"{_LIBEXAMPLE}/rpms", "logs", "plan",
    "acl/approved", "acl/approved/100", "arepo/x86_64-i586/rpms",
)  # fmt: skip
_EXTRA_VOTES = (
    Approval("approved", 300, "empty", 0, text=b""),
    Approval("approved", 300, "header", 0, text=b"2021-Oct-05 07:00:00 :: approved by header"),
    Approval("approved", 300, "two", 0, text=b"2021-Oct-05 07:00:00 :: approved by :: two\n"),
    Approval("approved", 300, "date", 0, text=b"2021-Oct-35 07:00:00 :: approved by date\nx\n"),
    Approval("approved", 300, "month", 0, text=b"2021-Foo-05 07:00:00 :: approved by month\nx\n"),
    Approval(
        "approved",
        300,
        "latin",
        0,
        text=b"2021-Oct-05 07:00:00 :: approved by latin\n\n  caf\xe9  \n\nlast\n\n",
    ),
    Approval("approved", 300, "nobody", 0, text=b"2021-Oct-05 07:00:00 ::  \n"),
)

SHAPES: dict[str, Change] = {
    "2 no id": _remove("task/id"),
    "2 empty id": _put("task/id", b""),
    "2 id 0": _put("task/id", b"0\n"),
    "3 no state": _remove("task/state"),
    "3 empty state": _put("task/state", b""),
    "4 other id": _put("task/id", b"500124\n"),
    "5 old info": _touch("info.json", at("2021-10-05 10:20:29")),
    "5 no info": _remove("info.json"),
    "6 info is no JSON": _put("info.json", b'{"shared":tr'),
    "6 info is a list": _put("info.json", b"[]"),
    "6 info is a list with the word": _put("info.json", b'["shared"]'),
    "6 shared is 0": _put("info.json", b'{"shared":0}'),
    "6 shared is a text": _put("info.json", b'{"shared":"yes"}'),
    "7 parts of seconds": _changes(
        _touch("task/state", at("2021-10-05 10:20:30", 999_000_000)),
        _touch("info.json", at("2021-10-05 10:20:31", 1_000_000)),
    ),
    "8 no numbers": _remove("task/try", "task/iter"),
    "8 empty numbers": _changes(_put("task/try", b""), _put("task/iter", b"")),
    "8 blank numbers": _changes(_put("task/try", b"\n"), _put("task/iter", b"\n")),
    "9 iter 256": _put("task/iter", b"256\n"),
    "10 prev without a number": _link("build/repo/prev", "/repo/p10/latest"),
    "10 prev is a directory": _changes(_remove("build/repo/prev"), _directory("build/repo/prev")),
    "10 prev by links": _changes(
        _link("build/repo/second", "/repo/p10/task/_488/500099"),
        _link("build/repo/first", "second"),
        _link("build/repo/prev", "first"),
    ),
    "10 prev is a loop": partial(change.make_loop, path="build/repo/prev"),
    "11 blank dependencies": _put("task/depends", b"500100\n\n  \n500111\n"),
    "11 no dependencies": _remove("task/depends"),
    "11 empty dependencies": _put("task/depends", b""),
    "12 flags": _changes(_put("task/test-only", b""), _put("task/fail-early", b"yes\n")),
    "13 cyrillic message": _put("task/message", "пересборка\n".encode()),
    "13 latin message": _put("task/message", b"caf\xff\n"),
    "15 no userid": _remove("gears/100/userid"),
    "16 late userid": _touch("gears/100/userid", at("2021-10-04 13:00:00")),
    "17 empty package": _put("gears/700/package", b""),
    "18 srpm rebuild": _changes(
        _put("gears/200/package", b"toolbox\n"), _put("gears/200/rebuild_from", b"sisyphus\n")
    ),
    "18 srpm with package": _put("gears/200/package", b"toolbox\n"),
    "19 two rebuilds": _changes(
        _put("gears/300/rebuild", b"p9\n"), _put("gears/300/rebuild_from", b"p10\n")
    ),
    "19 empty rebuild": _changes(_remove("gears/300/rebuild_from"), _put("gears/300/rebuild", b"")),
    "20 empty copy_repo": _put("gears/400/copy_repo", b""),
    "20 empty dir": _put("gears/400/dir", b""),
    "21 sid with two colons": _put("gears/100/sid", b"gear:aa:bb\n"),
    "21 sid without colon": _put("gears/100/sid", b"deadbeef\n"),
    "21 sid of another kind": _put("gears/100/sid", b"hg:x\n"),
    "21 no sid": _remove("gears/100/sid"),
    "22 nevr without tab": _put("gears/200/nevr", b"toolbox\n"),
    "22 nevr with more fields": _put("gears/200/nevr", b"toolbox\t1:3.2-alt1\tmore\tyet\n"),
    "23 odd names in gears": _changes(
        _put("gears/1a/package", b"x\n"),
        _put("gears/tmp/package", b"x\n"),
        _put("gears/700", b"x\n"),
        _put("gears/1000/package", b"newpkg\n"),
        _put("gears/1000/userid", b"alice\n"),
    ),
    "24 swept": _put(f"{_LIBEXAMPLE}/status", b"swept\n"),
    "24 cached": _put(f"{_LIBEXAMPLE}/status", b"cached\n"),
    "25 left from an earlier try": _put(f"{_LIBEXAMPLE}/status", b""),
    "26 no status": _remove(f"{_LIBEXAMPLE}/status"),
    "26 no status, no packages": _remove("build/200/i586/status"),
    "27 blank status": _put(f"{_LIBEXAMPLE}/status", b"\n"),
    "27 status of two lines": _put("build/300/x86_64/status", b"built\nextra"),
    "28 no source on x86_64": _changes(_remove(f"{_LIBEXAMPLE}/srpm"), _UNTRUSTED),
    "28 no source on x86_64, trusted": _changes(
        _remove(f"{_LIBEXAMPLE}/srpm"),
        _replace("plan/add-src", b"build/100/x86_64", b"build/100/i586"),
    ),
    "29 only aarch64": _changes(
        _UNTRUSTED,
        lambda root: change.move(root, "build/600/x86_64", "build/600/aarch64"),
        _remove("build/600/i586"),
    ),
    "30 plan names a missing file": _add_source_record("build/100/x86_64/srpm/none.src.rpm"),
    "30 plan names a file outside": _add_source_record("/etc/passwd"),
    "30 plan goes up": _add_source_record("../x"),
    "30 plan goes up inside": _add_source_record("build/../../x"),
    "31 no binaries": _remove(
        f"{_LIBEXAMPLE}/rpms/libexample-1.4-alt1.x86_64.rpm",
        f"{_LIBEXAMPLE}/rpms/libexample-doc-1.4-alt1.noarch.rpm",
    ),
    "32 strays": _changes(
        _put(f"{_LIBEXAMPLE}/rpms/README", b"x\n"),
        _put(f"{_LIBEXAMPLE}/srpm/README", b"x\n"),
        _put("build/200/i586/rpms/README", b"x\n"),
        _remove("build/200/i586/status"),
    ),
    "33 repackaged build": _add_package(
        "build/600/x86_64-i586/rpms", "i586-bar", "5-alt1", "i586", 1_633_424_900
    ),
    "34 no build": _remove("build"),
    "34 build of a deletion": _directory("build/400/x86_64"),
    "34 empty build of a deletion": _directory("build/400"),
    "35 noarch twice": lambda root: change.put(
        root,
        "build/100/i586/rpms/libexample-doc-1.4-alt1.noarch.rpm",
        (root / f"{_LIBEXAMPLE}/rpms/libexample-doc-1.4-alt1.noarch.rpm").read_bytes(),
    ),
    "36 noarch built twice": _add_package(
        "build/100/i586/rpms", "libexample-doc", "1.4-alt1", "noarch", 1_633_424_901
    ),
    "37 odd chroot": lambda root: change.put(
        root,
        f"{_LIBEXAMPLE}/chroot_base",
        (root / f"{_LIBEXAMPLE}/chroot_base").read_bytes() * 2
        + b"bad\t1\tx86_64\tbad.src.rpm\tnot-hex\n"
        + b"last\t1\tx86_64\tlast.src.rpm\tc8a16b493c487d9f0d43546b842106bf2ffa7152",
    ),
    "38 empty chroot": _put(f"{_LIBEXAMPLE}/chroot_BR", b""),
    "39 plan as old as the run": _UNTRUSTED,
    "39 plan one nanosecond later": _touch("plan", _RUN + 1),
    "39 old plan, DONE": _changes(
        _UNTRUSTED, partial(change.set_state, state="DONE", time=at("2021-10-05 10:20:30"))
    ),
    "40 no plan": _changes(
        _remove("plan"), partial(change.set_state, state="FAILED", time=at("2021-10-05 10:20:30"))
    ),
    "41 no components": _changes(
        partial(change.cut_plan_columns, name="add-bin", count=6),
        partial(change.cut_plan_columns, name="rm-bin", count=4),
    ),
    "42 more columns": _replace("plan/add-bin", b"\tclassic\n", b"\tclassic\textra\n"),
    "43 short names": lambda root: change.append(
        root,
        "plan/bin.list.diff",
        b"+j\t1-alt1\tx86_64\tj-1-alt1.x86_64.rpm\tj-1-alt1.src.rpm\n"
        b"-R\t1-alt1\tx86_64\tR-1-alt1.x86_64.rpm\tR-1-alt1.src.rpm\n",
    ),
    "45 same file on both sides": lambda root: change.append(
        root,
        "plan/x86_64.hash.diff",
        b"-%s  same-1-alt1.x86_64.rpm\n+%s  same-1-alt1.x86_64.rpm\n" % (b"a" * 64, b"b" * 64),
    ),
    "47 only headers": _put("plan/src.list.diff", b"--- a\n+++ b\n@@ -1 +1 @@\n c\t1\tc.rpm\n"),
    "47 empty diff": _put("plan/src.list.diff", b""),
    "53 vote revoked": _remove("acl/approved/100/carol"),
    "56 no disapprovals": _remove("acl/disapproved"),
    "57 no votes at all": _remove("acl"),
    "58 odd votes": _changes(*(partial(change.vote, approval=vote) for vote in _EXTRA_VOTES)),
    "60 subtask removed": partial(
        change.remove_subtask, subtask=100, time=at("2021-10-05 11:00:00")
    ),
    "62 empty events": _put("logs/events.2.1.log", b""),
    "67 no log": _remove(f"{_LIBEXAMPLE}/log"),
    "68 events of one hash": _changes(
        _put("logs/events.1.12.log", b"one\n"), _put("logs/events.11.2.log", b"two\n")
    ),
    "70 broken package": partial(
        change.truncate, path=f"{_LIBEXAMPLE}/rpms/libexample-1.4-alt1.x86_64.rpm", size=700
    ),
    "81 unreadable subtask": partial(change.deny, path="gears/200"),
}

# Shapes that no build system makes: a load must end in rows or in one clear error, soon.
HOSTILE_SHAPES: dict[str, Change] = {
    "rubbish in small files": _changes(
        *(
            partial(change.put_rubbish, path=f"task/{name}", size=300, seed=seed)
            for seed, name in enumerate(("owner", "message", "depends", "version"))
        )
    ),
    "rubbish in the plan": _changes(
        *(
            partial(change.put_rubbish, path=f"plan/{name}", seed=seed)
            for seed, name in enumerate(PLAN_FILE_NAMES)
        )
    ),
    "rubbish in logs": _changes(
        partial(change.put_rubbish, path=f"{_LIBEXAMPLE}/log"),
        partial(change.put_rubbish, path=f"{_LIBEXAMPLE}/srpm.log", seed=1),
        partial(change.put_rubbish, path="logs/events.2.1.log", seed=2),
    ),
    "rubbish in chroots": partial(change.put_rubbish, path=f"{_LIBEXAMPLE}/chroot_base"),
    "rubbish in votes": partial(change.put_rubbish, path="acl/approved/100/carol"),
    "huge numbers": _changes(
        _put("task/depends", b"9" * 5000 + b"\n"), _put("task/try", b"9" * 5000)
    ),
    "deep JSON": _put("info.json", b"[" * 200_000),
    "huge message": _put("task/message", b"x" * (1 << 20)),
    "huge line in a log": partial(
        change.put_huge_line, path=f"{_LIBEXAMPLE}/log", size=17 << 20, head=b"[00:00:01] "
    ),
    "pipe as message": partial(change.make_fifo, path="task/message"),
    "pipe as log": partial(change.make_fifo, path=f"{_LIBEXAMPLE}/log"),
    "pipe as vote": partial(change.make_fifo, path="acl/approved/100/carol"),
    "device as message": _link("task/message", "/dev/zero"),
    "loop as subtask": partial(change.make_loop, path="gears/400"),
    "loop as build": partial(change.make_loop, path="build/600/i586"),
    "loop as packages": partial(change.make_loop, path="build/600/i586/rpms"),
    "loop as package": partial(
        change.make_loop, path="build/600/i586/rpms/bar-5-alt1.i586.rpm"
    ),
    "directory as package": _directory("build/600/i586/rpms/zz-1-alt1.i586.rpm"),
    "directory as message": _directory("task/message"),
    "file as plan": _changes(_remove("plan"), _put("plan", b"x\n")),
    "file as logs": _changes(_remove("logs"), _put("logs", b"x\n")),
    "odd names everywhere": _changes(
        *(partial(_add_odd_names, directory=path) for path in _CROWDED_DIRECTORIES)
    ),
    "odd package names": _changes(
        *(
            partial(
                change.put,
                path=f"{_LIBEXAMPLE}/rpms/{os.fsdecode(name)}.x86_64.rpm",
                data=make_rpm("odd", buildtime=1_633_424_000 + number).data,
            )
            for number, name in enumerate(change.ODD_NAMES[:6])
        )
    ),
    "odd architecture": lambda root: change.move(
        root, "build/600/i586", os.fsdecode(b"build/600/\xff\narch")
    ),
    "index of rubbish": lambda root: change.put_rubbish(
        root, "build/repo/x86_64/base/pkglist.task.xz"
    ),
    "index that ends early": _changes(
        lambda root: change.write_index(
            root, "x86_64", [make_rpm(f"p{i}").index_header() for i in range(9)]
        ),
        partial(change.truncate, path="build/repo/x86_64/base/pkglist.task.xz", size=-200),
    ),
}  # fmt: skip
