"""Services: what the work of a message leaves in the database, once and when it comes again."""

from __future__ import annotations

import bz2
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from altrepodb.config import DatabaseSettings
from altrepodb.db.database import Database, Row
from altrepodb.db.lock import FileLock
from altrepodb.errors import (
    AlreadyLoadedError,
    DatabaseUnavailableError,
    LockHeldError,
    SourceError,
    TemporaryError,
)
from altrepodb.task import events
from altrepodb.task.load import load_tasks
from altrepodb.uploaderd.log import LogSink
from altrepodb.uploaderd.outcome import OutcomeKind
from altrepodb.uploaderd.processes import spawn_context
from altrepodb.uploaderd.service_type import Drop
from altrepodb.uploaderd.worker import READY, LoadRequest, WorkerStart, run_worker
from tests.support import task_changes as change
from tests.support.alt_images import DATA, HELLO, IsoPlan, compose_iso
from tests.support.http_server import Answer, HttpSite
from tests.support.listing_pages import render
from tests.support.loading import ROOT, FailingDatabase, Fault, open_database_in
from tests.support.messages import (
    APPROVAL_TIME,
    TASK_ID,
    Service,
    acl_change,
    approval,
    bug_change,
    image_request,
    task_progress,
    task_state,
    withdrawal,
)
from tests.support.repository import ComposedRepository, RepositoryPlan, compose_repository
from tests.support.task_tree import SampleSize, compose_task, sample_plan

SIZE = SampleSize(subtasks=1, architectures=("x86_64",), packages=2, log_bytes=500)
ZONES = ("UTC", "Europe/Moscow", "America/New_York")
MODIFIED = "Thu, 16 Mar 2023 04:30:00 GMT"
MOMENT = 1_678_941_000
EMPTY_LIST = render("gitweb", [])


@pytest.fixture(params=ZONES)
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A host in a zone."""
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def site() -> Iterator[HttpSite]:
    with HttpSite() as opened:
        yield opened


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Repetitions of requests without waiting."""
    monkeypatch.setattr("altrepodb.http.time.sleep", lambda seconds: None)


# --- task_loader


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Service:
    """A service whose trees are empty directories; one worker is enough for small tasks."""
    monkeypatch.setattr(events, "WORKERS", 1)
    for name in ("tasks", "done"):
        (tmp_path / name).mkdir()
    directories = {
        "tasks_dir": str(tmp_path / "tasks"), "tasks_archive_dir": str(tmp_path / "done")
    }  # fmt: skip
    return Service("task_loader", {**directories, "store_progress": False})


def compose(tasks: Service, state: str = "DONE", task_id: int = TASK_ID) -> Path:
    """A small task in the live tree."""
    plan = replace(sample_plan(task_id, SIZE), state=state)
    return compose_task(Path(tasks.keys["tasks_dir"]) / str(task_id), plan).root


def states(database: Database) -> list[Row]:
    return database.query(
        "SELECT task_id, task_state, toUnixTimestamp(task_changed) FROM TaskStates"
        " ORDER BY task_changed"
    )


def approvals(database: Database) -> list[Row]:
    return database.query(
        "SELECT task_id, subtask_id, toString(tapp_type), tapp_revoked,"
        " toUnixTimestamp(tapp_date), tapp_name, tapp_message FROM TaskApprovals ORDER BY tapp_date"
    )


def test_task_that_is_loaded_and_comes_again(tasks: Service, database: Database) -> None:
    compose(tasks)
    first = tasks.receive(database, "task.state", task_state("DONE"))
    assert (first.loaded, first.inserted["TaskStates"], first.inserted["Packages"]) == (1, 1, 2)
    assert [row[:2] for row in states(database)] == [(TASK_ID, "DONE")]
    # The lists of approvals are those of messages here, and the service never reads them.
    assert approvals(database) == []
    again = tasks.receive(database, "task.state", task_state("DONE"))
    assert (again.unchanged, again.inserted) == (1, {})


@pytest.mark.parametrize(
    ("key", "body", "state"),
    [
        ("task.state", task_state("NEW", taskid=7), "NEW"),
        ("task.progress", task_progress("failed", taskid="7"), "EPERM"),
    ],
)
def test_live_task(
    key: str, body: dict[str, Any], state: str, tasks: Service, database: Database
) -> None:
    compose(tasks, state, 7)
    assert tasks.receive(database, key, body).loaded == 1
    assert [row[:2] for row in states(database)] == [(7, state)]
    lines = database.query("SELECT count() FROM TaskLogs")[0][0]
    assert (lines == 0) is (state == "NEW")


def test_task_in_the_archive(tasks: Service, database: Database) -> None:
    """Whatever the state; the live tree counts when there are both."""
    archive = Path(tasks.keys["tasks_archive_dir"])
    root = change.archive(compose(tasks), archive)
    assert root == archive / "_300" / "307321"
    trees = tasks.settings.trees
    for state in ("DONE", "FAILED"):
        work = tasks.accept("task.state", task_state(state))
        assert work is not None
        assert events.find_task(work.arguments.event.task_id, trees, time.time()) == root
    assert tasks.receive(database, "task.state", task_state("DONE")).loaded == 1
    live = compose(tasks)
    assert events.find_task(TASK_ID, trees, time.time()) == live
    # A file is no task.
    shutil.rmtree(live)
    live.write_text("")
    assert events.find_task(TASK_ID, trees, time.time()) == root


def test_task_that_is_nowhere(tasks: Service, database: Database) -> None:
    """For ten minutes it may be on its way to the archive."""
    body = task_state("DONE")
    # Half a minute less, since time goes on meanwhile.
    for age in (0, 570, -5):
        with pytest.raises(TemporaryError, match=r"task 307321: neither .*_300/307321 is there"):
            tasks.receive(database, "task.state", body, time.time() - age)
    with pytest.raises(SourceError, match="task 307321"):
        tasks.receive(database, "task.state", body, time.time() - 610)
    assert states(database) == []


def test_task_that_has_gone_on(
    tasks: Service, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is on disk counts: loaded when its state is one to load, else another message comes."""
    # One that is being built need not even be complete.
    change.put(compose(tasks, "BUILDING", 7), "task/id", b"\n")
    left = tasks.receive(database, "task.state", task_state("TESTED", taskid=7))
    assert (left.tasks, left.skipped, left.inserted) == (1, 1, {})
    root = compose(tasks, "TESTED", 8)
    assert tasks.receive(database, "task.state", task_state("NEW", taskid=8)).loaded == 1
    assert [row[:2] for row in states(database)] == [(8, "TESTED")]

    # The build system is faster than we are.
    def start_again(*arguments: Any) -> Any:
        change.put(root, "task/state", b"AWAITING\n", 1_700_000_000 * 10**9)
        change.remove(root, "info.json")
        return load_tasks(*arguments)

    monkeypatch.setattr("altrepodb.task.load.load_tasks", start_again)
    late = tasks.receive(database, "task.state", task_state("TESTED", taskid=8))
    assert (late.skipped, late.loaded) == (1, 0)
    assert len(states(database)) == 1


def test_task_that_moves_away_while_it_is_read(
    tasks: Service, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = compose(tasks)

    def move_first(*arguments: Any) -> Any:
        change.archive(root, Path(tasks.keys["tasks_archive_dir"]))
        return load_tasks(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr("altrepodb.task.load.load_tasks", move_first)
        with pytest.raises(TemporaryError, match="moved while it was read"):
            tasks.receive(database, "task.state", task_state("DONE"))
    assert tasks.receive(database, "task.state", task_state("DONE")).loaded == 1


def test_directory_that_cannot_be_looked_into(tasks: Service, database: Database) -> None:
    unreadable = Service("task_loader", {**tasks.keys, "tasks_dir": "/" + "x" * 300})
    with pytest.raises(TemporaryError, match="File name too long"):
        unreadable.receive(database, "task.state", task_state("DONE"), time.time() - 3600)


def test_task_without_a_state(tasks: Service, database: Database) -> None:
    root = compose(tasks)
    change.remove(root, "task/state")
    with pytest.raises(SourceError, match="task/state"):
        tasks.receive(database, "task.state", task_state("DONE"))


def test_task_that_is_broken(tasks: Service, database: Database) -> None:
    root = compose(tasks)
    change.put(root, "task/id", b"5\n")
    with pytest.raises(SourceError, match="task/id"):
        tasks.receive(database, "task.state", task_state("DONE"))
    assert states(database) == []


def test_deleted_task(tasks: Service, database: Database) -> None:
    deleted = task_state("deleted")
    summary = tasks.receive(database, "task.state", deleted)
    assert summary.inserted == {"TaskStates": 1}
    rows = database.query("SELECT * FROM TaskStates")
    assert rows == [
        (1_660_211_234, TASK_ID, "DELETED", "", [], 0, 0, 0, 0, "task deleted", "", 0, [])
    ]
    later = {**deleted, "_timestamp": "1660219999"}
    undated = {key: value for key, value in deleted.items() if key != "_timestamp"}
    for body in (deleted, later, undated):
        assert tasks.receive(database, "task.state", body).inserted == {}
    assert database.query("SELECT count() FROM TaskStates") == [(1,)]


def test_deletion_of_a_task_with_other_states(tasks: Service, database: Database) -> None:
    """Its message may come again when a later state is stored."""
    others = {"task_id": [TASK_ID] * 2, "task_state": ["NEW", "DONE"], "task_changed": [5, 9]}
    database.insert("TaskStates", others)
    deleted = task_state("deleted", _timestamp=7)
    assert tasks.receive(database, "task.state", deleted).inserted == {"TaskStates": 1}
    assert tasks.receive(database, "task.state", deleted).inserted == {}
    before = int(time.time())
    undated = task_state("deleted", _timestamp=None)
    assert tasks.receive(database, "task.state", undated).inserted == {"TaskStates": 1}
    assert before <= states(database)[-1][2] <= time.time()
    assert tasks.receive(database, "task.state", undated).inserted == {}


def test_decisions(tasks: Service, database: Database) -> None:
    """Given, withdrawn, refused; each message comes twice, and once more at the end."""
    messages = [
        ("approve", approval(state="BUILDING", text="\n2022-Aug-11 10:01:02 :: approved by "
                             "petrova\n\nвсё хорошо\n \nnul \0\n")),
        ("approve", withdrawal()),
        ("disapprove", approval("disapprove", "2022-Aug-11 10:05:00 :: disapproved by petrova")),
    ]  # fmt: skip
    for kind, body in messages:
        for expected in ({"TaskApprovals": 1}, {}):
            assert tasks.receive(database, f"task.subtask.{kind}", body).inserted == expected
    for kind, body in messages:
        assert tasks.receive(database, f"task.subtask.{kind}", body).inserted == {}
    both = (TASK_ID, 200)
    assert approvals(database) == [
        (*both, "approve", 0, APPROVAL_TIME, "petrova", "всё хорошо\n \nnul \0"),
        (*both, "approve", 1, 1_660_212_100, "petrova", ""),
        (*both, "disapprove", 0, 1_660_212_300, "petrova", ""),
    ]
    # Readers take the newest by a time of insertion in whole seconds.
    newest = "SELECT argMax((toString(tapp_type), tapp_revoked), ts) FROM TaskApprovals"
    assert database.query(newest) == [(("disapprove", 0),)]


def test_decisions_of_others_are_apart(tasks: Service, database: Database) -> None:
    for changes in ({}, {"subtaskid": 300}, {"taskid": 5}, {"girar_user": "sidorov"}):
        body = withdrawal(**changes)
        assert tasks.receive(database, "task.subtask.approve", body).inserted
    assert len(approvals(database)) == 4


def test_progress(tasks: Service, database: Database) -> None:
    service = Service("task_loader", {**tasks.keys, "store_progress": True})
    pending = task_state(
        "PENDING", message="новая", depends=[5, "6", "x", -1], test_only=True, iter=999
    )
    stage = task_progress("started", stage="check-task")
    for key, body in (("task.state", pending), ("task.progress", stage)):
        assert service.receive(database, key, body).inserted == {"TaskProgress": 1}
        assert service.receive(database, key, body).inserted == {}
    assert database.query("SELECT * FROM TaskProgress ORDER BY task_changed") == [
        (TASK_ID, "state", "sisyphus", "petrova", "PENDING", 2, 255, 1, 1_660_211_234, "новая",
         [5, 6], "", ""),
        (TASK_ID, "progress", "p10", "sidorov", "EPERM", 1, 1, 0, 1_660_212_001, "", [],
         "check-task", "started"),
    ]  # fmt: skip


def test_progress_of_subtasks(tasks: Service, database: Database) -> None:
    service = Service("task_loader", {**tasks.keys, "store_progress": True})
    create = approval(
        type="gear", dir="/people/petrova/packages/nano.git", tag_name="7.2-alt1", tag_id="c0ffee",
        tag_author="P <p@x>", package="nano", pkg_from="p10", srpm="nano-7.2-alt1.src.rpm",
        srpm_name="nano", srpm_evr="7.2-alt1", status="excluded",
    )  # fmt: skip
    assert service.receive(database, "task.subtask.create", create).inserted == {
        "TaskSubtaskProgress": 1
    }
    build = task_progress("failed", subtaskid="200", arch="i586", stage="build", type="odd")
    assert service.receive(database, "task.progress", build).inserted == {"TaskSubtaskProgress": 1}
    for key, body in (("task.subtask.create", create), ("task.progress", build)):
        assert service.receive(database, key, body).inserted == {}
    rows = database.query("SELECT * FROM TaskSubtaskProgress ORDER BY subtask_changed")
    common = (TASK_ID, 200)
    assert rows == [
        (*common, "progress", "p10", "sidorov", "unknown", *[""] * 9, 1_660_212_001, "i586", "",
         "failed"),
        (*common, "create", "p10", "sidorov", "gear", "nano-7.2-alt1.src.rpm", "nano", "7.2-alt1",
         "/people/petrova/packages/nano.git", "c0ffee", "7.2-alt1", "P <p@x>", "nano", "p10",
         1_660_212_062, "all", "excluded", ""),
    ]  # fmt: skip
    decided = service.receive(database, "task.subtask.approve", approval())
    assert decided.inserted == {"TaskSubtaskProgress": 1, "TaskApprovals": 1}


def test_progress_is_stored_before_a_load_fails(tasks: Service, database: Database) -> None:
    """And once, however often the load is tried."""
    service = Service("task_loader", {**tasks.keys, "store_progress": True})
    for _ in range(2):
        with pytest.raises(TemporaryError):
            service.receive(database, "task.state", task_state("DONE"))
    assert database.query("SELECT count() FROM TaskProgress") == [(1,)]
    lacking = task_state("DONE", owner=None)
    with pytest.raises(TemporaryError):
        service.receive(database, "task.state", lacking)
    assert database.query("SELECT count() FROM TaskProgress") == [(1,)]


def test_odd_bytes_are_stored_as_they_are(tasks: Service, database: Database) -> None:
    service = Service("task_loader", {**tasks.keys, "store_progress": True})
    body = task_state("POSTPONED", message="nul \0 quote ' \udcff \\ {x:String}", owner="о'х\0")
    assert service.receive(database, "task.state", body).inserted == {"TaskProgress": 1}
    assert service.receive(database, "task.state", body).inserted == {}
    rows = database.query("SELECT task_message, task_owner FROM TaskProgress")
    assert rows == [(body["message"], body["owner"])]


_IN_A_LOCALE = """
import locale, pickle, sys, time
from tests.support.messages import Service, approval, withdrawal
locale.setlocale(locale.LC_ALL, "")
assert time.strftime("%b", (2022, 8, 11, 0, 0, 0, 0, 0, 0)) == "авг"
for body in (approval(), withdrawal()):
    work = Service("task_loader").accept("task.subtask.approve", body)
    print(work.arguments.event.decision.approval.date)
"""


def test_months_are_english_everywhere(tmp_path: Path) -> None:
    place = tmp_path / "ru_RU.UTF-8"
    subprocess.run(["localedef", "-i", "ru_RU", "-f", "UTF-8", str(place)], check=True)
    variables = {"LOCPATH": str(tmp_path), "LC_ALL": "ru_RU.UTF-8", "TZ": "Asia/Tokyo"}
    result = subprocess.run(
        [sys.executable, "-c", _IN_A_LOCALE],
        env={**os.environ, **variables},
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    assert result.stdout.split() == [str(APPROVAL_TIME), "1660212100"]


# --- repo_loader


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> ComposedRepository:
    plan = RepositoryPlan(
        sources=2, binaries=3, files=20, dependencies=20, architectures=("x86_64",),
        components=("classic",),
    )  # fmt: skip
    return compose_repository(tmp_path_factory.mktemp("date") / "2022-08-18", plan)


def test_repository(
    repository: ComposedRepository,
    tmp_path: Path,
    database: Database,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """``latest`` is where it leads to when the load begins; a second shot finds it loaded."""
    latest = tmp_path / "latest"
    latest.symlink_to(repository.root)
    keys = {"repo_dirs": {"Sisyphus": str(latest)}, "threads_count": 1}
    service = Service("repo_loader", keys)
    body = {"branch": "Sisyphus", "date": "2022-8-18", "repo_path": "/nonexistent"}
    with caplog.at_level("INFO", "altrepodb.repo"):
        summary = service.receive(database, "repo.load", body)
    assert (summary.name, summary.date, summary.packages) == ("sisyphus", "2022-08-18", 5)
    assert f"{latest} is {repository.root}" in caplog.text
    roots = "SELECT pkgset_nodename, pkgset_tag, toString(toDate(pkgset_date)) FROM PackageSetName"
    assert database.query(f"{roots} WHERE pkgset_depth = 0") == [
        ("sisyphus", "uploaderd", "2022-08-18")
    ]
    with pytest.raises(AlreadyLoadedError, match="sisyphus of 2022-08-18"):
        service.receive(database, "repo.load", {**body, "date": "2022-08-18"})
    assert len(database.query(f"{roots} WHERE pkgset_depth = 0")) == 1


def test_worker_process_of_the_daemon(
    repository: ComposedRepository, schema_template: Path, tmp_path: Path
) -> None:
    """It opens the database for each work, and each load has a pool of processes of its own."""
    database = tmp_path / "database"
    shutil.copytree(schema_template, database, symlinks=True)
    service = Service("repo_loader", {"repo_dirs": {"a": str(repository.root), "b": "/nowhere"}})
    settings = DatabaseSettings(dbname="repodb", embedded=database)
    log = LogSink(None, to_syslog=False, level="ERROR")
    start = WorkerStart(service.type, service.settings, settings, log, os.getpid())
    context = spawn_context()
    ours, theirs = context.Pipe()
    process = context.Process(target=run_worker, args=(start, theirs))
    process.start()
    theirs.close()
    try:
        assert ours.recv() == READY
        outcomes = []
        for branch, day in (("a", "2022-08-18"), ("a", "2022-08-18"), ("b", "2022-08-18"),
                            ("a", "2022-08-19")):  # fmt: skip
            work = service.accept("repo.load", {"branch": branch, "date": day})
            assert work is not None
            ours.send(LoadRequest(work, "repo.load", 1))
            outcomes.append(ours.recv())
    finally:
        ours.close()
        process.join(60)
        process.kill()
        process.join()
    done = OutcomeKind.DONE
    assert [outcome.kind for outcome in outcomes] == [done, done, OutcomeKind.FAILED, done]
    assert outcomes[1].reason == "a of 2022-08-18: already loaded"
    with open_database_in(database) as opened:
        roots = opened.query("SELECT count() FROM PackageSetName WHERE pkgset_depth = 0")
    assert roots == [(2,)]


def test_repository_whose_directory_is_gone(tmp_path: Path, database: Database) -> None:
    (tmp_path / "latest").symlink_to(tmp_path / "2022" / "08" / "18")
    for name in ("latest", "nowhere", "x" * 300):
        service = Service("repo_loader", {"repo_dirs": {"p10": str(tmp_path / name)}})
        with pytest.raises(SourceError):
            service.receive(database, "repo.load", {"branch": "p10", "date": "2022-08-18"})


# --- acl_loader, bugzilla_loader


def test_acl(zone: str, database: Database) -> None:
    service = Service("acl_loader")
    body = acl_change(new_owners=["petrova", "@gnome", "о'х\0\udcff"])
    for inserted in ({"Acl": 1}, {}):
        assert service.receive(database, "acl.change", body).inserted == inserted
    gone = {**body, "new_owners": []}
    assert service.receive(database, "acl.change", gone).inserted == {"Acl": 1}
    assert service.receive(database, "acl.change", body).inserted == {}
    rows = database.query(
        "SELECT toUnixTimestamp(acl_date), acl_for, acl_branch, acl_list FROM Acl"
        " ORDER BY length(acl_list)"
    )
    common = (1_660_212_345, "mutter", "sisyphus")
    assert rows == [(*common, []), (*common, body["new_owners"])]


def test_bugs(database: Database) -> None:
    """Three messages of one change, forms of the time, and one that comes late."""
    service = Service("bugzilla_loader")
    for field in ("status", "assigned_to", "everconfirmed"):
        service.receive(database, f"bugzilla.bug.changed.{field}", bug_change())
    changed = "SELECT toUnixTimestamp(bz_last_changed), bz_id, bz_status FROM Bugzilla ORDER BY 1"
    first = (1_656_324_930, 43_210, "ASSIGNED")
    assert database.query(changed) == [first]
    assert service.receive(database, "bugzilla.bug.new", bug_change()) is None
    for moment in ("2022-06-27T10:15:30Z", "2022-06-27T13:15:30+03:00"):
        same = bug_change(moment)
        assert service.receive(database, "bugzilla.bug.changed.x", same).inserted == {}
    closed = bug_change("2022-06-27T10:16:02", status={"label": "CLOSED"})
    comment = {"_meta": closed["_meta"], "payload": {"comment": closed["payload"]}}
    assert service.receive(database, "bugzilla.comment.new", comment).inserted == {"Bugzilla": 1}
    older = bug_change("2022-06-27T10:15:59", status={"label": "NEW"})
    for late in (older, bug_change()):
        assert service.receive(database, "bugzilla.bug.changed.x", late).inserted == {}
    assert database.query(changed) == [first, (1_656_324_962, 43_210, "CLOSED")]


@pytest.mark.parametrize(
    ("name", "key", "body"),
    [
        ("acl_loader", "acl.change", acl_change()),
        ("bugzilla_loader", "bugzilla.bug.changed.x", bug_change()),
        ("task_loader", "task.state", task_state("deleted")),
        ("task_loader", "task.subtask.approve", approval()),
    ],
)
def test_database_that_goes_away(
    name: str, key: str, body: dict[str, Any], database: Database
) -> None:
    """The insert may have been done; another try leaves one row of each kind."""
    service = Service(name, {"store_progress": True} if name == "task_loader" else {})
    for after in (False, True):
        away = FailingDatabase.of(database, Fault(1, DatabaseUnavailableError("away"), after))
        with pytest.raises(TemporaryError):
            service.receive(away, key, body)
    service.receive(database, key, body)
    assert service.receive(database, key, body).inserted == {}
    for table in ("Acl", "Bugzilla", "TaskStates", "TaskApprovals", "TaskProgress"):
        assert database.query(f"SELECT count() FROM {table}")[0][0] <= 1


# --- jobs


def job(name: str, url: str, tmp_path: Path, **keys: Any) -> Service:
    where = "base_url" if name == "beehive_loader" else "url"
    return Service(name, {where: url, "state_dir": str(tmp_path / "state"), "timeout": 60, **keys})


def test_watch(site: HttpSite, tmp_path: Path, database: Database) -> None:
    site.add("/w", Answer(b"petrova\tnano\t7.1\t7.2\thttps://x/\n", last_modified=MODIFIED))
    service = job("watch_loader", site.url("/w"), tmp_path)
    assert service.receive(database, "watch.load", {}).inserted == {"PackagesWatch": 1}
    again = service.receive(database, "watch.load", {"any": "thing"})
    assert (again.result, again.inserted) == ("uptodate", {})
    rows = database.query("SELECT pkg_name, toUnixTimestamp(date_update) FROM PackagesWatch")
    assert rows == [("nano", MOMENT)]


def test_job_that_a_command_does_already(
    site: HttpSite, tmp_path: Path, database: Database
) -> None:
    """The lock is that of the command for this database; the message waits."""
    site.add("/w", Answer(b"", last_modified=MODIFIED))
    service = job("watch_loader", site.url("/w"), tmp_path)
    settings = DatabaseSettings(dbname=database.name, embedded=tmp_path / "database")
    (tmp_path / "state").mkdir()
    lock = FileLock(tmp_path / "state" / f"watch_loader.{settings.key}.lock", 0)
    with lock, pytest.raises(LockHeldError):
        service.receive(database, "watch.load", {})
    assert site.paths() == []


def test_repocop(site: HttpSite, tmp_path: Path, database: Database) -> None:
    result = {
        "pkg_name": "nano", "pkg_version": "7.2", "pkg_release": "alt1", "pkg_arch": "x86_64",
        "pkgset_name": "sisyphus", "rc_srcpkg_name": "nano", "rc_srcpkg_version": "7.2",
        "rc_srcpkg_release": "alt1", "rc_test_name": "check", "rc_test_status": "ok",
        "rc_test_message": "",
    }  # fmt: skip
    content = bz2.compress(json.dumps([result]).encode())
    site.add("/r", Answer(content, last_modified=MODIFIED))
    service = job("repocop_loader", site.url("/r"), tmp_path)
    assert service.receive(database, "repocop.load", {}).inserted == {"PackagesRepocop": 1}
    assert service.receive(database, "repocop.load", {}).inserted == {}


def publish_beehive(site: HttpSite, branch: str, status: int = 200) -> None:
    """A branch with one package that was rebuilt; the status is that of its list of times."""
    logs = f"/logs/{branch}/x86_64"
    latest = render("gitweb", [("latest", datetime(2023, 3, 16, 5, 12), None)])
    success = render("gitweb", [("nano-7.2-alt1", None, None)])
    for path, page in (("", latest), ("latest/success", success), ("latest/error", EMPTY_LIST)):
        site.add(f"{logs}/{path}", Answer(page, content_type="text/html"))
    site.add(f"{logs}/latest/time.list", Answer(b"nano-7.2-alt1\t41.7\n", status))
    site.add(f"/stats/{branch}/x86_64/ftbfs-since", Answer())


def store_branch(database: Database, branch: str) -> None:
    """A state of a branch from before the rebuild, with that package."""
    root, node = uuid4(), uuid4()
    names = {
        "pkgset_uuid": [node, root], "pkgset_puuid": [root, UUID(int=0)],
        "pkgset_ruuid": [root, root], "pkgset_depth": [1, 0], "pkgset_nodename": ["srpm", branch],
        "pkgset_date": [1_678_914_000] * 2,
    }  # fmt: skip
    database.insert("PackageSetName", names)
    database.insert("PackageSet", {"pkgset_uuid": [node], "pkg_hash": [101]})
    package = {
        "pkg_hash": [101], "pkg_name": ["nano"], "pkg_version": ["7.2"], "pkg_release": ["alt1"],
        "pkg_sourcepackage": [1],
    }  # fmt: skip
    database.insert("Packages", package)


def test_beehive(site: HttpSite, tmp_path: Path, database: Database, no_pauses: None) -> None:
    """A site that is away for one of two branches keeps the message; what is wrong does not."""
    service = job(
        "beehive_loader", site.url(""), tmp_path, archs=["x86_64"], branches=["p9", "p10"],
        source_timezone="Europe/Moscow",
    )  # fmt: skip
    for branch in ("p9", "p10"):
        store_branch(database, branch)
        publish_beehive(site, branch)
    publish_beehive(site, "p9", status=503)
    away = service.receive(database, "beehive.load", {})
    assert (away.exit_code, away.inserted) == (75, {"BeehiveStatus": 1})
    assert "time.list: status 503" in away.error
    publish_beehive(site, "p9", status=404)
    assert service.receive(database, "beehive.load", {}).exit_code == 1
    publish_beehive(site, "p9")
    cured = service.receive(database, "beehive.load", {})
    assert (cured.exit_code, cured.inserted) == (0, {"BeehiveStatus": 1})
    assert service.receive(database, "beehive.load", {}).inserted == {}
    rows = database.query("SELECT pkgset_name, pkg_hash FROM BeehiveStatus ORDER BY pkgset_name")
    assert rows == [("p10", 101), ("p9", 101)]


@pytest.mark.parametrize(
    ("name", "key"), [("watch_loader", "watch.load"), ("repocop_loader", "repocop.load")]
)
def test_site_that_is_away_or_broken(
    name: str,
    key: str,
    site: HttpSite,
    tmp_path: Path,
    database: Database,
    no_pauses: None,
) -> None:
    service = job(name, site.url("/x"), tmp_path)
    for passing in (Answer(status=503), Answer(status=429), Answer(fault="reset")):
        site.add("/x", passing)
        with pytest.raises(TemporaryError):
            service.receive(database, key, {})
    for broken in (Answer(status=404), Answer(b"\xff\xfe<html>", last_modified=MODIFIED)):
        site.add("/x", broken)
        with pytest.raises(SourceError):
            service.receive(database, key, {})
    gone = job(name, "http://127.0.0.1:1/x", tmp_path)
    with pytest.raises(TemporaryError):
        gone.receive(database, key, {})


def test_spdx(tmp_path: Path, database: Database) -> None:
    """From a repository on disk; a repeated run finds nothing new."""
    upstream = tmp_path / "upstream"
    details = upstream / "json" / "details"
    details.mkdir(parents=True)
    (upstream / "json" / "exceptions").mkdir()
    license_ = {"licenseId": "MIT", "name": "MIT License", "licenseText": "x", "seeAlso": []}
    (details / "MIT.json").write_text(json.dumps(license_))
    exception = {"licenseExceptionId": "E", "name": "E", "licenseExceptionText": "y"}
    (upstream / "json" / "exceptions" / "E.json").write_text(json.dumps(exception))
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@x", "-C", str(upstream)]
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "x"]):
        subprocess.run([*git, *words], check=True)
    service = job("spdx_loader", upstream.as_uri(), tmp_path, git_root=str(tmp_path / "copy"))
    assert service.receive(database, "spdx.load", {}).inserted == {"SPDXLicenses": 2}
    assert service.receive(database, "spdx.load", {}).inserted == {}


# --- iso_loader, image_loader


@pytest.mark.parametrize("name", ["iso", "image"])
def test_image_that_is_none(name: str, tmp_path: Path, database: Database) -> None:
    """Nothing outside of the directory is opened, wherever links lead; damage is an error."""
    images = tmp_path / "images"
    images.mkdir()
    secret = tmp_path / "secret.img"
    secret.write_bytes(bytes(4096))
    (images / "file.img").symlink_to(secret)
    (images / "directory").symlink_to(tmp_path)
    (images / "round").symlink_to(images / "round")
    (images / "zeros.img").write_bytes(bytes(65536))
    os.mkfifo(images / "pipe.img")
    service = Service(f"{name}_loader", {"image_dir": str(images)})
    for path, words in (
        ("file.img", "leads out of"), ("directory/secret.img", "leads out of"),
        ("round", "round"), ("zeros.img", "zeros.img"), ("pipe.img", "pipe.img"),
        ("none.img", "none"),
        ("zeros.img/x", "zeros"), ("x" * 300, "xxx"),
    ):  # fmt: skip
        with pytest.raises(SourceError, match=words) as caught:
            service.receive(database, f"{name}.load", image_request(path=path, type="img"))
        assert "\n" not in str(caught.value)
    assert database.query("SELECT count() FROM PackageSetName") == [(0,)]


def test_disc(branches_template: Path, tmp_path: Path) -> None:
    """A real one below the directory, behind a link within it; again it is loaded already."""
    images = tmp_path / "images"
    disc = compose_iso(images / "p10", IsoPlan(packages=[HELLO, DATA]))
    (images / "latest.iso").symlink_to(disc)
    shutil.copytree(branches_template, tmp_path / "database", symlinks=True)
    service = Service("iso_loader", {"image_dir": str(images), "threads_count": 1})
    body = image_request(path="latest.iso", edition="alt-workstation", version="10.0.1")
    with open_database_in(tmp_path / "database") as database:
        summary = service.receive(database, "iso.load", body)
        assert (summary.image, summary.warnings) == (str(disc), 0)
        tag = "p10:alt-workstation:::release.10.0.1:x86_64:install:iso"
        with pytest.raises(AlreadyLoadedError, match=tag):
            service.receive(database, "iso.load", {**body, "path": str(images / "latest.iso")})
        roots = database.query("SELECT img_tag FROM ImagePackageSetName")
        assert roots == [(tag,)]


def test_unexpected_keys_reach_no_loader(database: Database) -> None:
    for name, key in (("acl_loader", "bugzilla.x"), ("watch_loader", "watch.other")):
        with pytest.raises(Drop):
            Service(name).receive(database, key, {})
