"""Watch: lines of the file and the rows they become."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from altrepodb.sources.run import Findings, SourceSummary
from altrepodb.sources.watch import UpstreamVersion, UpstreamVersions, parse_versions

NAME = "http://127.0.0.1/watch-total.txt"
LINE = "ivanov\tnano\t7.2\t7.2.1\thttps://example.org/nano.tar.xz"

values = st.text(st.characters(exclude_characters="\t\n\r", exclude_categories=["Cs"]), max_size=8)
versions = st.builds(UpstreamVersion, values, values.filter(bool), values, values, values)


def parse(text: str) -> tuple[list[UpstreamVersion], int]:
    """The findings of a text and how many of its lines were skipped."""
    summary = SourceSummary()
    return parse_versions(text, NAME, Findings(summary)), summary.skipped


@settings(deadline=None)
@given(st.lists(versions, unique=True), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_reads_what_a_writer_wrote(
    written: list[UpstreamVersion], end: str, is_ended: bool
) -> None:
    lines = ["\t".join(finding) for finding in written]
    # A line of nothing but white space is no finding, whatever its fields.
    expected = [finding for finding in written if "\t".join(finding).strip()]
    text = end.join(lines) + (end if is_ended else "")
    assert parse(text) == (expected, 0)


@settings(deadline=None)
@given(st.text(max_size=60) | st.text(alphabet="a\t\n\r ", max_size=40))
def test_any_text_is_findings_and_skipped_lines(text: str) -> None:
    found, skipped = parse(text)
    assert len(found) + skipped <= text.count("\n") + 1


@pytest.mark.parametrize(
    ("line", "field", "value"),
    [
        (LINE, "url", "https://example.org/nano.tar.xz"),
        (LINE + "\r", "url", "https://example.org/nano.tar.xz"),
        (LINE + "\tsixth\tseventh", "url", "https://example.org/nano.tar.xz"),
        ("\ufeff" + LINE, "acl", "ivanov"),
        (" ivanov \tnano\t7.2\t\t ", "acl", " ivanov "),
        ("@nobody\ttool\t2.1\t\twatch_file_error: no matching hrefs", "new_version", ""),
        ("@nobody\ttool\t2.1\t\twatch_file_error: no", "url", "watch_file_error: no"),
        ("sidorov\tnano\t7.2\t7.2.1\t", "url", ""),
        ("i\tnano\t1\t2\thttps://пример.example/é", "url", "https://пример.example/é"),
        ("i\tnano\t1\x0b\u2028\t2\t", "old_version", "1\x0b\u2028"),
    ],
)
def test_values_are_taken_as_they_are(line: str, field: str, value: str) -> None:
    (finding,), skipped = parse(line)
    assert getattr(finding, field) == value
    assert skipped == 0


@pytest.mark.parametrize("line", ["a", "a\tb\tc", "a\tb\tc\td", "a\t\tc\td\te"])
def test_incomplete_lines_are_skipped(line: str) -> None:
    assert parse(f"{line}\n{LINE}\n") == ([UpstreamVersion(*LINE.split("\t"))], 1)


@pytest.mark.parametrize("line", ["", " ", "\t\t\t\t", "\r"])
def test_blank_lines_are_nothing(line: str) -> None:
    assert parse(f"{line}\n{LINE}\n{line}") == ([UpstreamVersion(*LINE.split("\t"))], 0)


def test_equal_lines_are_one_finding() -> None:
    assert len(parse(f"{LINE}\n{LINE}\n")[0]) == 1


def test_rows_have_the_moment_of_the_file() -> None:
    columns = UpstreamVersions([UpstreamVersion(*"abcde")]).take_columns(17)
    assert columns == {
        "acl": ["a"], "pkg_name": ["b"], "old_version": ["c"], "new_version": ["d"],
        "url": ["e"], "date_update": [17],
    }  # fmt: skip
