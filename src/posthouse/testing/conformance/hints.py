"""What nodes tell each other through the store."""

import asyncio
import contextlib
import itertools

from posthouse.core.model import Lane, slot_of
from posthouse.store.protocol import Hints, HintsChannel
from posthouse.testing.conformance.races import Pair

KEYS = frozenset(range(1 << 60, (1 << 60) + 3))


class TestHints:
    """Two stores on one place, as for ``TestRaces``."""

    async def test_what_is_told_together_comes_once(self, pair: Pair) -> None:
        first, second = await _channels(pair)
        heard = _hear(second)
        work = frozenset({(7, Lane.LIVE), (8, Lane.BACKLOG)})
        for told in (Hints(work=frozenset({one}), catalogue=True) for one in work):
            first.tell(told)
        first.tell(Hints(slots=frozenset({5}), jobs=KEYS, sources=KEYS, slots_free=True))
        first.tell(Hints(withdrawn=frozenset({(3, 7)})))
        assert await heard.get() == Hints(
            work=work, slots=frozenset({5}), catalogue=True, jobs=KEYS, sources=KEYS, slots_free=True
        )
        assert await heard.get() == Hints(withdrawn=frozenset({(3, 7)}))
        assert heard.empty()

    async def test_nobody_hears_itself(self, pair: Pair) -> None:
        first, second = await _channels(pair)
        own, others = _hear(first), _hear(second)
        first.tell(Hints(slots_free=True))
        assert await others.get() == Hints(slots_free=True)
        second.tell(Hints(catalogue=True))
        assert await own.get() == Hints(catalogue=True)
        assert own.empty()

    async def test_of_very_many_queues_the_slots_are_told(self, pair: Pair) -> None:
        """What else is too much is told in part: a sweep finds the rest."""
        first, second = await _channels(pair)
        heard = _hear(second)
        many = frozenset(range(1 << 60, (1 << 60) + 1_000))
        withdrawn = frozenset((key, key) for key in many)
        first.tell(Hints(work=frozenset((key, 0) for key in many), jobs=many, sources=many, withdrawn=withdrawn))
        hints = await heard.get()
        assert not hints.work
        assert hints.slots == {slot_of(key) for key in many}
        assert hints.jobs < many
        assert hints.sources < many
        found: set[tuple[int, int]] = set()
        while found != withdrawn:
            found |= (await heard.get()).withdrawn


async def _channels(pair: Pair) -> tuple[HintsChannel, HintsChannel]:
    """Both ends, when each hears the other."""
    ends: list[HintsChannel] = []
    for scene in pair:
        assert scene.store.hints is not None
        ends.append(scene.store.hints)
    for teller, hearer in (ends, ends[::-1]):
        heard = _hear(hearer)
        for n in itertools.count():  # what is told before the other one listens is lost
            mark = Hints(jobs=frozenset({n}))
            teller.tell(mark)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.05):
                    while await heard.get() != mark:
                        pass
                    break
    return ends[0], ends[1]


def _hear(channel: HintsChannel) -> "asyncio.Queue[Hints]":
    heard: asyncio.Queue[Hints] = asyncio.Queue()
    channel.when_told(heard.put_nowait)
    return heard
