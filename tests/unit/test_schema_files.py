"""The statement splitter and the reading of numbered files."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from altrepodb.db.schema_files import (
    Condition,
    Statement,
    iter_statements,
    read_migrations,
    schema_directory,
)
from altrepodb.errors import ConfigurationError


def texts(sql: str) -> list[str]:
    return [statement.text for statement in iter_statements(sql)]


QUOTES = st.sampled_from("'`\"")
PLAIN = st.text(st.characters(exclude_characters="'`\"-/*;\\", exclude_categories=["Cs"]))


@st.composite
def quoted(draw: st.DrawFn) -> str:
    """A quoted text with anything in it, its own quote and backslashes escaped."""
    quote = draw(QUOTES)
    content = draw(st.text(st.characters(exclude_categories=["Cs"])))
    return quote + content.replace("\\", "\\\\").replace(quote, "\\" + quote) + quote


@st.composite
def comments(draw: st.DrawFn) -> str:
    content = draw(st.text(st.characters(exclude_categories=["Cs"])))
    if draw(st.booleans()):
        return "--" + content.replace("\n", " ") + "\n"
    return "/*" + content.replace("*/", "").rstrip("*") + "*/"


STATEMENTS = st.lists(st.one_of(PLAIN, quoted()), min_size=1).map(lambda parts: " ".join(parts))


@given(st.lists(STATEMENTS))
def test_statements_come_back_as_they_were(statements: list[str]) -> None:
    expected = [one.strip() for one in statements if one.strip()]
    assert texts(";".join(statements)) == expected


@given(st.lists(st.tuples(STATEMENTS, comments())))
def test_comments_split_nothing_and_vanish(pieces: list[tuple[str, str]]) -> None:
    sql = "".join(f"{comment}{statement};{comment}" for statement, comment in pieces)
    assert texts(sql) == [one.strip() for one, _ in pieces if one.strip()]


@given(STATEMENTS, comments(), STATEMENTS)
def test_a_comment_separates_words(before: str, comment: str, after: str) -> None:
    found = texts(f"{before}{comment}{after}")
    assert " ".join(found).split() == f"{before} {after}".split()


@given(st.text())
def test_any_text_is_split_or_refused(sql: str) -> None:
    try:
        statements = texts(sql)
    except ConfigurationError:
        return
    assert all(one == one.strip() and one for one in statements)


@given(st.text(alphabet="'`\"\\;-/* \na"))
def test_splitting_what_was_split_changes_nothing(sql: str) -> None:
    try:
        statements = texts(sql)
    except ConfigurationError:
        return
    assert texts(";".join(statements)) == statements


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("", []),
        (" ; ;\n", []),
        ("SELECT 1", ["SELECT 1"]),
        ("SELECT ';' ; SELECT 2;", ["SELECT ';'", "SELECT 2"]),
        (r"SELECT '\';'; SELECT 2", [r"SELECT '\';'", "SELECT 2"]),
        (r"SELECT '\\'; SELECT 2", [r"SELECT '\\'", "SELECT 2"]),
        ("SELECT 'it''s;'; SELECT 2", ["SELECT 'it''s;'", "SELECT 2"]),
        ('SELECT `a;b`, "c;d"', ['SELECT `a;b`, "c;d"']),
        ("-- it's a comment; really\nSELECT 1", ["SELECT 1"]),
        ("SELECT /* it's; */ 1", ["SELECT   1"]),
        ("SELECT '-- no comment', 4 / 2 - 1", ["SELECT '-- no comment', 4 / 2 - 1"]),
        ("SELECT x -> x", ["SELECT x -> x"]),
        ("SELECT 1 -- the end", ["SELECT 1"]),
    ],
)
def test_splitting(sql: str, expected: list[str]) -> None:
    assert texts(sql) == expected


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELECT 1;\nSELECT 'open", "line 2: ' is not closed"),
        ("SELECT `open", "line 1: ` is not closed"),
        ("\n\n/* open", "line 3: /[*] is not closed"),
    ],
)
def test_what_is_not_closed_is_refused(sql: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        texts(sql)


def test_conditions_belong_to_the_next_statement() -> None:
    sql = """
    -- A remark.
    -- only when Old has column a and no rows
    -- Another remark.
    DROP TABLE Old;
    -- only when Old has column a
    RENAME TABLE Old TO Aside;
    -- this is done only when Old has column a
    SELECT 1;
    """
    assert list(iter_statements(sql)) == [
        Statement("DROP TABLE Old", Condition("Old", "a", only_empty=True)),
        Statement("RENAME TABLE Old TO Aside", Condition("Old", "a")),
        Statement("SELECT 1"),
    ]


def test_files_are_read_in_order_of_number(tmp_path: Path) -> None:
    (tmp_path / "0010_later.sql").write_text("SELECT 2")
    (tmp_path / "0002_first.sql").write_text("SELECT 1; SELECT 'é'")
    (tmp_path / "notes.sql").write_text("SELECT 3")
    first, later = read_migrations(tmp_path)
    assert (first.name, later.name) == ("0002_first", "0010_later")
    assert [one.text for one in first.statements] == ["SELECT 1", "SELECT 'é'"]
    assert first.checksum == hashlib.sha256("SELECT 1; SELECT 'é'".encode()).hexdigest()


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "0000_broken.sql").write_text("SELECT 'open")
    with pytest.raises(ConfigurationError, match=r"0000_broken\.sql: line 1"):
        read_migrations(tmp_path)


def test_own_files_are_found_and_numbered_without_gaps() -> None:
    names = [migration.name for migration in read_migrations(schema_directory())]
    assert [int(name[:4]) for name in names] == list(range(len(names)))
    assert len(names) >= 3
