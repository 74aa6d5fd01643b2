"""The folder of inputs that other projects made; a test that needs it is skipped without it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_CHECKOUT = Path(__file__).parents[2]


def fixtures() -> Path:
    """Where the folder is: in ALTREPODB_FIXTURES, or beside the checkout."""
    given = os.environ.get("ALTREPODB_FIXTURES")
    folder = Path(given) if given else _CHECKOUT / "../shared/fixtures"
    if not folder.is_dir():
        pytest.skip(f"no inputs of other projects: {folder} (ALTREPODB_FIXTURES) is missing")
    return folder.resolve()
