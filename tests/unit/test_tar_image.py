"""Root archives and container images."""

from __future__ import annotations

import io
import json
import struct
import tarfile
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from altrepodb.errors import AltrepodbError, ConfigurationError, SourceError
from altrepodb.image import container, layer, tar_stream
from altrepodb.image.installed import InstalledSystem, read_installed
from altrepodb.image.kept_tree import BytesSource
from altrepodb.image.tar import open_tar
from tests.support.rpm_databases import blobs_of, hash_file
from tests.support.rpm_file import RpmPackage
from tests.support.tar_images import COMPRESSIONS, Link, Members, OciLayout, docker_save, tar

DATABASE = hash_file(blobs_of([RpmPackage("one"), RpmPackage("two")]))
OTHER_DATABASE = hash_file(blobs_of([RpmPackage("three")]))
NAMES = ["one-1.0-alt1 x86_64", "two-1.0-alt1 x86_64"]
OTHER_NAMES = ["three-1.0-alt1 x86_64"]
OS_RELEASE = b"ID=altlinux\n"
PACKAGES = "./var/lib/rpm/Packages"
SYSTEM: dict[str, bytes | Link | None] = {
    "./": None,
    "./etc/os-release": OS_RELEASE,
    "./usr/share/doc/x/os-release": b"ID=decoy\n",
    "./usr/share/large": bytes(300_000),
    PACKAGES: DATABASE,
    "./var/lib/rpm/__db.001": b"x",
}


def read(data: bytes, directory: Path, arch: str = "x86_64") -> InstalledSystem:
    with open_tar(BytesSource(data, "image.tar"), directory, arch) as found:
        system = read_installed(found.tree)
    assert system is not None
    assert list(directory.iterdir()) == []
    return system


def names_of(data: bytes, directory: Path, arch: str = "x86_64") -> list[str]:
    return [str(one) for one in read(data, directory, arch).packages]


def assert_read(members: Members, directory: Path) -> None:
    system = read(tar(members), directory)
    assert [str(one) for one in system.packages] == NAMES
    assert system.os_release == OS_RELEASE


def refuse(data: bytes, directory: Path, message: str, arch: str = "x86_64") -> None:
    with pytest.raises(SourceError, match=message) as caught:
        read(data, directory, arch)
    assert str(caught.value).startswith("image.tar: ")
    assert "\n" not in str(caught.value)
    assert list(directory.iterdir()) == []


# Root archives


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_compressions(tmp_path: Path, compression: str) -> None:
    data = COMPRESSIONS[compression](tar(SYSTEM))
    system = read(data, tmp_path)
    assert [str(one) for one in system.packages] == NAMES
    assert system.os_release == OS_RELEASE


@pytest.mark.parametrize("prefix", ["./", "", "/", ".//./", "rootfs/", "./some-name/"])
def test_prefixes(tmp_path: Path, prefix: str) -> None:
    assert_read({prefix + name.removeprefix("./"): SYSTEM[name] for name in SYSTEM}, tmp_path)


def test_shortest_prefix(tmp_path: Path) -> None:
    backup = {"backup-of-it/var/lib/rpm/Packages": OTHER_DATABASE}
    assert_read({**backup, **SYSTEM}, tmp_path)
    inner = {f"root/{name}": SYSTEM[name] for name in SYSTEM}
    assert_read({**backup, **inner}, tmp_path)
    refuse(tar({**inner, "copy/var/lib/rpm/Packages": DATABASE}), tmp_path, "several systems, in")


def test_two_directories_down_is_nothing(tmp_path: Path) -> None:
    refuse(tar({"a/b/var/lib/rpm/Packages": DATABASE}), tmp_path, "no rpm database")


def test_names_that_leave_the_root(tmp_path: Path) -> None:
    members = {"../etc/os-release": b"ID=bad\n", "./x/../var/lib/rpm/Packages": b"bad"}
    assert_read([*members.items(), *SYSTEM.items(), *members.items()], tmp_path)


@pytest.mark.parametrize("is_before", [True, False])
@pytest.mark.parametrize("target", ["../usr/lib/os-release", "/usr/lib/os-release", "../opt/x/r"])
def test_os_release_is_a_link(tmp_path: Path, target: str, is_before: bool) -> None:
    """To the usual place, or to one that is only known once the link was read."""
    link = {"./etc/os-release": Link(target)}
    place = "./opt/x/r" if target.endswith("r") and "opt" in target else "./usr/lib/os-release"
    content = {place: OS_RELEASE}
    pair = {**link, **content} if is_before else {**content, **link}
    assert_read({**pair, PACKAGES: DATABASE}, tmp_path)


def test_links_below_a_prefix(tmp_path: Path) -> None:
    """An absolute target begins at the root of the system, not of the archive."""
    members = {
        "rootfs/etc/os-release": Link("/opt/release"),
        "rootfs/opt/release": OS_RELEASE,
        "rootfs/var/lib/rpm": Link("../../usr/db"),
        "rootfs/usr/db/Packages": DATABASE,
        "opt/release": b"ID=bad\n",
    }
    assert_read(members, tmp_path)


def test_links_of_links(tmp_path: Path) -> None:
    members = {
        "var": Link("data/var"),
        "data": Link("disk"),
        "disk/var/lib/rpm/Packages": DATABASE,
        "etc/os-release": OS_RELEASE,
    }
    assert_read(members, tmp_path)


def test_deep_places(tmp_path: Path) -> None:
    """Deeper than anybody keeps a database: not followed."""
    deep = "d/" * 1500
    members = {"var": Link(f"/{deep}"), f"{deep}lib/rpm/Packages": DATABASE}
    refuse(tar(members), tmp_path, "no rpm database")
    long = "d" * 5000
    refuse(tar({"var": Link(long), f"{long}/lib/rpm/Packages": DATABASE}), tmp_path, "no rpm data")


def test_wanted_places_are_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer, "_MAX_WANTED", 15)
    refuse(tar({**SYSTEM, "./usr": Link("disk")}), tmp_path, "too many links on the way")


def test_loop_of_links(tmp_path: Path) -> None:
    refuse(tar({"var/lib/rpm": Link("rpm/x")}), tmp_path, "too many links")
    refuse(tar({"var": Link("lib"), "lib": Link("var")}), tmp_path, "too many links")


def test_links_without_end(tmp_path: Path) -> None:
    """Every link leads to a longer way."""
    refuse(tar({"var": Link("var/var")}), tmp_path, "too many links")
    chain = [(f"l{number}", Link(f"l{number + 1}")) for number in range(50)]
    refuse(tar([("var", Link("l0")), *chain]), tmp_path, "too many links")


@pytest.mark.parametrize("target", [PACKAGES, "./srv/stored"])
@pytest.mark.parametrize("prefix", ["./", "rootfs/"])
def test_hard_linked_database(tmp_path: Path, target: str, prefix: str) -> None:
    """The other name comes first, and may be one that nobody asked for."""
    members = {
        "./etc/os-release": OS_RELEASE,
        target: DATABASE,
        "./var/lib/rpm/copy": Link(target, is_hard=True),
        "./usr/lib/sysimage/rpm/Packages": Link(target, is_hard=True),
    }
    moved: dict[str, bytes | Link | None] = {}
    for name, value in members.items():
        if isinstance(value, Link):
            value = Link(value.target.replace("./", prefix, 1), is_hard=True)
        moved[name.replace("./", prefix, 1)] = value
    assert_read(moved, tmp_path)


@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_long_names(tmp_path: Path, format: int) -> None:
    long = "d" * 120 + "/" + "f" * 120
    members = {f"./{long}": b"x", "./a\udcff": b"y", **SYSTEM, f"./{long}2": Link(long * 3)}
    assert names_of(tar(members, format=format), tmp_path) == NAMES


def test_later_members_replace_earlier_ones(tmp_path: Path) -> None:
    assert_read([(PACKAGES, OTHER_DATABASE), *SYSTEM.items()], tmp_path)


def test_large_members_are_spooled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer, "_MAX_MEMORY_BYTES", 100)
    with open_tar(BytesSource(tar(SYSTEM), "image.tar"), tmp_path, "x86_64") as found:
        (spooled,) = tmp_path.iterdir()
        assert spooled.stat().st_size == len(DATABASE)
        assert read_installed(found.tree) is not None
    assert list(tmp_path.iterdir()) == []


def test_kept_bytes_are_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer, "_MAX_KEPT_BYTES", len(DATABASE))
    refuse(tar(SYSTEM), tmp_path, "more than 12288 bytes to keep|more than .* bytes to keep")


def test_kept_entries_are_limited(tmp_path: Path) -> None:
    members = [(f"d{number}/etc/os-release", b"") for number in range(4000)]
    refuse(tar(members), tmp_path, "more than 10000 entries to keep")


@pytest.mark.parametrize(
    "members", [{}, {"./var/lib/rpm/": None}, {"./var/lib/rpm/__db.001": b"x"}, {PACKAGES: b""}]
)
def test_no_database(tmp_path: Path, members: dict[str, bytes | None]) -> None:
    refuse(tar(members), tmp_path, "no rpm database")


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_truncated(tmp_path: Path, compression: str) -> None:
    """At any place: in a header, between members, in a member, in the end mark."""
    whole = tar(SYSTEM)
    with tarfile.open(fileobj=io.BytesIO(whole)) as archive:
        members = archive.getmembers()
    cuts = {0, 100, 512, members[3].offset, members[3].offset + 100, members[5].offset}
    cuts.add(members[5].offset_data + 512)
    for cut in sorted(cuts):
        refuse(COMPRESSIONS[compression](whole[:cut]), tmp_path, "truncated|damaged")
    packed = COMPRESSIONS[compression](whole)
    for size in (len(packed) // 3, len(packed) * 9 // 10):
        if compression != "plain":
            refuse(packed[:size], tmp_path, "truncated|damaged")


@pytest.mark.parametrize("compression", ["gzip", "bzip2", "xz", "lz4"])
def test_damage_behind_the_last_member(tmp_path: Path, compression: str) -> None:
    """The checksum at the end is read too."""
    packed = COMPRESSIONS[compression](tar(SYSTEM))
    refuse(packed[:-1], tmp_path, "damaged")


def test_garbage_between_members(tmp_path: Path) -> None:
    """The standard library takes it for the end."""
    whole = tar(SYSTEM)
    with tarfile.open(fileobj=io.BytesIO(whole)) as archive:
        place = archive.getmembers()[4].offset
    refuse(whole[:place] + b"\xff" * 512 + whole[place:], tmp_path, "damaged tar archive")


def test_what_is_no_archive(tmp_path: Path) -> None:
    refuse(b"\x7fELF" + bytes(range(256)) * 10, tmp_path, "damaged tar archive")


def header(kind: bytes, size: int, name: str = "x") -> bytes:
    info = tarfile.TarInfo(name)
    info.type = kind
    info.size = size
    return info.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize("kind", [b"L", b"K", b"x", b"g"])
def test_header_without_end(tmp_path: Path, kind: bytes) -> None:
    """A name or an extension of gigabytes is not read into memory."""
    data = COMPRESSIONS["zstd"](header(kind, 1 << 33) + bytes(64 << 20))
    tracemalloc.start()
    refuse(data, tmp_path, "a header without end")
    assert tracemalloc.get_traced_memory()[1] < 20 << 20
    tracemalloc.stop()


def test_sparse_map_without_end(tmp_path: Path) -> None:
    """Numbers of a sparse map that never come."""
    attributes = b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n"
    block = attributes.ljust(512, b"\0")
    data = header(b"x", len(attributes)) + block + header(b"0", 1 << 30) + b"1\n" + b"9" * (8 << 20)
    refuse(data + bytes(1024), tmp_path, "a header without end|damaged tar archive")


def test_sparse_database(tmp_path: Path) -> None:
    """As ``tar --sparse`` stores it: a part, a hole, a part."""
    hole = hash_file(blobs_of([RpmPackage("one")])) + bytes(8192)
    data = bytearray(hole)
    record = bytearray(header(tarfile.GNUTYPE_SPARSE, len(hole) - 8192, PACKAGES))
    fields = b"%011o\0%011o\0" % (0, len(hole) - 8192) + b"%011o\0%011o\0" % (len(hole), 0)
    record[386 : 386 + len(fields)] = fields
    record[483:495] = b"%011o\0" % len(hole)
    record[148:156] = b" " * 8
    record[148:156] = b"%06o\0 " % sum(record)
    archive = bytes(record) + bytes(data[: len(hole) - 8192]) + bytes(1024)
    assert names_of(archive, tmp_path) == NAMES[:1]


def test_member_of_negative_size(tmp_path: Path) -> None:
    info = tarfile.TarInfo("x")
    record = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    record[124:136] = b"\xff" * 4 + struct.pack(">q", -1024)
    record[148:156] = b" " * 8
    record[148:156] = b"%06o\0 " % sum(record)
    refuse(bytes(record) + bytes(2048), tmp_path, "a member of negative size")
    refuse(COMPRESSIONS["gzip"](bytes(record) + bytes(2048)), tmp_path, "of negative size")


@pytest.mark.parametrize("end", [bytes(1024), b""])
def test_unpacked_size_is_limited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: bytes
) -> None:
    """Of members and of what follows the last one."""
    monkeypatch.setattr(tar_stream, "_MAX_UNPACKED_BYTES", 1 << 20)
    bomb = end or header(b"0", 1 << 40)
    data = COMPRESSIONS["zstd"](bomb + bytes(4 << 20))
    refuse(data, tmp_path, "unpacks to more than 1048576 bytes")


def test_chain_of_long_names(tmp_path: Path) -> None:
    refuse((header(b"L", 512) + bytes(512)) * 2000, tmp_path, "damaged|without end|truncated")


def test_lz4_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = COMPRESSIONS["lz4"](tar(SYSTEM))
    monkeypatch.setitem(__import__("sys").modules, "lz4.frame", None)
    with pytest.raises(ConfigurationError, match=r"install altrepodb\[images\]"):
        read(data, tmp_path)


@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_any_damage(tmp_path: Path, data: st.DataObject) -> None:
    small = {name: value for name, value in SYSTEM.items() if "large" not in name}
    archive = bytearray(tar({**small, "./long" * 30: b"x"}))
    starts = [place for place in range(0, len(archive), 512) if archive[place : place + 1] == b"."]
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.sampled_from(starts)) + data.draw(st.integers(0, 511))
        archive[place] = data.draw(st.integers(0, 255))
    try:
        with open_tar(BytesSource(bytes(archive), "image.tar"), tmp_path, "x86_64") as found:
            read_installed(found.tree)
    except AltrepodbError as error:
        assert "\n" not in str(error)


# Container images

BASE = tar({"etc/os-release": OS_RELEASE, "var/lib/rpm/Packages": OTHER_DATABASE})
UPGRADE = tar({"var/lib/rpm/Packages": DATABASE})


def test_docker_save(tmp_path: Path) -> None:
    """The upper layer counts, wherever it stands in the archive."""
    system = read(docker_save([BASE, UPGRADE]), tmp_path)
    assert [str(one) for one in system.packages] == NAMES
    assert system.os_release == OS_RELEASE
    assert names_of(docker_save([UPGRADE, BASE]), tmp_path) == OTHER_NAMES


@pytest.mark.parametrize("compression", ["gzip", "xz", "zstd"])
def test_compressed_docker_save(tmp_path: Path, compression: str) -> None:
    data = COMPRESSIONS[compression](docker_save([BASE, UPGRADE]))
    assert names_of(data, tmp_path) == NAMES


@pytest.mark.parametrize("compression", ["plain", "gzip", "zstd"])
def test_oci_layout(tmp_path: Path, compression: str) -> None:
    layout = OciLayout()
    layers = [COMPRESSIONS[compression](one) for one in (BASE, UPGRADE)]
    assert names_of(layout.archive([layout.image(layers)]), tmp_path) == NAMES


def test_newer_docker_save(tmp_path: Path) -> None:
    """Both descriptions, blobs by their digests."""
    layout = OciLayout()
    descriptor = layout.image([BASE, UPGRADE])
    paths = [f"blobs/{layout.blob(one)['digest'].replace(':', '/')}" for one in (BASE, UPGRADE)]
    config = f"blobs/{layout.blob(b'{}')['digest'].replace(':', '/')}"
    manifest = json.dumps([{"Config": config, "Layers": paths}]).encode()
    layout.members["manifest.json"] = manifest
    assert names_of(layout.archive([descriptor]), tmp_path) == NAMES
    layout.members[paths[0]] = UPGRADE
    refuse(layout.archive([descriptor]), tmp_path, "is not what its digest sha256:")


@pytest.mark.parametrize("is_nested", [False, True])
def test_platforms(tmp_path: Path, is_nested: bool) -> None:
    layout = OciLayout()
    images = [layout.image([UPGRADE], "amd64"), layout.image([BASE], "arm64")]
    images.append(layout.image([tar({"x": b""})], "unknown"))
    descriptors = [layout.index(images)] if is_nested else images
    data = layout.archive(descriptors)
    assert names_of(data, tmp_path) == NAMES
    assert names_of(data, tmp_path, "aarch64") == OTHER_NAMES
    refuse(data, tmp_path, "no image for ppc64le; there: amd64, arm64", "ppc64le")


def test_ambiguous_platforms(tmp_path: Path) -> None:
    layout = OciLayout()
    images = [layout.image([UPGRADE], "amd64"), layout.image([BASE], "amd64")]
    refuse(layout.archive(images), tmp_path, "2 images for x86_64; there: amd64, amd64")
    refuse(layout.archive([]), tmp_path, "no image for x86_64; there: none")
    # Two tags of one image.
    assert names_of(layout.archive([images[0], images[0]]), tmp_path) == NAMES


def test_another_platform_is_told(tmp_path: Path) -> None:
    data = BytesSource(docker_save([UPGRADE], architecture="arm64"), "image.tar")
    with open_tar(data, tmp_path, "x86_64") as found:
        assert found.warnings == ("image.tar: the image is for arm64, not for x86_64",)
    with open_tar(data, tmp_path, "aarch64") as found:
        assert found.warnings == ()


def test_several_images(tmp_path: Path) -> None:
    refuse(docker_save([BASE], images=2), tmp_path, "2 images where one is needed")


@pytest.mark.parametrize(
    ("upper", "expected"),
    [
        ({"var/lib/rpm/.wh.Packages": b""}, None),
        ({"var/lib/.wh.rpm": b""}, None),
        ({".wh.var": b""}, None),
        ({"var/lib/rpm/.wh..wh..opq": b""}, None),
        ({".wh..wh..opq": b""}, None),
        ({"var/lib/rpm/.wh.Packages.db": b"", "var/.wh.cache": b""}, OTHER_NAMES),
        ({"var/lib/rpm/.wh..wh..opq": b"", "var/lib/rpm/Packages": DATABASE}, NAMES),
        ({"var/lib/rpm/Packages": DATABASE, "var/lib/rpm/.wh..wh..opq": b""}, NAMES),
        ({"var/lib/rpm/Packages": DATABASE, "var/lib/.wh.rpm": b""}, NAMES),
        ({"var/lib/rpm": Link("/opt/rpm"), "opt/rpm/Packages": DATABASE}, NAMES),
        ({"var/lib/rpm": Link("/opt/rpm")}, None),
    ],
)
def test_whiteouts(
    tmp_path: Path, upper: dict[str, bytes | Link | None], expected: list[str] | None
) -> None:
    """They remove what is in the layers below, never what is in their own."""
    data = docker_save([BASE, tar(upper)])
    if expected is None:
        refuse(data, tmp_path, "a container image without an rpm database")
    else:
        assert names_of(data, tmp_path) == expected


def test_whiteout_in_a_middle_layer(tmp_path: Path) -> None:
    middle = tar({"var/.wh.lib": b""})
    assert names_of(docker_save([BASE, middle, UPGRADE]), tmp_path) == NAMES


def test_hard_link_in_a_layer(tmp_path: Path) -> None:
    """Inside the same layer, to a file that nobody asked for."""
    members = {"srv/stored": DATABASE, "var/lib/rpm/Packages": Link("srv/stored", is_hard=True)}
    assert names_of(docker_save([BASE, tar(members)]), tmp_path) == NAMES


def test_layer_that_is_a_link(tmp_path: Path) -> None:
    """Old versions of Docker store equal layers once."""
    image = json.dumps([{"Config": "c.json", "Layers": ["a/layer.tar", "b/layer.tar"]}]).encode()
    members = {
        "c.json": b"{}",
        "a/layer.tar": BASE,
        "b/layer.tar": Link("../a/layer.tar"),
        "manifest.json": image,
    }
    assert names_of(tar(members), tmp_path) == OTHER_NAMES
    members["b/layer.tar"] = Link("layer.tar")
    refuse(tar(members), tmp_path, "'b/layer.tar' is missing")


def test_wrong_digests(tmp_path: Path) -> None:
    data = docker_save([BASE, UPGRADE])
    refuse(data.replace(OS_RELEASE, b"ID=altlinuX\n"), tmp_path, "is not what its digest sha256:")
    refuse(data.replace(b"amd64", b"arm64"), tmp_path, "is not what its digest sha256:")
    layout = OciLayout()
    data = layout.archive([layout.image([BASE])])
    refuse(data.replace(OS_RELEASE, b"ID=altlinuX\n"), tmp_path, "is not what its digest sha256:")
    refuse(data.replace(b'"layers"', b'"Layers"'), tmp_path, "is not what its digest sha256:")


def manifest_of(value: object) -> bytes:
    return tar({"manifest.json": json.dumps(value).encode(), "c.json": b"{}", "l": BASE})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (tar({"manifest.json": b"{"}), "damaged JSON"),
        (tar({"manifest.json": b"[" * 100_000}), "damaged JSON"),
        (tar({"manifest.json": b" " * (5 << 20)}), "5242880 bytes, limit 4194304"),
        (manifest_of({}), "list of images is missing or no list"),
        (manifest_of([]), "0 images"),
        (manifest_of([1]), "image is missing or no object"),
        (manifest_of([{}]), "Config is missing or no text"),
        (manifest_of([{"Config": "c.json"}]), "Layers is missing or no list"),
        (manifest_of([{"Config": "c.json", "Layers": [1]}]), "layer is missing or no text"),
        (manifest_of([{"Config": "c.json", "Layers": []}]), "an image of 0 layers"),
        (manifest_of([{"Config": "c.json", "Layers": ["l"] * 1001}]), "an image of 1001 layers"),
        (manifest_of([{"Config": "c.json", "Layers": ["../l"]}]), "'../l' is missing"),
        (manifest_of([{"Config": "x.json", "Layers": ["l"]}]), "'x.json' is missing"),
        (tar({"oci-layout": b"", "index.json": b"[]"}), "index is missing or no object"),
        (tar({"oci-layout": b"", "index.json": b"{}"}), "list of manifests is missing"),
        (OciLayout().archive([{"digest": "md5:1"}]), "no digest: 'md5:1'"),
        (OciLayout().archive([{"digest": 5}]), "no digest: '5'"),
        (OciLayout().archive([{"digest": "sha256:" + "0" * 64}]), "is missing"),
    ],
)
def test_hostile_descriptions(tmp_path: Path, data: bytes, message: str) -> None:
    refuse(data, tmp_path, message)


def test_nested_indexes(tmp_path: Path) -> None:
    layout = OciLayout()
    descriptor = layout.image([UPGRADE])
    for depth in range(5):
        data = layout.archive([descriptor])
        if depth < 4:
            assert names_of(data, tmp_path) == NAMES
        descriptor = layout.index([descriptor])
    refuse(data, tmp_path, "image indexes are nested too deeply")


def test_number_of_layers_and_digests(tmp_path: Path) -> None:
    config = json.dumps({"rootfs": {"diff_ids": []}}).encode()
    image = json.dumps([{"Config": "c.json", "Layers": ["l"]}]).encode()
    members = {"manifest.json": image, "c.json": config, "l": BASE}
    refuse(tar(members), tmp_path, "1 layers, 0 digests")


def test_members_are_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container, "_MAX_MEMBERS", 2)
    refuse(docker_save([BASE]), tmp_path, "more than 2 members")


def test_names_are_paths() -> None:
    cases = {"./a//b/.": b"a/b", "/a": b"a", "a/../b": None, "..": None, "": b"", "\udcff": b"\xff"}
    assert {name: tar_stream.normal_path(name) for name in cases} == cases
