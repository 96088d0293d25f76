"""Receivers on real sockets: they verify, count, hang, recover, and forget nothing."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.unit.drills.conftest import SECRET, Sender

from posthouse.drills.honesty import Facts
from posthouse.drills.receivers import Inbox, Receivers, Reply

Until = Callable[[Callable[[], bool]], Awaitable[None]]


async def test_a_delivery_is_verified_answered_and_remembered(inbox: Inbox, sender: Any) -> None:
    assert await sender.send("evt-1", b'{"n": 1}') == 200
    assert await sender.send("evt-2", b'{"n": 2}') == 200
    assert (inbox.delivered, inbox.forged, inbox.altered, inbox.repeated) == (2, 0, 0, {})
    assert Facts.of(inbox.seen["evt-1"])[:3] == (1, 0, 1)


async def test_a_repeat_is_no_new_delivery_and_its_first_time_is_kept(inbox: Inbox, sender: Any) -> None:
    await sender.send("evt-1")
    first = inbox.seen["evt-1"].answered_at
    await sender.send("evt-1")
    await sender.send("evt-1")
    assert inbox.delivered == 1
    assert inbox.seen["evt-1"].answered == 3
    assert inbox.repeated["evt-1"][0] == first
    assert len(inbox.repeated["evt-1"]) == 2


async def test_a_repeat_with_other_content_and_a_wrong_signature_are_noticed(inbox: Inbox, sender: Any) -> None:
    await sender.send("evt-1", b'{"n": 1}')
    await sender.send("evt-1", b'{"n":1}')
    assert (inbox.altered, inbox.forged) == (1, 0)
    await sender.send("evt-2", secret="whsec_" + "A" * 32)
    assert inbox.forged == 1


async def test_a_request_to_a_path_of_nobody_is_counted(inbox: Inbox, receivers: Receivers, sender: Any) -> None:
    assert await sender.send("evt-1", path="/nobody") == 404
    assert receivers.strays == 1
    assert not inbox.seen


async def test_what_hangs_is_held_and_is_over_when_the_other_side_hangs_up(
    inbox: Inbox, sender: Any, until: Until
) -> None:
    inbox.hangs = True
    await sender.begin("evt-1")
    await until(lambda: "evt-1" in inbox.seen)
    assert Facts.of(inbox.seen["evt-1"])[:3] == (1, 1, 0)
    await sender.close()
    await until(lambda: inbox.seen["evt-1"].held == 0)
    assert Facts.of(inbox.seen["evt-1"])[:3] == (1, 0, 0)
    assert inbox.delivered == 0


async def test_a_recovery_answers_what_is_held(inbox: Inbox, sender: Any, until: Until) -> None:
    inbox.hangs = True
    reader = await sender.begin("evt-1")
    await until(lambda: "evt-1" in inbox.seen)
    inbox.recover()
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    assert Facts.of(inbox.seen["evt-1"])[:3] == (1, 0, 1)
    assert inbox.delivered == 1
    await sender.close()
    await until(lambda: True)
    assert inbox.seen["evt-1"].held == 0


def test_an_inbox_wants_its_types_or_all() -> None:
    assert Inbox("/a", "", ["drill.a", "drill.b"]).wants("drill.b")
    assert not Inbox("/a", "", ["drill.a"]).wants("drill.b")
    assert Inbox("/a", "", ["*"]).wants("anything")


async def test_a_receiver_replies_as_it_is_told_and_only_a_200_delivers(inbox: Inbox, sender: Any) -> None:
    inbox.trace = []
    replies = iter([Reply(500), Reply(200, delay_s=0.01), Reply(503, delay_s=0.01)])
    inbox.reply = lambda _event: next(replies)
    assert [await sender.send("evt-1") for _ in range(3)] == [500, 200, 503]
    assert [(step.event, step.status) for step in inbox.trace] == [
        ("evt-1", status) for status in (None, 500, None, 200, None, 503)
    ]
    assert Facts.of(inbox.seen["evt-1"])[:3] == (3, 0, 1)
    assert inbox.delivered == 1
    assert inbox.first_answered_at("evt-1") == inbox.trace[3].at
    assert inbox.first_answered_at("evt-2") is None


async def test_the_first_200_of_an_event_is_remembered(inbox: Inbox, sender: Any) -> None:
    await sender.send("evt-1")
    first = inbox.first_answered_at("evt-1")
    await sender.send("evt-1")
    assert inbox.first_answered_at("evt-1") == first
    assert inbox.seen["evt-1"].answered_at > (first or 0.0)


async def test_a_receiver_can_hang_up(inbox: Inbox, sender: Any) -> None:
    inbox.reply = lambda _event: Reply(None)
    reader = await sender.begin("evt-1")
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await reader.readexactly(1)
    assert Facts.of(inbox.seen["evt-1"])[:3] == (1, 0, 0)


async def test_a_late_answer_is_no_answer_once_the_other_side_hung_up(inbox: Inbox, sender: Any, until: Until) -> None:
    inbox.reply = lambda _event: Reply(200, delay_s=30.0)
    await sender.begin("evt-1")
    await until(lambda: "evt-1" in inbox.seen)
    inbox.recover()  # what is late is late for a reason of its own
    assert Facts.of(inbox.seen["evt-1"])[:3] == (1, 1, 0)
    await sender.close()
    await until(lambda: inbox.seen["evt-1"].held == 0)
    assert inbox.delivered == 0


async def test_a_black_hole_takes_connections_and_says_nothing(
    receivers: Receivers, inbox: Inbox, until: Until
) -> None:
    hole = receivers.inbox("hole", ["drill.a"], behind_hole=True)
    hole.secret = SECRET
    kept, late, beside = Sender(receivers.hole_port), Sender(receivers.hole_port), Sender(receivers.port)
    assert await kept.send("evt-1", path="/hole") == 200
    receivers.swallow()
    readers = [await sender.begin("evt-2", path="/hole") for sender in (kept, late)]
    await until(lambda: len(receivers.connections) == 2)
    assert await beside.send("evt-3") == 200, "those beside it notice nothing"
    assert list(hole.seen) == ["evt-1"]
    receivers.give_back()
    for reader in readers:
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await reader.readexactly(1)
    again = Sender(receivers.hole_port)
    assert await again.send("evt-2", path="/hole") == 200
    assert (hole.delivered, inbox.delivered) == (2, 1)
    for sender in (kept, late, beside, again):
        with contextlib.suppress(ConnectionError):
            await sender.close()
