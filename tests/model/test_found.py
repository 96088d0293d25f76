"""Histories that once broke a promise."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from posthouse.testing.histories.receivers import HANG, Reply
from posthouse.testing.histories.run import Run
from posthouse.testing.histories.things import Item
from posthouse.transport.protocol import Failure

DAY_MS = 86_400_000


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    made = Run(tmp_path)
    yield made
    made.look("live", "test")
    made.close()


def create(run: Run, event_type: str, reply: Reply | None = None, **fields: Any) -> None:
    """An endpoint for one type of event."""
    wanted = {"url": f"http://203.0.114.1/{event_type}", "events": [event_type], **fields}
    run.world.replies[wanted["url"]] = reply
    run.play(
        lambda: run.ask("POST", "/v1/endpoints", by=0, body=wanted),
        lambda model: model.create_endpoint("live", wanted, None),
    )


def event(run: Run, event_type: str, *, age: int | None = None) -> Item:
    """An event of a type, which may have happened some time ago."""
    return Item(event_type, b"1", occurred_at=None if age is None else run.clock.now_ms() - age)


def publish(run: Run, *items: Item) -> None:
    run.publish("live", items, None, batch=True)


def test_a_busy_endpoint_in_the_ring_does_not_hide_one_that_is_free(run: Run) -> None:
    """With room for one request left, the endpoint whose turn it was had none; nobody was asked behind it."""
    for name in "acb":
        create(run, name, Reply())
        publish(run, event(run, name))  # which shows that it answers
    for name in "ac":
        run.world.replies[f"http://203.0.114.1/{name}"] = HANG
    publish(run, event(run, "c"), event(run, "c"), event(run, "a"))
    publish(run, event(run, "a"), event(run, "a", age=DAY_MS))
    publish(run, event(run, "b", age=DAY_MS))
    assert [d.status for d in run.model.deliveries.values()] == ["delivered"] * 3 + ["waiting"] * 5 + ["delivered"]


def test_who_answers_at_last_does_not_wait_among_those_who_do_not(run: Run) -> None:
    """It had asked for a request more while it was not known to answer, and kept its place in that queue."""
    create(run, "a", HANG)
    create(run, "b", Reply())
    run.world.holds_all = True
    for name in "abab":
        publish(run, event(run, name))
    run.world.holds_all = False
    run.let_go(1, Reply())
    assert [d.status for d in run.model.deliveries.values()] == ["waiting", "delivered", "waiting", "delivered"]


def test_a_breaker_that_is_open_is_shown_by_the_next_life_though_nothing_is_owed(run: Run) -> None:
    create(run, "a", Reply(None, failure=Failure.REFUSED), retry="none")
    publish(run, *(event(run, "a") for _ in range(5)))
    run.kill(None)
    assert [e.health.state for e in run.model.endpoints] == ["down"]
