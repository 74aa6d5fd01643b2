"""What holds in every process that runs tests, wherever it was started and however busy the
machine is."""

from __future__ import annotations

import ctypes
import signal

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

# A run behind nohup, or in the background of a script, ignores some signals, which every program
# that a test starts would inherit.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)
