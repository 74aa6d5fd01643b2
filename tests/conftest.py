"""What all tests start from, wherever they are run."""

from __future__ import annotations

import signal


def pytest_configure() -> None:
    """Take the usual signals again: a run behind ``nohup`` or in the background of a script
    ignores some, which every program that a test starts would inherit."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
