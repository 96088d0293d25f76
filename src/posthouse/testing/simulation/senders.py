"""Senders: they post to sources as real ones do, each by the rules of its own for what it sends again, and when."""

import asyncio
import json
from collections.abc import Iterator
from itertools import count
from random import Random
from typing import Final

from posthouse.providers.index import PRESETS
from posthouse.testing.simulation.http_client import Doors, NoAnswer
from posthouse.testing.simulation.letters import Writer
from posthouse.testing.simulation.machine import EPOCH_MS
from posthouse.testing.simulation.plan import Plan, generator
from posthouse.testing.simulation.records import Call, Letter, Outcome, Records, SourceRecord

#: Problems after which nobody knows whether a request was kept.
_UNCLEAR: Final = frozenset({"store_unavailable", "internal_error"})
#: Whoever sends nothing again by itself is asked to by a person, now and then: after so many seconds.
_ASKED_AGAIN: Final = (0.5, 8.0)
_ASKED_SHARE: Final = 0.6
_REPEATED_AFTER: Final = (0.05, 12.0)  #: seconds
_BURST_AT_ONCE: Final = 50


class Sender:
    """Whoever posts to one source.

    Args:
        source: which; it may not be made yet.
        plan: of the history.
        doors: lead to the nodes.
        records: get every request.
        nonces: numbers that no two events share.
        began: the loop time at which the plan begins.
    """

    def __init__(
        self,
        source: SourceRecord,
        plan: Plan,
        *,
        doors: Doors,
        records: Records,
        nonces: "count[int]",
        began: float,
    ) -> None:
        self._source = source
        self._plan = source.plan
        self._doors = doors
        self._records = records
        self._loop = asyncio.get_running_loop()
        self._ends_at = began + plan.seconds
        self._burst_at = began + plan.seconds / 3
        self._chance: Random = generator(plan.seed, f"sender {source.plan.number}")
        self._rules = PRESETS[source.plan.provider].sender
        self._writer = Writer(self._plan, self._chance, nonces, self._now_ms)

    async def run(self) -> None:
        """Post until the plan's time is over, and nothing is sent again any more."""
        async with asyncio.TaskGroup() as group:
            if self._plan.burst:
                group.create_task(self._post_many())
            while True:
                await asyncio.sleep(self._chance.expovariate(1 / self._plan.pause))
                if self._loop.time() >= self._ends_at:
                    return
                if self._source.path:
                    group.create_task(self._deliver(self._written()))

    def _written(self, *, plain: bool = False) -> Letter:
        letter = self._writer.write(self._source.secret, plain=plain)
        self._source.letters.append(letter)
        for name in ("forged", "beat"):
            self._records.counts[f"letters {name}"] += getattr(letter, name)
        self._records.counts["letters unreadable"] += not letter.readable
        self._records.counts["letters with a contradiction"] += any(item.contradicts for item in letter.items)
        return letter

    async def _deliver(self, letter: Letter) -> None:
        """Post it, again as often as its sender does, and perhaps once more although it was taken."""
        delays = iter(self._rules.delays_s)
        while not await self._post(letter):
            delay = self._next_delay(letter.posts[-1], delays)
            if delay is None:
                return
            await asyncio.sleep(delay)
        if self._chance.random() < self._plan.repeat_share:
            await asyncio.sleep(self._chance.uniform(*_REPEATED_AFTER))
            self._records.counts["letters repeated"] += 1
            await self._post(letter)

    def _next_delay(self, call: Call, delays: Iterator[int]) -> float | None:
        """Seconds until the sender posts it again; None: it does not."""
        rules = self._rules
        wants = rules.retries_timeouts if call.status is None else rules.retries(call.status)
        if wants:
            delay = next(delays, None)
            return None if delay is None else float(delay)
        if rules.delays_s or self._loop.time() >= self._ends_at or self._chance.random() >= _ASKED_SHARE:
            return None
        return self._chance.uniform(*_ASKED_AGAIN)

    async def _post_many(self) -> None:
        """More at once than the node holds in memory."""
        await asyncio.sleep(max(0.0, self._burst_at - self._loop.time()))
        if not self._source.path:
            return
        self._records.counts["bursts"] += 1
        for _ in range(0, self._plan.burst, _BURST_AT_ONCE):
            async with asyncio.TaskGroup() as group:
                for _ in range(_BURST_AT_ONCE):
                    group.create_task(self._post(self._written(plain=True)))

    async def _post(self, letter: Letter) -> bool:
        """Post it once; whether its sender was told that it is taken."""
        call = Call("POST", self._source.path + letter.query, self._loop.time(), letter.body, node=self._doors.choose())
        call.patience = self._rules.deadline_ms / 1_000
        letter.posts.append(call)
        self._records.calls.append(call)
        try:
            answer = await self._doors[call.node].request("POST", call.path, letter.headers, letter.body, call.patience)
        except NoAnswer as error:
            call.outcome = Outcome.UNKNOWN if error.sent else Outcome.UNSENT
        else:
            call.status = answer.status
            call.outcome = Outcome.DONE if answer.status == self._source.accepted else Outcome.REFUSED
            if call.outcome is Outcome.REFUSED and answer.body:
                call.code = json.loads(answer.body)["code"]
                if call.code in _UNCLEAR:
                    call.outcome = Outcome.UNKNOWN
        call.ended_at = self._loop.time()
        kind = "forged" if letter.forged else "genuine"
        self._records.counts[f"post {kind} {call.status or call.outcome}"] += 1
        return call.outcome is Outcome.DONE

    def _now_ms(self) -> int:
        """The true time: no sender's clock is the node's."""
        return EPOCH_MS + int(self._loop.time() * 1_000)
