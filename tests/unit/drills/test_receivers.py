"""Receivers on real sockets: they verify, count, hang, recover, and forget nothing."""

from collections.abc import Awaitable, Callable
from typing import Any

from posthouse.drills.honesty import Facts
from posthouse.drills.receivers import Inbox, Receivers

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
