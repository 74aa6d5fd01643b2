"""Time and memory of the loaders of web sources, each as a command, with the embedded database.

What they read is composed here and served from the loopback address by another process. Every
load is a first one: it makes the database too, but for Beehive, which looks packages up in it.
"""

from __future__ import annotations

import bz2
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from urllib.parse import parse_qs
from uuid import UUID

from altrepodb.db.database import Database
from altrepodb.db.embedded import open_embedded
from benchmarks.processes import seconds_and_memory_mib
from tests.support.http_server import Answer, HttpSite, Request
from tests.support.listing_pages import render

__all__ = ["measure_sources"]

_ROOT = Path(__file__).parents[1]
_DATABASE_NAME = "repodb"
_WAIT_S = 10.0
_DAY = datetime(2023, 3, 16, 5, 12)
_SNAPSHOT_EPOCH = 1_678_914_000
_ACL_BRANCHES = 10
_ACL_LINES = 20_000
_BEEHIVE_BRANCHES = ("Sisyphus", "p10")
_BEEHIVE_PACKAGES = 20_000
_BUGS = 100_000
_REPOCOP_BYTES = 60_000_000
_WATCH_LINES = 40_000


def measure_sources(directory: Path) -> dict[str, float]:
    """Seconds and greatest resident set of each source, by name of the figure."""
    directory = directory / "sources"
    shutil.rmtree(directory, ignore_errors=True)
    site = directory / "site"
    template = directory / "template"
    with open_embedded(template, _DATABASE_NAME, _WAIT_S) as database:
        _store_snapshots(database)
    _publish_acl(site / "acl")
    _publish_beehive(site / "beehive")
    _publish_watch(site / "watch.txt")
    _publish_repocop(site / "repocop.json.bz2")
    figures: dict[str, float] = {}
    with _served(site) as url, _Tracker() as tracker:
        for name, arguments in _commands(url, tracker.url("/buglist.cgi")).items():
            figures |= _measure(name, arguments, template, directory / name)
    return figures


def _commands(url: str, tracker: str) -> dict[str, list[str]]:
    """The command line of each source, the database and state left out."""
    branches = [word for branch in _BEEHIVE_BRANCHES for word in ("--branch", branch)]
    return {
        "acl": ["acl_loader", f"{url}/acl/"],
        "beehive": ["beehive_loader", "--url", f"{url}/beehive", "--arch", "x86_64", *branches],
        "bugzilla": ["bugzilla_loader", "--url", tracker],
        "repocop": ["repocop_loader", "--url", f"{url}/repocop.json.bz2"],
        "watch": ["watch_loader", "--url", f"{url}/watch.txt"],
    }


def _measure(name: str, command: list[str], template: Path, directory: Path) -> dict[str, float]:
    """Time and memory of one command."""
    database, state = directory / "database", directory / "state"
    if name == "beehive":
        shutil.copytree(template, database, symlinks=True)
    program, *arguments = command
    places = ["-e", str(database), "--state-dir", str(state)]
    if name in ("acl", "beehive", "bugzilla"):
        places += ["--source-timezone", "UTC"]
    line = [sys.executable, str(_ROOT / "bin" / program), "--quiet", *places, *arguments]
    elapsed, memory_mib = seconds_and_memory_mib(line)
    return {f"{name}_s": elapsed, f"{name}_memory_mib": memory_mib}


@contextmanager
def _served(directory: Path) -> Iterator[str]:
    """The URL of a server process for the directory."""
    command = [sys.executable, "-m", "tests.support.http_server", str(directory)]
    with subprocess.Popen(
        command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip()
        finally:
            server.communicate()


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


# --- ACL


def _publish_acl(directory: Path) -> None:
    """Package lists of ten branches with one to three people for each package."""
    names = [f"list.packages.b{number}" for number in range(_ACL_BRANCHES)]
    each = _ACL_LINES // _ACL_BRANCHES
    for name in names:
        lines = [f"package-{number}\t{_people(number)}" for number in range(each)]
        _write(directory / name, "\n".join(lines).encode())
    _write(directory / "index.html", render("nginx", [(name, _DAY, each) for name in names]))


def _people(number: int) -> str:
    return " ".join(f"person{number % 97 + k}" for k in range(number % 3 + 1))


# --- Beehive


def _publish_beehive(directory: Path) -> None:
    """One run of each branch; one package in fifty fails."""
    stems = [f"package-{number}-1.{number % 20}-alt1" for number in range(_BEEHIVE_PACKAGES)]
    outcomes = {
        "error": stems[::50],
        "success": [stem for number, stem in enumerate(stems) if number % 50],
    }
    since = "".join(f"package-{number}\t1600000000\n" for number in range(0, len(stems), 50))
    for branch in _BEEHIVE_BRANCHES:
        logs = directory / "logs" / branch / "x86_64"
        _write(logs / "index.html", render("gitweb", [("latest", _DAY, None)]))
        times = "".join(f"{stem}\t12.5\n" for stem in stems)
        _write(logs / "latest" / "time.list", times.encode())
        for name, entries in outcomes.items():
            page = render("gitweb", [(stem, _DAY, 120_000) for stem in entries])
            # The address of these directories has no slash at its end.
            _write(logs / "latest" / name, page)
        _write(directory / "stats" / branch / "x86_64" / "ftbfs-since", since.encode())


def _store_snapshots(database: Database) -> None:
    """The source packages of the branches, as a repository load leaves them."""
    count = _BEEHIVE_PACKAGES
    hashes = list(range(1, count + 1))
    database.insert(
        "Packages",
        {
            "pkg_hash": hashes,
            "pkg_name": [f"package-{number}" for number in range(count)],
            "pkg_version": [f"1.{number % 20}" for number in range(count)],
            "pkg_release": ["alt1"] * count,
            "pkg_sourcepackage": [1] * count,
        },
    )
    for number, branch in enumerate(_BEEHIVE_BRANCHES, start=1):
        root, node = UUID(int=number * 10), UUID(int=number * 10 + 1)
        database.insert("PackageSet", {"pkgset_uuid": [node] * count, "pkg_hash": hashes})
        database.insert(
            "PackageSetName",
            {
                "pkgset_uuid": [node, root],
                "pkgset_puuid": [root, UUID(int=0)],
                "pkgset_ruuid": [root, root],
                "pkgset_depth": [1, 0],
                "pkgset_nodename": ["srpm", branch.lower()],
                "pkgset_date": [_SNAPSHOT_EPOCH] * 2,
            },
        )


# --- Bugzilla


_BUG_COLUMNS = (
    "bug_id,bug_status,resolution,bug_severity,priority,product,version,rep_platform,component,"
    "assigned_to,reporter,short_desc,changeddate"
)


class _Tracker(HttpSite):
    """A site that lists bugs in pages."""

    def __init__(self) -> None:
        super().__init__()
        self._lines = [
            f'{number},"NEW"," ---","normal","P5","Sisyphus","unstable","all",'
            f'"package-{number % 20_000}","person{number % 700}","person{number % 900}",'
            f'"Не работает ""{number}"", а должно","2023-03-{number % 28 + 1:02} 10:20:30"'
            for number in range(1, _BUGS + 1)
        ]

    def answer(self, request: Request) -> Answer:
        query = {key: value for key, (value,) in parse_qs(request.query).items()}
        start = int(query["offset"])
        lines = [_BUG_COLUMNS, *self._lines[start : start + int(query["limit"])], ""]
        return Answer("\n".join(lines).encode(), content_type="text/csv")


# --- Repocop


def _publish_repocop(path: Path) -> None:
    """Results of 40 tests, as much as decompresses to the size."""
    objects: list[str] = []
    size = 0
    while size < _REPOCOP_BYTES:
        objects.append(json.dumps(_repocop_object(len(objects))))
        size += len(objects[-1]) + 2
    _write(path, bz2.compress(f"[{', '.join(objects)}]".encode()))


def _repocop_object(number: int) -> dict[str, str]:
    package, test = divmod(number, 40)
    version, release = f"1.{package % 97}", f"alt{package % 7}"
    return {
        "pkg_name": f"package-{package}",
        "pkg_version": version,
        "pkg_release": release,
        "pkg_arch": "x86_64",
        "pkgset_name": "sisyphus",
        "rc_srcpkg_name": f"source-{package // 3}",
        "rc_srcpkg_version": version,
        "rc_srcpkg_release": release,
        "rc_test_name": f"test-{test}",
        "rc_test_status": ("ok", "skip", "info", "warn", "fail")[number % 5],
        "rc_test_message": f"the file /usr/share/doc/package-{package}/{number * 7919} is not good",
    }


# --- Watch


def _publish_watch(path: Path) -> None:
    lines = [
        f"person{number % 300}\tpackage-{number}\t1.{number % 50}\t1.{number % 50 + 1}"
        f"\thttps://example.org/package-{number}/package-{number}-1.{number % 50 + 1}.tar.xz"
        for number in range(_WATCH_LINES)
    ]
    _write(path, "\n".join([*lines, ""]).encode())


if __name__ == "__main__":
    started = time.perf_counter()
    for figure, value in measure_sources(Path("build/bench")).items():
        print(f"{figure:28} {value:>12,.3f}")
    print(f"{'seconds in all':28} {time.perf_counter() - started:>12,.3f}")
