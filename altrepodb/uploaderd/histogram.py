"""How long loads take, in the buckets that Prometheus wants."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field

__all__ = ["BOUNDS_S", "Histogram"]

BOUNDS_S = (0.01, 0.1, 1.0, 10.0, 60.0, 300.0, 1800.0, 7200.0)


@dataclass(slots=True)
class Histogram:
    """Counts by upper bound in seconds; the last one counts what is longer than all bounds."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_S) + 1))
    total_s: float = 0.0

    def add(self, seconds: float) -> None:
        """Count one load."""
        self.counts[bisect_left(BOUNDS_S, seconds)] += 1
        self.total_s += seconds
