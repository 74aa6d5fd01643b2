"""Services: which messages they take, ignore and refuse, and what they make of them."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from altrepodb.errors import ConfigurationError
from altrepodb.image.options import ImageOptions
from altrepodb.repository.messages import RepositoryRequest
from altrepodb.sources.acl import AclRecord
from altrepodb.sources.beehive import DEFAULT_URL as BEEHIVE_URL
from altrepodb.sources.repocop import DEFAULT_URL as REPOCOP_URL
from altrepodb.sources.watch import DEFAULT_URL as WATCH_URL
from altrepodb.task.approvals import Approval
from altrepodb.task.messages import Decision, Deletion
from altrepodb.uploaderd.service_type import Drop, Work
from altrepodb.uploaderd.services import SERVICE_TYPES
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

TASKS = Service("task_loader", {"store_progress": False})
RECORDING_TASKS = Service("task_loader")
REPOSITORIES = Service("repo_loader", {"repo_dirs": {"p10": "/repo/p10", "Sisyphus": "/repo/s"}})
DATED_REPOSITORIES = Service("repo_loader", {**REPOSITORIES.keys, "validate_date": True})
ACL = Service("acl_loader")
BUGZILLA = Service("bugzilla_loader")
JOBS = {
    "beehive_loader": "beehive.load",
    "repocop_loader": "repocop.load",
    "watch_loader": "watch.load",
    "spdx_loader": "spdx.load",
}
LONG_KEY = "x" * 10_000


def accepted(work: Work | None) -> Work:
    """A work that is there and can be sent to a worker."""
    assert work is not None
    assert pickle.loads(pickle.dumps(work)) == work
    return work


# --- task_loader


def does_load(key: str, body: dict[str, Any]) -> bool:
    work = TASKS.accept(key, body)
    return work is not None and accepted(work).arguments.event.is_load


@pytest.mark.parametrize("spelling", [str.lower, str.upper])
@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("eperm", False), ("done", True), ("failed", True), ("new", True), ("tested", True),
        ("awaiting", False), ("building", False), ("committing", False), ("failing", False),
        ("pending", False), ("postponed", False), ("swept", False), ("unheard-of", False),
        ("", False),
    ],
)  # fmt: skip
def test_states_of_tasks(state: str, expected: bool, spelling: Callable[[str], str]) -> None:
    assert does_load("task.state", task_state(spelling(state))) is expected


@pytest.mark.parametrize("spelling", [str.lower, str.upper])
@pytest.mark.parametrize(
    ("state", "stage", "status", "expected"),
    [
        ("eperm", "build-task", "processed", True),
        ("eperm", "build-task", "failed", True),
        ("eperm", "build-task", "started", False),
        ("eperm", "build-task", None, False),
        ("eperm", "commit-task", "processed", False),
        ("eperm", None, "processed", False),
        ("building", "build-task", "processed", False),
        ("done", "build-task", "processed", False),
        ("deleted", "build-task", "processed", False),
        (None, "build-task", "processed", False),
    ],
)
def test_progress_of_tasks(
    state: str | None,
    stage: str | None,
    status: str | None,
    expected: bool,
    spelling: Callable[[str], str],
) -> None:
    values = {"state": state, "stage": stage, "stage_status": status}
    spelt = {key: value and spelling(value) for key, value in values.items()}
    assert does_load("task.progress", task_progress(**{"status": None, **spelt})) is expected


@pytest.mark.parametrize("state", [None, 7, True, [], {"x": 1}, "\ud800"])
def test_state_that_is_no_word(state: object) -> None:
    assert TASKS.accept("task.state", task_state(state)) is None
    without = task_state()
    del without["state"]
    assert TASKS.accept("task.state", without) is None


@pytest.mark.parametrize("task_id", [TASK_ID, str(TASK_ID), f"0{TASK_ID}"])
def test_number_of_a_task(task_id: object) -> None:
    work = accepted(TASKS.accept("task.state", task_state(taskid=task_id)))
    assert (work.arguments.event.task_id, work.exclusive) == (TASK_ID, TASK_ID)
    assert work.subject == f"task {TASK_ID}"


@pytest.mark.parametrize(
    "task_id",
    [
        None, 0, -1, "0", "-1", "", " 1", "1 ", "1e3", "+1", "1_0", "٣", "../1", "1\0", 1.0, True,
        [1], {}, 1 << 32, 10**4000, "9" * 5000,
    ],
)  # fmt: skip
@pytest.mark.parametrize("key", ["task.state", "task.progress", "task.subtask.approve"])
def test_number_that_no_task_has(key: str, task_id: object) -> None:
    with pytest.raises(Drop, match=r"\Ataskid: "):
        TASKS.accept(key, approval(taskid=task_id))
    with pytest.raises(Drop, match=r"\Ataskid: "):
        RECORDING_TASKS.accept(key, {})


@pytest.mark.parametrize("state", ["deleted", "DELETED"])
def test_deleted_task(state: str) -> None:
    event = accepted(TASKS.accept("task.state", task_state(state))).arguments.event
    assert event.deletion == Deletion(1_660_211_234)
    assert not event.is_load
    undated = TASKS.accept("task.state", task_state(state, _timestamp=None))
    assert accepted(undated).arguments.event.deletion == Deletion(None)
    for wrong in ("yesterday", -1, [], "nan", 1e300, "9" * 100, 10**400, True):
        with pytest.raises(Drop, match="_timestamp"):
            TASKS.accept("task.state", task_state(state, _timestamp=wrong))


def decision(kind: str, body: dict[str, Any]) -> Decision:
    work = accepted(TASKS.accept(f"task.subtask.{kind}", body))
    assert work.merged is None
    found = work.arguments.event.decision
    assert isinstance(found, Decision)
    return found


@pytest.mark.parametrize("kind", ["approve", "disapprove"])
@pytest.mark.parametrize(
    "state", ["DONE", "eperm", "failed", "NEW", "tested", "deleted", "BUILDING", "odd", None, 5]
)
def test_approval_in_any_state(kind: str, state: object) -> None:
    expected = Approval(TASK_ID, 200, kind, APPROVAL_TIME, "petrova", "looks good")
    assert decision(kind, approval(kind, state=state)) == Decision(expected, False)
    withdrawn = expected._replace(date=1_660_212_100, message="")
    assert decision(kind, withdrawal(kind, state=state)) == Decision(withdrawn, True)


def test_kind_is_that_of_the_sender() -> None:
    """The body knows the key that was sent; the delivery's own stands in where it does not."""
    assert decision("approve", approval("disapprove")).approval.kind == "disapprove"
    for key in (None, 5, "", "approve", "task.subtask.approved", ".", "a.b"):
        assert decision("disapprove", approval(_routing_key=key)).approval.kind == "disapprove"
    renamed = Service("task_loader", {"routing_keys_dict": {"TASK_DISAPPROVE": "girar.no"}})
    work = accepted(renamed.accept("girar.no", approval(_routing_key="girar.no")))
    assert work.arguments.event.decision.approval.kind == "disapprove"


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("2022-Aug-11 10:01:02 :: approved by petrova", "petrova", ""),
        ("\n\n2022-Aug-11 10:01:02 :: approved by petrova\n\none\n\n two \n", "petrova",
         "one\n two "),
        ("2022-Aug-11 10:01:02 :: approved by petrova\nхорошо :: да", "petrova", "хорошо :: да"),
        ("2022-Aug-11 10:01:02::petrova\nnul \0 in it", "petrova", "nul \0 in it"),
    ],
)  # fmt: skip
def test_text_of_an_approval(text: str, name: str, message: str) -> None:
    found = decision("approve", approval(text=text)).approval
    assert (found.date, found.name, found.message) == (APPROVAL_TIME, name, message)


def test_text_in_lines_and_bytes_that_are_not_utf8() -> None:
    found = decision("approve", approval(base64_message="MjAyMi1BdWctMTEg\r\nMTA6MDE6MDIgOjog/w=="))
    assert found.approval.name == "\udcff"


@pytest.mark.parametrize(
    "changes",
    [
        {"base64_message": value}
        for value in (
            None, "", 7, [], "***", "YQ", "YQ==", "\ud800", "é", "Cgo=",
            "MjAyMi1BdWctMTEgMTA6MDE6MDI=",
        )
    ]
    + [{"subtaskid": value} for value in (None, 0, -1, "x", 1 << 32, True, 1.5)]
    + [{"revoke": "true"}, {"revoked": 1}, {"revoke": {}}],
)  # fmt: skip
def test_approval_that_cannot_be_read(changes: dict[str, Any]) -> None:
    (key,) = changes
    with pytest.raises(Drop, match=rf"\A{key}: "):
        TASKS.accept("task.subtask.approve", approval(**changes))


@pytest.mark.parametrize(
    "text",
    [
        "approved", "2022-Aug-11 10:01:02 :: by a :: b", "2022-авг-11 10:01:02 :: approved by a",
        "2022-Aug-32 10:01:02 :: approved by a", "2150-Aug-11 10:01:02 :: approved by a",
        "2022-Aug-11 10:01:02 :: ", ":: approved by a", "\n",
    ],
)  # fmt: skip
def test_approval_without_date_or_name(text: str) -> None:
    with pytest.raises(Drop, match=r"\Abase64_message: "):
        TASKS.accept("task.subtask.approve", approval(text=text))


@pytest.mark.parametrize(
    ("changes", "is_revoked"),
    [
        ({"revoke": True}, True), ({"revoked": True}, True),
        ({"revoke": False, "revoked": True}, True), ({"revoke": False}, False),
        ({"revoke": None, "revoked": None}, False),
    ],
)  # fmt: skip
def test_either_word_withdraws(changes: dict[str, Any], is_revoked: bool) -> None:
    assert decision("approve", approval(**changes)).is_revoked is is_revoked


@pytest.mark.parametrize(
    ("key", "value"),
    [("girar_user", v) for v in (None, "", 5, "\ud800")]
    + [("_timestamp", v) for v in (None, "", "soon", -1, 1 << 32, [])],
)
def test_withdrawal_that_cannot_be_read(key: str, value: object) -> None:
    with pytest.raises(Drop, match=rf"\A{key}: "):
        TASKS.accept("task.subtask.approve", withdrawal(**{key: value}))


def test_loads_of_a_task_that_wait_are_one() -> None:
    works = [
        accepted(TASKS.accept("task.state", task_state("NEW"))),
        accepted(TASKS.accept("task.progress", task_progress())),
        accepted(TASKS.accept("task.state", task_state("DONE"))),
    ]
    assert {work.merged for work in works} == {(TASK_ID, "")}
    other = accepted(TASKS.accept("task.state", task_state(taskid=5)))
    assert other.merged != works[0].merged
    for body in (task_state("deleted"), task_state("deleted")):
        assert accepted(TASKS.accept("task.state", body)).merged is None
    # With a row of its own each kind keeps its newest message.
    recorded = [
        accepted(RECORDING_TASKS.accept("task.state", task_state())).merged,
        accepted(RECORDING_TASKS.accept("task.progress", task_progress())).merged,
    ]
    assert recorded == [(TASK_ID, "state"), (TASK_ID, "progress")]


def test_keys_of_task_messages() -> None:
    renamed = Service("task_loader", {"routing_keys_dict": {"TASK_STATE": "girar.state"}})
    assert renamed.accept("girar.state", task_state()) is not None
    assert renamed.accept("task.progress", task_progress()) is not None
    for service, key in (
        (renamed, "task.state"), (TASKS, "task.other"), (TASKS, ""), (TASKS, LONG_KEY),
        (TASKS, "task.share"), (RECORDING_TASKS, "task.approve"), (TASKS, "task.state\n\ud800"),
    ):  # fmt: skip
        with pytest.raises(Drop, match="unexpected routing key") as caught:
            service.accept(key, task_state())
        assert len(str(caught.value)) < 200
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["task.share", "task.deps", "task.subtask.create"])
def test_messages_that_are_stored_only(key: str) -> None:
    """Whatever they say, they ask for no load."""
    work = accepted(RECORDING_TASKS.accept(key, task_state("DONE", subtaskid=100)))
    assert (work.arguments.event.is_load, work.merged, work.published) == (False, None, None)
    assert work.arguments.event.progress.type == key.rpartition(".")[2]
    assert RECORDING_TASKS.accept(key, task_state(owner=None)) is None


def test_who_is_told() -> None:
    """Consumers of events expect what was loaded, not every step of a build."""
    for key, body, is_told in (
        ("task.state", task_state("TESTED"), True), ("task.state", task_state("PENDING"), False),
        ("task.state", task_state("deleted"), True),
        ("task.progress", task_progress("started"), False),
        ("task.progress", task_progress(), True), ("task.subtask.approve", withdrawal(), True),
    ):  # fmt: skip
        work = accepted(RECORDING_TASKS.accept(key, body))
        assert work.published == ({} if is_told else None)


# --- repo_loader


def local(text: str) -> float:
    """The moment that this host's clocks show so."""
    return datetime.fromisoformat(text).timestamp()


@pytest.fixture(params=["UTC", "Europe/Moscow", "America/New_York"])
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A host in a zone."""
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


def test_repository_of_a_branch_and_day() -> None:
    body = {"branch": "Sisyphus", "date": "2022-8-1", "repo_path": "/etc"}
    work = accepted(REPOSITORIES.accept("repo.load", body))
    assert work.arguments == RepositoryRequest("Sisyphus", "2022-08-01")
    assert work.published == {"repo_path": "/repo/s"}
    assert (work.subject, work.merged) == ("Sisyphus of 2022-08-01", None)
    again = REPOSITORIES.accept("repo.load", {**body, "date": "2022-08-01"})
    assert accepted(again).exclusive == work.exclusive
    other = REPOSITORIES.accept("repo.load", {**body, "date": "2022-08-02"})
    assert accepted(other).exclusive != work.exclusive


@pytest.mark.parametrize(
    ("changes", "key"),
    [({"branch": v}, "branch") for v in (None, "", "p9", "P10", "../p10", "p10/", "p10\0", 10, [])]
    + [
        ({"date": v}, "date")
        for v in (
            None, "", "today", "2022-02-30", "2022-13-01", "20220811", "22-08-11", "0000-01-01",
            "1969-12-31", "2107-01-01", "2022-08-11 ", "2022-08-11T00:00", "+022-08-11",
            "２０２２-08-11", 20220811, [],
            "2022-08-" + "1" * 5000,
        )
    ],
)  # fmt: skip
def test_repository_that_nobody_has(changes: dict[str, Any], key: str) -> None:
    with pytest.raises(Drop, match=rf"\A{key}: ") as caught:
        REPOSITORIES.accept("repo.load", {"branch": "p10", "date": "2022-08-11", **changes})
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("key", ["repo.other", "repo.load.x", "repo", ""])
def test_key_of_another_service(key: str) -> None:
    with pytest.raises(Drop, match="unexpected routing key"):
        REPOSITORIES.accept(key, {"branch": "p10", "date": "2022-08-11"})


@pytest.mark.parametrize(
    ("received", "day", "redelivered", "is_taken"),
    [
        ("2022-08-11T12:00", "2022-08-11", False, True),
        ("2022-08-11T23:59", "2022-08-11", False, True),
        ("2022-08-11T00:10", "2022-08-10", False, True),
        ("2022-08-11T02:59:59", "2022-8-10", False, True),
        ("2022-08-11T03:00", "2022-08-10", False, False),
        ("2022-08-11T12:00", "2022-08-10", False, False),
        ("2022-08-11T12:00", "2022-08-10", True, True),
        ("2022-08-11T12:00", "2022-08-09", True, False),
        ("2022-08-11T00:10", "2022-08-09", False, False),
        ("2022-08-11T12:00", "2022-08-12", True, False),
        ("2022-01-01T00:10", "2021-12-31", False, True),
    ],
)
def test_days_of_a_careful_service(
    zone: str, received: str, day: str, redelivered: bool, is_taken: bool
) -> None:
    body = {"branch": "p10", "date": day}
    moment = local(received)
    if is_taken:
        assert DATED_REPOSITORIES.accept("repo.load", body, moment, redelivered=redelivered)
    else:
        with pytest.raises(Drop, match="is not today"):
            DATED_REPOSITORIES.accept("repo.load", body, moment, redelivered=redelivered)
    assert REPOSITORIES.accept("repo.load", body, moment)


# --- acl_loader, bugzilla_loader


def test_acl_that_changed() -> None:
    work = accepted(ACL.accept("acl.change", acl_change()))
    expected = AclRecord(1_660_212_345, "mutter", "sisyphus", ("petrova", "@gnome", "@everybody"))
    assert (work.arguments, work.exclusive) == (expected, ("sisyphus", "mutter"))
    odd = accepted(ACL.accept("acl.", acl_change(target="\udcff\n")))
    assert odd.subject == "\\xff\\n of sisyphus"
    with pytest.raises(Drop, match="unexpected routing key"):
        ACL.accept("task.acl.change", acl_change())


@pytest.mark.parametrize(
    ("key", "value"),
    [("new_owners", v) for v in (None, "petrova", [1], [None], {"petrova": 1}, ["\ud800"])]
    + [("target", v) for v in (None, "", 1, [])]
    + [("repo", v) for v in (None, "", 1, {})]
    + [("_timestamp", v) for v in (None, "", "soon", [], True, -1, 1 << 32, 1e300, "inf")],
)
def test_acl_that_cannot_be_read(key: str, value: object) -> None:
    with pytest.raises(Drop, match=rf"\A{key}: "):
        ACL.accept("acl.change", acl_change(**{key: value}))


@pytest.mark.parametrize(
    ("key", "is_taken"),
    [
        ("bugzilla.bug.changed.status", True), ("bugzilla.bug.changed.", True),
        ("bugzilla.bug.new", False), ("bugzilla.comment.modify", False), ("bugzilla.", False),
        ("bugzilla.bugzilla.bug.changed.status", False),
        ("bugzilla.bug.changed.bugzilla.x", True),
    ],
)  # fmt: skip
def test_keys_of_bugs(key: str, is_taken: bool) -> None:
    work = BUGZILLA.accept(key, bug_change())
    assert (work is not None) is is_taken
    if work is not None:
        assert (accepted(work).exclusive, work.subject) == (43_210, "bug 43210")


def test_bug_that_cannot_be_read() -> None:
    for changes in ({"id": "x"}, {"id": True}, {"summary": None}, {"assigned_to": None}):
        with pytest.raises(Drop, match="message bug"):
            BUGZILLA.accept("bugzilla.bug.changed.status", bug_change(**changes))
    with pytest.raises(Drop, match="unexpected routing key"):
        BUGZILLA.accept("bugs.bug.changed.status", bug_change())
    other = Service("bugzilla_loader", {"routing_key_pattern": "bugs."})
    assert accepted(other.accept("bugs.bug.changed.status", bug_change())).exclusive == 43_210


# --- jobs


@pytest.mark.parametrize(("name", "key"), JOBS.items())
def test_triggers_that_wait_are_one(name: str, key: str) -> None:
    works = [accepted(Service(name).accept(key, body)) for body in ({}, {"any": ["thing"]})]
    assert works[0] == works[1]
    assert works[0].merged is not None
    assert works[0].exclusive is not None
    for wrong in (f"{key}.x", key.removesuffix(".load"), LONG_KEY):
        with pytest.raises(Drop, match="unexpected routing key"):
            Service(name).accept(wrong, {})
    renamed = Service(name, {"routing_key": "x"})
    assert renamed.accept("x", {}) is not None
    with pytest.raises(Drop):
        renamed.accept(key, {})


# --- iso_loader, image_loader

DISCS = Service("iso_loader", {"image_dir": "/images"})
IMAGES = Service(
    "image_loader",
    {"image_dir": "/images", "allow_force": True, "threads_count": 3, "tmpdir": "/var/tmp"},
)


def test_image() -> None:
    work = accepted(DISCS.accept("iso.load", image_request()))
    assert work.arguments == ImageOptions(
        path=Path("/images/p10/images/alt-server.iso"), type="iso", branch="p10",
        edition="alt-server", version=(10, 1, 0), release="release", arch="x86_64",
        variant="install", date="2022-08-11", url="https://example.org/alt-server.iso",
    )  # fmt: skip
    assert work.subject == "p10:alt-server:::release.10.1.0:x86_64:install:iso of 2022-08-11"
    assert work.exclusive == (work.arguments.tag, "2022-08-11")
    body = image_request(
        path="/images/a/./b.qcow2", type="qcow", edition="cloud", platform="rpi4", flavor="jeos",
        force=True, partition="2",
    )  # fmt: skip
    options = accepted(IMAGES.accept("image.load", body)).arguments
    assert (options.path, options.flavor, options.platform) == (
        Path("/images/a/b.qcow2"), "jeos", "rpi4"
    )  # fmt: skip
    assert (options.force, options.partition, options.jobs) == (True, 2, 3)
    assert options.scratch_directory == Path("/var/tmp")
    with pytest.raises(Drop, match="force: the settings do not allow it"):
        DISCS.accept("iso.load", image_request(force=True))
    with pytest.raises(Drop, match="unexpected routing key"):
        DISCS.accept("image.load", image_request())


@pytest.mark.parametrize(
    "path",
    [
        None, "", 5, [], "/etc/passwd", "..", "../x", "a/../../x", "a/..", "/images/../etc/x",
        "/images", "/images/", ".", "/imagesx/y", "//images/x", "a\0b", "/images2", "\ud800",
        "x/" * 3000, "..\0", "two\nlines", "\udcff", "\x1b[2J",
    ],
)  # fmt: skip
def test_path_that_leads_elsewhere(path: object) -> None:
    with pytest.raises(Drop, match=r"\Apath: ") as caught:
        DISCS.accept("iso.load", image_request(path=path))
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("edition", [None, "", "cloud", "alt-server\0", 5]),
        ("version", [None, "", 10.1, "10.1.2.3", "10.1\n", "x", "-1", "1" * 100]),
        ("release", [None, "gold"]),
        ("variant", [None, "INSTALL"]),
        ("platform", ["rpi4", 7, ["baikalm"]]),
        ("arch", [None, "sparc", "e2kv", "../x"]),
        ("branch", [None, "", "../p10", "p10:x", "p 10", "-p10", "p" * 65, "p10\n", "п10"]),
        ("date", [None, "2022-8-1", "2022-02-30", "2022-08-11T00", "20220811", "2022-W01-1"]),
        ("url", [None, "", "x", "https://x/ y\n", "https://\0", "https://" + "x" * 3000]),
        ("force", ["yes", 1]),
        ("dry_run", [[]]),
        ("partition", [0, -1, "x", True]),
    ],
)
def test_image_that_cannot_be_meant(key: str, values: list[object]) -> None:
    for value in values:
        with pytest.raises(Drop, match=rf"\A{key}: ") as caught:
            DISCS.accept("iso.load", image_request(**{key: value}))
        assert len(str(caught.value)) < 200
    with pytest.raises(Drop, match=r"\Atype: "):
        IMAGES.accept("image.load", image_request(type="iso"))
    with pytest.raises(Drop, match=r"\Aflavor: "):
        IMAGES.accept("image.load", image_request(type="tar", flavor="a:b"))


# --- settings


@pytest.mark.parametrize("name", sorted(SERVICE_TYPES))
def test_a_service_can_be_sent_to_its_process(name: str) -> None:
    sent = pickle.loads(pickle.dumps(SERVICE_TYPES[name]))
    assert (sent.name, sent.keys) == (name, SERVICE_TYPES[name].keys)


def test_defaults() -> None:
    tasks = Service("task_loader").settings
    assert (tasks.trees.live, tasks.trees.archive) == (
        Path("/tasks"), Path("/archive/tasks/done")
    )  # fmt: skip
    assert (REPOSITORIES.settings.threads_count, REPOSITORIES.settings.validate_date) == (4, False)
    beehive = Service("beehive_loader").settings.options
    assert beehive.archs == ("i586", "x86_64")
    assert beehive.branches == ("Sisyphus", "p10", "p9")
    watch = Service("watch_loader").settings.options
    assert watch.timeout_s == 30
    repocop = Service("repocop_loader").settings.options
    # The loaders have their own.
    assert (beehive.url, watch.url, repocop.url) == (None, None, None)
    assert BEEHIVE_URL == "https://git.altlinux.org/beehive"
    assert WATCH_URL == "https://watch.altlinux.org/pub/watch/watch-total.txt"
    assert REPOCOP_URL.endswith("/prometheus3/packages.altlinux-sisyphus.json.bz2")
    counts = {name: kind.default_max_redeliver_count for name, kind in SERVICE_TYPES.items()}
    assert {name for name, count in counts.items() if count} == {"task_loader"}
    assert counts["task_loader"] == 2


@pytest.mark.parametrize(
    ("name", "keys", "words"),
    [
        ("task_loader", {"tasks_dir": 1, "store_progress": "no"}, ["tasks_dir", "store_progress"]),
        ("task_loader", {"routing_keys_dict": {"TASK_STAT": "x"}}, ["TASK_STAT"]),
        ("task_loader", {"routing_keys_dict": {"TASK_STATE": "task.progress"}}, ["another key"]),
        ("task_loader", {"routing_keys_dict": []}, ["routing_keys_dict"]),
        ("repo_loader", {}, ["repo_dirs"]),
        ("repo_loader", {"repo_dirs": {}}, ["repo_dirs"]),
        ("repo_loader", {"repo_dirs": {"p10": 1}, "threads_count": 0}, ["p10", "threads_count"]),
        ("acl_loader", {"routing_key_pattern": 5}, ["routing_key_pattern"]),
        ("bugzilla_loader", {"routing_key_pattern": None}, ["routing_key_pattern"]),
        ("beehive_loader", {"archs": "i586", "timeout": "x"}, ["archs", "timeout"]),
        ("beehive_loader", {"branches": ["../x"]}, ["'../x'"]),
        ("watch_loader", {"url": "ftp://x/", "timeout": 5}, ["url"]),
        ("watch_loader", {"timeout": 0}, ["timeout"]),
        ("repocop_loader", {"url": ""}, ["url"]),
        ("spdx_loader", {"url": "--upload-pack=x"}, ["--upload-pack"]),
        ("iso_loader", {"threads_count": "x"}, ["image_dir", "threads_count"]),
        ("image_loader", {"image_dir": "images"}, ["image_dir: expected an absolute path"]),
    ],
)
def test_settings_that_cannot_be_meant(name: str, keys: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        SERVICE_TYPES[name].read_settings(keys)
    for word in words:
        assert word in str(caught.value)


# --- hostile bodies

TEXTS = st.one_of(
    st.text(max_size=20),
    st.sampled_from(["\ud800", "\udcff", "\0", "../../etc", "9" * 5000, "DONE", "deleted"]),
)
VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), TEXTS,
        st.sampled_from([10**4000, -(10**4000), 1 << 32, TASK_ID]),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=8,
)  # fmt: skip
GOOD = [
    (RECORDING_TASKS, "task.state", task_state()),
    (RECORDING_TASKS, "task.state", task_state("deleted")),
    (RECORDING_TASKS, "task.progress", task_progress()),
    (RECORDING_TASKS, "task.subtask.approve", approval()),
    (RECORDING_TASKS, "task.subtask.disapprove", withdrawal("disapprove")),
    (RECORDING_TASKS, "task.subtask.create", approval()),
    (DATED_REPOSITORIES, "repo.load", {"branch": "p10", "date": "2022-08-11"}),
    (ACL, "acl.change", acl_change()),
    (BUGZILLA, "bugzilla.bug.changed.x", bug_change()),
    (BUGZILLA, "bugzilla.comment.new", {"_meta": {}, "payload": {"comment": {"bug": {}}}}),
    (Service("watch_loader"), "watch.load", {}),
    (DISCS, "iso.load", image_request()),
    (IMAGES, "image.load", image_request(type="tar", flavor="x", partition=1)),
]


@pytest.mark.parametrize(("service", "key", "good"), GOOD)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_body_is_taken_or_dropped(
    service: Service, key: str, good: dict[str, Any], data: st.DataObject
) -> None:
    """One line says what is wrong with it, and a worker can be sent what is not."""
    names = st.one_of(st.sampled_from(sorted(good) or ["x"]), TEXTS)
    body = {**good, **data.draw(st.dictionaries(names, VALUES, min_size=1, max_size=3))}
    try:
        work = service.accept(key, body, 1_660_212_000.0 + timedelta(hours=1).total_seconds())
    except Drop as error:
        assert "\n" not in str(error)
        assert len(str(error).encode()) < 1000
    else:
        subject = accepted(work).subject if work is not None else ""
        assert "\n" not in subject
        assert len(subject.encode()) < 1000


def test_deep_nesting() -> None:
    deep: Any = "x"
    for _ in range(5000):
        deep = [deep]
    for service, key, good in GOOD:
        for name in good:
            try:
                service.accept(key, {**good, name: deep})
            except Drop as error:
                assert len(str(error)) < 1000
