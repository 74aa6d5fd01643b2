"""Reading small files: only what is not there is absent."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from altrepodb.errors import SourceError
from altrepodb.task import files


def put(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("read", [files.raw, files.text])
def test_absent_is_empty(read: object, tmp_path: Path) -> None:
    assert callable(read)
    file = put(tmp_path / "file", b"x")
    for path in (tmp_path / "none", tmp_path, file / "below", tmp_path / "none/below"):
        assert read(path) == ""


def test_dangling_link_is_absent(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to("nowhere")
    assert files.raw(link) == ""
    assert not files.exists(link)
    assert files.modified_ns(link) is None


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"a\n", "a"),
        (b" \t\n", ""),
        ("\u2003привет\u00a0\n".encode(), "привет"),
        (b"caf\xe9\n", "café"),
        (b"a\nb\n", "a\nb"),
    ],
)
def test_text(content: bytes, expected: str, tmp_path: Path) -> None:
    path = put(tmp_path / "file", content)
    assert files.text(path) == expected
    assert files.raw(path).strip() == expected


@pytest.mark.parametrize("content", [b"", b"\n", b" \t "])
def test_blank_number(content: bytes, tmp_path: Path) -> None:
    assert files.number(put(tmp_path / "file", content), 255) == 0
    assert files.number(tmp_path / "none", 255) == 0


@pytest.mark.parametrize(
    "content",
    [b"256", b"-1", b"+1", b"1.0", b"1 2", b"x", b"1_0", "١".encode(), b"9" * 9999, b"\0"],
)
def test_no_number(content: bytes, tmp_path: Path) -> None:
    path = put(tmp_path / "file", content)
    with pytest.raises(SourceError, match=str(path)) as failure:
        files.number(path, 255)
    assert len(str(failure.value)) < 500


def test_number_with_zeros(tmp_path: Path) -> None:
    assert files.number(put(tmp_path / "file", b"0255\n"), 255) == 255


def test_other_errors_are_not_absence(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to("loop")
    for read in (files.raw, files.exists, files.file_size, files.modified_ns, files.regular_files,
                 files.subdirectories):  # fmt: skip
        with pytest.raises(SourceError, match="symbolic links"):
            read(loop)
    for list_directory in (files.regular_files, files.subdirectories):
        with pytest.raises(SourceError, match="symbolic links"):
            list_directory(tmp_path)
    assert files.subdirectories(tmp_path, follow_links=False) == []


def test_too_long_name_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="too long"):
        files.raw(tmp_path / ("x" * 300))


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/full"])
def test_devices_are_refused(path: str) -> None:
    with pytest.raises(SourceError, match="not a regular file"):
        files.raw(Path(path))


def test_pipe_is_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    started = time.monotonic()
    with pytest.raises(SourceError, match="not a regular file"):
        files.raw(pipe)
    assert time.monotonic() - started < 30


def test_huge_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_FILE_BYTES", 100)
    assert files.raw(put(tmp_path / "fits", b"x" * 100)) == "x" * 100
    with pytest.raises(SourceError, match="more than 100 bytes"):
        files.raw(put(tmp_path / "huge", b"x" * 101))


def test_sizes(tmp_path: Path) -> None:
    assert files.file_size(put(tmp_path / "file", b"abc")) == 3
    assert files.file_size(tmp_path) == 0
    assert files.file_size(tmp_path / "none") == 0


def test_numbered_directories(tmp_path: Path) -> None:
    for name in ("100", "20", "1000", "8", "1a", "a1", "tmp", "-1", "٣", "1" * 10, ".5"):
        (tmp_path / name).mkdir()
    put(tmp_path / "700", b"")
    (tmp_path / "300").symlink_to("100")
    assert [number for number, _ in files.numbered_directories(tmp_path)] == [
        8, 20, 100, 300, 1000,
    ]  # fmt: skip
    assert files.numbered_directories(tmp_path / "none") == []


def test_order_is_that_of_names(tmp_path: Path) -> None:
    for name in ("b", "a-1", "a", "C"):
        put(tmp_path / name, b"")
    (tmp_path / "directory").mkdir()
    (tmp_path / "link").symlink_to("a")
    (tmp_path / "dangling").symlink_to("nowhere")
    assert [path.name for path in files.regular_files(tmp_path)] == ["C", "a", "a-1", "b", "link"]


@pytest.mark.parametrize(
    ("nanoseconds", "expected"),
    [(-1, 0), (0, 0), (999_999_999, 0), (1_999_999_999, 1), (2**32 * 10**9, 2**32 - 1)],
)
def test_seconds(nanoseconds: int, expected: int) -> None:
    assert files.seconds(nanoseconds) == expected
