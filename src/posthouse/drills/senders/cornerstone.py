"""Cornerstone: a log of 72 hours that is replayed when the webhook is started again."""

import asyncio
import gzip
from collections import deque
from collections.abc import AsyncIterator, Sequence
from enum import StrEnum
from typing import Any, Final

import msgspec

from posthouse.core.time_format import rfc3339
from posthouse.drills.senders.books import Books, Event, Fate
from posthouse.drills.senders.dispatch import Dispatch, Manner, Parcel, ship_all
from posthouse.drills.senders.pace import Pace
from posthouse.drills.senders.wire import Request, Wire
from posthouse.providers.senders.cornerstone import PRESET

TYPES: Final = ("TrainingCompleted", "TrainingAssigned")
RECORDS_PER_REQUEST: Final = 50  #: how many Cornerstone puts into one is not documented
RETENTION_S: Final = PRESET.sender.drops_s or 0
REPLAYED_OPEN_MAX: Final = 1_000  #: requests that are not settled; each may be large
HEARTBEAT_S: Final = PRESET.heartbeat_seconds or 0
_STEP_S: Final = PRESET.sender.delays_s[0]  #: each retry waits for so much longer than the one before it
_MS: Final = 1_000


class Tier(StrEnum):
    """What the customer has bought."""

    STARTER = "starter"
    SMALL = "small"
    MEDIUM = "medium"
    LARGE = "large"

    @property
    def retries(self) -> int:
        """How often a request is sent again."""
        return {Tier.STARTER: 1, Tier.SMALL: 10, Tier.MEDIUM: 20, Tier.LARGE: 50}[self]

    @property
    def records_per_second(self) -> int:
        """At most, for a short time."""
        return {Tier.STARTER: 1, Tier.SMALL: 10, Tier.MEDIUM: 100, Tier.LARGE: 1_000}[self]

    @property
    def delays_s(self) -> tuple[float, ...]:
        """Before each retry: 30, 60, 90 s and so on."""
        return tuple(_STEP_S * number for number in range(1, self.retries + 1))


class _Record(msgspec.Struct, gc=False):
    """A line of the log."""

    offset: int
    key: str
    type: str
    at: int  #: Unix ms
    born_s: float  #: seconds of the sender's time; below 0 before the simulation began
    lag: float | None = None  #: its age in seconds when it was first sent


class Cornerstone:
    """One webhook of Cornerstone.

    Records become old by the sender's time. What is not acknowledged stays in the log, whatever came of it, and is sent
    again by the next :meth:`run`; what is older than the retention when that begins is named in :attr:`expired`.

    Args:
        url: of the receiver.
        secret: the value of ``x-api-key``.
        wire: to send through.
        pace: its time and chance.
        tier: how often it retries.
        records_per_request: at most.
        types: of the events, in turn.
    """

    def __init__(
        self,
        url: str,
        secret: str,
        *,
        wire: Wire,
        pace: Pace,
        tier: Tier = Tier.LARGE,
        records_per_request: int = RECORDS_PER_REQUEST,
        types: Sequence[str] = TYPES,
    ) -> None:
        self.books = Books()
        self.expired: list[str] = []  #: keys of records that became too old
        manner = Manner(rules=PRESET.sender, delays_s=tier.delays_s)
        self._dispatch = Dispatch(manner, wire=wire, pace=pace, books=self.books)
        self._headers = (
            ("Content-Type", "application/json"),
            ("Content-Encoding", "gzip"),
            ("x-api-key", secret),
        )
        self._url = url
        self._pace = pace
        self._tier = tier
        self._per_request = records_per_request
        self._types = types
        self._log: dict[str, _Record] = {}  #: by key, what is not acknowledged, in the order of the offsets
        self._offset = pace.chance.randrange(1_000)
        self._webhook = pace.identity()
        self._session = pace.identity()

    @property
    def unacknowledged(self) -> int:
        """How many records the log still holds."""
        return len(self._log)

    def log(self, count: int, *, oldest_s: float = 0.0, newest_s: float = 0.0) -> None:
        """Things happen, and nothing is sent yet: so many records of these ages, oldest first."""
        now_s, now = self._pace.elapsed_s(), self._pace.now_ms()
        for number in range(count):
            age_s = oldest_s - (oldest_s - newest_s) * number / max(count - 1, 1)
            self._log_one(now_s - age_s, now - int(age_s * _MS))

    async def run(self, *, fresh: int = 0, fresh_rate: float = 1.0, replay_rate: float | None = None) -> None:
        """Start the webhook: replay the log, and send so many fresh records meanwhile.

        Returns when each is acknowledged or given up, or after :meth:`stop`.

        Args:
            fresh: how many things happen from now on.
            fresh_rate: of them in a second.
            replay_rate: old records in a second; None: what the tier allows.
        """
        self._dispatch.resume()
        self._session = self._pace.identity()
        self._expire()
        old = deque(self._log.values())
        rate = float(self._tier.records_per_second) if replay_rate is None else replay_rate
        beat = asyncio.create_task(self._beat())
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(ship_all(self._replayed(old, rate), self._ship, open_max=REPLAYED_OPEN_MAX))
                group.create_task(ship_all(self._fresh(fresh, fresh_rate), self._ship))
        finally:
            beat.cancel()
            await asyncio.gather(beat, return_exceptions=True)

    def stop(self) -> None:
        """Stop the webhook: :meth:`run` returns once the requests on their way are answered."""
        self._dispatch.halt()

    # -- the log --------------------------------------------------------------------------------

    def _log_one(self, born_s: float, at: int) -> _Record:
        self._offset += 1
        kind = self._types[self._offset % len(self._types)]
        record = _Record(self._offset, self._pace.identity(), kind, at, born_s)
        self._log[record.key] = record
        self.books.open(record.key, kind)
        return record

    def _expire(self) -> None:
        now_s = self._pace.elapsed_s()
        gone = [record for record in self._log.values() if now_s - record.born_s > RETENTION_S]
        for record in gone:
            del self._log[record.key]
            self.expired.append(record.key)
        self.books.settle([record.key for record in gone], Fate.EXPIRED)

    # -- sending --------------------------------------------------------------------------------

    async def _replayed(self, old: deque[_Record], rate: float) -> AsyncIterator[Parcel]:
        requests = -(-len(old) // self._per_request)
        async for _ in self._pace.due(requests, rate / self._per_request):
            if self._dispatch.is_halted:
                return
            yield self._parcel([old.popleft() for _ in range(min(self._per_request, len(old)))])

    async def _fresh(self, total: int, rate: float) -> AsyncIterator[Parcel]:
        """Each by itself, while that keeps up with the rate; else several together."""
        async for number in self._pace.due(total, rate, at_once=self._per_request):
            if self._dispatch.is_halted:
                return
            yield self._parcel([self._log_one(self._pace.elapsed_s(), self._pace.now_ms()) for _ in range(number)])

    async def _ship(self, parcel: Parcel) -> None:
        if await self._dispatch.ship(parcel) is Fate.DELIVERED:
            for event in parcel.events:
                self._log.pop(event.key, None)

    async def _beat(self) -> None:
        while True:
            await self._pace.wait(HEARTBEAT_S)
            # A heartbeat that nobody takes is not sent again: the next one will come.
            await self._dispatch.attempt(self._parcel([]), 1)

    def _parcel(self, records: Sequence[_Record]) -> Parcel:
        events = tuple(self._event(record) for record in records)
        shared = {"sessionId": self._session, "subscriptionId": self._webhook}
        data = b",".join(event.data for event in events)

        def make(number: int) -> Request:
            rest = msgspec.json.encode({"attemptNumber": number, **shared})[1:]
            # The fastest level: a replay is long, and the receiver has to unpack it all the same.
            body = gzip.compress(b'{"records":[' + data + b"]," + rest, compresslevel=1, mtime=0)
            return Request(self._url, self._headers, body)

        return Parcel(events, make)

    def _event(self, record: _Record) -> Event:
        if record.lag is None:
            record.lag = round(max(self._pace.elapsed_s() - record.born_s, 0.0), 7)
        data = msgspec.json.encode(_document(record))
        return Event(key=record.key, type=record.type, data=data, identity=record.key)


def _document(record: _Record) -> dict[str, Any]:
    """The record as it stands in a request: the same bytes whenever it is sent."""
    user = 10_000 + record.offset % 5_000
    training = f"8d86b95c-0000-4000-8000-{record.offset % 997:012x}"
    said = {
        "eventId": record.key,
        "trainingId": training,
        "trainingRef": training.upper(),
        "targetUserId": user,
        "targetUserRef": f"USER{user}",
        "trainingTitle": f"Training {record.offset % 997}",
        "isStandaloneOnTranscript": True,
        "trainingActionDateTimestamp": rfc3339(record.at),
    }
    headers = {"actorId": user, "corpName": "simulated", "messageId": record.key, "cultureName": ""}
    name = record.type[:1].lower() + record.type[1:]
    return {
        "lag": record.lag,
        "value": {"headers": headers, "lmsEventsCase": record.type, name: {"data": said}},
        "offset": record.offset,
        "timestamp": rfc3339(record.at),
        "correlationId": record.key,
    }
