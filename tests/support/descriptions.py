"""Describe the packages of a composed repository in full, from their blueprints alone."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from tests.support.blueprints import BinaryBlueprint, SourceBlueprint
from tests.support.cpio import CpioFormat
from tests.support.file_trees import binary_files, source_files
from tests.support.relations import binary_relations, build_requires
from tests.support.rpm_file import fake_gpg_signature
from tests.support.rpm_header import Text, Translations
from tests.support.rpm_package import (
    FLAG_SPEC,
    ChangelogEntry,
    RpmLayout,
    RpmPackage,
    Script,
    ScriptKind,
)
from tests.support.vocabulary import (
    GROUPS,
    LICENSES,
    MAINTAINERS,
    changelog_text,
    noon,
    paragraphs,
    pick,
    sentence,
)

Blueprint = SourceBlueprint | BinaryBlueprint

_DAY = 86_400
_INVALID_UTF8 = b" \xcf\xf0\xe8\xe2\xe5\xf2 \xff\xfe"
_SCRIPT_KINDS: tuple[ScriptKind, ...] = (
    "prein",
    "postin",
    "preun",
    "postun",
    "pretrans",
    "posttrans",
)
_CPIO_FORMATS: dict[str, CpioFormat] = {"cpio-checksums": "070702", "stripped-cpio": "07070X"}


def describe(blueprint: Blueprint) -> RpmPackage:
    """The package of a blueprint."""
    if isinstance(blueprint, SourceBlueprint):
        return _describe_source(blueprint)
    return _describe_binary(blueprint)


def layout_of(blueprint: Blueprint) -> RpmLayout:
    """How the package file of a blueprint is laid out."""
    source = blueprint if isinstance(blueprint, SourceBlueprint) else blueprint.source
    oddity = blueprint.oddity
    gpg = None
    if source.signed:
        gpg = fake_gpg_signature(_own_seed(blueprint).encode(), source.buildtime + 3600)
    return RpmLayout(
        style="upstream" if oddity == "upstream" else "alt",
        compressor=blueprint.compressor,
        cpio_format=_CPIO_FORMATS.get(oddity or "", "070701"),
        long_sizes=oddity in ("long-sizes", "stripped-cpio"),
        reserved_space=4128 if oddity in ("reserved-space", "upstream") else None,
        gpg=gpg,
    )


def source_changelog(source: SourceBlueprint) -> list[ChangelogEntry]:
    """Changelog of a source and all its binaries, newest entry first."""
    rng = Random(source.seed + "/changelog")
    entries = []
    time, minor = source.builds[0], source.minor
    for i in range(1 + source.changes):
        version = f"{source.major}.{max(minor - i // 3, 0)}-alt{1 + -i % 3}"
        entries.append(_changelog_entry(rng, source, noon(time), version))
        # A long history must not reach back before 1970.
        time = max(time - int(rng.expovariate(1 / 50) * _DAY), _DAY)
    for step in range(1, len(source.builds)):
        build = replace(source, builds=source.builds[: step + 1])
        version = f"{build.version}-{build.release}"
        entries.insert(0, _changelog_entry(rng, source, noon(build.buildtime), version))
    return entries


def _changelog_entry(
    rng: Random, source: SourceBlueprint, time: int, version: str
) -> ChangelogEntry:
    author = source.maintainer if rng.random() < 0.8 else pick(rng, MAINTAINERS)
    epoch = "" if source.epoch is None else f"{source.epoch}:"
    return ChangelogEntry(time, f"{author} {epoch}{version}", changelog_text(rng, version))


def _describe_source(source: SourceBlueprint) -> RpmPackage:
    rng = Random(f"{source.seed}/{source.step}/source")
    changelog = source_changelog(source)
    files = source_files(source, rng, changelog)
    names = [str(file.path) for file in files if not file.flags & FLAG_SPEC]
    return replace(
        _common(source, rng),
        name=source.name,
        source=True,
        arch="x86_64",
        files=files,
        requires=build_requires(source, rng),
        changelog=changelog,
        sources=[name for name in names if not name.endswith(".patch")],
        patches=[name for name in names if name.endswith(".patch")],
        packager=_packager(source, source.oddity),
    )


def _describe_binary(binary: BinaryBlueprint) -> RpmPackage:
    source = binary.source
    rng = Random(_own_seed(binary))
    requires, provides, conflicts, obsoletes = binary_relations(binary, rng)
    return replace(
        _common(source, rng),
        name=binary.name,
        arch=binary.arch,
        sourcerpm=binary.sourcerpm,
        summary=_summary(rng, binary),
        description=_description(rng, binary),
        files=binary_files(binary, rng),
        requires=requires,
        provides=provides,
        conflicts=conflicts,
        obsoletes=obsoletes,
        changelog=() if binary.oddity == "no-changelog" else source_changelog(source),
        scripts=_scripts(rng, binary),
        packager=_packager(source, binary.oddity),
        optflags="-pipe -frecord-gcc-switches -Wall -g -O2" if binary.arch != "noarch" else None,
    )


def _own_seed(blueprint: Blueprint) -> str:
    """What makes the package's content its own."""
    if isinstance(blueprint, SourceBlueprint):
        return f"{blueprint.seed}/{blueprint.step}/source"
    source = blueprint.source
    return f"{source.seed}/{source.step}/{blueprint.name}/{blueprint.arch_directory}"


def _common(source: SourceBlueprint, rng: Random) -> RpmPackage:
    """What all packages of one build have in common."""
    host = f"{source.name.lower()[:20].rstrip('+_.')}.builder.example.org"
    return RpmPackage(
        name=source.name,
        version=source.version,
        release=source.release,
        epoch=source.epoch,
        summary=sentence(rng, 4)[:-1],
        description=paragraphs(rng, 1 + int(rng.random() * 5)),
        group=pick(rng, GROUPS),
        license=pick(rng, LICENSES),
        url=f"https://{source.name.lower().strip('+_')}.example.org/",
        vcs=f"https://git.example.org/{source.name}.git" if rng.random() < 0.3 else None,
        disttag=source.disttag,
        buildtime=source.buildtime,
        buildhost=host,
    )


def _packager(source: SourceBlueprint, oddity: str | None) -> Text:
    if oddity == "invalid-utf8":
        return b"\xcf\xe5\xf2\xf0 <petr@altlinux.org>"
    return source.maintainer


def _summary(rng: Random, binary: BinaryBlueprint) -> Translations:
    text = sentence(rng, 4)[:-1]
    if binary.oddity != "translations":
        return text
    return {"C": text, "ru_RU.UTF-8": "Описание пакета", "be_BY.UTF-8": "Апісанне пакета"}


def _description(rng: Random, binary: BinaryBlueprint) -> Translations:
    text = paragraphs(rng, 1 + int(rng.random() * 6))
    if binary.oddity == "invalid-utf8":
        return text.encode() + _INVALID_UTF8
    if binary.oddity == "translations":
        return {"C": text, "ru_RU.UTF-8": "Подробное описание пакета."}
    return text


def _scripts(rng: Random, binary: BinaryBlueprint) -> dict[ScriptKind, Script]:
    if binary.oddity == "interpreter-arrays":
        return {"postin": Script("print('installed')\n", ["/usr/bin/python3", "-S"])}
    if rng.random() > 0.2:
        return {}
    kinds = rng.sample(_SCRIPT_KINDS, 1 + int(rng.random() * 2))
    return {
        kind: Script(f"/usr/sbin/{kind}_service {binary.name} ||:\n{sentence(rng, 8)}")
        for kind in sorted(kinds, key=_SCRIPT_KINDS.index)
    }
