"""One line at a time for what may happen thousands of times a second."""

from typing import Any

import pytest

from posthouse.engine import seldom as seldom_module
from posthouse.engine.seldom import SeldomLog
from posthouse.telemetry import Log
from posthouse.testing.manual_clock import ManualClock


def test_one_line_a_second_tells_how_often_it_happened(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[tuple[str, int, str]] = []

    def note(event: Log, *, exc_info: BaseException, count: int, **fields: Any) -> None:
        said.append((event.name, count, fields["endpoint"]))

    monkeypatch.setattr(seldom_module, "log", note)
    clock = ManualClock()
    seldom = SeldomLog(Log.DELIVERY_FAULT, clock)
    for n in range(2_500):
        seldom(ValueError(), endpoint=f"ep_{n}")
        clock.advance(1)
    assert said == [
        ("DELIVERY_FAULT", 1, "ep_0"),
        ("DELIVERY_FAULT", 1_000, "ep_1000"),
        ("DELIVERY_FAULT", 1_000, "ep_2000"),
    ]
