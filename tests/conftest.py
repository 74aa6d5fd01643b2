"""What holds in every process that runs tests, wherever it was started and however busy the
machine is."""

from __future__ import annotations

import signal

from hypothesis import HealthCheck, settings

from altrepodb.memory import limit_arenas

# How long an example takes, or making one, tells of the machine more than of the program.
settings.register_profile(
    "any machine", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")

# A process that is forked for a test of memory limits begins with the address space of all threads
# that earlier tests have had.
limit_arenas()

# A run behind nohup, or in the background of a script, ignores some signals, which every program
# that a test starts would inherit.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)
