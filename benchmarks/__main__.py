"""``python -m benchmarks``: measure everything, print it, write ``latest.json``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from benchmarks.daemon import measure_daemon
from benchmarks.images import measure_images
from benchmarks.parsing import headers_per_second, specs_per_second
from benchmarks.repository import measure_repository
from benchmarks.sources import measure_sources
from benchmarks.task import measure_tasks

_WORK = Path("build/bench")
_LATEST = Path(__file__).with_name("latest.json")


def main() -> int:
    _WORK.mkdir(parents=True, exist_ok=True)
    figures = measure_repository(_WORK)
    figures["headers_per_s"] = headers_per_second(_WORK / "tree")
    figures["specs_per_s"] = specs_per_second(_WORK / "tree")
    figures |= measure_tasks(_WORK)
    figures |= measure_sources(_WORK)
    figures |= measure_daemon(_WORK)
    figures |= measure_images(_WORK)
    rounded = {name: round(value, 3) for name, value in figures.items()}
    for name, value in rounded.items():
        print(f"{name:28} {value:>12,.3f}")
    _LATEST.write_text(json.dumps(rounded, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
