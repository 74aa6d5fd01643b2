"""What the usual programs do not write into ISO images, composed byte by byte."""

from __future__ import annotations

import os
import stat
import struct

import pytest

from altrepodb.errors import SourceError
from altrepodb.image.iso9660 import open_iso
from altrepodb.image.tree import EntryType, read_file, walk
from tests.support.content import BytesSource
from tests.support.iso_composer import IsoFile, compose_iso, rock_ridge_name, system_use

TIME = 1_638_699_630


def both(*numbers):
    return b"".join(struct.pack("<I", number) + struct.pack(">I", number) for number in numbers)


def attributes(mode):
    return system_use(b"PX", both(mode, 1, 500, 501))


def only_entry(area=b"", *, identifier=b"FILE.;1", **options):
    names = {"continuation", "skip", "root_area"} & options.keys()
    image_options = {name: options.pop(name) for name in names}
    image = compose_iso([IsoFile(identifier, b"content", area, **options)], **image_options)
    tree = open_iso(BytesSource(image))
    (found,) = walk(tree)
    return found[1]


@pytest.mark.parametrize(
    ("mode", "high", "low", "device"),
    [
        (stat.S_IFCHR | 0o666, 1, 3, os.makedev(1, 3)),
        (stat.S_IFBLK | 0o660, 8, 300, os.makedev(8, 300)),
        (stat.S_IFCHR | 0o600, 0, 0x0103, os.makedev(1, 3)),
        (stat.S_IFCHR | 0o600, 0, 5, os.makedev(0, 5)),
    ],
)
def test_devices(mode, high, low, device):
    entry = only_entry(
        rock_ridge_name(b"dev") + attributes(mode) + system_use(b"PN", both(high, low))
    )
    assert (entry.name, entry.mode, entry.rdev) == (b"dev", mode, device)
    assert (entry.uid, entry.gid, entry.size) == (500, 501, 0)
    assert entry.type is EntryType.of_mode(mode)


@pytest.mark.parametrize(("high", "low"), [(0x1000, 0), (1, 1 << 20), (0xFFFFFFFF, 0)])
def test_impossible_devices_are_refused(high, low):
    with pytest.raises(SourceError, match=r"image: damaged ISO 9660: device .* cannot be"):
        only_entry(attributes(stat.S_IFCHR) + system_use(b"PN", both(high, low)))


def test_time_of_the_record_where_there_is_no_other():
    assert only_entry(rock_ridge_name(b"a")).mtime == TIME
    moscow = bytes([121, 12, 5, 13, 20, 30, 12])
    assert only_entry(rock_ridge_name(b"a"), stamp=moscow).mtime == TIME
    newfoundland = bytes([121, 12, 5, 6, 50, 30, 256 - 14])
    assert only_entry(rock_ridge_name(b"a"), stamp=newfoundland).mtime == TIME
    assert only_entry(rock_ridge_name(b"a"), stamp=bytes(7)).mtime == 0


@pytest.mark.parametrize(
    "stamps",
    [
        b"\x02" + bytes([121, 12, 5, 10, 20, 30, 0]),
        b"\x03" + bytes(7) + bytes([121, 12, 5, 11, 20, 30, 4]),
        b"\x06" + bytes([121, 12, 5, 10, 20, 30, 0]) + bytes([1] * 7),
        b"\x82" + b"2021120513203000\x0c",
        b"\x83" + b"1970010100000000\0" + b"2021120510203099\0",
    ],
)
def test_times_of_rock_ridge_are_preferred(stamps):
    old = bytes([70, 1, 1, 0, 0, 0, 0])
    assert only_entry(system_use(b"TF", stamps), stamp=old).mtime == TIME


@pytest.mark.parametrize(
    "stamps",
    [b"", b"\x02", b"\x02\x79\x0d\x05\0\0\0\0", b"\x02\x79\x01\x01\0\0\0\x70", b"\x82" + b"x" * 17],
)
def test_impossible_times_are_refused(stamps):
    with pytest.raises(SourceError, match="image: damaged ISO 9660"):
        only_entry(system_use(b"TF", stamps))


def test_unset_times():
    assert only_entry(system_use(b"TF", b"\x02" + bytes(7))).mtime == 0
    assert only_entry(system_use(b"TF", b"\x82" + b"0" * 16 + b"\0")).mtime == 0
    assert only_entry(system_use(b"TF", b"\x05" + bytes(14))).mtime == TIME


def test_name_in_pieces():
    entries = rock_ridge_name(b"one ", 1) + rock_ridge_name(b"two ", 1) + rock_ridge_name(b"three")
    assert only_entry(entries).name == b"one two three"


def test_area_that_goes_on_elsewhere():
    more = rock_ridge_name(b"b" * 200, 1)
    last = rock_ridge_name(b"c")
    second = system_use(b"CE", both(19, 300, len(last)))
    continuation = (more + second).ljust(300, b"\0") + last
    area = system_use(b"CE", both(19, 0, len(more + second))) + rock_ridge_name(b"a", 1)
    assert only_entry(area, continuation=continuation).name == b"a" + b"b" * 200 + b"c"


@pytest.mark.parametrize("place", [(19, 0, 1 << 26), (1 << 31, 0, 100), (19, 1 << 31, 1)])
def test_area_beyond_the_end_is_refused(place):
    with pytest.raises(SourceError, match="image: "):
        only_entry(system_use(b"CE", both(*place)))


def test_what_follows_the_end_mark_is_nothing():
    area = rock_ridge_name(b"name") + system_use(b"ST", b"") + attributes(stat.S_IFIFO)
    assert only_entry(area).type is EntryType.FILE


@pytest.mark.parametrize(
    ("components", "target"),
    [
        (b"\x00\x04live", b"live"),
        (b"\x08\x00\x00\x03usr\x04\x00\x02\x00\x00\x03lib", b"/usr/.././lib"),
        (b"\x08\x00", b"/"),
        (b"\x01\x02li\x01\x01v\x00\x01e\x00\x01x", b"live/x"),
        (b"\x04\x00\x00\x01a", b"../a"),
    ],
)
def test_targets_of_links(components, target):
    area = attributes(stat.S_IFLNK | 0o777) + system_use(b"SL", b"\0" + components)
    entry = only_entry(area)
    assert (entry.type, entry.link_target) == (EntryType.SYMLINK, target)


def test_target_in_several_entries():
    area = attributes(stat.S_IFLNK | 0o777)
    area += system_use(b"SL", b"\x01\x01\x03abc") + system_use(b"SL", b"\x00\x00\x01d\x00\x01e")
    assert only_entry(area).link_target == b"abcd/e"


@pytest.mark.parametrize("body", [b"\0\0\x05live", b"\0\x00"])
def test_cut_targets_are_refused(body):
    with pytest.raises(SourceError, match="image: damaged ISO 9660"):
        only_entry(attributes(stat.S_IFLNK) + system_use(b"SL", body))


def test_entries_after_skipped_bytes():
    area = b"12345678" + rock_ridge_name(b"skipped")
    assert only_entry(area, skip=8).name == b"skipped"
    xa = bytes(14) + rock_ridge_name(b"after XA")
    assert only_entry(xa, skip=14, root_area=bytes(14)).name == b"after XA"


def test_no_start_entry_is_no_rock_ridge():
    entry = only_entry(rock_ridge_name(b"name"), skip=None)
    assert (entry.name, entry.mode) == (b"file", stat.S_IFREG | 0o444)


@pytest.mark.parametrize(
    ("identifier", "name"),
    [(b"LIVE.;1", b"live"), (b"A.RPM;1", b"a.rpm"), (b"README", b"readme"), (b"X;23", b"x")],
)
def test_plain_names(identifier, name):
    assert only_entry(identifier=identifier, skip=None).name == name


@pytest.mark.parametrize("mode", [0, stat.S_IFDIR | 0o755, 0xFFFFFFFF])
def test_impossible_modes_are_refused(mode):
    with pytest.raises(SourceError, match="has the mode"):
        only_entry(attributes(mode))


def test_interleaved_files_are_refused():
    with pytest.raises(SourceError, match="interleaved files are not supported"):
        only_entry(interleaved=1)


def test_extended_attributes_stand_before_the_content():
    file = IsoFile(b"FILE.;1", b"content", attribute_blocks=1)
    tree = open_iso(BytesSource(compose_iso([file])))
    assert read_file(tree, b"file", 10) == b"content"


def test_equal_places_are_one_inode_and_empty_files_are_not():
    files = [IsoFile(b"A", b"x"), IsoFile(b"B", b""), IsoFile(b"C", b"")]
    inodes = [e.inode for _, e in walk(open_iso(BytesSource(compose_iso(files))))]
    assert len(set(inodes)) == 3


@pytest.mark.parametrize("length", [1, 33, 34])
def test_wrong_lengths_of_records_are_refused(length):
    image = bytearray(compose_iso([IsoFile(b"FILE.;1", b"x", rock_ridge_name(b"file"))]))
    record = image.index(b"FILE.;1") - 33
    image[record] = length
    with pytest.raises(SourceError, match="image: damaged ISO 9660"):
        list(walk(open_iso(BytesSource(bytes(image)))))


@pytest.mark.parametrize("last", [96, 97])
def test_targets_of_links_have_a_limit(last):
    stream = system_use(b"SL", b"\x01\x01\xc8" + b"t" * 200) * 20
    stream += system_use(b"SL", b"\0\0" + bytes([last]) + b"t" * last)
    area = attributes(stat.S_IFLNK) + system_use(b"CE", both(19, 0, len(stream)))
    # The area goes on into the content of the first file.
    files = [IsoFile(b"A", stream[2048:]), IsoFile(b"LINK", b"", area)]
    tree = open_iso(BytesSource(compose_iso(files, continuation=stream[:2048])))
    if last == 96:
        assert dict(walk(tree))[b"/link"].link_target == b"t" * 4096
    else:
        with pytest.raises(SourceError, match="a link's target is too long"):
            list(walk(tree))


SECTOR = 2048
PRIMARY = 16 * SECTOR


def changed(place, data, image=None):
    image = bytearray(image or compose_iso([IsoFile(b"FILE.;1", b"x")]))
    image[place : place + len(data)] = data
    return BytesSource(bytes(image))


@pytest.mark.parametrize(
    ("place", "data", "message"),
    [
        (PRIMARY, b"\3", "no primary volume descriptor"),
        (PRIMARY + 1, b"CD002", "not an ISO 9660 image: no volume descriptor at 32768"),
        (PRIMARY + SECTOR + 1, b"XXXXX", "no volume descriptor at 34816"),
        (PRIMARY + 128, b"\0\x10", "blocks of 4096 bytes"),
        (PRIMARY + 128, b"\0\0", "blocks of 0 bytes"),
        (PRIMARY + 80, b"\xff\xff", "truncated: 134215680 bytes in its descriptor"),
        (PRIMARY + 158, b"\xff\xff", "the root is beyond the end"),
        (PRIMARY + 166, b"\xff\xff\xff\x7f", "the root is beyond the end"),
        (PRIMARY + 158, b"\x13", "a directory does not start with itself"),
    ],
)
def test_wrong_descriptors_are_refused(place, data, message):
    with pytest.raises(SourceError, match=f"image: .*{message}"):
        open_iso(changed(place, data))


def test_descriptors_without_end_are_refused():
    image = compose_iso([IsoFile(b"FILE.;1", b"x" * 70 * SECTOR)])
    descriptors = image[PRIMARY : PRIMARY + SECTOR] + (b"\4CD001".ljust(SECTOR, b"\0") * 80)
    with pytest.raises(SourceError, match="too many volume descriptors"):
        open_iso(changed(PRIMARY, descriptors, image))


def test_boot_catalogue_beyond_the_end_is_refused():
    boot = b"\0CD001\1" + b"EL TORITO SPECIFICATION".ljust(64, b"\0") + b"\xff\xff\xff\x7f"
    image = compose_iso([IsoFile(b"FILE.;1", b"x")])
    end = image[PRIMARY + SECTOR : PRIMARY + 2 * SECTOR]
    with pytest.raises(SourceError, match="image: truncated or damaged"):
        open_iso(changed(PRIMARY + SECTOR, boot.ljust(SECTOR, b"\0") + end, image))


def test_description_is_one_line_a_value():
    text = open_iso(changed(PRIMARY + 40, b"NAME\nX: \xff\x1b")).description()
    assert "Volume id: NAME?X: \ufffd?" in text.splitlines()
