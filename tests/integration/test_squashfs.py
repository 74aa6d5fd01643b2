"""squashfs images of mksquashfs against what was put in and unsquashfs, and damaged ones."""

from __future__ import annotations

import builtins
import hashlib
import os
import stat
import struct
import subprocess
import sys
import time
import tracemalloc
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from altrepodb.byte_source import open_file
from altrepodb.errors import ConfigurationError, SourceError
from altrepodb.image import squashfs, squashfs_digests, squashfs_metadata
from altrepodb.image.iso9660 import open_iso
from altrepodb.image.squashfs import open_squashfs
from altrepodb.image.squashfs_digests import file_md5s
from altrepodb.image.squashfs_metadata import NO_FRAGMENT, STORED_BIT
from altrepodb.image.tree import EntryType, lookup, read_file, walk
from tests.support.content import BytesSource, run_tool, write_files
from tests.support.iso_images import make_iso
from tests.support.squashfs_images import (
    COMPRESSORS,
    DEVICES,
    IMAGE_TIME,
    STORED,
    compose_squashfs,
    fields_of,
    make_squashfs,
    with_field,
    zeros_in,
)

BLOCK = 4096
CPU_LIMIT_S = 10.0
MEMORY_LIMIT_BYTES = 100 << 20
ODD_NAMES = (b"\xff\xfe", b"new\nline", b"n" * 255, "имя".encode())


def text(size, seed=0):
    """Bytes that compress well and are nowhere the same."""
    words = b" ".join(b"%d" % (number * 7919 + seed) for number in range(size // 4 + 1))
    return words[:size]


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """Files of all sizes about a block, links of all kinds, odd names."""
    sizes = (0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, 3 * BLOCK + 5, 300_000)
    files = {f"sizes/{size}": text(size, size) for size in sizes}
    files["noise"] = os.urandom(50_000)
    files["same"] = files["sizes/300000"]
    files |= {f"many/file-{number}": b"%d" % number for number in range(700)}
    files["a/b/c/d/e/f/deep"] = b"deep"
    files["var/lib/rpm/"] = b""
    root = write_files(tmp_path_factory.mktemp("squashfs") / "root", files)
    for name in ODD_NAMES:
        (root / os.fsdecode(name)).write_bytes(name)
    os.link(root / "noise", root / "a/hard-link")
    (root / "absolute").symlink_to("/sizes/1")
    (root / "a/relative").symlink_to("../sizes/4096")
    (root / "to-directory").symlink_to("a/b")
    (root / "dangling").symlink_to("nowhere")
    (root / "loop").symlink_to("a/loop")
    (root / "a/loop").symlink_to("/loop")
    (root / "long").symlink_to("/".join(["x" * 200] * 15))
    with open(root / "holes", "wb") as file:
        file.seek(1 << 20)
        file.write(b"after the hole")
        file.truncate(2 << 20)
    return root


def check_equals_directory(path, root):
    """Everything in the image is what it is in the directory; devices are not there."""
    with open_file(path) as source:
        tree = open_squashfs(source)
        entries = dict(walk(tree))
        md5s = file_md5s(tree, entries.values(), workers=2)
        names = {b"/" + os.fsencode(found.relative_to(root)) for found in root.rglob("*")}
        assert {name for name in entries if b"/dev/" not in name} == names
        for name in names:
            check_equals_file(tree, entries[name], os.fsencode(root) + name, md5s)


def check_equals_file(tree, entry, path, md5s):
    state = os.lstat(path)
    assert stat.S_IMODE(entry.mode) == stat.S_IMODE(state.st_mode)
    assert (entry.mtime, entry.uid, entry.gid) == (IMAGE_TIME, 0, 0)
    assert entry.type is EntryType.of_mode(state.st_mode)
    if entry.type is EntryType.SYMLINK:
        assert entry.link_target == os.readlink(path)
    if entry.type is EntryType.FILE:
        with open(path, "rb") as file:
            data = file.read()
        assert entry.size == len(data)
        source = tree.open(entry)
        assert source.pread(len(data), 0) == data
        middle = len(data) // 3
        assert source.pread(len(data) - middle, middle) == data[middle:]
        assert md5s[entry.inode] == hashlib.md5(data).digest()


@pytest.mark.parametrize("compressor", COMPRESSORS)
def test_every_compressor(content, tmp_path, compressor):
    image = make_squashfs(tmp_path / "image", content, compressor=compressor, block_bytes=BLOCK)
    check_equals_directory(image, content)


@pytest.mark.parametrize(
    ("block_bytes", "options"),
    [
        (524_288, ("-Xbcj", "x86")),
        (1 << 20, ()),
        (131_072, ("-no-fragments",)),
        (BLOCK, ("-always-use-fragments",)),
        (BLOCK, STORED),
        (BLOCK, ("-noI", "-noD")),
        (BLOCK, ("-noF", "-no-duplicates")),
        (BLOCK, ("-no-sparse", "-no-exports")),
        (262_144, ("-no-hardlinks",)),
    ],
)
def test_every_layout(content, tmp_path, block_bytes, options):
    image = make_squashfs(tmp_path / "image", content, block_bytes=block_bytes, options=options)
    check_equals_directory(image, content)


def test_machine_code_with_its_filter(tmp_path):
    """The filter of tight images only acts on machine code."""
    with open(os.path.realpath("/proc/self/exe"), "rb") as file:
        code = file.read(700_000)
    image = make_squashfs(
        tmp_path / "image", {"code": code}, block_bytes=524_288, options=["-Xbcj", "x86"]
    )
    with open_file(image) as source:
        assert read_file(open_squashfs(source), b"code", len(code)) == code


def test_devices_and_odd_names(content, tmp_path):
    image = make_squashfs(tmp_path / "image", content, devices=DEVICES)
    with open_file(image) as source:
        tree = open_squashfs(source)
        entries = dict(walk(tree))
        kinds = {
            b"/null": (EntryType.CHARACTER_DEVICE, stat.S_IFCHR | 0o666, os.makedev(1, 3)),
            b"/disk": (EntryType.BLOCK_DEVICE, stat.S_IFBLK | 0o660, os.makedev(8, 1)),
            b"/fifo": (EntryType.FIFO, stat.S_IFIFO | 0o644, 0),
            b"/socket": (EntryType.SOCKET, stat.S_IFSOCK | 0o755, 0),
        }
        for path, expected in kinds.items():
            entry = entries[path]
            assert (entry.type, entry.mode, entry.rdev) == expected
        for name in ODD_NAMES:
            assert read_file(tree, name, 300) == name
        assert len(file_md5s(tree, entries.values())) == len(
            {e.inode for e in entries.values() if e.type is EntryType.FILE}
        )


def test_all_types_of_inodes():
    """mksquashfs writes most extended ones only for attributes that a user cannot give."""
    words = struct.pack("<II", 5 | STORED_BIT, 0)
    device = struct.pack("<II", 1, os.makedev(8, 300))
    link = struct.pack("<II", 1, 4) + b"four"
    inodes = {
        b"1": (1, struct.pack("<IIHHI", 0, 2, 3, 0, 0)),
        b"2": (2, struct.pack("<IIII", 96, NO_FRAGMENT, 0, 5) + words[:4]),
        b"3": (3, link),
        b"4": (4, device),
        b"5": (5, device),
        b"6": (6, device[:4]),
        b"7": (7, device[:4]),
        b"8": (8, struct.pack("<IIIIHHI", 2, 3, 0, 0, 0, 0, NO_FRAGMENT)),
        b"9": (9, struct.pack("<QQQIIII", 96, 4096 + 7, 0, 1, 0, 5, NO_FRAGMENT) + words[4:]),
        b"10": (10, link + b"attr"),
        b"11": (11, device + b"attr"),
        b"12": (12, device + b"attr"),
        b"13": (13, device[:4] + b"attr"),
        b"14": (14, device[:4] + b"attr"),
    }
    fragments = [(101, 12 | STORED_BIT)]
    image = compose_squashfs(inodes, contents=b"hellotail-fragment", fragments=fragments)
    tree = open_squashfs(BytesSource(image))
    entries = dict(walk(tree))
    kinds = "directory file symlink block char fifo socket".split() * 2
    assert [entry.type.value for entry in entries.values()] == kinds
    assert read_file(tree, b"2", 10) == b"hello"
    assert read_file(tree, b"9", 5000) == bytes(4096) + b"fragmen"
    md5s = file_md5s(tree, entries.values())
    assert md5s[entries[b"/9"].inode] == hashlib.md5(bytes(4096) + b"fragmen").digest()
    for number in (3, 10):
        assert entries[b"/%d" % number].link_target == b"four"
    for number in (4, 5, 11, 12):
        assert entries[b"/%d" % number].rdev == os.makedev(8, 300)
    assert {entry.mtime for entry in entries.values()} == {IMAGE_TIME}


@pytest.mark.parametrize("kind", [0, 15, 0xFFFF])
def test_unknown_type_of_inode_is_refused(kind):
    image = compose_squashfs({b"x": (kind, bytes(40))})
    with pytest.raises(SourceError, match=f"an inode of type {kind}"):
        list(walk(open_squashfs(BytesSource(image))))


def test_links_are_followed_inside_the_image(content, tmp_path):
    image = make_squashfs(tmp_path / "image", content)
    with open_file(image) as source:
        tree = open_squashfs(source)
        assert read_file(tree, b"absolute", 10) == text(1, 1)
        assert lookup(tree, b"a/relative").size == BLOCK
        assert read_file(tree, b"to-directory/c/d/e/f/deep", 10) == b"deep"
        assert lookup(tree, b"dangling") is None
        with pytest.raises(SourceError, match="too many links"):
            lookup(tree, b"loop")


def test_hard_links_are_digested_once(content, tmp_path, monkeypatch):
    image = make_squashfs(tmp_path / "image", content)
    with open_file(image) as source:
        tree = open_squashfs(source)
        entries = dict(walk(tree))
        assert entries[b"/noise"].inode == entries[b"/a/hard-link"].inode
        read = Counter()
        original = tree.blocks.data

        def counted(offset, size_word, limit):
            read[offset] += 1
            return original(offset, size_word, limit)

        monkeypatch.setattr(tree.blocks, "data", counted)
        md5s = file_md5s(tree, entries.values())
        assert set(read.values()) == {1}
        assert md5s[entries[b"/same"].inode] == md5s[entries[b"/sizes/300000"].inode]


def test_listing_equals_that_of_unsquashfs(content, tmp_path):
    image = make_squashfs(tmp_path / "image", content, devices=DEVICES)
    done = subprocess.run(["unsquashfs", "-l", "-d", "", image], capture_output=True, check=True)
    with open_file(image) as source:
        found = [path for path, _ in walk(open_squashfs(source))]
    listed = done.stdout.replace(b"/new\nline", b"/new line").splitlines()
    listed = [line for line in listed if line.startswith(b"/")]
    assert Counter(path.replace(b"\n", b" ") for path in found) == Counter(listed)


@pytest.mark.parametrize("compressor", ["gzip", "xz"])
def test_image_of_a_system_equals_unsquashfs(tmp_path, compressor):
    """Real files of this machine, and its own program as the oracle."""
    root = os.path.dirname(os.__file__) + "/email"
    image = make_squashfs(tmp_path / "image", {"x": b""}, compressor=compressor)
    run_tool(["mksquashfs", root, image, "-quiet", "-no-progress", "-noappend"])
    with open_file(image) as source:
        tree = open_squashfs(source)
        for path, entry in walk(tree):
            if entry.type is EntryType.FILE and path.endswith(b"utils.py"):
                done = subprocess.run(
                    ["unsquashfs", "-cat", image, path[1:]], capture_output=True, check=True
                )
                assert tree.open(entry).pread(entry.size, 0) == done.stdout


def test_inside_an_iso_image(content, tmp_path):
    """Read in place: from a member of an ISO image that is no copy."""
    place = tmp_path / "disc"
    place.mkdir()
    make_squashfs(place / "live", content, block_bytes=BLOCK)
    with open_file(make_iso(tmp_path / "disc.iso", place)) as source:
        iso = open_iso(source)
        live = lookup(iso, b"live")
        assert live.mtime == int((place / "live").stat().st_mtime)
        tree = open_squashfs(iso.open(live))
        assert read_file(tree, b"sizes/300000", 1 << 20) == text(300_000, 300_000)
        assert lookup(tree, b"var/lib/rpm").type is EntryType.DIRECTORY
        assert list(tree.entries(lookup(tree, b"var/lib/rpm"))) == []


@pytest.mark.parametrize(("compressor", "module"), [("lz4", "lz4.block"), ("zstd", "zstandard")])
def test_missing_module_names_the_extra(tmp_path, monkeypatch, compressor, module):
    image = make_squashfs(tmp_path / "image", {"a": b"a"}, compressor=compressor)
    import_module = builtins.__import__

    def without_module(name, *arguments, **keywords):
        if name == module:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return import_module(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", without_module)
    with (
        open_file(image) as source,
        pytest.raises(ConfigurationError, match=rf"{compressor}.*install altrepodb\[images\]"),
    ):
        open_squashfs(source)


# Damage


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A small image that is not compressed but says that it may be, with xz."""
    files = {"data": os.urandom(200_000), "tail": os.urandom(30_000), "sub/file": b"x"}
    files |= {f"many/{number}": b"x" for number in range(500)}
    place = tmp_path_factory.mktemp("stored") / "image"
    options = (*STORED, "-no-duplicates")
    return make_squashfs(place, files, block_bytes=131_072, options=options).read_bytes()


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A very small one, with a file of several blocks and one of everything else."""
    root = write_files(
        tmp_path_factory.mktemp("small") / "root",
        {"data": os.urandom(9000), "empty": b"", "sub/file": b"x", "sub/deep/file": b"y" * 5000},
    )
    (root / "link").symlink_to("sub/file")
    os.link(root / "data", root / "sub/hard-link")
    place = root.with_name("image")
    make_squashfs(place, root, block_bytes=BLOCK, options=STORED, devices=DEVICES)
    return place.read_bytes()


def read_all(data):
    """Everything that a loader may ask an image for. Raises SourceError alone."""
    tree = open_squashfs(BytesSource(data))
    entries = [entry for _, entry in walk(tree)]
    for entry in entries[:50]:
        if entry.type is EntryType.FILE:
            file = tree.open(entry)
            file.pread(min(file.size, 1 << 16), 0)
    file_md5s(tree, entries, workers=1)


def check_bounded(data, cpu_limit_s=CPU_LIMIT_S):
    """A damaged image is read or refused, in little time and memory; gives the message."""
    message = None
    started = time.process_time()
    tracemalloc.start()
    try:
        read_all(data)
    except SourceError as error:
        message = str(error)
        assert "\n" not in message
        assert message.startswith("image")
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert time.process_time() - started < cpu_limit_s
    assert peak < MEMORY_LIMIT_BYTES
    return message


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("magic", b"hsqt", "no squashfs image"),
        ("magic", b"sqsh", "big-endian squashfs is not supported"),
        ("major", 3, "squashfs 3.0 is not supported"),
        ("compressor", 7, "unknown squashfs compressor 7"),
        ("compressor", 0, "unknown squashfs compressor 0"),
        ("block_size", 2 << 20, "blocks of 2097152 bytes"),
        ("block_size", 131_073, "blocks of 131073 bytes"),
        ("block_size", 0, "blocks of 0 bytes"),
        ("bytes_used", 1 << 40, "truncated: 1099511627776 bytes in its superblock"),
        ("inode_table", 1 << 40, "its tables are not in order"),
        ("root", 0xFFFF, "damaged"),
        ("root", 1 << 60, "beyond the end of a metadata table"),
        ("ids", 0, "owner 0 of 0"),
        ("ids", 65535, "truncated or damaged"),
        ("fragments", 0, "fragment 0 of 0"),
        ("fragments", (1 << 32) - 1, "truncated or damaged"),
    ],
)
def test_wrong_superblock_is_refused(stored, name, value, message):
    with pytest.raises(SourceError, match=f"image: .*{message}"):
        read_all(with_field(stored, name, value))


def test_image_longer_than_its_member_is_refused(stored):
    used = fields_of(stored)["bytes_used"]
    with pytest.raises(SourceError, match=f"truncated: {used} bytes in its superblock"):
        open_squashfs(BytesSource(stored[: used - 1]))
    assert len(list(walk(open_squashfs(BytesSource(stored[:used]))))) > 500


@pytest.mark.parametrize("data", [b"", b"hsqs", bytes(200), b"hsqs" + bytes(92)])
def test_other_files_are_no_image(data):
    with pytest.raises(SourceError, match="image: "):
        open_squashfs(BytesSource(data))


def test_directory_loop_is_refused(stored):
    """The entry of a directory leads to the root's inode."""
    root = fields_of(stored)["root"]
    data = bytearray(stored)
    entry = data.index(b"\1\0\2\0sub") - 4
    table = fields_of(stored)["directory_table"]
    header = data.rindex(struct.pack("<I", 0), table, entry)
    struct.pack_into("<H", data, entry, root & 0xFFFF)
    place = _header_before(stored, entry)
    struct.pack_into("<I", data, place + 4, root >> 16)
    assert header
    assert "is there twice" in (check_bounded(bytes(data)) or "")


def _header_before(image, entry):
    """The header of directory entries, of which the first is the nearest before ``entry``."""
    start = fields_of(image)["directory_table"] + 2
    place = start
    while place < entry:
        count = struct.unpack_from("<I", image, place)[0] + 1
        header, place = place, place + 12
        for _ in range(count):
            if place == entry:
                return header
            place += 8 + struct.unpack_from("<H", image, place + 6)[0] + 1
    raise AssertionError("no entry there")


def test_directories_that_share_their_listing_are_refused():
    """Otherwise a small image has a million directories that hold a million files each."""
    listing = struct.pack("<IIHHI", 0, 2, 1000, 0, 0)
    image = compose_squashfs({b"d%d" % number: (1, listing) for number in range(100)})
    assert "share their listings" in (check_bounded(image) or "")


@pytest.mark.parametrize("name", [b"s/b", b"s\0b"])
def test_names_that_are_paths_are_refused(stored, name):
    data = stored.replace(b"\1\0\2\0sub", b"\1\0\2\0" + name)
    assert "has the name" in (check_bounded(data) or "")


@pytest.mark.parametrize("compressor", ["xz", "zstd", "gzip"])
@pytest.mark.parametrize("where", ["data", "fragment", "metadata"])
def test_bomb_is_refused(stored, bombs, compressor, where):
    """Many megabytes of zeros where a block should be."""
    bomb = bombs[compressor]
    number = {"gzip": 1, "xz": 4, "zstd": 6}[compressor]
    data = bytearray(with_field(stored, "compressor", number))
    if where == "metadata":
        table = fields_of(stored)["inode_table"]
        data[table : table + 2 + len(bomb)] = struct.pack("<H", len(bomb)) + bomb
    else:
        tree = open_squashfs(BytesSource(stored))
        if where == "data":
            layout = tree.layout(lookup(tree, b"data"))
            place, word, table = layout.places[0], layout.size_words[0], "inode_table"
        else:
            place, word = tree.fragment(tree.layout(lookup(tree, b"tail")).fragment)
            table = "directory_table"
        data[place : place + len(bomb)] = bomb
        changed = stored.index(struct.pack("<I", word), fields_of(stored)[table])
        struct.pack_into("<I", data, changed, len(bomb))
    assert "becomes more than" in (check_bounded(bytes(data)) or "")


@pytest.fixture(scope="module")
def bombs():
    """No longer than a metadata block."""
    sizes = {"xz": 48, "zstd": 128, "gzip": 7}
    found = {name: zeros_in(name, size << 20) for name, size in sizes.items()}
    assert all(len(bomb) < 8192 for bomb in found.values())
    return found


def test_image_that_becomes_far_too_large_is_refused():
    """Holes are digested too; a hundred megabytes are read, three gigabytes are not."""
    for count, is_read in ((100, True), (3 << 10, False)):
        body = struct.pack("<QQQIIII", 96, count << 20, 0, 1, NO_FRAGMENT, 0, NO_FRAGMENT)
        image = compose_squashfs({b"holes": (9, body + bytes(4 * count))}, block_bytes=1 << 20)
        message = check_bounded(image)
        assert (message is None) == is_read
        assert is_read or "bytes would become" in message


def test_large_dictionary_is_refused(tmp_path):
    """A header of LZMA that asks for four gigabytes."""
    files = {"data": text(100_000)}
    options = ("-noI", "-noId", "-noF", "-noX", "-no-fragments")
    image = make_squashfs(
        tmp_path / "image", files, compressor="lzma", block_bytes=1 << 20, options=options
    )
    data = bytearray(image.read_bytes())
    start = data.index(b"\x5d\0\0")
    struct.pack_into("<I", data, start + 1, 0xFFFFFFFF)
    assert "emory usage limit" in (check_bounded(bytes(data)) or "")


@pytest.mark.parametrize("compressor", COMPRESSORS)
def test_changed_blocks_are_refused(tmp_path, compressor):
    """Cut, prolonged and changed streams of each compressor."""
    files = {"data": text(60_000), "other": text(3000, 5)}
    data = make_squashfs(tmp_path / "image", files, compressor=compressor).read_bytes()
    end = fields_of(data)["inode_table"]
    for place in range(96, end, max(1, end // 40)):
        changed = bytearray(data)
        changed[place] ^= 0x55
        check_bounded(bytes(changed))


@settings(max_examples=300, deadline=None)
@given(choice=st.data())
def test_changed_metadata_is_read_or_refused(small, choice):
    data = bytearray(small)
    start, end = fields_of(small)["inode_table"], fields_of(small)["bytes_used"]
    places = st.one_of(st.integers(4, 95), st.integers(start, end - 1))
    for _ in range(choice.draw(st.integers(1, 4))):
        data[choice.draw(places)] = choice.draw(st.integers(0, 255))
    check_bounded(bytes(data))


@settings(max_examples=40, deadline=None)
@given(kept=st.floats(0, 1, exclude_max=True))
def test_truncated_image_is_refused(stored, kept):
    with pytest.raises(SourceError):
        open_squashfs(BytesSource(stored[: int(fields_of(stored)["bytes_used"] * kept)]))


def test_limits_of_listings_links_and_files(stored, monkeypatch):
    tree = open_squashfs(BytesSource(stored))
    size = lookup(tree, b"many").size - 3
    monkeypatch.setattr(squashfs, "MAX_LISTING_BYTES", size)
    assert len(list(walk(tree))) > 500
    monkeypatch.setattr(squashfs, "MAX_LISTING_BYTES", size - 1)
    with pytest.raises(SourceError, match="directory many is too large"):
        list(walk(tree))
    monkeypatch.setattr(squashfs, "MAX_FILE_BLOCKS", 2)
    assert tree.open(lookup(tree, b"data")).size == 200_000
    monkeypatch.setattr(squashfs, "MAX_FILE_BLOCKS", 1)
    with pytest.raises(SourceError, match="a file of 2 blocks"):
        tree.open(lookup(tree, b"data"))


def test_names_without_end_are_refused(stored, monkeypatch):
    """Millions of links to one file take few bytes when they are compressed."""
    tree = open_squashfs(BytesSource(stored))
    largest = lookup(tree, b"many").size
    monkeypatch.setattr(squashfs, "MAX_LISTING_BYTES", largest)
    assert len(list(walk(tree))) > 500
    monkeypatch.setattr(squashfs, "MAX_LISTING_PER_INODE_BYTE", 0)
    with pytest.raises(SourceError, match="far more names than files"):
        list(walk(open_squashfs(BytesSource(stored))))


def test_metadata_that_is_read_again_and_again_is_refused(stored, monkeypatch):
    monkeypatch.setattr(squashfs_metadata, "_LOADS_CONSTANT", 0)
    monkeypatch.setattr(squashfs_metadata, "_LOADS_PER_BLOCK", 1)
    assert len(list(walk(open_squashfs(BytesSource(stored))))) > 500
    monkeypatch.setattr(squashfs_metadata, "_METADATA_CACHE_BYTES", 0)
    with pytest.raises(SourceError, match="its metadata is in no order"):
        list(walk(open_squashfs(BytesSource(stored))))


def test_work_limit_counts_what_is_read(stored, monkeypatch):
    tree = open_squashfs(BytesSource(stored))
    entries = [entry for _, entry in walk(tree)]
    monkeypatch.setattr(squashfs_digests, "_WORK_CONSTANT_BYTES", 0)
    assert len(file_md5s(tree, entries)) == 503
    monkeypatch.setattr(squashfs_digests, "_WORK_FACTOR", 1)
    with pytest.raises(SourceError, match="would become"):
        file_md5s(tree, entries)


def test_many_fragment_blocks_count_as_work():
    """A thousand files of one byte, each in a block of a megabyte that has to be read for it."""
    count = 240
    inodes = {b"%d" % number: (2, struct.pack("<IIII", 0, number, 0, 1)) for number in range(count)}
    fragments = [(96 + number, 3000 | STORED_BIT) for number in range(count)]
    image = compose_squashfs(inodes, contents=bytes(4000), fragments=fragments, block_bytes=1 << 20)
    tree = open_squashfs(BytesSource(image))
    entries = [entry for _, entry in walk(tree)]
    assert len(file_md5s(tree, entries)) == count
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(squashfs_digests, "_WORK_CONSTANT_BYTES", 0)
        patch.setattr(squashfs_digests, "_WORK_FACTOR", 20)
        with pytest.raises(SourceError, match="would become"):
            file_md5s(tree, entries)


def test_inodes_that_overlap_are_refused():
    """Links whose long targets are all the same bytes would fill the memory."""
    link = struct.pack("<HHHHIIII", 3, 0o777, 0, 0, 0, 1, 1, 4000)
    inodes = {b"0": (3, struct.pack("<II", 1, 4000) + (link * 200)[:4000])}
    inodes |= {b"%d" % number: (3, struct.pack("<II", 1, 4000)) for number in range(1, 100)}
    inodes[b"end"] = (3, struct.pack("<II", 1, 3000) + bytes(3000))
    assert "inodes overlap" in (check_bounded(compose_squashfs(inodes)) or "")


def test_short_metadata_block_inside_a_table_is_refused(tmp_path):
    files = {f"{number}": b"" for number in range(600)}
    data = make_squashfs(tmp_path / "image", files, options=STORED).read_bytes()
    table = fields_of(data)["inode_table"]
    assert data[table : table + 2] == b"\x00\xa0"
    changed = bytearray(data)
    struct.pack_into("<H", changed, table, 0x8000 | 8190)
    struct.pack_into("<H", changed, table + 2 + 8190, 0x8000 | 2)
    assert "a metadata block has 8190 bytes" in (check_bounded(bytes(changed)) or "")


def test_unprivileged_user_without_programs(tmp_path, content):
    """ISO, squashfs and a file in it, read by a user without rights, PATH or devices."""
    (tmp_path / "disc").mkdir()
    make_squashfs(tmp_path / "disc/live", content)
    image = make_iso(tmp_path / "disc.iso", tmp_path / "disc")
    image.chmod(0o644)
    code = """
import os, sys
from altrepodb.byte_source import open_file
from altrepodb.image.digests import image_digests
from altrepodb.image.iso9660 import open_iso
from altrepodb.image.squashfs import open_squashfs
from altrepodb.image.squashfs_digests import file_md5s
from altrepodb.image.tree import lookup, read_file, walk
if os.getuid() == 0:
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
with open_file(f"/proc/self/fd/{sys.argv[1]}") as source:
    iso = open_iso(source)
    live = lookup(iso, b"live")
    tree = open_squashfs(iso.open(live))
    print(read_file(tree, b"a/b/c/d/e/f/deep", 10).decode())
    print(len(file_md5s(tree, [entry for _, entry in walk(tree)])))
    print(image_digests(source, {"live": iso.extents(live)}).members["live"].sha1.hex())
"""
    with open(image, "rb") as file:
        done = subprocess.run(
            [sys.executable, "-c", code, str(file.fileno())],
            env={"PATH": "", "PYTHONPATH": str(Path(__file__).parents[2])},
            pass_fds=[file.fileno()],
            capture_output=True,
            text=True,
        )
    assert done.returncode == 0, done.stderr
    live = (tmp_path / "disc/live").read_bytes()
    assert done.stdout.split() == ["deep", "716", hashlib.sha1(live).hexdigest()]
