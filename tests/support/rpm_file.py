"""Write RPM packages from descriptions, every tag under control.

`compose_rpm` returns the bytes of a sound package; `compose` also says where its parts are.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from tests.support.compressors import COMPRESSORS, PAYLOAD_TAGS, Compressor, compress
from tests.support.cpio import CpioEntry, build_cpio
from tests.support.rpm_file_tags import file_entries, needs_long_sizes
from tests.support.rpm_header import (
    REGION_IMMUTABLE,
    REGION_SIGNATURES,
    TAG_I18N_TABLE,
    Entry,
    Text,
    amend,
    binary,
    build_header,
    int32,
    int64,
    locales_of,
    string,
    string_array,
    to_bytes,
    translated,
)
from tests.support.rpm_package import (
    ChangelogEntry,
    Dependency,
    RpmFile,
    RpmLayout,
    RpmPackage,
    Script,
    ScriptKind,
    directory,
    symlink,
)

__all__ = [
    "COMPRESSORS",
    "ChangelogEntry",
    "ComposedRpm",
    "Compressor",
    "Dependency",
    "RpmFile",
    "RpmLayout",
    "RpmPackage",
    "Script",
    "compose",
    "compose_rpm",
    "directory",
    "fake_gpg_signature",
    "main_entries",
    "symlink",
]

_LEAD_SIZE = 96
_ARCH_NUMBERS = {"i586": 1, "x86_64": 1, "noarch": 1, "ppc64le": 16, "aarch64": 19, "armh": 12}
_SCRIPT_TAGS: dict[ScriptKind, tuple[int, int]] = {
    "prein": (1023, 1085),
    "postin": (1024, 1086),
    "preun": (1025, 1087),
    "postun": (1026, 1088),
    "verify": (1079, 1091),
    "pretrans": (1151, 1153),
    "posttrans": (1152, 1154),
}
# Kind of dependency: tags of names, versions and flags.
_DEPENDENCY_TAGS = {
    "requires": (1049, 1050, 1048),
    "provides": (1047, 1113, 1112),
    "conflicts": (1054, 1055, 1053),
    "obsoletes": (1090, 1115, 1114),
}
_RPM_VERSION = {"alt": "4.0.4", "upstream": "4.18.0"}
_HASH_SHA256 = 8


@dataclass(frozen=True, slots=True)
class ComposedRpm:
    """A package file, where its parts are, and the values that identify it."""

    data: bytes
    header_start: int
    header_end: int
    header_sha1: bytes
    body_md5: bytes
    gpg: bytes

    @property
    def main_header(self) -> bytes:
        """The main header with its magic."""
        return self.data[self.header_start : self.header_end]

    @property
    def payload(self) -> bytes:
        """The compressed payload."""
        return self.data[self.header_end :]


def compose_rpm(package: RpmPackage, layout: RpmLayout | None = None) -> bytes:
    """The package as the bytes of an .rpm file."""
    return compose(package, layout).data


def compose(package: RpmPackage, layout: RpmLayout | None = None) -> ComposedRpm:
    """The package as a file, with the positions of its parts."""
    layout = layout or RpmLayout()
    archive = build_cpio(_cpio_entries(package), layout.cpio_format)
    payload = compress(archive, layout.compressor, layout.level)
    entries = main_entries(package, layout, len(archive), payload)
    entries = amend(entries, layout.main, layout.main_extra)
    header = build_header(entries, region=REGION_IMMUTABLE if layout.region else None)
    signature = _signature(package, layout, header, payload, len(archive))
    start = _LEAD_SIZE + len(signature)
    return ComposedRpm(
        b"".join([_lead(package, layout), signature, header, payload]),
        start,
        start + len(header),
        hashlib.sha1(header).digest(),
        hashlib.md5(header + payload).digest(),
        layout.gpg or b"",
    )


def main_entries(
    package: RpmPackage, layout: RpmLayout, archive_size: int = 0, payload: bytes = b""
) -> list[Entry]:
    """Entries of the main header, before any replacement and without the region tag."""
    entries = _text_entries(package, layout)
    entries += _size_entries(package, layout, archive_size)
    entries += file_entries(package.files, layout)
    for kind, tags in _DEPENDENCY_TAGS.items():
        entries += _dependency_entries(getattr(package, kind), tags)
    entries += _changelog_entries(package)
    entries += _script_entries(package.scripts)
    entries += _payload_entries(layout, payload)
    if package.source and layout.style == "upstream":
        entries.append(int32(1106, 1))
    return entries


def _text_entries(package: RpmPackage, layout: RpmLayout) -> list[Entry]:
    """Everything that is one text, one number or one plain list."""
    texts = (package.summary, package.description, package.group)
    locales = package.locales if package.locales is not None else locales_of(*texts)
    entries = [string_array(TAG_I18N_TABLE, locales)] if locales else []
    entries += [
        translated(tag, text, locales or ["C"])
        for tag, text in zip((1004, 1005, 1016), texts, strict=True)
    ]
    entries += [string(tag, text) for tag, text in _strings(package, layout) if text is not None]
    arrays = {
        1018: package.sources,
        1019: package.patches,
        1089: package.buildarchs,
        1098: package.prefixes,
        1099: package.instprefixes,
    }
    entries += [string_array(tag, texts) for tag, texts in arrays.items() if texts]
    images = {1012: package.gif, 1013: package.xpm, 1043: package.icon}
    entries += [binary(tag, data) for tag, data in images.items() if data is not None]
    values = {1003: package.epoch, 1006: package.buildtime}
    entries += [int32(tag, value) for tag, value in values.items() if value is not None]
    return entries


def _strings(package: RpmPackage, layout: RpmLayout) -> list[tuple[int, Text | None]]:
    """Tags of type STRING with their values."""
    sourcerpm = package.sourcerpm
    if sourcerpm is None and not package.source:
        sourcerpm = f"{package.name}-{package.version}-{package.release}.src.rpm"
    cookie = package.cookie
    if cookie is None and package.buildhost is not None:
        cookie = to_bytes(package.buildhost) + b" %d" % (package.buildtime or 0)
    rpmversion = package.rpmversion
    return [
        (1000, package.name),
        (1001, package.version),
        (1002, package.release),
        (1007, package.buildhost),
        (1010, package.distribution),
        (1011, package.vendor),
        (1014, package.license),
        (1015, package.packager),
        (1020, package.url),
        (1021, package.os),
        (1022, package.arch),
        (1044, sourcerpm),
        (1064, _RPM_VERSION[layout.style] if rpmversion is None else rpmversion),
        (1094, cookie),
        (1122, package.optflags),
        (1123, package.disturl),
        (1132, package.platform),
        (1155, package.disttag),
        (5034, package.vcs),
        (5062, "utf-8" if layout.style == "upstream" else None),
    ]


def _size_entries(package: RpmPackage, layout: RpmLayout, archive_size: int) -> list[Entry]:
    """Installed size, and the archive size where the style puts it here."""
    size = package.size
    if size is None:
        unique = {file.inode or -i: file for i, file in enumerate(package.files, 1)}
        size = sum([file.declared_size for file in unique.values() if file.is_regular])
    if needs_long_sizes(package.files, layout) or size > 0xFFFFFFFF:
        return [int64(5009, size)]
    if layout.style == "upstream":
        return [int32(1009, size)]
    return [int32(1009, size), int32(1046, archive_size)]


def _dependency_entries(
    dependencies: tuple[Dependency, ...], tags: tuple[int, int, int]
) -> list[Entry]:
    """Names, versions and flags of one kind of dependency; nothing when there are none."""
    if not dependencies:
        return []
    names, versions, flags = zip(*dependencies, strict=True)
    return [string_array(tags[0], names), string_array(tags[1], versions), int32(tags[2], *flags)]


def _changelog_entries(package: RpmPackage) -> list[Entry]:
    """The three changelog arrays."""
    if not package.changelog:
        return []
    times, authors, texts = zip(*package.changelog, strict=True)
    return [int32(1080, *times), string_array(1081, authors), string_array(1082, texts)]


def _script_entries(scripts: Mapping[ScriptKind, Script]) -> list[Entry]:
    """Bodies and interpreters of the scriptlets."""
    entries = []
    for kind, script in scripts.items():
        body_tag, interpreter_tag = _SCRIPT_TAGS[kind]
        if script.body is not None:
            entries.append(string(body_tag, script.body))
        interpreter = script.interpreter
        if isinstance(interpreter, str | bytes):
            entries.append(string(interpreter_tag, interpreter))
        elif interpreter is not None:
            entries.append(string_array(interpreter_tag, interpreter))
    return entries


def _payload_entries(layout: RpmLayout, payload: bytes) -> list[Entry]:
    """How the payload is packed, and its digest in the upstream style."""
    entries = [string(1124, "cpio")]
    tags = PAYLOAD_TAGS[layout.compressor]
    if tags:
        entries += [string(1125, tags[0]), string(1126, tags[1])]
    if layout.style == "upstream":
        entries.append(string_array(5092, [hashlib.sha256(payload).hexdigest()]))
        entries.append(int32(5093, _HASH_SHA256))
    return entries


def _cpio_entries(package: RpmPackage) -> list[CpioEntry]:
    """Archive members of all files that are not ghosts."""
    prefix = b"" if package.source else b"."
    return [
        CpioEntry(
            prefix + to_bytes(file.path),
            file.payload,
            file.mode,
            file.mtime,
            file.inode or i + 1,
            file.rdev,
            i,
        )
        for i, file in enumerate(package.files)
        if not file.is_ghost
    ]


def _signature(
    package: RpmPackage, layout: RpmLayout, header: bytes, payload: bytes, archive_size: int
) -> bytes:
    """Signature header, padded to where the main header starts."""
    long = needs_long_sizes(package.files, layout)
    body_size = len(header) + len(payload)
    entries = [
        string(269, hashlib.sha1(header).hexdigest()),
        int64(270, body_size) if long else int32(1000, body_size),
        binary(1004, hashlib.md5(header + payload).digest()),
    ]
    if layout.style == "upstream":
        entries.append(string(273, hashlib.sha256(header).hexdigest()))
    if long:
        entries.append(int64(271, archive_size))
    elif layout.style == "upstream":
        entries.append(int32(1007, archive_size))
    if layout.gpg is not None:
        entries.append(binary(1005, layout.gpg))
    entries = amend(entries, layout.signature, layout.signature_extra)
    region = REGION_SIGNATURES if layout.signature_region else None
    reserved = layout.reserved_space
    if layout.padding is not None:
        reserved = reserved or 1
        trial = build_header([*entries, binary(1008, bytes(reserved))], region=region)
        reserved += (-len(trial) - layout.padding) % 8
    if reserved is not None:
        entries.append(binary(1008, bytes(reserved)))
    signature = build_header(entries, region=region)
    return signature + bytes(-len(signature) % 8)


def _lead(package: RpmPackage, layout: RpmLayout) -> bytes:
    """The 96 bytes that nobody reads."""
    kind = int(package.source) if layout.lead_type is None else layout.lead_type
    name = to_bytes(f"{package.name}-{package.version}-{package.release}")[:65]
    arch = _ARCH_NUMBERS.get(package.arch, 1)
    return struct.pack(">4sBBhh66shh16x", b"\xed\xab\xee\xdb", 3, 0, kind, arch, name, 1, 5)


def fake_gpg_signature(
    seed: bytes, time: int, key_id: bytes = b"\x3f\x2a\x1d\x0c\x55\xaa\x01\x02"
) -> bytes:
    """An OpenPGP version 4 RSA signature packet that parses well and verifies nothing."""
    hashed = b"\x05\x02" + struct.pack(">I", time)
    unhashed = b"\x09\x10" + key_id
    number = b"\x80" + hashlib.shake_256(seed).digest(255)
    body = b"".join(
        [
            b"\x04\x00\x01\x08",
            struct.pack(">H", len(hashed)),
            hashed,
            struct.pack(">H", len(unhashed)),
            unhashed,
            number[1:3],
            struct.pack(">H", len(number) * 8),
            number,
        ]
    )
    return b"\x89" + struct.pack(">H", len(body)) + body
