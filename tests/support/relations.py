"""Dependencies of composed packages."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from tests.support.blueprints import BinaryBlueprint, SourceBlueprint
from tests.support.rpm_package import (
    SENSE_EQUAL,
    SENSE_FIND_PROVIDES,
    SENSE_FIND_REQUIRES,
    SENSE_GREATER,
    SENSE_LESS,
    SENSE_RPMLIB,
    Dependency,
    RpmPackage,
)
from tests.support.vocabulary import WORDS, pick, source_name

Relations = tuple[list[Dependency], list[Dependency], list[Dependency], list[Dependency]]

_COMMON_REQUIRES = (
    Dependency("/bin/sh", "", SENSE_FIND_REQUIRES),
    Dependency("rpmlib(PayloadIsLzma)", "", SENSE_RPMLIB),
    Dependency("libc.so.6(GLIBC_2.34)(64bit)", "", SENSE_FIND_REQUIRES),
    Dependency("libc.so.6(GLIBC_2.2.5)(64bit)", "", SENSE_FIND_REQUIRES),
    Dependency("libm.so.6(GLIBC_2.29)(64bit)", "", SENSE_FIND_REQUIRES),
    Dependency("rtld(GNU_HASH)", "", SENSE_FIND_REQUIRES),
    Dependency("libgcc_s.so.1(GCC_3.0)(64bit)", "", SENSE_FIND_REQUIRES),
    Dependency("libstdc++.so.6(CXXABI_1.3.9)(64bit)", "", SENSE_FIND_REQUIRES),
    Dependency("coreutils", "", 0),
    Dependency("/usr/bin/perl", "", SENSE_FIND_REQUIRES),
    Dependency("python3", "", SENSE_FIND_REQUIRES),
)
_BUILD_TOOLS = ("gcc-c++", "cmake", "rpm-build-python3", "perl-devel", "meson", "libtool", "zlib")
_SET_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def build_requires(source: SourceBlueprint, rng: Random) -> list[Dependency]:
    """Build requirements of a source package."""
    chosen = {name: Dependency(name) for name in _BUILD_TOOLS[: source.dependency_count // 3]}
    _fill(chosen, source.dependency_count, lambda i: _package_requirement(source, rng, i))
    return _in_order(chosen)


def binary_relations(binary: BinaryBlueprint, rng: Random) -> Relations:
    """Requirements, provisions, conflicts and obsoletions of a binary package."""
    total = binary.dependency_count - 1
    conflicts = int(total >= 8 and rng.random() < 0.15)
    obsoletes = int(total >= 8 and rng.random() < 0.25) * 2
    provided = int((total - conflicts - obsoletes) * rng.random() ** 2 * 0.6)
    required = total - conflicts - obsoletes - provided
    return (
        _requires(binary, rng, required),
        _provides(binary, rng, provided),
        [Dependency(f"{binary.name}-ng", "0.5-alt1", SENSE_LESS) for _ in range(conflicts)],
        [Dependency(f"{binary.name}-old{i}", "1:0.1", SENSE_LESS) for i in range(obsoletes)],
    )


def _requires(binary: BinaryBlueprint, rng: Random, count: int) -> list[Dependency]:
    """Requirements: some that everything has, then packages, then libraries and modules."""
    common = _COMMON_REQUIRES[: min(len(_COMMON_REQUIRES), count // 2)]
    chosen: dict[str, Dependency] = {str(item.name): item for item in common}
    _fill(chosen, count, lambda i: _requirement(binary, rng, i))
    return _in_order(chosen)


def _requirement(binary: BinaryBlueprint, rng: Random, number: int) -> Dependency:
    kind = rng.random()
    if kind < 0.4:
        return _package_requirement(binary.source, rng, number)
    word = pick(rng, WORDS)
    if kind < 0.6:
        name = f"lib{word}.so.{number % 9}()(64bit)"
        return Dependency(name, _symbol_set(rng, 10, 60), SENSE_FIND_REQUIRES | 12)
    if kind < 0.8:
        return Dependency(f"python3({word}.{pick(rng, WORDS)})", "", SENSE_FIND_REQUIRES)
    return Dependency(f"perl({word.title()}/{pick(rng, WORDS)}.pm)", "", SENSE_FIND_REQUIRES)


def _package_requirement(source: SourceBlueprint, rng: Random, number: int) -> Dependency:
    """Another package of the repository, sometimes of some version."""
    name = source_name(int(rng.random() * source.universe))
    if number % 3:
        return Dependency(name)
    return Dependency(name, f"{number % 5}.{number % 7}", SENSE_EQUAL | SENSE_GREATER)


def _provides(binary: BinaryBlueprint, rng: Random, count: int) -> list[Dependency]:
    """The package itself, and what it contains."""
    own = RpmPackage(
        binary.name,
        binary.source.version,
        binary.source.release,
        binary.source.epoch,
        disttag=binary.source.disttag,
    ).self_provide
    chosen: dict[str, Dependency] = {str(own.name): own}
    _fill(chosen, 1 + count, lambda i: _provision(binary, rng, i))
    return _in_order(chosen)


def _provision(binary: BinaryBlueprint, rng: Random, number: int) -> Dependency:
    word = pick(rng, WORDS)
    if binary.kind == "python":
        return Dependency(f"python3({binary.source.name}.{word}{number})", "", SENSE_FIND_PROVIDES)
    if number < 4:
        name = f"lib{word}.so.{number}()(64bit)"
        return Dependency(name, _symbol_set(rng, 20, 200), SENSE_FIND_PROVIDES | SENSE_EQUAL)
    if number % 2:
        name = f"pkgconfig({word}-{number})"
        return Dependency(name, f"{number}.0", SENSE_FIND_PROVIDES | SENSE_EQUAL)
    return Dependency(f"perl({word.title()}/N{number}.pm)", "1.0", SENSE_FIND_PROVIDES | 8)


def _symbol_set(rng: Random, shortest: int, longest: int) -> str:
    """The compressed set of symbols that ALT writes as a version."""
    length = shortest + int(rng.random() * (longest - shortest))
    return "set:" + "".join(rng.choices(_SET_ALPHABET, k=length))


def _fill(chosen: dict[str, Dependency], count: int, make: Callable[[int], Dependency]) -> None:
    """Add made dependencies until there are that many; a taken name gets a number."""
    while len(chosen) < count:
        made = make(len(chosen))
        name = str(made.name)
        if name in chosen:
            name = f"{name}-{len(chosen)}"
        chosen[name] = made._replace(name=name)


def _in_order(chosen: dict[str, Dependency]) -> list[Dependency]:
    return [chosen[name] for name in sorted(chosen)]
