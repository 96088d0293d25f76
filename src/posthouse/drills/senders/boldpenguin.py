"""Bold Penguin: one event a request, 25 retries over three weeks, and an API that sends again."""

import asyncio
import hashlib
import hmac
import random
from collections.abc import AsyncIterator, Sequence
from http import HTTPStatus
from typing import Any, Final

import msgspec

from posthouse.core.time_format import rfc3339
from posthouse.drills.http_client import Answer
from posthouse.drills.senders.books import Books, Event
from posthouse.drills.senders.dispatch import Dispatch, Manner, Parcel, ship_all
from posthouse.drills.senders.local_server import NOT_FOUND, Call, Said
from posthouse.drills.senders.pace import Pace
from posthouse.drills.senders.wire import Failure, Request, Wire
from posthouse.providers.senders.boldpenguin import PRESET

#: The subjects are documented; of their actions there is no list.
TYPES: Final = (
    "question_set:completed",
    "quote_request:updated",
    "carrier:updated",
    "application_form:created",
    "application_form:completed",
)
#: Documented is an HMAC, not of which hash.
ALGORITHM: Final = "sha256"
HOOK: Final = 1
_JITTER_S: Final = 10


def jitter(chance: random.Random, retry: int) -> float:
    """What Sidekiq adds to the wait before this retry, counted from 0: up to ten seconds for each so far."""
    return chance.random() * _JITTER_S * (retry + 1)


class Hooked(msgspec.Struct, kw_only=True):
    """One request as the API shows it."""

    id: int
    event: str
    enqueued_at: int  #: Unix ms
    parcel: Parcel
    redelivery: bool = False
    status: int | None = None  #: of the latest answer

    def document(self) -> dict[str, Any]:
        """As ``GET /hooks/ID/requests`` writes it."""
        at = rfc3339(self.enqueued_at)
        return {
            "id": self.id,
            "delivery_id": self.parcel.name,
            "event": self.event,
            "enqueued_at": at,
            "redelivery": self.redelivery,
            "hook_id": HOOK,
            "created_at": at,
            "updated_at": at,
            "response_status": self.status,
        }


class BoldPenguin:
    """One hook of Bold Penguin.

    Args:
        url: of the receiver.
        secret: of the hook; None: nothing is signed.
        wire: to send through.
        pace: its time and chance.
        types: subjects and actions, in turn.
        records: how many there are of each type; a further event concerns one of them again. None: each a new one.
        algorithm: of the signature.
        prefix: before the signature, such as ``sha256=``.
        header: one more, that the hook was made with: name and value.
    """

    def __init__(
        self,
        url: str,
        secret: str | None,
        *,
        wire: Wire,
        pace: Pace,
        types: Sequence[str] = TYPES,
        records: int | None = None,
        algorithm: str = ALGORITHM,
        prefix: str = "",
        header: tuple[str, str] | None = None,
    ) -> None:
        self.books = Books()
        self.requests: dict[int, Hooked] = {}  #: by id, oldest first
        self._dispatch = Dispatch(
            Manner(rules=PRESET.sender, jitter=jitter), wire=wire, pace=pace, books=self.books, listen=self._hear
        )
        self._url = url
        self._secret = secret
        self._pace = pace
        self._types = types
        self._records = records
        self._ids: list[str] = []
        self._algorithm = algorithm
        self._prefix = prefix
        self._header = header
        self._by_delivery: dict[str, Hooked] = {}

    async def run(self, total: int, rate: float) -> None:
        """Send so many events; returns when each is delivered or lost."""
        await ship_all(self._parcels(total, rate), self._dispatch.ship)

    async def redeliver(self, request: int) -> None:
        """Send this request again, with all its retries. Raises KeyError."""
        hooked = self.requests[request]
        hooked.redelivery = True
        await self._dispatch.ship(hooked.parcel)

    async def _parcels(self, total: int, rate: float) -> AsyncIterator[Parcel]:
        async for _ in self._pace.due(total, rate):
            yield self._make().parcel

    def _make(self) -> Hooked:
        number = len(self.requests) + 1
        event_type = self._types[(number - 1) % len(self._types)]
        subject, _, _ = event_type.partition(":")
        said = {
            "id": self._record(number - 1),
            "subject": subject,
            "revision": number,
            "updated_at": rfc3339(self._pace.now_ms()),
            "owner": {"id": number, "first_name": "Ada", "last_name": "Penguin", "is_guest": False},
        }
        body = msgspec.json.encode(said)
        event = Event(key=hashlib.sha256(body).hexdigest(), type=event_type, data=body)
        self.books.open(event.key, event.type)
        headers = [("Content-Type", "application/json"), ("X-Emperor-Event", event_type)]
        if self._secret is not None:
            digest = hmac.new(self._secret.encode(), body, self._algorithm).hexdigest()
            headers.append(("X-Signature", self._prefix + digest))
        if self._header is not None:
            headers.append(self._header)
        request = Request(self._url, tuple(headers), body)
        parcel = Parcel((event,), lambda _: request, name=self._pace.identity())
        made = Hooked(id=number, event=event_type, enqueued_at=self._pace.now_ms(), parcel=parcel)
        self.requests[number] = self._by_delivery[parcel.name] = made
        return made

    def _record(self, number: int) -> str:
        """The id of what the event of this number, from 0, is about."""
        if self._records is not None and number >= self._records * len(self._types):
            return self._ids[number % (self._records * len(self._types))]
        self._ids.append(self._pace.identity())
        return self._ids[-1]

    def _hear(self, parcel: Parcel, answer: Answer | Failure) -> None:
        self._by_delivery[parcel.name].status = answer.status if isinstance(answer, Answer) else None


class BoldPenguinApi:
    """Answers as Bold Penguin does; for a :class:`~posthouse.drills.senders.local_server.LocalServer`.

    Args:
        sender: whose requests these are.
        access_token: that a caller must know.
    """

    def __init__(self, sender: BoldPenguin, *, access_token: str) -> None:
        self._sender = sender
        self._authorization = f"Bearer {access_token}"
        self._under_way: set[asyncio.Task[None]] = set()

    def __call__(self, call: Call) -> Said:
        """The answer to one call. A redelivery has only begun then."""
        if not hmac.compare_digest(call.headers.get("authorization", "").encode(), self._authorization.encode()):
            return Said({"error": "unauthorized"}, HTTPStatus.UNAUTHORIZED)
        parts = tuple(part for part in call.path.split("/") if part)
        match call.method, parts:
            case "GET", ("hooks", hook, "requests") if hook == str(HOOK):
                return Said([each.document() for each in self._sender.requests.values()])
            case "POST", ("hooks", hook, "requests", number, "redeliver") if hook == str(HOOK) and number.isdigit():
                return self._redeliver(int(number))
        return NOT_FOUND

    async def settle(self) -> None:
        """Return when every redelivery that was asked for has ended."""
        while self._under_way:
            await asyncio.wait(self._under_way)

    def _redeliver(self, number: int) -> Said:
        hooked = self._sender.requests.get(number)
        if hooked is None:
            return NOT_FOUND
        task = asyncio.get_running_loop().create_task(self._sender.redeliver(number))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return Said({**hooked.document(), "redelivery": True}, HTTPStatus.CREATED)
