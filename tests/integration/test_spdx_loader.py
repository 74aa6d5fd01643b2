"""spdx_loader: its copy of a git upstream, what it stores, and what it refuses."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from altrepodb.db.database import Database, Row
from altrepodb.errors import (
    AltrepodbError,
    DatabaseError,
    LockHeldError,
    SourceError,
    TemporaryError,
)
from altrepodb.sources import spdx
from altrepodb.sources.run import SourceSummary
from altrepodb.sources.spdx import SpdxOptions, load_aliases, load_spdx
from tests.support.loading import FailingDatabase, Fault, run_command

LICENSE = {
    "isDeprecatedLicenseId": False, "licenseText": "Do what you like.\n",
    "name": "Demo License 1.0", "licenseId": "Demo-1.0",
    "standardLicenseHeader": "Licensed under Demo 1.0\n",
    "seeAlso": ["https://license.example.org/demo-1.0"], "isOsiApproved": True,
}  # fmt: skip
EXCEPTION = {
    "isDeprecatedLicenseId": False, "licenseExceptionText": "Linking is fine.\n",
    "name": "Demo exception", "licenseComments": "Usually combined with GPL-2.0", "seeAlso": [],
    "licenseExceptionId": "Demo-exception",
}  # fmt: skip
LICENSE_ROW = (
    "Demo-1.0", "Demo License 1.0", "Do what you like.\n", "Licensed under Demo 1.0\n",
    ["https://license.example.org/demo-1.0"], "license",
)  # fmt: skip
EXCEPTION_ROW = (
    "Demo-exception", "Demo exception", "Linking is fine.\n", "Usually combined with GPL-2.0",
    [], "exception",
)  # fmt: skip
DETAILS, EXCEPTIONS = "json/details/Demo-1.0.json", "json/exceptions/Demo-exception.json"
_IDENTITY = {
    f"GIT_{role}_{what}": value
    for role in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "Tester"), ("EMAIL", "tester@example.org"))
}


class Upstream:
    """A git repository with a list, as the one that is cloned."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True)
        self.git("init", "--quiet", "--initial-branch=main")
        self.git("config", "uploadpack.allowFilter", "true")
        self.write(DETAILS, LICENSE)
        self.write(EXCEPTIONS, EXCEPTION)
        self.write("json/licenses.json", {})
        self.write("website/index.html", "large")
        self.commit()

    @property
    def url(self) -> str:
        return self.path.as_uri()

    def git(self, *arguments: str) -> str:
        environment = {**os.environ, **_IDENTITY, "GIT_CONFIG_GLOBAL": "/dev/null"}
        done = subprocess.run(
            ["git", *arguments], cwd=self.path, env=environment, check=True, capture_output=True
        )
        return done.stdout.decode()

    def write(self, name: str, content: object) -> None:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
        path.write_bytes(text.encode())

    def commit(self, *options: str) -> None:
        self.git("add", "--all", ".")
        self.git("commit", "--quiet", "--message=change", "--allow-empty", *options)

    def change(self, name: str, content: object) -> None:
        self.write(name, content)
        self.commit()


class Place:
    """An upstream, and a way to load from it into a copy that does not exist yet."""

    def __init__(self, directory: Path) -> None:
        self.upstream = Upstream(directory / "upstream")
        self.root = directory / "home" / "deep" / "SPDX"
        self.options = SpdxOptions(
            url=self.upstream.url, git_root=self.root, state_dir=directory / "state"
        )

    def load(self, database: Database, **values: Any) -> SourceSummary:
        return load_spdx(replace(self.options, **values), database)

    def inserted(self, database: Database, **values: Any) -> int:
        return self.load(database, **values).inserted.get("SPDXLicenses", 0)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def rows(database: Database) -> list[Row]:
    return database.query(
        "SELECT spdx_id, spdx_name, spdx_text, spdx_header, spdx_urls, toString(spdx_type)"
        " FROM SPDXLicenses ORDER BY spdx_type, spdx_id, spdx_text"
    )


# --- what is stored


def test_samples(place: Place, database: Database) -> None:
    summary = place.load(database)
    assert (summary.result, summary.fetched, summary.inserted) == (
        "loaded", 2, {"SPDXLicenses": 2}
    )  # fmt: skip
    assert rows(database) == [LICENSE_ROW, EXCEPTION_ROW]
    again = place.load(database)
    assert (again.result, again.inserted) == ("uptodate", {})


def test_only_the_two_directories_are_copied(place: Place, database: Database) -> None:
    place.load(database)
    files = [path for path in place.root.rglob("*") if path.is_file()]
    names = sorted(str(path.relative_to(place.root)) for path in files if ".git" not in path.parts)
    assert names == [DETAILS, EXCEPTIONS]
    assert sorted(path.name for path in place.root.parent.iterdir()) == [".SPDX.lock", "SPDX"]


@pytest.mark.parametrize("allows_filter", ["true", "false"])
def test_change_is_seen_and_the_callers_directory_is_not_touched(
    place: Place,
    database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    allows_filter: str,
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    place.upstream.git("config", "uploadpack.allowFilter", allows_filter)
    place.load(database)
    place.upstream.change(DETAILS, {**LICENSE, "licenseText": "Anew.\n"})
    assert place.inserted(database) == 1
    assert rows(database)[0] == ("Demo-1.0", "Demo License 1.0", "Anew.\n", *LICENSE_ROW[3:])
    assert list(here.iterdir()) == []


def test_default_branch_may_be_renamed(place: Place, database: Database) -> None:
    place.load(database)
    place.upstream.git("branch", "--move", "main", "trunk")
    place.upstream.change(DETAILS, {**LICENSE, "licenseText": "Anew.\n"})
    assert place.inserted(database) == 1


def test_branch_may_be_chosen(place: Place, database: Database) -> None:
    place.upstream.git("checkout", "--quiet", "-b", "release/1")
    place.upstream.change(DETAILS, {**LICENSE, "licenseText": "Anew.\n"})
    place.upstream.git("checkout", "--quiet", "main")
    assert place.inserted(database) == 2
    assert place.inserted(database, branch="release/1") == 1
    with pytest.raises(SourceError, match=r"git fetch: .*nowhere"):
        place.load(database, branch="nowhere")


def test_rewritten_history(place: Place, database: Database) -> None:
    place.load(database)
    place.upstream.write(DETAILS, {**LICENSE, "licenseText": "Anew.\n"})
    place.upstream.commit("--amend")
    assert place.inserted(database) == 1


@pytest.mark.parametrize(
    ("name", "changes", "count"),
    [
        (DETAILS, {"seeAlso": ["b", "a"]}, 1),
        (DETAILS, {"crossRef": [{"timestamp": "2023-01-01"}]}, 0),
        (DETAILS, {"licenseText": "Делай\r\nчто хочешь.\r\n"}, 1),
        (DETAILS, {"name": "two\nlines"}, 1),
        (EXCEPTIONS, {"licenseExceptionId": "Demo-1.0"}, 1),
    ],
)
def test_what_is_a_change(
    place: Place, database: Database, name: str, changes: dict[str, Any], count: int
) -> None:
    place.load(database)
    content = {**(LICENSE if name == DETAILS else EXCEPTION), **changes}
    place.upstream.change(name, content)
    # Of two entries a renamed one is half; that is not what is looked at here.
    assert place.inserted(database, force=True) == count
    assert place.inserted(database, force=True) == 0
    if "licenseText" in changes:
        assert changes["licenseText"] in [row[2] for row in rows(database)]


def test_text_that_returns_is_not_stored_again(place: Place, database: Database) -> None:
    other = {**LICENSE, "licenseText": "Other.\n"}
    counts = []
    for content in (LICENSE, other, LICENSE):
        place.upstream.change(DETAILS, content)
        counts.append(place.inserted(database))
    assert counts == [2, 1, 0]


def test_license_layout_among_exceptions_is_skipped(place: Place, database: Database) -> None:
    place.upstream.change("json/exceptions/old.json", LICENSE)
    summary = place.load(database)
    assert (summary.skipped, summary.inserted) == (1, {"SPDXLicenses": 2})


def test_other_files_are_ignored(place: Place, database: Database) -> None:
    place.upstream.write("json/details/x.json.bak", "{")
    place.upstream.write("json/details/directory/y.json", "{")
    (place.upstream.path / "json/details/link.json").symlink_to("/etc/passwd")
    place.upstream.commit()
    assert place.inserted(database) == 2


def test_dry_run_stores_nothing(place: Place, database: Database) -> None:
    assert place.load(database, dry_run=True).would_insert == 2
    assert rows(database) == []


# --- the copy


def _empty(root: Path) -> None:
    root.mkdir(parents=True)


def _foreign(root: Path) -> None:
    root.mkdir(parents=True)
    (root / "precious").write_text("x")


def _broken(root: Path) -> None:
    (root / ".git").mkdir(parents=True)
    (root / ".git/HEAD").write_text("nonsense")


def _other_upstream(root: Path) -> None:
    Upstream(root)


@pytest.mark.parametrize("prepare", [_empty, _foreign, _broken, _other_upstream])
def test_what_is_no_copy_is_moved_aside(
    place: Place, database: Database, prepare: Callable[[Path], None]
) -> None:
    prepare(place.root)
    assert place.inserted(database) == 2
    aside = list(place.root.parent.glob("SPDX.old-*"))
    assert len(aside) == (0 if prepare is _empty else 1)
    if prepare is _foreign:
        assert (aside[0] / "precious").read_text() == "x"
    assert place.inserted(database) == 0


def test_copy_is_put_right(place: Place, database: Database) -> None:
    """Files that were changed, removed or added, and locks that a killed git has left."""
    place.load(database)
    (place.root / DETAILS).unlink()
    (place.root / EXCEPTIONS).write_text("{")
    (place.root / "json/details/stray.json").write_text("{")
    (place.root / ".git/index.lock").touch()
    (place.root / ".git/shallow.lock").touch()
    assert place.inserted(database) == 0
    assert not (place.root / "json/details/stray.json").exists()


def test_damaged_copy_is_replaced(place: Place, database: Database) -> None:
    place.load(database)
    (place.root / ".git/index").write_bytes(b"nonsense")
    place.upstream.change(DETAILS, {**LICENSE, "licenseText": "Anew.\n"})
    assert place.inserted(database) == 1
    assert place.inserted(database) == 0


def test_half_a_copy_of_a_killed_run(place: Place, database: Database) -> None:
    staging = place.root.with_name(".SPDX.new")
    (staging / ".git").mkdir(parents=True)
    assert place.inserted(database) == 2
    assert not staging.exists()


def test_copy_of_the_earlier_tool_is_used(place: Place, database: Database) -> None:
    place.root.parent.mkdir(parents=True)
    source = place.upstream.url
    subprocess.run(["git", "clone", "-q", "--depth=1", source, place.root], check=True)
    place.upstream.change(DETAILS, {**LICENSE, "licenseText": "Anew.\n"})
    assert place.inserted(database) == 2
    assert rows(database)[0][2] == "Anew.\n"
    assert list(place.root.parent.glob("SPDX.old-*")) == []


def test_git_variables_have_no_influence(
    place: Place, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_WORK_TREE", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "elsewhere/index"))
    assert place.inserted(database) == 2
    assert place.inserted(database) == 0
    assert not (tmp_path / "elsewhere").exists()


def test_two_runs_do_not_share_a_copy(place: Place, database: Database) -> None:
    place.load(database)
    lock = place.root.with_name(f".{place.root.name}.lock")
    with spdx.FileLock(lock, 0), pytest.raises(LockHeldError):
        place.load(database)


def _is_running(process: int) -> bool:
    try:
        status = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] not in "ZX"


def test_git_that_hangs_is_ended(
    place: Place, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its helpers too: they hold nothing that we would wait for."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "git").write_text('#!/bin/sh\nsleep 600 & echo $! >> "$0.pids"\nwait\n')
    (programs / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    helpers = programs / "git.pids"
    started = time.monotonic()
    # More and more time, until it was enough for the machine to start a helper.
    for git_timeout_s in (1.0, 10.0, 60.0):
        with pytest.raises(TemporaryError, match="took too long"):
            place.load(database, git_timeout_s=git_timeout_s)
        if helpers.exists():
            break
    for line in helpers.read_text().split():
        # A process that was killed needs the processor once more to end.
        while _is_running(int(line)):
            assert time.monotonic() - started < 300
            time.sleep(0.01)
    assert time.monotonic() - started < 300
    assert not place.root.exists()


# --- what is refused


def test_root_that_is_a_file(place: Place, database: Database) -> None:
    place.root.parent.mkdir(parents=True)
    place.root.write_text("x")
    with pytest.raises(SourceError, match="not a directory"):
        place.load(database)
    assert place.root.read_text() == "x"


def test_broken_json(place: Place, database: Database) -> None:
    place.upstream.change("json/details/x.json", "{")
    with pytest.raises(SourceError, match=r"x\.json: not JSON"):
        place.load(database)
    assert rows(database) == []


@pytest.mark.parametrize("name", [DETAILS, EXCEPTIONS])
def test_missing_directory(place: Place, database: Database, name: str) -> None:
    place.upstream.git("rm", "--quiet", name)
    place.upstream.commit()
    with pytest.raises(SourceError, match="not a directory"):
        place.load(database)
    assert rows(database) == []


def test_upstream_that_is_gone(place: Place, database: Database) -> None:
    """The good copy must not stand in for it, and stays good."""
    place.load(database)
    database.execute("TRUNCATE TABLE SPDXLicenses")
    gone = place.upstream.path.with_name("gone")
    place.upstream.path.rename(gone)
    with pytest.raises(SourceError) as caught:
        place.load(database)
    assert caught.value.exit_code == 1
    # The first words of git, not its advice at the end.
    assert str(caught.value).startswith(f"{place.upstream.url}: git fetch: fatal: ")
    assert "does not appear to be a git repository" in str(caught.value)
    assert rows(database) == []
    gone.rename(place.upstream.path)
    assert place.inserted(database) == 2


def test_server_that_is_away(place: Place, database: Database) -> None:
    with pytest.raises(TemporaryError):
        place.load(database, url="http://127.0.0.1:1/list.git")
    assert not place.root.exists()


def test_list_that_shrank(place: Place, database: Database) -> None:
    for number in range(4):
        other = {**LICENSE, "licenseId": f"Other-{number}"}
        place.upstream.write(f"json/details/{number}.json", other)
    place.upstream.commit()
    assert place.inserted(database) == 6
    place.upstream.git("rm", "--quiet", *(f"json/details/{number}.json" for number in range(3)))
    place.upstream.change(DETAILS, {**LICENSE, "licenseText": "Anew.\n"})
    with pytest.raises(SourceError, match="2 records, 5 before"):
        place.load(database)
    assert place.inserted(database, force=True) == 1


@pytest.mark.parametrize("after", [False, True])
def test_a_failed_insert_is_made_good(place: Place, database: Database, after: bool) -> None:
    with pytest.raises(DatabaseError):
        place.load(FailingDatabase.of(database, Fault(1, after=after)))
    assert place.inserted(database) == (0 if after else 2)
    assert rows(database) == [LICENSE_ROW, EXCEPTION_ROW]


@pytest.mark.parametrize("url", ["ext::sh -c true", "ext::true", "--upload-pack=true"])
def test_address_that_would_run_a_program(place: Place, database: Database, url: str) -> None:
    with pytest.raises(AltrepodbError):
        place.load(database, url=url)


# --- aliases


def test_aliases_are_added_once(place: Place, database: Database) -> None:
    assert load_aliases(place.options, database).inserted == {"LicenseAliases": 108}
    assert load_aliases(place.options, database).inserted == {}
    found = database.query("SELECT count(), uniqExact(alias), uniq(spdx_id) FROM LicenseAliases")
    assert found == [(108, 108, 102)]


def test_aliases_point_at_aliases_and_own_ids(place: Place, database: Database) -> None:
    load_aliases(place.options, database)
    ((aliases, own),) = database.query(
        "SELECT countIf(spdx_id IN (SELECT alias FROM LicenseAliases)),"
        " countIf(startsWith(spdx_id, 'ALT-')) FROM LicenseAliases"
    )
    assert (aliases, own) == (16, 11)


def test_changed_aliases_stay(place: Place, database: Database) -> None:
    database.insert("LicenseAliases", {"alias": ["BSD"], "spdx_id": ["BSD-2-Clause"]})
    assert load_aliases(place.options, database).inserted == {"LicenseAliases": 107}


# --- the command


def test_command_in_any_directory_and_locale(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    text = "Делай что хочешь.\n"
    place.upstream.change(DETAILS, {**LICENSE, "licenseText": text})
    arguments = ["-e", tmp_path / "db", "--state-dir", tmp_path / "s", "--url", place.upstream.url]
    variables = {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}

    def run(*further: str) -> Any:
        return run_command("spdx_loader", *arguments, *further, home=tmp_path, variables=variables)

    assert run("--json").summary["inserted"] == {"SPDXLicenses": 2}
    assert (tmp_path / "SPDX/json/details").is_dir()
    quiet = run("--quiet")
    assert (quiet.exit_code, quiet.stdout, quiet.stderr) == (0, "", "")
    assert run("--aliases", "--json").summary["inserted"] == {"LicenseAliases": 108}
    place.upstream.path.rename(tmp_path / "gone")
    assert run().exit_code == 1
    assert run("--url", "-x").exit_code == 2
