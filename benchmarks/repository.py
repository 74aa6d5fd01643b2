"""``repo_loader`` beside ``createrepo_c`` on the same composed tree.

The tree has about 2,100 packages, 320,000 file entries and 40,000 dependencies. A cold load
begins without a database, so the engine's start and the schema are part of it; a warm load is
the next day of an unchanged tree. ``createrepo_c`` reads each package once too: it does not
follow the links by which a repository names its packages a second time.
"""

from __future__ import annotations

import shutil
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.processes import peak_memory_mib, seconds
from tests.support.repository import RepositoryPlan, compose_repository

__all__ = ["benchmark_tree", "measure_repository"]

_ROUNDS = 5
_PEAK_ROUNDS = 3
_PLAN = RepositoryPlan(sources=600, binaries=1500, files=320_000, dependencies=40_000, seed=1)
_LARGE_PLAN = RepositoryPlan(
    sources=2400, binaries=6000, files=1_280_000, dependencies=160_000, seed=1
)
_FIRST_DAY, _SECOND_DAY = "2024-05-06", "2024-05-07"


def composed_tree(directory: Path, plan: RepositoryPlan) -> Path:
    """The tree of a plan, composed unless an earlier run has left it there whole."""
    mark = directory.with_name(directory.name + ".complete")
    if not mark.exists():
        shutil.rmtree(directory, ignore_errors=True)
        compose_repository(directory, plan)
        mark.touch()
    return directory


def benchmark_tree(directory: Path) -> Path:
    """The tree that all figures are about, below a directory that keeps it between runs."""
    return composed_tree(directory / "tree", _PLAN)


def _load_command(tree: Path, database: Path, day: str) -> list[str]:
    loader = str(Path(sys.executable).with_name("repo_loader"))
    options = ["--quiet", "--embedded", str(database), "--date", day]
    return [loader, *options, "bench", str(tree)]


def _cold_load_s(tree: Path, database: Path) -> float:
    shutil.rmtree(database, ignore_errors=True)
    return seconds(_load_command(tree, database, _FIRST_DAY))


def _warm_load_s(tree: Path, database: Path) -> float:
    return seconds(_load_command(tree, database, _SECOND_DAY))


def _createrepo_s(tree: Path, output: Path) -> float:
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    options = ["--quiet", "--database", "--workers", "2", "--skip-symlinks"]
    return seconds(["createrepo_c", *options, "--outputdir", str(output), str(tree)])


def _peak_mib(tree: Path, database: Path) -> float:
    shutil.rmtree(database, ignore_errors=True)
    return peak_memory_mib(_load_command(tree, database, _FIRST_DAY))


def _median(measure: Callable[[], float], rounds: int) -> float:
    return statistics.median(measure() for _ in range(rounds))


def measure_repository(directory: Path) -> dict[str, float]:
    """All figures of the repository loader; ``directory`` keeps the trees between runs.

    Each round loads cold, loads warm and runs createrepo_c, so that a machine that slows down
    slows all three; ratios are taken round by round.
    """
    tree = benchmark_tree(directory)
    large_tree = composed_tree(directory / "tree-4x", _LARGE_PLAN)
    database, output = directory / "database", directory / "repodata"
    _createrepo_s(tree, output)
    rounds = [
        (_cold_load_s(tree, database), _warm_load_s(tree, database), _createrepo_s(tree, output))
        for _ in range(_ROUNDS)
    ]
    peak_mib = _median(lambda: _peak_mib(tree, database), _PEAK_ROUNDS)
    large_peak_mib = _median(lambda: _peak_mib(large_tree, database), _PEAK_ROUNDS)
    return {
        "repo_cold_s": statistics.median(cold for cold, _, _ in rounds),
        "repo_warm_s": statistics.median(warm for _, warm, _ in rounds),
        "createrepo_s": statistics.median(peer for _, _, peer in rounds),
        "repo_cold_vs_createrepo": statistics.median(cold / peer for cold, _, peer in rounds),
        "repo_warm_vs_createrepo": statistics.median(warm / peer for _, warm, peer in rounds),
        "repo_peak_mib": peak_mib,
        "repo_peak_growth_4x": large_peak_mib / peak_mib,
    }
