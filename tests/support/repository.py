"""Compose ALT-style repositories of any size from a seed, and their next day's snapshots.

`python -m tests.support.repository DIR` does so from a shell.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

from tests.support.blueprints import (
    ALL_COMPONENTS,
    BinaryBlueprint,
    Blueprints,
    RepositoryPlan,
    SourceBlueprint,
    draw_blueprints,
)
from tests.support.descriptions import Blueprint
from tests.support.repository_tree import (
    ComposedPackage,
    ComposedRepository,
    write_repository,
)

__all__ = [
    "ComposedPackage",
    "ComposedRepository",
    "RepositoryPlan",
    "compose_repository",
    "evolve_repository",
]

_DAY = 86_400


def compose_repository(root: Path | str, plan: RepositoryPlan | None = None) -> ComposedRepository:
    """Write a repository tree into a directory that does not exist or is empty."""
    plan = plan or RepositoryPlan()
    return write_repository(Path(root), plan, draw_blueprints(plan))


def evolve_repository(
    earlier: ComposedRepository,
    root: Path | str,
    *,
    changed: float = 0.03,
    added: float = 0.01,
    removed: float = 0.005,
    seed: int = 1,
) -> ComposedRepository:
    """Write the next day's snapshot: shares of the sources are rebuilt, new, or gone.

    The share of rebuilt sources is rounded up, the others down. Binaries go with their sources.
    Files of other packages are hard links to the earlier tree: both must be on one file system.
    """
    plan = replace(earlier.plan, time=earlier.plan.time + _DAY, task=earlier.plan.task + 50)
    names = [package.blueprint for package in earlier.sources.values()]
    sources = [blueprint for blueprint in names if isinstance(blueprint, SourceBlueprint)]
    Random(f"{plan.seed}/{plan.task}/{seed}").shuffle(sources)
    gone = sources[: int(len(sources) * removed)]
    rebuilt = sources[len(gone) :][: math.ceil(len(sources) * changed)]
    before = [package.blueprint for package in earlier.packages]
    kept = _keep(before, gone, {source.name: _rebuild(source, plan) for source in rebuilt})
    fresh = _draw_new(earlier, plan, int(len(sources) * added))
    blueprints = Blueprints(kept.sources + fresh.sources, kept.binaries + fresh.binaries)
    return write_repository(Path(root), plan, blueprints, earlier)


def _keep(
    before: Iterable[Blueprint],
    gone: Iterable[SourceBlueprint],
    rebuilt: Mapping[str, SourceBlueprint],
) -> Blueprints:
    """The packages of the day before, less those that are gone, with rebuilt ones replaced."""
    without = {source.name for source in gone}
    sources: list[SourceBlueprint] = []
    binaries: list[BinaryBlueprint] = []
    for blueprint in before:
        if isinstance(blueprint, BinaryBlueprint):
            source = blueprint.source
            if source.name not in without:
                new = rebuilt.get(source.name)
                binaries.append(replace(blueprint, source=new) if new else blueprint)
        elif blueprint.name not in without:
            sources.append(rebuilt.get(blueprint.name, blueprint))
    return Blueprints(tuple(sources), tuple(binaries))


def _rebuild(source: SourceBlueprint, plan: RepositoryPlan) -> SourceBlueprint:
    """The source as built once more, shortly before the snapshot."""
    task = plan.task - 1 - source.task % 40
    return replace(source, builds=(*source.builds, plan.time - 3600), task=task)


def _draw_new(earlier: ComposedRepository, plan: RepositoryPlan, count: int) -> Blueprints:
    """New sources with their binaries, of the same shape as the rest."""
    old = earlier.plan
    if not count:
        return Blueprints((), ())
    per_source = [
        max(least, total * count // max(old.sources, 1))
        for least, total in ((1, old.binaries), (2 * count, old.files), (1, old.dependencies))
    ]
    binaries, files, dependencies = per_source
    part = replace(
        plan,
        sources=count,
        binaries=binaries,
        files=files,
        dependencies=max(dependencies, binaries),
        orphans=0,
    )
    return draw_blueprints(part, first=1_000_000 + plan.task)


def main(arguments: Sequence[str] | None = None) -> int:
    """Compose a repository as the command line says, and print what it holds."""
    options = _parse(arguments)
    plan = RepositoryPlan(
        sources=options.sources,
        binaries=options.binaries,
        files=options.files,
        dependencies=options.depends,
        seed=options.seed,
        architectures=tuple(options.arch or RepositoryPlan().architectures),
        components=tuple(options.component or ALL_COMPONENTS),
        odd_share=options.odd,
        orphans=options.orphans,
        blake2b=not options.no_blake2b,
        list_streams=options.list_streams,
    )
    started = time.perf_counter()
    repository = compose_repository(options.directory, plan)
    _report(repository, started, options.json)
    if options.next_day:
        started = time.perf_counter()
        _report(evolve_repository(repository, options.next_day), started, options.json)
    return 0


def _report(repository: ComposedRepository, started: float, as_json: bool) -> None:
    totals: dict[str, str | int | float] = {"root": str(repository.root), **repository.totals()}
    totals["seconds"] = round(time.perf_counter() - started, 2)
    if as_json:
        print(json.dumps(totals))
    else:
        print(", ".join([f"{key} {value}" for key, value in totals.items()]))


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.support.repository", description=(__doc__ or "").splitlines()[0]
    )
    plan = RepositoryPlan()
    parser.add_argument("directory", type=Path, help="where to write; must be new or empty")
    parser.add_argument("--sources", type=int, default=plan.sources, help="source packages")
    parser.add_argument("--binaries", type=int, default=plan.binaries, help="binary packages")
    parser.add_argument("--files", type=int, default=plan.files, help="file entries in all")
    parser.add_argument("--depends", type=int, default=plan.dependencies, help="dependencies")
    parser.add_argument("--seed", type=int, default=plan.seed, help="what the tree follows from")
    parser.add_argument("--arch", action="append", help="arch directory; may be repeated")
    parser.add_argument("--component", action="append", help="component; may be repeated")
    parser.add_argument("--odd", type=float, default=plan.odd_share, help="share of odd packages")
    parser.add_argument("--orphans", type=int, default=0, help="binaries without their source")
    parser.add_argument("--no-blake2b", action="store_true", help="no BLAKE2b in the lists")
    parser.add_argument("--list-streams", type=int, default=1, help="xz streams per header list")
    parser.add_argument("--next-day", type=Path, help="also write the next day's snapshot there")
    parser.add_argument("--json", action="store_true", help="one JSON object per tree")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
