"""Identities against the vectors that other systems rely on, and digests of files."""

import hashlib
import os
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from altrepodb import hashing
from altrepodb.errors import SourceError
from altrepodb.hashing import (
    EMPTY_BLAKE2B,
    EMPTY_SHA256,
    Digester,
    FileDigests,
    array_hash,
    file_digests,
    package_hash,
    squashfs_hash,
    text_hash,
)

S1 = bytes.fromhex("6919806204ce5dd6fc80dbfe6f56151270d6d8ca")
M1 = bytes.fromhex("096d53db0606f055b63e5673ef9a9016")
G1 = bytes.fromhex("885d0400110a001d1621000000000000")
ALL = ("md5", "sha1", "sha256", "blake2b")


@pytest.mark.parametrize(
    ("build_time", "sha1", "md5", "gpg", "low", "expected"),
    [
        (1660176000, S1, M1, G1, 519844842, 2835434330123940842),
        (1660176000, S1, M1, b"", 1593730841, 2835434331197826841),
        (1660176000, S1, b"", b"", 1167250775, 2835434330771346775),
        (1660176000, b"", M1, G1, 3570612531, 2835434333174708531),
        (1660176000, S1, M1, G1 + b"\1\2", 225226511, 2835434329829322511),
        (
            4294967295,
            bytes(20),
            b"\xff" * 16,
            bytes(range(64)),
            1317970049,
            14151776774732554369,
        ),
        (946684800, bytes(20), b"", b"", 4003277130, 18217757037333129546),
        (1700000000, bytes(range(20)), b"\x11" * 16, b"", None, 3006477110133845009),
        (1700000000, bytes(range(20)), b"\x11" * 16, b"\xaa\xbb", None, 3006477109893913974),
    ],
)
def test_package_hash(build_time, sha1, md5, gpg, low, expected):
    assert package_hash(build_time, sha1, md5, gpg) == expected
    if low is not None:
        assert expected & 0xFFFFFFFF == low


def test_package_hash_zero_is_an_error():
    with pytest.raises(SourceError, match="0"):
        package_hash(1000000000, b"", b"")


def test_signature_that_librpm_does_not_give():
    longest = bytes(16383)
    assert package_hash(1, S1, M1, longest) != package_hash(1, S1, M1)
    assert package_hash(1, S1, M1, longest + b"\0") == package_hash(1, S1, M1)


@given(st.integers(0, 2**32 - 1), st.binary(max_size=20), st.binary(max_size=16))
def test_package_hash_fits_and_sorts_by_time(build_time, sha1, md5):
    value = package_hash(build_time, b"x" + sha1, md5)
    assert 0 <= value < 1 << 64
    if build_time >= 1000000000:
        assert value >> 32 == build_time - 1000000000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"", 0),
        (b"a", 7196874446409822675),
        (b"/usr/bin", 18015308893723861606),
        (b"/usr/bin/ls", 1365359022807651899),
        (b"foo.spec", 11368820251271359474),
        (b"- new foo", 12376893621134046064),
        (b"- New version.", 14800202430797462874),
        ("- Новая версия".encode(), 15866768298615488039),
        (bytes.fromhex("fffe0078"), 18329920905869115747),
        (bytes(range(256)), 7804672649394380455),
        (bytes(range(20)), 18000137110225226033),
        ("Привет".encode(), 15380334964941119718),
        ("Привет".encode().decode("latin-1").encode(), 9826640901210515983),
        # Plan and log keys are hashes of texts that are put together without separators.
        (b"30000112x86_64", 4398232223384881624),
        (b"build30000110012x86_64", 12884101006313200256),
        (b"events30000112", 1487649671926995898),
    ],
)
def test_text_hash(text, expected):
    assert text_hash(text) == expected


@pytest.mark.parametrize(
    ("numbers", "expected"), [([], 4761183170873013810), ([1, 2, 3], 11179080114391065198)]
)
def test_array_hash(numbers, expected):
    assert array_hash(numbers) == expected
    assert array_hash(iter(numbers)) == expected


@pytest.mark.parametrize("number", [-1, 1 << 64])
def test_array_hash_refuses_what_is_no_uint64(number):
    with pytest.raises(OverflowError):
        array_hash([number])


def test_squashfs_hash():
    assert squashfs_hash(bytes(range(20)), 1650000000, 2000000000) == 2791728746242113324


@pytest.mark.parametrize("number", [0, 1, 255, 256, 2**32 - 1, 2**32, 2**63])
def test_shortest_bytes(number):
    encoded = hashing._shortest_bytes(number)
    assert int.from_bytes(encoded, "little") == number
    assert not encoded.endswith(b"\0")


class TestFileDigests:
    @pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3 << 20])
    def test_equal_to_hashlib(self, tmp_path, size):
        content = os.urandom(size)
        file = tmp_path / "x"
        file.write_bytes(content)
        assert file_digests(file, ALL) == FileDigests(
            size,
            hashlib.md5(content).digest(),
            hashlib.sha1(content).digest(),
            hashlib.sha256(content).digest(),
            hashlib.blake2b(content).digest(),
        )

    def test_equal_to_coreutils(self, tmp_path):
        file = tmp_path / "x"
        file.write_bytes(b"content")
        digests = file_digests(str(file), ALL)
        for name, program in zip(ALL, ("md5sum", "sha1sum", "sha256sum", "b2sum"), strict=True):
            output = subprocess.run([program, file], capture_output=True, check=True, text=True)
            assert getattr(digests, name).hex() == output.stdout.split()[0]

    def test_only_what_is_asked_for(self, tmp_path):
        (tmp_path / "x").write_bytes(b"content")
        digests = file_digests(tmp_path / "x", ["sha256"])
        assert digests.sha256 is not None
        assert digests.md5 is digests.sha1 is digests.blake2b is None
        assert digests.size == 7

    def test_one_pass(self, tmp_path, monkeypatch):
        (tmp_path / "x").write_bytes(b"content")
        opened = []
        real = hashing.open_now
        monkeypatch.setattr(
            hashing, "open_now", lambda *given: opened.append(given) or real(*given)
        )
        file_digests(tmp_path / "x", ALL)
        assert len(opened) == 1

    def test_unknown_name(self):
        with pytest.raises(ValueError, match="sha512"):
            Digester(["md5", "sha512"])

    def test_missing_file(self):
        with pytest.raises(SourceError, match=r"^/nonexistent: cannot be read: No such file"):
            file_digests("/nonexistent", ["md5"])

    def test_directory(self, tmp_path):
        with pytest.raises(SourceError, match="cannot be read: Is a directory"):
            file_digests(tmp_path, ["md5"])

    def test_named_pipe_does_not_hang(self, tmp_path):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(SourceError, match="pipe: not a regular file"):
            file_digests(tmp_path / "pipe", ["md5"])

    @pytest.mark.parametrize("change", [b"longer content", b"short"])
    def test_file_that_changes_meanwhile(self, tmp_path, monkeypatch, change):
        file = tmp_path / "x"
        file.write_bytes(b"content")
        real = hashing._digest_stream

        def change_first(*given):
            file.write_bytes(change)
            real(*given)

        monkeypatch.setattr(hashing, "_digest_stream", change_first)
        with pytest.raises(SourceError, match="x: its size changed while it was read"):
            file_digests(file, ["md5"])

    def test_file_that_grows_for_ever(self, tmp_path, monkeypatch):
        file = tmp_path / "x"
        file.write_bytes(b"content")
        real = Digester.update

        def append_as_well(self, chunk):
            with file.open("ab") as stream:
                stream.write(b"more content")
            real(self, chunk)

        monkeypatch.setattr(Digester, "update", append_as_well)
        with pytest.raises(SourceError, match="changed"):
            file_digests(file, ["md5"])

    def test_digests_of_nothing(self):
        digests = Digester(ALL).digests()
        assert digests.sha256 == EMPTY_SHA256
        assert EMPTY_SHA256.hex().startswith("e3b0c44298fc1c14")
        assert digests.blake2b == EMPTY_BLAKE2B
        assert EMPTY_BLAKE2B.hex().startswith("786a02f742015903")

    def test_digester_in_pieces(self):
        digester = Digester(["md5"])
        digester.update(b"con")
        digester.update(memoryview(b"tent"))
        assert digester.digests() == FileDigests(7, md5=hashlib.md5(b"content").digest())
