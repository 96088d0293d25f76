"""Hints as they travel: gathered, cut, and read with care."""

import asyncio
from pathlib import Path

import pytest

from posthouse.core.model import slot_of
from posthouse.store.protocol import Hints
from posthouse.store.shared.hinting import MESSAGE_BYTES_MAX, MESSAGES_MAX, Hinting, merged, parted
from posthouse.store.sqlite.datagrams import FOLDER, Datagrams

LONG = frozenset(range((1 << 63) - 3_000, 1 << 63))  # keys of the greatest length
PAIRS = frozenset((key, key) for key in LONG)


def test_all_that_was_gathered_is_one() -> None:
    assert merged([]) == Hints()
    assert parted(Hints()) == []
    told = [Hints(work=frozenset({(1, 0)}), catalogue=True), Hints(work=frozenset({(2, 1)}), jobs=frozenset({7}))]
    assert merged(told) == Hints(work=frozenset({(1, 0), (2, 1)}), catalogue=True, jobs=frozenset({7}))


@pytest.mark.parametrize("count", [1, 149, 150, 151, 900, 3_000])
def test_no_message_is_too_long(count: int) -> None:
    keys, pairs = frozenset(sorted(LONG)[:count]), frozenset(sorted(PAIRS)[:count])
    work = frozenset((key, 2) for key in keys)
    sent: list[bytes] = []
    asyncio.run(_send(Hints(work=work, jobs=keys, sources=keys, withdrawn=pairs, slots=frozenset(range(256))), sent))
    assert 1 < len(sent) <= MESSAGES_MAX
    assert max(map(len, sent)) <= MESSAGE_BYTES_MAX


async def _send(hints: Hints, sent: list[bytes]) -> None:
    hinting = Hinting("me", sent.append)
    hinting.tell(hints)
    hinting.stop()


def test_what_is_withdrawn_is_named_in_as_many_messages_as_it_takes() -> None:
    withdrawn = frozenset(sorted(PAIRS)[:1_000])
    parts = parted(Hints(withdrawn=withdrawn))
    assert frozenset[tuple[int, int]]().union(*(part.withdrawn for part in parts)) == withdrawn


def test_of_many_queues_the_slots_are_told() -> None:
    (part,) = parted(Hints(work=frozenset((key, 1) for key in LONG), slots=frozenset({3})))
    assert part == Hints(slots=frozenset({3, *map(slot_of, LONG)}))


def test_what_cannot_be_read_is_lost_and_what_is_newer_is_not_read() -> None:
    heard: list[Hints] = []
    hinting = Hinting("me", lambda _: None)
    hinting.when_told(heard.append)
    for message in (b"", b"\xff", "[]", '{"sender":"a"}', '{"sender":"me","hints":{"catalogue":true}}'):
        hinting.hear(message)
    assert heard == []
    hinting.hear('{"sender":"a","hints":{"jobs":[7],"new":1},"other":2}')
    assert heard == [Hints(jobs=frozenset({7}))]


async def test_the_socket_of_one_that_died_is_taken_away(tmp_path: Path) -> None:
    """And of one that ends, at once. The path may be longer than an address."""
    directory = tmp_path / ("d" * 120)
    directory.mkdir()
    ends = [Datagrams(directory) for _ in range(3)]
    heard: asyncio.Queue[Hints] = asyncio.Queue()
    ends[1].when_told(heard.put_nowait)
    ends[2]._loop.remove_reader(ends[2]._socket)
    ends[2]._socket.close()
    assert len(list((directory / FOLDER).iterdir())) == 3
    ends[0].tell(Hints(slots_free=True))
    assert await heard.get() == Hints(slots_free=True)
    assert len(list((directory / FOLDER).iterdir())) == 2
    for end in ends[:2]:
        end.close()
        end.close()
    assert list((directory / FOLDER).iterdir()) == []
