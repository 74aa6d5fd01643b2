"""squashfs images and blocks composed byte by byte: every check of the reader, one by one."""

from __future__ import annotations

import hashlib
import io
import lzma
import struct
import zlib

import lz4.block
import pytest
import zstandard

from altrepodb.errors import SourceError
from altrepodb.image.squashfs import open_squashfs
from altrepodb.image.squashfs_compression import decompressor_of
from altrepodb.image.squashfs_digests import file_md5s
from altrepodb.image.squashfs_metadata import NO_FRAGMENT, STORED_BIT, BlockCache
from altrepodb.image.tree import lookup, walk
from tests.support.content import BytesSource
from tests.support.squashfs_images import compose_squashfs, fields_of

NUMBERS = {"gzip": 1, "lzma": 2, "xz": 4, "lz4": 5, "zstd": 6}
TEXT = b"some text, " * 500


def read_file(image):
    """The content of the file ``x`` by both ways there are, which must agree."""
    tree = open_squashfs(BytesSource(image))
    entry = lookup(tree, b"x")
    content = tree.open(entry)
    data = content.pread(content.size, 0)
    assert file_md5s(tree, [entry]) == {entry.inode: hashlib.md5(data).digest()}
    return data


def file_image(size, *words, start=96, fragment=NO_FRAGMENT, offset=0, **options):
    """An image with one file of these size words."""
    body = struct.pack(f"<IIII{len(words)}I", start, fragment, offset, size, *words)
    return compose_squashfs({b"x": (2, body)}, **options)


def refusals(image):
    """What both ways to a file say."""
    tree = open_squashfs(BytesSource(image))
    entry = lookup(tree, b"x")
    messages = []
    for read in (lambda: tree.open(entry).pread(1, 0), lambda: file_md5s(tree, [entry])):
        with pytest.raises(SourceError) as error:
            read()
        messages.append(str(error.value))
    return messages


def test_sound_files():
    assert read_file(file_image(5, 5 | STORED_BIT, contents=b"hello")) == b"hello"
    assert read_file(file_image(5, 0)) == bytes(5)
    packed = zlib.compress(TEXT[:4096])
    image = file_image(4096, len(packed), contents=packed)
    assert read_file(image) == TEXT[:4096]
    tail = file_image(
        3, fragment=0, offset=4, contents=b"taileds", fragments=[(96, 7 | STORED_BIT)]
    )
    assert read_file(tail) == b"eds"


@pytest.mark.parametrize(
    ("size", "words", "message"),
    [
        (5, [6 | STORED_BIT], "6 bytes instead of 5"),
        (5, [4 | STORED_BIT], "4 bytes instead of 5"),
        (4096, [4097 | STORED_BIT], "a block of 4097 bytes"),
        (4096, [STORED_BIT], "a block of 0 bytes"),
        (4096, [1 << 25 | 5], "beyond the end"),
        (4096, [5000 | STORED_BIT, 5000 | STORED_BIT], "a block of 5000 bytes"),
        (4096, [100_000 | STORED_BIT], "x reaches beyond the end"),
        (4096, [100], "the block at 96: "),
    ],
)
def test_wrong_blocks_are_refused(size, words, message):
    for text in refusals(file_image(size, *words, contents=bytes(12_000))):
        assert text.startswith("image: ")
        assert message in text


def test_blocks_beyond_the_end_are_refused():
    for text in refusals(file_image(5, 5 | STORED_BIT, start=1 << 31)):
        assert "image: damaged squashfs: x reaches beyond the end" in text


@pytest.mark.parametrize(("offset", "size"), [(5, 3), (8, 1), (1 << 31, 1), (0, 4095)])
def test_tails_beyond_their_fragment_block_are_refused(offset, size):
    fragments = [(96, 7 | STORED_BIT)]
    image = file_image(size, fragment=0, offset=offset, contents=b"taileds", fragments=fragments)
    for text in refusals(image):
        assert "fragment block" in text


@pytest.mark.parametrize("place", [(1 << 40, 7 | STORED_BIT), (96, 8000), (96, 0)])
def test_wrong_fragment_blocks_are_refused(place):
    image = file_image(3, fragment=0, contents=b"taileds", fragments=[place])
    assert all(text.startswith("image: ") for text in refusals(image))


def test_tail_before_and_after_the_blocks_of_its_file():
    """The digest is that of the file whatever comes first."""
    blocks = TEXT[:4096]
    for start, fragment in ((96, 96 + 4096), (96 + 4, 96)):
        contents = blocks + b"tail" if start == 96 else b"tail" + blocks
        image = file_image(
            4100,
            4096 | STORED_BIT,
            start=start,
            fragment=0,
            contents=contents,
            fragments=[(fragment, 4 | STORED_BIT)],
        )
        assert read_file(image) == blocks + b"tail"


def test_link_targets_have_a_limit():
    for size, is_read in ((4096, True), (4097, False)):
        image = compose_squashfs({b"x": (3, struct.pack("<II", 1, size) + b"t" * size)})
        tree = open_squashfs(BytesSource(image))
        if is_read:
            assert lookup(tree, b"x", follow=False).link_target == b"t" * size
        else:
            with pytest.raises(SourceError, match="a link's target is too long"):
                list(walk(tree))


def test_type_in_a_directory_must_be_that_of_the_inode():
    image = file_image(5, 5 | STORED_BIT, contents=b"hello")
    listed = struct.pack("<HhHH", 0, 0, 2, 0) + b"x"
    assert image.count(listed) == 1
    changed = image.replace(listed, struct.pack("<HhHH", 0, 0, 1, 0) + b"x")
    with pytest.raises(SourceError, match="x has another type than its directory says"):
        list(walk(open_squashfs(BytesSource(changed))))


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (0x8000, "a metadata block of 32768 bytes"),
        (0x8000 | 8193, "a metadata block of 8193 bytes"),
        (0xFFFF, "a metadata block of 32767 bytes"),
        (len(zlib.compress(b"")), "an empty metadata block"),
        (20, "the block at"),
    ],
)
def test_wrong_metadata_blocks_are_refused(header, message):
    image = bytearray(file_image(5, *[STORED_BIT] * 3000, contents=b"hello"))
    table = fields_of(bytes(image))["inode_table"]
    struct.pack_into("<H", image, table, header)
    image[table + 2 : table + 10] = zlib.compress(b"")
    with pytest.raises(SourceError, match=f"image: damaged squashfs: .*{message}"):
        list(walk(open_squashfs(BytesSource(bytes(image)))))


def packed(name, data):
    """A block as mksquashfs writes it."""
    if name == "lzma":
        stream = lzma.compress(data, lzma.FORMAT_ALONE)
        return stream[:5] + len(data).to_bytes(8, "little") + stream[13:]
    compress = {
        "gzip": zlib.compress,
        "xz": lzma.compress,
        "lz4": lambda block: lz4.block.compress(block, store_size=False),
        "zstd": zstandard.ZstdCompressor().compress,
    }
    return compress[name](data)


@pytest.mark.parametrize("name", NUMBERS)
def test_decompressors_keep_to_their_limit(name):
    decompress = decompressor_of(NUMBERS[name], "image")
    block = packed(name, TEXT)
    assert decompress(block, len(TEXT)) == decompress(block, 1 << 20) == TEXT
    for limit in (0, 1, len(TEXT) - 1):
        with pytest.raises(ValueError):
            decompress(block, limit)


@pytest.mark.parametrize("name", ["gzip", "lzma", "xz", "lz4"])
def test_cut_blocks_are_refused(name):
    decompress = decompressor_of(NUMBERS[name], "image")
    block = packed(name, TEXT)
    for size in (0, 1, len(block) // 2):
        with pytest.raises(ValueError):
            decompress(block[:size], len(TEXT))


@pytest.mark.parametrize("name", ["gzip", "xz", "lz4"])
def test_bytes_after_a_block_are_refused(name):
    with pytest.raises(ValueError):
        decompressor_of(NUMBERS[name], "image")(packed(name, TEXT) + b"more", len(TEXT))


def test_lzma_without_an_end_mark():
    """Old versions of mksquashfs write none; the size in the header says enough."""
    stream = lzma.compress(TEXT, lzma.FORMAT_ALONE)
    # The mark and the last bytes of the range coder take up to some ten bytes.
    stated = stream[:5] + len(TEXT).to_bytes(8, "little") + stream[13:-6]
    assert decompressor_of(2, "image")(stated, len(TEXT)) == TEXT
    wrong = stream[:5] + (len(TEXT) + 1).to_bytes(8, "little") + stream[13:]
    with pytest.raises(ValueError, match="does not end"):
        decompressor_of(2, "image")(wrong, len(TEXT) + 1)


def test_large_dictionaries_are_refused():
    """What a stream asks for is allocated before the first byte comes out."""
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 64 << 20}]
    with pytest.raises(ValueError, match="emory usage limit"):
        decompressor_of(4, "image")(lzma.compress(b"x", filters=filters), 100)
    parameters = zstandard.ZstdCompressionParameters(window_log=27)
    output = io.BytesIO()
    compressor = zstandard.ZstdCompressor(compression_params=parameters)
    with compressor.stream_writer(output, closefd=False) as writer:
        writer.write(bytes(1000))
    with pytest.raises(ValueError, match="requires too much memory"):
        decompressor_of(6, "image")(output.getvalue(), 1000)


def test_cache_keeps_to_its_limit():
    cache = BlockCache(10_000)
    loaded = []

    def load(place):
        loaded.append(place)
        return bytes(3000), place

    for place in (1, 2, 3, 1, 4, 1, 2):
        assert cache.get(place, lambda place=place: load(place))[1] == place
    assert loaded == [1, 2, 3, 4, 2]
    assert len(cache.get(9, lambda: (bytes(50_000), 9))[0]) == 50_000
