"""Approvals: their files, and what has to be written when they change."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from altrepodb.task.approvals import (
    Approval,
    compare_approvals,
    parse_approval,
    read_approvals,
)
from tests.support import task_changes as change
from tests.support.task_shapes import SHAPES
from tests.support.task_tree import SECOND, at, compose_worked_example
from tests.support.task_tree import Approval as Vote

NOON = at("2021-10-05 12:00:00") // SECOND
HEAD = "2021-Oct-05 12:00:00 :: approved by alice"
NAMES = st.sampled_from(["alice", "bob"])
APPROVALS = st.builds(
    Approval,
    task_id=st.just(7),
    subtask_id=st.sampled_from([100, 200]),
    kind=st.sampled_from(["approve", "disapprove"]),
    date=st.sampled_from([NOON, NOON + 1]),
    name=NAMES,
    message=st.sampled_from(["", "x"]),
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (HEAD, (NOON, "alice", "")),
        (f"{HEAD}\n", (NOON, "alice", "")),
        (f"\n\n{HEAD}\n\nfine\n\n", (NOON, "alice", "fine")),
        (f"{HEAD}\nlooks\n\n  fine  \n \nyes", (NOON, "alice", "looks\n  fine  \n \nyes")),
        (f"{HEAD}\nstd::vector :: x", (NOON, "alice", "std::vector :: x")),
        ("2021-Oct-05 12:00:00 :: disapproved by виктор", (NOON, "виктор", "")),
        ("2021-Oct-05 12:00:00::alice", (NOON, "alice", "")),
        ("", None),
        ("\n\n", None),
    ],
)
def test_text(text: str, expected: tuple[int, str, str] | None) -> None:
    assert parse_approval(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        " ",
        "alice",
        "2021-Oct-05 12:00:00",
        "2021-Oct-05 12:00:00 :: ",
        "2021-Oct-05 12:00:00 ::  \n",
        ":: approved by alice",
        "2021-Oct-05 12:00:00 :: approved by :: alice",
        "2021-Oct-05 12:00:00 :::: alice",
        "2021-Oct-32 12:00:00 :: approved by alice",
        "2021-Feb-29 12:00:00 :: approved by alice",
        "2021-Foo-05 12:00:00 :: approved by alice",
        "2021-10-05 12:00:00 :: approved by alice",
        "2021-Oct-05 24:00:00 :: approved by alice",
        "2021-Oct-05T12:00:00 :: approved by alice",
        "1969-Oct-05 12:00:00 :: approved by alice",
        "2107-Oct-05 12:00:00 :: approved by alice",
        "9999-Dec-31 23:59:59 :: approved by alice",
        "0000-Jan-01 00:00:00 :: approved by alice",
        "٢٠٢١-Oct-05 12:00:00 :: approved by alice",
        "2_21-Oct-05 12:00:00 :: approved by alice",
    ],
)
def test_text_that_is_no_approval(text: str) -> None:
    with pytest.raises(ValueError):
        parse_approval(text)


@given(text=st.one_of(st.text(max_size=80), st.text(max_size=20).map(f"{HEAD}\n".__add__)))
def test_any_text(text: str) -> None:
    try:
        parsed = parse_approval(text)
    except ValueError:
        return
    if parsed is None:
        assert not text.strip("\n")
    else:
        date, name, message = parsed
        assert 0 <= date < 2**32
        assert name and not name.isspace()
        assert "\n\n" not in message


@given(
    text=st.sampled_from([HEAD, f"{HEAD}\nfine"]),
    place=st.integers(0, 40),
    character=st.characters(),
)
def test_damaged_text(text: str, place: int, character: str) -> None:
    for damaged in (text[:place], text[:place] + character + text[place + 1 :]):
        try:
            parse_approval(damaged)
        except ValueError as error:
            assert len(str(error)) < 200


# The tree


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return compose_worked_example(tmp_path).root


def found(root: Path, warnings: list[str] | None = None) -> list[Approval] | None:
    return read_approvals(root, 500123, [] if warnings is None else warnings)


def test_each_kind_walks_its_own_tree(root: Path) -> None:
    approvals = found(root)
    assert approvals == [
        Approval(500123, 100, "approve", at("2021-10-05 07:00:00") // SECOND, "carol",
                 "looks\nfine"),
        Approval(500123, 400, "approve", at("2021-10-05 07:30:00") // SECOND, "dave",
                 "ok, drop it"),
        Approval(500123, 200, "disapprove", at("2021-10-05 07:45:10") // SECOND, "erin",
                 "too early"),
    ]  # fmt: skip
    shutil.rmtree(root / "acl/disapproved")
    assert found(root) == approvals[:2]


def test_no_tree_is_not_an_empty_tree(root: Path) -> None:
    shutil.rmtree(root / "acl/approved")
    shutil.rmtree(root / "acl/disapproved")
    assert found(root) == []
    (root / "acl").rmdir()
    assert found(root) is None


def test_odd_votes(root: Path) -> None:
    SHAPES["58 odd votes"](root)
    warnings: list[str] = []
    names = [approval.name for approval in found(root, warnings) or () if approval[1] == 300]
    assert names == ["header", "latin"]
    assert [os.path.basename(text.split(": ")[0]) for text in warnings] == [
        "date", "month", "nobody", "two",
    ]  # fmt: skip


def test_name_in_the_text_wins(root: Path) -> None:
    change.move(root, "acl/approved/100/carol", "acl/approved/100/someone")
    assert "carol" in [approval.name for approval in found(root) or ()]


def test_directories_that_are_no_subtasks(root: Path) -> None:
    before = found(root)
    vote = Vote("approved", 100, "x", at("2021-10-05 07:00:00"))
    change.put(root, "acl/approved/1a/x", vote.content)
    change.put(root, "acl/approved/x", vote.content)
    change.make_directory(root, "acl/approved/100/directory")
    assert found(root) == before


# What has to be written


def test_nothing_changed() -> None:
    one = Approval(7, 100, "approve", NOON, "alice", "x")
    changes = compare_approvals([(one, False)], [one], NOON + 9)
    assert (changes.revoked, changes.added) == ([], [])


def test_vote_withdrawn_and_given_again() -> None:
    one = Approval(7, 100, "approve", NOON, "alice", "x")
    withdrawn = compare_approvals([(one, False)], [], NOON + 9)
    assert (withdrawn.revoked, withdrawn.added) == ([one._replace(date=NOON + 9)], [])
    quiet = compare_approvals([(withdrawn.revoked[0], True)], [], NOON + 10)
    assert (quiet.revoked, quiet.added) == ([], [])
    again = compare_approvals([(withdrawn.revoked[0], True)], [one], NOON + 11)
    assert (again.revoked, again.added) == ([], [one])


@pytest.mark.parametrize("field", ["date", "message", "kind"])
def test_changed_vote_is_one_revocation_and_one_addition(field: str) -> None:
    one = Approval(7, 100, "approve", NOON, "alice", "x")
    values = {"date": NOON + 1, "message": "y", "kind": "disapprove"}
    other = one._replace(**{field: values[field]})
    changes = compare_approvals([(one, False)], [other], NOON + 9)
    assert (changes.revoked, changes.added) == ([one._replace(date=NOON + 9)], [other])


@given(
    stored=st.dictionaries(st.tuples(st.sampled_from([100, 200]), NAMES), st.booleans()),
    on_disk=st.lists(APPROVALS, max_size=4, unique_by=lambda a: (a.subtask_id, a.name)),
    records=st.data(),
)
def test_written_changes_are_what_was_missing(
    stored: dict[tuple[int, str], bool], on_disk: list[Approval], records: st.DataObject
) -> None:
    """After they are written the newest records tell what is on disk, and nothing is left."""
    newest = {
        key: (records.draw(APPROVALS)._replace(subtask_id=key[0], name=key[1]), is_revoked)
        for key, is_revoked in stored.items()
    }
    changes = compare_approvals(newest.values(), on_disk, NOON + 9)
    newest |= {(a.subtask_id, a.name): (a, True) for a in changes.revoked}
    newest |= {(a.subtask_id, a.name): (a, False) for a in changes.added}
    assert {a for a, is_revoked in newest.values() if not is_revoked} == set(on_disk)
    again = compare_approvals(newest.values(), on_disk, NOON + 10)
    assert (again.revoked, again.added) == ([], [])
