"""Decide which packages a composed repository holds, before any of them is written.

A blueprint is small and says all that is needed to describe its package again at any time, so a
tree of any size needs little memory. Everything follows from the plan's seed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from random import Random

from tests.support.compressors import Compressor
from tests.support.vocabulary import MAINTAINERS, WORDS, pick, source_name

ALL_COMPONENTS = ("classic", "debuginfo", "checkinstall", "gostcrypto")
SOURCE_ODDITIES = (
    "two-specs",
    "no-spec",
    "empty-spec",
    "latin1-spec",
    "invalid-utf8",
    "cpio-checksums",
    "stripped-cpio",
    "long-sizes",
    "upstream",
)
BINARY_ODDITIES = (
    "invalid-utf8",
    "cyrillic-names",
    "special-files",
    "hard-links",
    "no-changelog",
    "reserved-space",
    "long-sizes",
    "upstream",
    "translations",
    "interpreter-arrays",
)
_DAY = 86_400
_ODD_FILES = 4


@dataclass(frozen=True, slots=True)
class RepositoryPlan:
    """What to compose; counts are exact.

    `files` counts file entries and `dependencies` counts entries of all four kinds, both over
    sources and binaries; every binary provides at least itself and every source holds at least
    two files. An arch ending in "-i586" holds repackaged binaries whose sources exist nowhere.
    `orphans` of the other binaries name a source that is not there. `time` is when the snapshot
    was taken; `list_streams` is how many xz streams a header list is cut into.
    """

    sources: int = 20
    binaries: int = 50
    files: int = 1500
    dependencies: int = 600
    seed: int = 1
    architectures: Sequence[str] = ("x86_64", "noarch", "x86_64-i586")
    components: Sequence[str] = ALL_COMPONENTS
    odd_share: float = 0.05
    orphans: int = 0
    blake2b: bool = True
    signed: bool = True
    bloat: bool = False
    list_streams: int = 1
    time: int = 1_660_824_000
    task: int = 305_000
    branch: str = "sisyphus"
    compressors: dict[Compressor, float] = field(
        default_factory=lambda: {
            "lzma": 0.46,
            "xz": 0.4,
            "xz-blocks": 0.06,
            "gzip": 0.04,
            "bzip2": 0.02,
            "none": 0.02,
        }
    )

    def __post_init__(self) -> None:
        if self.dependencies < self.binaries:
            raise ValueError("every binary package provides itself: more dependencies are needed")
        if self.files < 2 * self.sources:
            raise ValueError("every source package holds two files: more files are needed")
        if not self.architectures or self.architectures[0].endswith("-i586"):
            raise ValueError("the first architecture must be an ordinary one")


@dataclass(frozen=True, slots=True)
class SourceBlueprint:
    """A source package; `builds` are the times of its builds, the first snapshot's first."""

    name: str
    seed: str
    major: int
    minor: int
    epoch: int | None
    builds: tuple[int, ...]
    task: int
    branch: str
    maintainer: str
    changes: int
    file_count: int
    dependency_count: int
    universe: int
    compressor: Compressor
    signed: bool
    oddity: str | None = None

    @property
    def step(self) -> int:
        """How often the source was rebuilt since the first snapshot."""
        return len(self.builds) - 1

    @property
    def buildtime(self) -> int:
        """When the package was built."""
        return self.builds[-1]

    @property
    def version(self) -> str:
        """Upstream version: every third rebuild packages a new one."""
        return f"{self.major}.{self.minor + self.step // 3}"

    @property
    def release(self) -> str:
        """Release: alt1, alt2 and so on between two versions."""
        return f"alt{1 + self.step % 3}"

    @property
    def file_name(self) -> str:
        """Base name of the package file."""
        return f"{self.name}-{self.version}-{self.release}.src.rpm"

    @property
    def disttag(self) -> str:
        """Branch, task, subtask, try and iteration of the build."""
        return f"{self.branch}+{self.task}.100.1.1"


@dataclass(frozen=True, slots=True)
class BinaryBlueprint:
    """A binary package of a source; `arch_directory` is where the repository keeps it."""

    source: SourceBlueprint
    name: str
    kind: str
    arch: str
    arch_directory: str
    component: str
    compressor: Compressor
    file_count: int = 0
    dependency_count: int = 1
    orphan: bool = False
    oddity: str | None = None

    @property
    def file_name(self) -> str:
        """Base name of the package file."""
        return f"{self.name}-{self.source.version}-{self.source.release}.{self.arch}.rpm"

    @property
    def sourcerpm(self) -> str:
        """Name of the source package that the header gives."""
        prefix = "i586-" if self.kind == "arepo" else "missing-" if self.orphan else ""
        return prefix + self.source.file_name


@dataclass(frozen=True, slots=True)
class Blueprints:
    """All packages of a snapshot."""

    sources: tuple[SourceBlueprint, ...]
    binaries: tuple[BinaryBlueprint, ...]


def share(total: int, weights: Sequence[float]) -> list[int]:
    """Split a number in proportion to the weights; the parts add up to it exactly."""
    whole = sum(weights)
    if not whole:
        return [0] * len(weights)
    exact = [total * weight / whole for weight in weights]
    parts = [int(part) for part in exact]
    order = sorted(range(len(parts)), key=lambda i: parts[i] - exact[i])
    for i in order[: total - sum(parts)]:
        parts[i] += 1
    return parts


def draw_blueprints(plan: RepositoryPlan, first: int = 0) -> Blueprints:
    """Packages of the plan; names of sources are taken from number `first` on."""
    rng = Random(f"{plan.seed}/{first}/blueprints")
    sources = [_draw_source(plan, rng, first + i) for i in range(plan.sources)]
    counts = _binary_counts(plan, rng)
    unlisted = _unlisted_sources(plan, rng, counts)
    binaries = [
        binary
        for i, (source, count) in enumerate(zip(sources, counts, strict=True))
        for binary in _draw_binaries(plan, rng, source, count, i in unlisted)
    ]
    sources, binaries = _share_files(plan, rng, sources, binaries)
    sources, binaries = _share_dependencies(plan, rng, sources, binaries)
    binaries = _make_orphans(plan, rng, binaries)
    # Binaries keep a copy of their source, which has its counts only now.
    final = {source.name: source for source in sources}
    binaries = [replace(binary, source=final[binary.source.name]) for binary in binaries]
    return Blueprints(tuple(sources), tuple(binaries))


def _draw_source(plan: RepositoryPlan, rng: Random, number: int) -> SourceBlueprint:
    """A source without files and dependencies."""
    epoch = rng.random()
    age = int(rng.expovariate(1 / 400) * _DAY) % (_DAY * 5000)
    return SourceBlueprint(
        name=source_name(number),
        seed=f"{plan.seed}/{number}",
        major=int(rng.expovariate(0.3)),
        minor=int(rng.expovariate(0.1)),
        epoch=1 if epoch < 0.11 else 2 if epoch < 0.12 else 0 if epoch < 0.13 else None,
        builds=(plan.time - age - int(rng.random() * _DAY),),
        task=plan.task - 1 - number % 100_000,
        branch=plan.branch,
        maintainer=pick(rng, MAINTAINERS),
        changes=min(600, int(rng.lognormvariate(2.6, 1.1))),
        file_count=2,
        dependency_count=0,
        universe=max(plan.sources, 50),
        compressor=_compressor(plan, rng),
        signed=plan.signed,
        oddity=_oddity(plan, rng, SOURCE_ODDITIES),
    )


def _compressor(plan: RepositoryPlan, rng: Random) -> Compressor:
    return rng.choices(list(plan.compressors), list(plan.compressors.values()))[0]


def _oddity(plan: RepositoryPlan, rng: Random, kinds: Sequence[str]) -> str | None:
    return rng.choice(kinds) if rng.random() < plan.odd_share else None


def _binary_counts(plan: RepositoryPlan, rng: Random) -> list[int]:
    """How many binaries each source builds: at least one while there are enough."""
    if plan.binaries < plan.sources:
        return [int(i < plan.binaries) for i in range(plan.sources)]
    weights = [rng.lognormvariate(0, 1) for _ in range(plan.sources)]
    return [1 + more for more in share(plan.binaries - plan.sources, weights)]


def _native_archs(plan: RepositoryPlan) -> list[str]:
    """Arch directories of compiled packages."""
    return [a for a in plan.architectures if a != "noarch" and not a.endswith("-i586")]


def _unlisted_sources(plan: RepositoryPlan, rng: Random, counts: Sequence[int]) -> set[int]:
    """Sources with nothing but gostcrypto binaries: no source list will name them."""
    if "gostcrypto" not in plan.components:
        return set()
    native = len(_native_archs(plan))
    candidates = [i for i, count in enumerate(counts) if 1 <= count <= native]
    wanted = len(candidates) // 30 + (len(counts) >= 4)
    return set(rng.sample(candidates, min(wanted, len(candidates))))


def _draw_binaries(
    plan: RepositoryPlan, rng: Random, source: SourceBlueprint, count: int, unlisted: bool
) -> Iterator[BinaryBlueprint]:
    """The given number of binaries of a source, without files and dependencies."""
    slots = _slots(plan, rng, source, unlisted)
    for _ in range(count):
        name, kind, directory, component = next(slots)
        yield BinaryBlueprint(
            source=source,
            name=name,
            kind=kind,
            arch="i586" if kind == "arepo" else directory,
            arch_directory=directory,
            component=component,
            compressor=_compressor(plan, rng),
            oddity=_oddity(plan, rng, BINARY_ODDITIES),
        )


_Slot = tuple[str, str, str, str]


def _slots(
    plan: RepositoryPlan, rng: Random, source: SourceBlueprint, unlisted: bool
) -> Iterator[_Slot]:
    """Name, kind, arch directory and component of one binary after another, without end."""
    base = source.name
    stem = base.removeprefix("lib")
    native = _native_archs(plan)
    independent = "noarch" if "noarch" in plan.architectures else plan.architectures[0]
    if unlisted:
        yield from [(f"{base}-gostcrypto", "main", arch, "gostcrypto") for arch in native]
    if not native or rng.random() < 0.3:
        yield base, "data", independent, "classic"
    else:
        yield from _native_slots(plan, rng, base, f"lib{stem}", native)
    yield f"{base}-doc", "doc", independent, "classic"
    for i, word in enumerate(rng.sample(WORDS, len(WORDS)) * 50):
        suffix = f"-{word}" if i < len(WORDS) else f"-{word}{i // len(WORDS)}"
        if native and i % 3:
            yield from [(f"{base}{suffix}", "plugin", arch, "classic") for arch in native]
        else:
            yield f"{base}{suffix}", "data", independent, "classic"


def _native_slots(
    plan: RepositoryPlan, rng: Random, base: str, library: str, native: Sequence[str]
) -> Iterator[_Slot]:
    """The usual subpackages of a compiled program, in random order after the first."""
    repackaged = [arch for arch in plan.architectures if arch.endswith("-i586")]
    kinds = [
        (f"{base}-debuginfo", "debuginfo", "debuginfo"),
        (f"{base}-checkinstall", "checkinstall", "checkinstall"),
        (f"{base}-gostcrypto-tools", "main", "gostcrypto"),
        (f"{library}-devel", "devel", "classic"),
    ]
    if not base.startswith("python3-module-"):
        kinds.append((f"python3-module-{base}", "python", "classic"))
    if library != base:
        kinds.append((library, "library", "classic"))
    kinds = [kind for kind in kinds if kind[2] in plan.components]
    rng.shuffle(kinds)
    kinds.sort(key=lambda kind: rng.random() * (3 if kind[2] in ALL_COMPONENTS[2:] else 1))
    yield from [(base, "main", arch, "classic") for arch in native]
    for position, (name, kind, component) in enumerate(kinds):
        yield from [(name, kind, arch, component) for arch in native]
        if position == 1:
            yield from [(f"i586-{library}", "arepo", arch, "classic") for arch in repackaged]


_FILE_FACTORS = {"doc": 5.0, "debuginfo": 3.0, "devel": 2.0, "checkinstall": 0.3, "library": 0.2}


def _share_files(
    plan: RepositoryPlan,
    rng: Random,
    sources: list[SourceBlueprint],
    binaries: list[BinaryBlueprint],
) -> tuple[list[SourceBlueprint], list[BinaryBlueprint]]:
    """Give every package its number of files; a few binaries get thousands, some none."""
    spare = plan.files - 2 * plan.sources
    patches = [rng.choice((0, 0, 0, 1, 1, 2, 4)) for _ in sources]
    if spare < 4 * sum(patches) or not binaries:
        patches = share(0 if binaries else spare, [1] * len(sources))
    sources = [
        replace(source, file_count=2 + more) for source, more in zip(sources, patches, strict=True)
    ]
    left = spare - sum(patches)
    reserved = [_ODD_FILES if binary.oddity else 0 for binary in binaries]
    if left < sum(reserved):
        reserved = [0] * len(binaries)
    weights = [
        0.0 if rng.random() < 0.04 else _FILE_FACTORS.get(b.kind, 1.0) * rng.lognormvariate(0, 1.8)
        for b in binaries
    ]
    if binaries and not any(weights):
        weights[0] = 1.0
    counts = share(left - sum(reserved), weights)
    return sources, [
        replace(binary, file_count=count + extra)
        for binary, count, extra in zip(binaries, counts, reserved, strict=True)
    ]


def _share_dependencies(
    plan: RepositoryPlan,
    rng: Random,
    sources: list[SourceBlueprint],
    binaries: list[BinaryBlueprint],
) -> tuple[list[SourceBlueprint], list[BinaryBlueprint]]:
    """Give every package its number of dependencies of all kinds."""
    weights = [rng.lognormvariate(0, 0.8) for _ in sources]
    weights += [rng.lognormvariate(0.2, 1.1) for _ in binaries]
    counts = share(plan.dependencies - len(binaries), weights)
    sources = [replace(s, dependency_count=n) for s, n in zip(sources, counts, strict=False)]
    rest = counts[len(sources) :]
    return sources, [
        replace(binary, dependency_count=1 + count)
        for binary, count in zip(binaries, rest, strict=True)
    ]


def _make_orphans(
    plan: RepositoryPlan, rng: Random, binaries: list[BinaryBlueprint]
) -> list[BinaryBlueprint]:
    """Let as many ordinary binaries as wanted name a source that does not exist."""
    candidates = [i for i, binary in enumerate(binaries) if binary.kind != "arepo"]
    chosen = set(rng.sample(candidates, min(plan.orphans, len(candidates))))
    return [replace(b, orphan=True) if i in chosen else b for i, b in enumerate(binaries)]
