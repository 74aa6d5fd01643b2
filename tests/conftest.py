"""What holds in every process that runs tests, whatever else the machine does meanwhile."""

from __future__ import annotations

import ctypes

from hypothesis import HealthCheck, settings

# How long an example takes, or making one, tells of the machine more than of the program.
settings.register_profile(
    "any machine", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")

# mallopt(3): every thread would reserve an arena, and a process that is forked for a test of
# memory limits begins with the address space of all threads that earlier tests have had.
_M_ARENA_MAX = -8
_ARENAS = 2
ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _ARENAS)
