"""SPDX: files of the licence list, and what counts as new."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from altrepodb.errors import ConfigurationError, SourceError
from altrepodb.sources.run import Findings, SourceSummary
from altrepodb.sources.spdx import (
    License,
    SpdxOptions,
    new_licenses,
    parse_entry,
    read_licenses,
)

LICENSE = {
    "isDeprecatedLicenseId": False,
    "licenseText": "Do what you like.\n",
    "name": "Demo License 1.0",
    "licenseId": "Demo-1.0",
    "standardLicenseHeader": "Licensed under Demo 1.0\n",
    "seeAlso": ["https://license.example.org/demo-1.0"],
    "isOsiApproved": True,
}
EXCEPTION = {
    "isDeprecatedLicenseId": False,
    "licenseExceptionText": "Linking is fine.\n",
    "name": "Demo exception",
    "licenseComments": "Usually combined with GPL-2.0",
    "seeAlso": [],
    "licenseExceptionId": "Demo-exception",
}
LICENSE_ROW = License(
    "Demo-1.0", "Demo License 1.0", "Do what you like.\n", "Licensed under Demo 1.0\n",
    ("https://license.example.org/demo-1.0",), "license",
)  # fmt: skip
EXCEPTION_ROW = License(
    "Demo-exception", "Demo exception", "Linking is fine.\n", "Usually combined with GPL-2.0",
    (), "exception",
)  # fmt: skip


def parse(content: dict[str, Any], spdx_type: str = "license") -> License | None:
    return parse_entry(json.dumps(content).encode(), spdx_type, "x.json")


def write_list(root: Path, **more: bytes) -> None:
    """A list of the two samples and what else is to stand in the directories."""
    for name in ("details", "exceptions"):
        (root / "json" / name).mkdir(parents=True)
    (root / "json/details/Demo-1.0.json").write_text(json.dumps(LICENSE))
    (root / "json/exceptions/Demo-exception.json").write_text(json.dumps(EXCEPTION))
    for name, content in more.items():
        (root / "json/details" / name).write_bytes(content)


def read(root: Path) -> tuple[list[License], int]:
    summary = SourceSummary()
    return read_licenses(root, Findings(summary)), summary.skipped


# --- one file


def test_samples() -> None:
    assert parse(LICENSE) == LICENSE_ROW
    assert parse(EXCEPTION, "exception") == EXCEPTION_ROW


texts = st.text(st.characters(exclude_categories=["Cs"]))


@settings(deadline=None)
@given(texts.filter(bool), texts, texts, texts, st.lists(texts), st.booleans())
def test_texts_are_kept_as_they_are(
    spdx_id: str, name: str, text: str, header: str, urls: list[str], is_ascii: bool
) -> None:
    written = json.dumps(
        {
            "licenseId": spdx_id, "name": name, "licenseText": text,
            "standardLicenseHeader": header, "seeAlso": urls,
        },
        ensure_ascii=is_ascii,
    )  # fmt: skip
    expected = License(spdx_id, name, text, header, tuple(urls), "license")
    assert parse_entry(written.encode(), "license", "x.json") == expected
    assert parse_entry(b"\xef\xbb\xbf" + written.encode(), "license", "x.json") == expected


@settings(deadline=None)
@given(st.binary(max_size=50))
def test_any_bytes_are_an_entry_or_an_error(content: bytes) -> None:
    try:
        parse_entry(content, "license", "x.json")
    except SourceError as error:
        assert str(error).startswith("x.json: not JSON")


values = st.none() | st.booleans() | st.text(max_size=3) | st.lists(st.none() | st.text())


@settings(deadline=None)
@given(st.fixed_dictionaries({}, optional=dict.fromkeys(LICENSE, values)))
def test_any_object_is_an_entry_or_none(content: dict[str, Any]) -> None:
    parse(content)


@pytest.mark.parametrize(
    "changes",
    [
        {"licenseId": None}, {"licenseId": ""}, {"licenseId": 1}, {"name": None},
        {"licenseText": None}, {"licenseText": ["x"]}, {"standardLicenseHeader": 1},
        {"seeAlso": "x"}, {"seeAlso": [1]}, {"licenseText": "\ud800"},
    ],
)  # fmt: skip
def test_other_layouts_are_none(changes: dict[str, Any]) -> None:
    assert parse({**LICENSE, **changes}) is None


def test_license_among_exceptions_is_none() -> None:
    assert parse(LICENSE, "exception") is None
    assert parse_entry(b"[]", "license", "x.json") is None


@pytest.mark.parametrize("absent", [{}, {"seeAlso": None, "standardLicenseHeader": None}])
def test_optional_fields(absent: dict[str, None]) -> None:
    content = {key: LICENSE[key] for key in ("licenseId", "name", "licenseText")}
    assert parse({**content, **absent}) == LICENSE_ROW._replace(spdx_header="", spdx_urls=())


@pytest.mark.parametrize("content", [b"", b"{", b'{"name": "\xff"}', b"[" * 100_000])
def test_broken_json_is_refused(content: bytes) -> None:
    with pytest.raises(SourceError, match=r"x\.json: not JSON"):
        parse_entry(content, "license", "x.json")


# --- the directories


def test_licenses_come_first_and_by_name(tmp_path: Path) -> None:
    other = {**LICENSE, "licenseId": "A"}
    write_list(tmp_path, **{"0.json": json.dumps(other).encode()})
    found, skipped = read(tmp_path)
    assert found == [LICENSE_ROW._replace(spdx_id="A"), LICENSE_ROW, EXCEPTION_ROW]
    assert skipped == 0


def test_other_files_are_ignored(tmp_path: Path) -> None:
    write_list(tmp_path, **{"x.json.bak": b"{", "README": b"", "y.JSON": b"{"})
    details = tmp_path / "json/details"
    (details / "directory.json").mkdir()
    (details / "link.json").symlink_to(details / "x.json.bak")
    os.mkfifo(details / "pipe.json")
    assert read(tmp_path) == ([LICENSE_ROW, EXCEPTION_ROW], 0)


def test_foreign_layout_is_skipped(tmp_path: Path) -> None:
    write_list(tmp_path, **{"x.json": json.dumps(EXCEPTION).encode()})
    assert read(tmp_path) == ([LICENSE_ROW, EXCEPTION_ROW], 1)


@pytest.mark.parametrize("name", ["json/details", "json/exceptions", "json"])
def test_missing_empty_or_linked_directory_is_refused(tmp_path: Path, name: str) -> None:
    write_list(tmp_path)
    (tmp_path / name).rename(tmp_path / "elsewhere")
    with pytest.raises(SourceError, match="not a directory"):
        read(tmp_path)
    (tmp_path / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SourceError, match="not a directory"):
        read(tmp_path)
    (tmp_path / name).unlink()
    (tmp_path / name / ("details" if name == "json" else "")).mkdir(parents=True)
    with pytest.raises(SourceError, match=r"no (license|exception) in it"):
        read(tmp_path)


def test_size_of_a_file_is_limited(tmp_path: Path) -> None:
    write_list(tmp_path)
    os.truncate(tmp_path / "json/details/Demo-1.0.json", 1 << 30)
    with pytest.raises(SourceError, match="larger than"):
        read(tmp_path)


def test_upstream_list(fixtures: Path) -> None:
    """Files of the real list: all of them are entries, with what is known of some."""
    root = fixtures / "spdx"
    if not root.is_dir():
        pytest.skip(f"{root}: not there")
    found, skipped = read(root)
    files = list(root.glob("json/*/*.json"))
    assert len(found) + skipped == len(files) > 50
    by_id = {(entry.spdx_id, entry.spdx_type): entry for entry in found}
    assert all(entry.spdx_text and entry.spdx_name for entry in found)
    assert ("Libtool-exception", "exception") in by_id
    assert ("ECL-2.0", "license") in by_id


@pytest.fixture
def fixtures() -> Path:
    """Samples of upstream data, which are no part of this project."""
    given = os.environ.get("ALTREPODB_FIXTURES")
    path = Path(given) if given else Path(__file__).parents[3] / "shared/fixtures"
    if not path.is_dir():
        pytest.skip(f"{path}: no upstream samples there")
    return path


# --- rows


def test_equal_entries_are_not_new() -> None:
    assert new_licenses([LICENSE_ROW, EXCEPTION_ROW], {LICENSE_ROW}) == [EXCEPTION_ROW]
    assert new_licenses([LICENSE_ROW], {LICENSE_ROW._replace(spdx_type="exception")})


@pytest.mark.parametrize("field", License._fields)
def test_every_value_counts(field: str) -> None:
    changed = LICENSE_ROW._replace(**{field: ("x", "y") if field == "spdx_urls" else "x"})
    assert new_licenses([changed], {LICENSE_ROW}) == [changed]


def test_order_of_urls_counts() -> None:
    first = LICENSE_ROW._replace(spdx_urls=("a", "b"))
    assert new_licenses([first._replace(spdx_urls=("b", "a"))], {first})


# --- options


@pytest.mark.parametrize("url", ["--upload-pack=touch /tmp/x", "-x", "a b", "https://x/\ny"])
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(ConfigurationError):
        SpdxOptions(url=url).check()


@pytest.mark.parametrize("branch", ["-x", "a..b", "a b", "", "a//b", "@{u}", "a:b", "+a:b"])
def test_branches_that_are_none(branch: str) -> None:
    with pytest.raises(ConfigurationError):
        SpdxOptions(branch=branch).check()


@pytest.mark.parametrize("branch", ["main", "release/3.19", "a-b_c"])
def test_branches(branch: str) -> None:
    SpdxOptions(branch=branch).check()
