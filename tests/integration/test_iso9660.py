"""ISO images of xorriso and genisoimage against what was put in, and damaged ones."""

from __future__ import annotations

import os
import stat
import struct
import subprocess
import time
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from altrepodb.byte_source import open_file
from altrepodb.errors import SourceError
from altrepodb.image import iso9660
from altrepodb.image.iso9660 import open_iso
from altrepodb.image.tree import EntryType, lookup, read_file, walk
from tests.support.content import BytesSource, write_files
from tests.support.iso_images import (
    make_iso,
    make_zoned_iso,
    with_directory_loop,
    with_joined_files,
)

TIME = 1_638_699_630
CPU_LIMIT_S = 5.0
MEMORY_LIMIT_BYTES = 64 << 20
SECTOR = 2048
FILES = {
    "live": bytes(range(256)) * 40,
    "empty": b"",
    ".disk/info": b"ALT Workstation build 2021-12-05\n",
    ".disk/arch": b"x86_64\n",
    ".disk/pkglists/main/rpm.txt": b"a-1-alt1.noarch.rpm\n",
    "ALTLinux/RPMS.main/a-1-alt1.noarch.rpm": b"one",
    "ALTLinux/RPMS.main/bash-completion-2.11-alt1_very.long_release.noarch.rpm": b"two" * 1000,
    "Имя с пробелом": b"name",
}


def set_times(directory, seconds=TIME):
    """Give everything another time, each entry its own."""
    for number, path in enumerate(sorted(directory.rglob("*"))):
        os.utime(path, (seconds + number, seconds + number), follow_symlinks=False)


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """A directory as it goes on a disc."""
    directory = write_files(tmp_path_factory.mktemp("content") / "disc", FILES)
    (directory / "link").symlink_to("ALTLinux/RPMS.main")
    (directory / "absolute").symlink_to("/a/../b/./c")
    (directory / "root").symlink_to("/")
    (directory / ("n" * 255)).write_bytes(b"long")
    # Not longer: genisoimage splits targets wrongly.
    (directory / "long-link").symlink_to("/".join(["d" * 80, "..", "e" * 90]))
    os.mkfifo(directory / "fifo")
    set_times(directory)
    return directory


@pytest.fixture(scope="module")
def alt_image(content, tmp_path_factory):
    return make_iso(tmp_path_factory.mktemp("iso") / "alt.iso", content)


def found_in(path):
    """What the tree has: path to (type, mode, size, mtime, target, content)."""
    with open_file(path) as source:
        tree = open_iso(source)
        return {name: facts(tree, entry) for name, entry in walk(tree)}


def facts(tree, entry):
    is_file = entry.type is EntryType.FILE
    data = tree.open(entry).pread(entry.size, 0) if is_file else None
    return entry.type, entry.mtime, entry.link_target, data


def expected_from(directory):
    """The same of a directory on disk."""
    result = {}
    for path in directory.rglob("*"):
        state = path.lstat()
        kind = EntryType.of_mode(state.st_mode)
        target = os.readlink(os.fsencode(path)) if kind is EntryType.SYMLINK else b""
        data = path.read_bytes() if kind is EntryType.FILE else None
        name = b"/" + os.fsencode(path.relative_to(directory))
        result[name] = (kind, int(state.st_mtime), target, data)
    return result


def without(found, *names):
    return {name: value for name, value in found.items() if name not in names}


def test_image_as_built_by_alt(alt_image, content):
    assert found_in(alt_image) == expected_from(content)


def test_names_equal_those_of_isoinfo(alt_image):
    done = subprocess.run(["isoinfo", "-R", "-f", "-i", alt_image], capture_output=True, check=True)
    # isoinfo cuts names of 255 bytes by one.
    listed = {line[:255] for line in done.stdout.splitlines()}
    assert listed == {name[:255] for name in found_in(alt_image)}


def test_owners_and_modes_are_rationalised(alt_image):
    with open_file(alt_image) as source:
        entries = [entry for _, entry in walk(open_iso(source))]
    assert {(entry.uid, entry.gid) for entry in entries} == {(0, 0)}
    files = {entry.mode for entry in entries if entry.type is EntryType.FILE}
    assert files == {stat.S_IFREG | 0o444}


def test_links_are_followed_inside_the_image(alt_image):
    with open_file(alt_image) as source:
        tree = open_iso(source)
        assert read_file(tree, b"/link/a-1-alt1.noarch.rpm", 10) == b"one"
        assert lookup(tree, b"root/live").size == 10240
        assert lookup(tree, b"absolute") is None


@pytest.mark.parametrize("zone", ["Europe/Moscow", "America/St_Johns", "UTC"])
def test_times_do_not_depend_on_the_writers_zone(content, tmp_path, zone):
    image = make_zoned_iso(tmp_path / "zone.iso", content, zone)
    assert found_in(image) == expected_from(content)


def test_the_readers_zone_does_not_matter(alt_image, content, monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Kamchatka")
    time.tzset()
    try:
        assert found_in(alt_image) == expected_from(content)
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("builder", ["genisoimage", "xorriso"])
def test_deep_directories(tmp_path, builder):
    """genisoimage moves directories below the eighth level elsewhere and leaves a pointer."""
    deep = "/".join(f"level-{number}" for number in range(1, 13))
    directory = write_files(tmp_path / "files", {f"{deep}/file": b"deep", "other/file": b"flat"})
    set_times(directory)
    if builder == "genisoimage":
        image = make_zoned_iso(tmp_path / "deep.iso", directory, "UTC")
    else:
        image = make_iso(tmp_path / "deep.iso", directory)
    found = found_in(image)
    assert without(found, b"/rr_moved") == expected_from(directory)


def test_without_rock_ridge_names_match_in_any_case(tmp_path):
    files = {"LIVE": b"live" * 100, "ALTLINUX/RPMS.MAI/A.RPM": b"rpm", "NOEXT": b"x"}
    image = make_iso(tmp_path / "plain.iso", files, ["--norock", "-iso-level", "1"])
    assert b"LIVE.;1" in image.read_bytes()
    with open_file(image) as source:
        tree = open_iso(source)
        assert {name for name, _ in walk(tree)} == {
            b"/live",
            b"/altlinux",
            b"/altlinux/rpms.mai",
            b"/altlinux/rpms.mai/a.rpm",
            b"/noext",
        }
        for path in (b"live", b"LIVE", b"/Live"):
            assert read_file(tree, path, 1000) == b"live" * 100
        assert read_file(tree, b"ALTLinux/RPMS.mai/a.rpm", 10) == b"rpm"
        assert "Rock Ridge: no" in tree.description()


def test_joliet_gives_names_where_rock_ridge_is_missing(tmp_path):
    files = {"live": b"live", "ALTLinux/RPMS.main/длинное имя.rpm": b"rpm"}
    image = make_iso(tmp_path / "joliet.iso", files, ["--norock", "-J", "-joliet-long"])
    with open_file(image) as source:
        tree = open_iso(source)
        assert b"/ALTLinux/RPMS.main/" + "длинное имя.rpm".encode() in dict(walk(tree))
        assert read_file(tree, b"altlinux/rpms.MAIN/" + "длинное имя.rpm".encode(), 9) == b"rpm"


def test_description_says_what_the_descriptors_say(tmp_path):
    files = {"boot/x.img": bytes(4096), "live": b"x"}
    options = "-J -r -V ALT-Workstation -publisher BaseALT -A App".split()
    options += "-b boot/x.img -no-emul-boot -boot-load-size 4 -boot-info-table".split()
    image = make_iso(tmp_path / "boot.iso", files, options)
    with open_file(image) as source:
        lines = dict(line.split(": ", 1) for line in open_iso(source).description().splitlines())
    done = subprocess.run(
        ["isoinfo", "-d", "-i", image], capture_output=True, check=True, text=True
    )
    labelled = [line.partition(": ") for line in done.stdout.splitlines()]
    isoinfo = {label: value for label, _, value in labelled}
    for label in ("System id", "Volume id", "Volume set id", "Publisher id", "Application id"):
        assert lines[label] == isoinfo[label]
    assert lines["Volume size in blocks"] == isoinfo["Volume size is"]
    assert lines["Volume id"] == "ALT-Workstation"
    assert lines["Joliet"] == "UCS level 3"
    assert lines["Rock Ridge"] == "yes"
    assert lines["Boot key bytes"] == "55 AA"
    assert lines["Boot sector count"] == "4"
    catalog = done.stdout.partition("boot catalog is in sector ")[2].split()[0]
    assert lines["Boot catalogue sector"] == catalog


def test_file_of_several_extents(tmp_path):
    first, second = os.urandom(6144), os.urandom(5000)
    image = make_iso(tmp_path / "two.iso", {"aaaa": first, "aaab": second, "b": b"b"}, ["-r"])
    tree = open_iso(BytesSource(with_joined_files(image.read_bytes(), "aaaa", "aaab")))
    entries = dict(walk(tree))
    assert set(entries) == {b"/aaaa", b"/b"}
    file = tree.open(entries[b"/aaaa"])
    assert entries[b"/aaaa"].size == file.size == 11144
    assert file.pread(11144, 0) == first + second
    assert file.pread(100, 6100) == (first + second)[6100:6200]
    assert [size for _, size in tree.extents(entries[b"/aaaa"])] == [6144, 5000]


def test_long_link(tmp_path):
    target = "/".join(["x" * 200, "..", "y" * 255, "z" * 100, "u" * 200, "v" * 200])
    directory = write_files(tmp_path / "files", {"live": b"x"})
    (directory / "link").symlink_to(target)
    with open_file(make_iso(tmp_path / "link.iso", directory)) as source:
        assert lookup(open_iso(source), b"link", follow=False).link_target == target.encode()


def test_missing_last_extent_is_an_error(tmp_path):
    image = make_iso(tmp_path / "two.iso", {"aaaa": b"x" * 3000, "aaab": b"y", "b": b""}, ["-r"])
    data = bytearray(image.read_bytes())
    for name in (b"aaaa", b"b"):
        broken = bytearray(data)
        record = broken.index(b"NM" + bytes([5 + len(name), 1, 0]) + name)
        start = record - record % SECTOR
        while start + broken[start] <= record:
            start += broken[start]
        broken[start + 25] |= 0x80
        with pytest.raises(SourceError, match="further parts are missing"):
            list(walk(open_iso(BytesSource(bytes(broken)))))


def test_many_packages_take_little_memory(tmp_path):
    names = [f"ALTLinux/RPMS.main/package-with-a-name-{n}-1.0-alt1.noarch.rpm" for n in range(3000)]
    image = make_iso(tmp_path / "many.iso", dict.fromkeys(names, b"rpm"))
    tracemalloc.start()
    try:
        with open_file(image) as source:
            assert sum(1 for _ in walk(open_iso(source))) == 3002
        assert tracemalloc.get_traced_memory()[1] < 10 << 20
    finally:
        tracemalloc.stop()


# Damage


@pytest.fixture(scope="module")
def small_image(tmp_path_factory):
    """A small image with everything that a parser has to understand."""
    place = tmp_path_factory.mktemp("small")
    files = {"live": b"live" * 900, "sub/deep/file": b"x" * 3000, ".disk/info": b"ALT\n"}
    directory = write_files(place / "files", files)
    (directory / "link").symlink_to("sub/" + "d" * 200)
    (directory / ("n" * 240)).write_bytes(b"long")
    set_times(directory)
    options = "-J -r -V ALT -b live -no-emul-boot -boot-load-size 4".split()
    return make_iso(place / "small.iso", directory, options).read_bytes()


def read_all(data):
    """Everything that a loader may ask an image for. Raises SourceError alone."""
    tree = open_iso(BytesSource(data))
    tree.description()
    for _, entry in walk(tree):
        if entry.type is EntryType.FILE:
            file = tree.open(entry)
            file.pread(min(file.size, 1 << 16), 0)


def check_bounded(read, data):
    """A damaged input is read or refused, in little time and memory."""
    started = time.process_time()
    tracemalloc.start()
    try:
        read(data)
    except SourceError as error:
        assert "\n" not in str(error)
        assert str(error).startswith("image:")
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert time.process_time() - started < CPU_LIMIT_S
    assert peak < MEMORY_LIMIT_BYTES


def metadata_places(data):
    """Offsets of the sectors of descriptors and directories, of the boot catalogue too."""
    sectors = range(16, len(data) // SECTOR)
    return [
        sector * SECTOR
        for sector in sectors
        if data[sector * SECTOR + 1 : sector * SECTOR + 6] == b"CD001"
        or (data[sector * SECTOR + 32] == 1 and data[sector * SECTOR] in range(34, 255))
        or b"RRIP" in data[sector * SECTOR : (sector + 1) * SECTOR]
    ]


@settings(max_examples=250, deadline=None)
@given(choice=st.data())
def test_changed_bytes_are_read_or_refused(small_image, choice):
    data = bytearray(small_image)
    sectors = metadata_places(small_image)
    for _ in range(choice.draw(st.integers(1, 4))):
        sector = choice.draw(st.sampled_from(sectors))
        used = len(data[sector : sector + SECTOR].rstrip(b"\0")) or 1
        data[sector + choice.draw(st.integers(0, used - 1))] = choice.draw(st.integers(0, 255))
    check_bounded(read_all, bytes(data))


@settings(max_examples=60, deadline=None)
@given(kept=st.floats(0, 1, exclude_max=True))
def test_truncated_image_is_refused(small_image, kept):
    size = struct.unpack_from("<I", small_image, 16 * SECTOR + 80)[0] * SECTOR
    with pytest.raises(SourceError):
        read_all(small_image[: int(size * kept)])


def test_image_without_its_last_sector_is_refused(alt_image):
    data = alt_image.read_bytes()
    with pytest.raises(SourceError, match=f"truncated: {len(data)} bytes in its descriptor"):
        open_iso(BytesSource(data[:-SECTOR]))


@pytest.mark.parametrize("data", [b"", b"x", bytes(40 * SECTOR), b"\x7fELF" * 20000])
def test_other_files_are_no_image(data):
    with pytest.raises(SourceError, match="not an ISO 9660 image"):
        open_iso(BytesSource(data))


def test_directory_is_no_image(tmp_path):
    with pytest.raises(SourceError, match="not a regular file"), open_file(tmp_path):
        pass


def test_directory_loop_is_refused(small_image):
    tree = open_iso(BytesSource(with_directory_loop(small_image, "deep")))
    with pytest.raises(SourceError, match=r"deep.* is there twice"):
        list(walk(tree))


def test_relocation_loop_is_refused(tmp_path):
    deep = "/".join(f"level-{number}" for number in range(1, 10))
    image = make_zoned_iso(tmp_path / "deep.iso", {f"{deep}/file": b"deep"}, "UTC")
    data = bytearray(image.read_bytes())
    root_block = struct.unpack_from("<I", data, 16 * SECTOR + 158)[0]
    child = data.index(b"CL\x0c\x01")
    struct.pack_into("<I", data, child + 4, root_block)
    with pytest.raises(SourceError, match="is there twice"):
        list(walk(open_iso(BytesSource(bytes(data)))))


def test_continuation_loop_is_refused(small_image):
    """An area that continues at its own place."""
    data = bytearray(small_image)
    entry = data.index(b"CE\x1c\x01", data.index(b"SP\x07\x01") + 50)
    block, offset = struct.unpack_from("<I4xI", data, entry + 4)
    place = block * SECTOR + offset
    data[place : place + 28] = data[entry : entry + 28]
    struct.pack_into("<I", data, place + 20, 28)
    struct.pack_into("<I", data, entry + 20, 28)
    with pytest.raises(SourceError, match="goes on too often"):
        list(walk(open_iso(BytesSource(bytes(data)))))


@pytest.mark.parametrize("name", [b"./live", b"li\0e", b"../x"])
def test_names_that_are_paths_are_refused(small_image, name):
    entry = b"NM" + bytes([9, 1, 0]) + b"live"
    data = small_image.replace(entry, b"NM" + bytes([9, 1, 0]) + name[:4])
    assert data != small_image
    with pytest.raises(SourceError, match="has the name"):
        list(walk(open_iso(BytesSource(data))))


def test_limits_of_directories(small_image, monkeypatch):
    count = len(list(walk(open_iso(BytesSource(small_image)))))
    monkeypatch.setattr(iso9660, "MAX_ENTRIES", count)
    assert len(list(walk(open_iso(BytesSource(small_image))))) == count
    monkeypatch.setattr(iso9660, "MAX_ENTRIES", count - 1)
    with pytest.raises(SourceError, match=f"more than {count - 1} files"):
        list(walk(open_iso(BytesSource(small_image))))
    monkeypatch.setattr(iso9660, "MAX_DIRECTORY_BYTES", 3 * SECTOR)
    with pytest.raises(SourceError, match="bytes of directories"):
        list(walk(open_iso(BytesSource(small_image))))


def test_file_beyond_the_end_is_refused(small_image):
    data = bytearray(small_image)
    record = data.index(b"NM" + bytes([9, 1, 0]) + b"live")
    start = record - record % SECTOR
    while start + data[start] <= record:
        start += data[start]
    struct.pack_into("<I", data, start + 10, 0xFFFFFFFF)
    tree = open_iso(BytesSource(bytes(data)))
    with pytest.raises(SourceError, match="live: reaches beyond the end"):
        tree.open(lookup(tree, b"live"))
