"""The publishing application of a drill: a steady rate, and each event repeated until its 202."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterator
from typing import Final

import msgspec

from posthouse.drills.events import Outgoing
from posthouse.drills.http_client import Answer
from posthouse.drills.line import CutOff, Line, NotConnected
from posthouse.drills.plan import DrillFailed

CONNECTIONS: Final = 64
WAITING_MAX: Final = 10_000  #: events that are due and not taken by a connection; then the clock stands still
AGAIN_SECONDS: Final = 0.1  #: before an event is published again
ACCEPTED: Final = 202
_AGAIN: Final = frozenset({429, 503})


class Sent(msgspec.Struct, gc=False):
    """What the publisher remembers of an event."""

    type: str
    digest: bytes
    accepted_at: float | None = None  #: monotonic; None: it has no 202


class _Accepted(msgspec.Struct):
    deliveries: int
    duplicate: bool


_decode: Final = msgspec.json.Decoder(_Accepted).decode


class Publisher:
    """Publishes on the drill's background loop; others read plain numbers.

    Args:
        url: the node; it may come and go.
        api_key: of the node.
        tenant: whose events these are.
    """

    def __init__(self, url: str, api_key: str, *, tenant: str) -> None:
        self._url = url
        self._api_key = api_key
        self._tenant = tenant
        self._due: asyncio.Queue[Outgoing | None] = asyncio.Queue(WAITING_MAX)
        self._stopping = False
        #: Ordering key → whose turn it is: an event is published once the one of its key before it has its 202.
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self.rate = 0.0  #: events a second that :meth:`run` publishes; may be changed meanwhile
        self.sent: dict[str, Sent] = {}  #: every event that was published, answered or not
        self.acknowledged = 0  #: events with a 202
        self.owed = 0  #: deliveries of those
        self.repeats = 0  #: 202s that said: it was there before
        self.refused = 0  #: answers that ask for a repeat
        self.cut_off: list[float] = []  #: when a request lost its connection before its answer came

    @property
    def accepted(self) -> set[str]:
        """The ids of the events with a 202."""
        return {event for event, sent in self.sent.items() if sent.accepted_at is not None}

    def stop(self) -> None:
        """Make no more events; :meth:`run` ends when all that were made are accepted."""
        self._stopping = True

    async def run(self, events: Iterator[Outgoing], *, rate: float) -> None:
        """Publish all of these in this order, one by one. Raises DrillFailed in a group if one is refused for good."""
        self.rate = rate
        async with asyncio.TaskGroup() as group:
            for _ in range(CONNECTIONS):
                group.create_task(self._work())
            await self._pace(events)

    async def _pace(self, events: Iterator[Outgoing]) -> None:
        due_at = time.monotonic()
        for event in events:
            await asyncio.sleep(max(0.0, due_at - time.monotonic()))
            if self._stopping:
                break
            await self._due.put(event)
            due_at += 1 / self.rate
        for _ in range(CONNECTIONS):
            await self._due.put(None)

    async def _work(self) -> None:
        line = Line(self._url, self._api_key)
        try:
            while (event := await self._due.get()) is not None:
                self.sent[event.id] = Sent(event.type, event.digest)
                if event.ordering_key is None:
                    await self._publish(line, event)
                else:
                    async with self._turns[event.ordering_key]:
                        await self._publish(line, event)
        finally:
            line.close()

    async def offer(self, line: Line, event: Outgoing) -> Answer:
        """Publish one event once, whatever the answer is. Raises NotConnected or CutOff."""
        answer = await line.ask("POST", "/v1/events", event.body(self._tenant))
        if answer.status == ACCEPTED:
            self._note(event, _decode(answer.body))
        return answer

    def _note(self, event: Outgoing, accepted: _Accepted) -> None:
        sent = self.sent.setdefault(event.id, Sent(event.type, event.digest))
        sent.accepted_at = time.monotonic()
        self.acknowledged += 1
        self.owed += accepted.deliveries
        self.repeats += accepted.duplicate

    async def _publish(self, line: Line, event: Outgoing) -> None:
        answer = await self._until_taken(line, event.body(self._tenant))
        self._note(event, _decode(answer.body))

    async def _until_taken(self, line: Line, body: bytes) -> Answer:
        """Send this until it has its 202; that answer."""
        while True:
            try:
                answer = await line.ask("POST", "/v1/events", body)
            except CutOff:
                self.cut_off.append(time.monotonic())
                continue
            except NotConnected:
                pass
            else:
                if answer.status == ACCEPTED:
                    return answer
                if answer.status not in _AGAIN:
                    raise DrillFailed(f"The node refused {body[:80]!r}…: {answer.status} {answer.body[:300]!r}.")
                self.refused += 1
            await asyncio.sleep(AGAIN_SECONDS)
