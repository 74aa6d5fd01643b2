"""A small soak of the daemon; ``python -m tests.support.soak`` runs a big one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.clickhouse import ClickHouseServer
from tests.support.rabbitmq import Broker
from tests.support.soak import run_soak

pytestmark = [pytest.mark.server, pytest.mark.slow]


def test_whatever_breaks_every_message_has_its_effect_once(
    tmp_path: Path, broker: Broker, effects_server: ClickHouseServer
) -> None:
    result = run_soak(tmp_path, broker, effects_server, messages=120, seed=4, rounds=1)
    assert len(result.faults) == 8
    assert set(result.faults.values()) == {1}
    assert result.memory_growth < 1.5
