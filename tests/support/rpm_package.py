"""Describe RPM packages: what is in them, and how their files are laid out.

Descriptions are plain immutable values, so a test can compare them with what was read back.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from tests.support.compressors import Compressor
from tests.support.cpio import CpioFormat
from tests.support.rpm_header import Entry, Text, Translations, to_bytes

Style = Literal["alt", "upstream"]
ScriptKind = Literal["prein", "postin", "preun", "postun", "verify", "pretrans", "posttrans"]

DEFAULT_TIME = 1_660_176_000
VERIFY_ALL = 0xFFFFFFFF

FLAG_CONFIG = 1
FLAG_DOC = 2
FLAG_NOREPLACE = 16
FLAG_SPEC = 32
FLAG_GHOST = 64
FLAG_LICENSE = 128

SENSE_LESS = 2
SENSE_GREATER = 4
SENSE_EQUAL = 8
SENSE_FIND_REQUIRES = 16384
SENSE_FIND_PROVIDES = 32768
SENSE_RPMLIB = 16777216


class Dependency(NamedTuple):
    """One requirement, provision, conflict or obsoletion."""

    name: Text
    version: Text = ""
    flags: int = 0


class ChangelogEntry(NamedTuple):
    """One changelog entry: time, author line with version, text."""

    time: int
    author: Text
    text: Text


class Script(NamedTuple):
    """A scriptlet; a list of interpreter words is stored as an array, a text as a string."""

    body: Text | None
    interpreter: Text | Sequence[Text] | None = "/bin/sh"


class RpmFile(NamedTuple):
    """One file of a package; files that name the same inode are hard links.

    `size` and `digest` are what the header says where that is not the truth.
    """

    path: Text
    content: bytes = b""
    mode: int = 0o100644
    mtime: int = DEFAULT_TIME
    owner: Text = "root"
    group: Text = "root"
    linkto: Text = ""
    flags: int = 0
    lang: Text = ""
    rdev: int = 0
    device: int = 1
    inode: int | None = None
    verify: int = VERIFY_ALL
    size: int | None = None
    digest: Text | None = None

    @property
    def is_regular(self) -> bool:
        """Whether the mode is that of a regular file."""
        return stat.S_IFMT(self.mode) == stat.S_IFREG

    @property
    def is_ghost(self) -> bool:
        """Whether the header knows the file and the payload does not."""
        return bool(self.flags & FLAG_GHOST)

    @property
    def declared_size(self) -> int:
        """The size in the header."""
        if self.size is not None:
            return self.size
        return len(self.payload)

    @property
    def payload(self) -> bytes:
        """The bytes in the archive: contents of a regular file, target of a link."""
        if self.is_regular:
            return self.content
        return to_bytes(self.linkto) if stat.S_ISLNK(self.mode) else b""


def directory(path: Text, mode: int = 0o755, mtime: int = DEFAULT_TIME) -> RpmFile:
    """A directory."""
    return RpmFile(path, mode=stat.S_IFDIR | mode, mtime=mtime)


def symlink(path: Text, target: Text, mtime: int = DEFAULT_TIME) -> RpmFile:
    """A symbolic link."""
    return RpmFile(path, mode=stat.S_IFLNK | 0o777, mtime=mtime, linkto=target)


@dataclass(frozen=True, slots=True)
class RpmPackage:
    """What a package says about itself; None leaves a tag out.

    `sourcerpm` of a binary package defaults to the name that a package of the same name and
    version would have. `size` defaults to the sum of the file sizes.
    """

    name: str
    version: str = "1.0"
    release: str = "alt1"
    epoch: int | None = None
    arch: str = "x86_64"
    os: str | None = "linux"
    source: bool = False
    sourcerpm: Text | None = None
    summary: Translations = "A package"
    description: Translations = "A package for tests."
    group: Translations = "Other"
    license: Text | None = "GPL-2.0-or-later"
    url: Text | None = None
    vcs: Text | None = None
    packager: Text | None = "Ivan Petrov <ivan@altlinux.org>"
    vendor: Text | None = "ALT Linux Team"
    distribution: Text | None = "ALT"
    disttag: Text | None = None
    disturl: Text | None = None
    buildtime: int | None = DEFAULT_TIME
    buildhost: Text | None = "builder.example.org"
    cookie: Text | None = None
    rpmversion: Text | None = None
    optflags: Text | None = None
    platform: Text | None = None
    size: int | None = None
    files: Sequence[RpmFile] = ()
    requires: Sequence[Dependency] = ()
    provides: Sequence[Dependency] = ()
    conflicts: Sequence[Dependency] = ()
    obsoletes: Sequence[Dependency] = ()
    changelog: Sequence[ChangelogEntry] = ()
    scripts: Mapping[ScriptKind, Script] = field(default_factory=dict)
    sources: Sequence[Text] = ()
    patches: Sequence[Text] = ()
    buildarchs: Sequence[Text] = ()
    prefixes: Sequence[Text] = ()
    instprefixes: Sequence[Text] = ()
    gif: bytes | None = None
    xpm: bytes | None = None
    icon: bytes | None = None
    locales: Sequence[str] | None = None

    @property
    def evr(self) -> str:
        """[epoch:]version-release."""
        prefix = "" if self.epoch is None else f"{self.epoch}:"
        return f"{prefix}{self.version}-{self.release}"

    @property
    def file_name(self) -> str:
        """Base name of the package file."""
        suffix = "src" if self.source else self.arch
        return f"{self.name}-{self.version}-{self.release}.{suffix}.rpm"

    @property
    def self_provide(self) -> Dependency:
        """The provision of the package's own name, with the disttag where there is one."""
        version = to_bytes(self.evr)
        if self.disttag is not None:
            version += b":" + to_bytes(self.disttag)
        return Dependency(self.name, version.decode("utf-8", "surrogateescape"), SENSE_EQUAL)


@dataclass(frozen=True, slots=True)
class RpmLayout:
    """How a package becomes a file.

    `style` is what ALT's builder writes (MD5 file digests, archive size in the main header, no
    mark of source packages) or what upstream rpmbuild does (SHA-256 digests, file classes,
    archive size among the signatures). `gpg` becomes signature tag 1005. `reserved_space` adds
    signature tag 1008 of that length; `padding` lengthens it until that many bytes stand between
    the two headers. `main` and `signature` replace entries by tag, or remove them with None; the
    `_extra` entries are added, also as second entries of a tag. Digests are computed afterwards.
    """

    style: Style = "alt"
    compressor: Compressor = "xz"
    level: int | None = None
    cpio_format: CpioFormat = "070701"
    long_sizes: bool = False
    region: bool = True
    signature_region: bool = True
    lead_type: int | None = None
    gpg: bytes | None = None
    reserved_space: int | None = None
    padding: int | None = None
    main: Mapping[int, Entry | None] = field(default_factory=dict)
    main_extra: Sequence[Entry] = ()
    signature: Mapping[int, Entry | None] = field(default_factory=dict)
    signature_extra: Sequence[Entry] = ()
