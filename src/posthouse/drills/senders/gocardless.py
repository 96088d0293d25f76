"""GoCardless: batches of events, eight retries each, and an API that tells what became of them."""

import hashlib
import hmac
from collections.abc import AsyncIterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import msgspec

from posthouse.core.time_format import rfc3339
from posthouse.drills.http_client import Answer
from posthouse.drills.senders.books import Books, Event
from posthouse.drills.senders.dispatch import Dispatch, Manner, Parcel, ship_all
from posthouse.drills.senders.pace import Pace
from posthouse.drills.senders.wire import Failure, Request, Wire
from posthouse.providers.senders.gocardless import PRESET

EVENTS_PER_REQUEST: Final = 250
#: What may happen to which resource.
ACTIONS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "payments": ("created", "submitted", "confirmed", "paid_out", "failed"),
        "mandates": ("created", "submitted", "active", "cancelled"),
        "subscriptions": ("created", "payment_created", "cancelled"),
        "payouts": ("paid",),
        "refunds": ("created", "paid"),
    }
)
TYPES: Final = ("payments", "mandates")
ORIGIN: Final = "https://api.gocardless.com"
_ID_CHARACTERS: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_ID_LENGTH: Final = 12


class Webhook(msgspec.Struct, kw_only=True):
    """One request as the API shows it."""

    id: str
    created_at: int  #: Unix ms
    url: str
    body: bytes
    headers: tuple[tuple[str, str], ...]
    parcel: Parcel
    attempts: int = 0
    answer: Answer | Failure | None = None  #: of the latest attempt; None: it was never attempted

    @property
    def successful(self) -> bool:
        """Whether the latest attempt was."""
        return isinstance(self.answer, Answer) and 200 <= self.answer.status < 300  # noqa: PLR2004 - the HTTP class

    def document(self) -> dict[str, Any]:
        """As ``GET /webhooks`` writes it."""
        answer = self.answer if isinstance(self.answer, Answer) else None
        return {
            "id": self.id,
            "created_at": rfc3339(self.created_at),
            "is_test": False,
            "url": self.url,
            "successful": self.successful,
            "request_headers": dict(self.headers),
            "request_body": self.body.decode(),
            "response_code": None if answer is None else answer.status,
            "response_body": None if answer is None else answer.body.decode(errors="replace"),
            "response_body_truncated": False,
            "response_headers": {} if answer is None else dict(answer.headers),
            "response_headers_content_truncated": False,
            "response_headers_count_truncated": False,
        }


class GoCardless:
    """One webhook endpoint of GoCardless.

    Args:
        url: of the receiver.
        secret: of the endpoint.
        wire: to send through.
        pace: its time and chance.
        types: of the resources, in turn; see :data:`ACTIONS`.
        events_per_request: at most.
    """

    def __init__(
        self,
        url: str,
        secret: str,
        *,
        wire: Wire,
        pace: Pace,
        types: Sequence[str] = TYPES,
        events_per_request: int = EVENTS_PER_REQUEST,
    ) -> None:
        self.books = Books()
        self.events: dict[str, dict[str, Any]] = {}  #: by id, as the API shows them, oldest first
        self.webhooks: dict[str, Webhook] = {}  #: by id, oldest first
        self._dispatch = Dispatch(
            Manner(rules=PRESET.sender), wire=wire, pace=pace, books=self.books, listen=self._hear
        )
        self._url = url
        self._secret = secret.encode()
        self._pace = pace
        self._types = types
        self._per_request = events_per_request

    async def run(self, total: int, rate: float) -> None:
        """Send so many events; returns when each is delivered or lost."""
        await ship_all(self._parcels(total, rate), self._dispatch.ship)

    async def retry(self, webhook: str) -> None:
        """Send this webhook again, with all its retries, as the button in the dashboard does. Raises KeyError."""
        await self._dispatch.ship(self.webhooks[webhook].parcel)

    def make(self, count: int) -> Webhook:
        """So many things happen, and stand in a new webhook that nobody sends."""
        events = tuple(self._event() for _ in range(count))
        webhook = self._id("WB")
        meta = msgspec.json.encode({"webhook_id": webhook})
        body = b'{"events":[' + b",".join(event.data for event in events) + b'],"meta":' + meta + b"}"
        headers = (
            ("Origin", ORIGIN),
            ("User-Agent", "gocardless-webhook-service/1.2"),
            ("Content-Type", "application/json"),
            ("Webhook-Signature", hmac.new(self._secret, body, hashlib.sha256).hexdigest()),
        )
        request = Request(self._url, headers, body)
        made = self.webhooks[webhook] = Webhook(
            id=webhook,
            created_at=self._pace.now_ms(),
            url=self._url,
            body=body,
            headers=headers,
            parcel=Parcel(events, lambda _: request, name=webhook),
        )
        return made

    async def _parcels(self, total: int, rate: float) -> AsyncIterator[Parcel]:
        """As few webhooks as the rate allows."""
        requests = -(-total // self._per_request)
        left = total
        async for _ in self._pace.due(requests, rate / self._per_request):
            count = min(self._per_request, left)
            left -= count
            yield self.make(count).parcel

    def _hear(self, parcel: Parcel, answer: Answer | Failure) -> None:
        webhook = self.webhooks[parcel.name]
        webhook.attempts += 1
        webhook.answer = answer

    def _event(self) -> Event:
        kind = self._types[len(self.events) % len(self._types)]
        action = self._pace.chance.choice(ACTIONS.get(kind, ("created",)))
        one = kind.removesuffix("s")
        identity = self._id("EV")
        said = self.events[identity] = {
            "id": identity,
            "created_at": rfc3339(self._pace.now_ms()),
            "resource_type": kind,
            "action": action,
            "metadata": {},
            "details": {"origin": "gocardless", "cause": f"{one}_{action}", "description": "Simulated."},
            "links": {one: self._id(one[:2].upper())},
        }
        self.books.open(identity, f"{kind}.{action}")
        return Event(key=identity, type=f"{kind}.{action}", data=msgspec.json.encode(said), identity=identity)

    def _id(self, prefix: str) -> str:
        return prefix + "".join(self._pace.chance.choices(_ID_CHARACTERS, k=_ID_LENGTH))
