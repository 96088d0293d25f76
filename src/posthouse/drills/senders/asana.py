"""Asana: a webhook that shakes hands, sends compact events in one queue, and is deleted after a day of failures."""

import asyncio
import hashlib
import hmac
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from posthouse.core.time_format import rfc3339
from posthouse.drills.http_client import Answer
from posthouse.drills.plan import DrillFailed
from posthouse.drills.senders.books import Books, Event, Fate
from posthouse.drills.senders.dispatch import Dispatch, Manner, Outcome, Parcel
from posthouse.drills.senders.pace import Pace
from posthouse.drills.senders.wire import Request, Wire
from posthouse.providers.senders.asana import PRESET

TYPES: Final = ("task", "project", "story")
ACTIONS: Final = ("changed", "added", "removed", "deleted", "undeleted")
EVENTS_PER_REQUEST: Final = 100
HEARTBEAT_S: Final = PRESET.heartbeat_seconds or 0
TAKEN: Final = frozenset({200, 204})
#: The steps are not published, only that an hour after a receiver returns it gets everything.
FIRST_RETRY_S: Final = 10.0
RETRY_S_MAX: Final = 3_600.0
_SECRET_DIGITS: Final = 64


class Asana:
    """One webhook of Asana.

    Its events wait in one queue: while a request fails, what is behind it waits too.

    Args:
        url: of the receiver.
        wire: to send through.
        pace: its time and chance.
        types: of the resources that change, in turn.
        events_per_request: at most.
        first_retry_s: the wait before the first retry; each further one is twice as long.
        retry_s_max: the longest wait.
    """

    def __init__(
        self,
        url: str,
        *,
        wire: Wire,
        pace: Pace,
        types: Sequence[str] = TYPES,
        events_per_request: int = EVENTS_PER_REQUEST,
        first_retry_s: float = FIRST_RETRY_S,
        retry_s_max: float = RETRY_S_MAX,
    ) -> None:
        self.books = Books()
        self.secret = pace.hex(_SECRET_DIGITS)  #: made by Asana, which says it in the handshake
        self._dispatch = Dispatch(Manner(rules=PRESET.sender, taken=TAKEN), wire=wire, pace=pace, books=self.books)
        self._url = url
        self._wire = wire
        self._pace = pace
        self._types = types
        self._per_request = events_per_request
        self._first_retry_s = first_retry_s
        self._retry_s_max = retry_s_max
        self._queue: deque[Event] = deque()
        self._filled = asyncio.Event()
        self._made = 0
        self._first_gid = pace.chance.randrange(10**12, 10**13)

    @property
    def is_deleted(self) -> bool:
        """Whether Asana has deleted the webhook, and everything that waited for it."""
        return self._dispatch.gave_up

    async def shake_hands(self) -> None:
        """Make the webhook. Raises DrillFailed if the receiver does not send the secret back."""
        headers = (("Content-Type", "application/json"), ("X-Hook-Secret", self.secret))
        deadline_s = self._pace.deadline_s(PRESET.sender.deadline_ms / 1_000)
        answer = await self._wire.send(Request(self._url, headers, b"{}"), deadline_s=deadline_s)
        if not isinstance(answer, Answer):
            raise DrillFailed(f"The handshake had no answer: {answer}.")
        if answer.status not in TAKEN or not hmac.compare_digest(
            (answer.header("X-Hook-Secret") or "").encode(), self.secret.encode()
        ):
            raise DrillFailed(f"The handshake was answered {answer.status}, or without its secret.")

    def happen(self, count: int = 1) -> None:
        """So many things change; their events wait for :meth:`run`."""
        for _ in range(count):
            event = self._event()
            self.books.open(event.key, event.type)
            self._queue.append(event)
        self._filled.set()

    async def run(self, total: int, rate: float) -> None:
        """Send so many events, and what waits; returns when each is delivered or lost."""
        # A heartbeat says that the webhook works, before any event does.
        await self._dispatch.attempt(self._parcel(()), 1)
        makes = asyncio.create_task(self._make(total, rate))
        beat = asyncio.create_task(self._beat())
        try:
            while not makes.done() or self._queue:
                if self._queue:
                    await self._send_next()
                else:
                    self._filled.clear()
                    await self._filled.wait()
        finally:
            for task in (makes, beat):
                task.cancel()
            await asyncio.gather(makes, beat, return_exceptions=True)

    async def _make(self, total: int, rate: float) -> None:
        try:
            async for number in self._pace.due(total, rate, at_once=self._per_request):
                self.happen(number)
        finally:
            self._filled.set()

    async def _send_next(self) -> None:
        """Send the first events of the queue until they are taken, or the webhook is deleted."""
        count = min(self._per_request, len(self._queue))
        events = tuple(self._queue.popleft() for _ in range(count))
        parcel, keys = self._parcel(events), [event.key for event in events]
        wait_s = self._first_retry_s
        number = 1
        while await self._dispatch.attempt(parcel, number) is not Outcome.TAKEN:
            if self.is_deleted:
                self.books.settle(keys, Fate.LOST)
                return
            self.books.settle(keys, Fate.RETRYING)
            await self._pace.wait(wait_s)
            wait_s = min(2 * wait_s, self._retry_s_max)
            number += 1
        self.books.settle(keys, Fate.DELIVERED)

    async def _beat(self) -> None:
        while not self.is_deleted:
            await self._pace.wait(HEARTBEAT_S)
            await self._dispatch.attempt(self._parcel(()), 1)

    def _parcel(self, events: tuple[Event, ...]) -> Parcel:
        body = b'{"events":[' + b",".join(event.data for event in events) + b"]}"
        digest = hmac.new(self.secret.encode(), body, hashlib.sha256).hexdigest()
        request = Request(self._url, (("Content-Type", "application/json"), ("X-Hook-Signature", digest)), body)
        return Parcel(events, lambda _: request)

    def _event(self) -> Event:
        """A compact event: no id in it, so its content stands for one."""
        kind = self._types[self._made % len(self._types)]
        action = self._pace.chance.choice(ACTIONS)
        gid = str(self._first_gid + self._made)
        self._made += 1
        said: dict[str, Any] = {
            "user": {"gid": str(self._first_gid - 1), "resource_type": "user"},
            "resource": {"gid": gid, "resource_type": kind},
            "type": kind,
            "action": action,
            "parent": None,
            "created_at": rfc3339(self._pace.now_ms()),
        }
        if action == "changed":
            said["change"] = {"field": "name", "action": "changed", "new_value": f"{kind} {gid}"}
        data = msgspec.json.encode(said)
        return Event(key=hashlib.sha256(data).hexdigest(), type=f"{kind}.{action}", data=data)
