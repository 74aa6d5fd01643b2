"""``python -m benchmarks``: measure everything, print it, write ``latest.json``.

With names, only those parts are measured and nothing is written: ``python -m benchmarks task``.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.daemon import measure_daemon
from benchmarks.images import measure_images
from benchmarks.parsing import measure_parsing
from benchmarks.repository import measure_repository
from benchmarks.sources import measure_sources
from benchmarks.task import measure_tasks

_WORK = Path("build/bench")
_LATEST = Path(__file__).with_name("latest.json")
_PARTS: dict[str, Callable[[Path], dict[str, float]]] = {
    "repository": measure_repository,
    "parsing": measure_parsing,
    "task": measure_tasks,
    "sources": measure_sources,
    "images": measure_images,
    "daemon": measure_daemon,
}
"""Each measures in a directory, which it may find as an earlier run left it, and names figures."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(_PARTS)}")
    chosen = parser.parse_args().parts
    unknown = sorted(set(chosen) - set(_PARTS))
    if unknown:
        parser.error(f"no such part: {', '.join(unknown)}")
    _WORK.mkdir(parents=True, exist_ok=True)
    # What is installed has its modules compiled.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    figures: dict[str, float] = {}
    for name in chosen or _PARTS:
        figures |= _measure(name)
    if not chosen:
        _LATEST.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


def _measure(name: str) -> dict[str, float]:
    """Measure one part and print its figures at once."""
    started = time.perf_counter()
    figures = {key: round(value, 3) for key, value in _PARTS[name](_WORK).items()}
    print(f"{name}: measured in {time.perf_counter() - started:.0f} s")
    for key, value in figures.items():
        print(f"    {key:28} {value:>12,.3f}", flush=True)
    return figures


if __name__ == "__main__":
    sys.exit(main())
