"""Valid values, each different from the one before."""

from typing import Any, Final

from posthouse.core import ids
from posthouse.core.inbound import (
    WHOLE,
    InboundRequest,
    Incident,
    IncidentKind,
    Objection,
    Source,
    SourceRules,
    Verdict,
    WhilePaused,
)
from posthouse.core.model import ApiKey, Attempt, Endpoint, Environment, Event, Lane, Scope, Secret, Tenant
from posthouse.core.rules import Order
from posthouse.store.protocol import Arrival, InboxItem, NewEvent, ReadEvent

NOW: Final = 1_800_000_000_000  #: when everything happens, in Unix milliseconds
LEASE_MS: Final = 10_000
DAY_MS: Final = 86_400_000
SOURCE: Final = 5  #: key of the source that requests come to, unless another one is named


class Values:
    """Makes values. Keys grow as they do on a node with this number."""

    def __init__(self, number: int = 1) -> None:
        self._number = number
        self._last_key = 0

    def key(self, at: int = NOW) -> int:
        """A key that was not there before."""
        self._last_key = ids.next_key(self._last_key, at, self._number)
        return self._last_key

    def event(self, **fields: Any) -> Event:
        """An event; its key is of the time at which it was accepted."""
        key = self.key(fields.get("accepted_at", NOW))
        given = {
            "id": ids.make_id(ids.EVENT, key),
            "environment": Environment.LIVE,
            "tenant": "acme",
            "type": "order.created",
            "accepted_at": NOW,
            "data": b'{"n": 1}',
        }
        return Event(key=key, **{**given, **fields})

    def new_event(
        self,
        *owed: int,
        lane: Lane = Lane.LIVE,
        identities: tuple[tuple[str, str], ...] = (),
        fingerprint: bytes = b"",
        orders: tuple[Order, ...] = (),
        **fields: Any,
    ) -> NewEvent:
        """An event to accept, owed to these endpoints."""
        return NewEvent(
            event=self.event(**fields),
            owed=owed,
            lane=lane,
            identities=identities,
            fingerprint=fingerprint,
            orders=orders,
        )

    def named(self, name: str, fingerprint: bytes = b"same", **fields: Any) -> NewEvent:
        """An event with a publisher's id, owed to nobody."""
        return self.new_event(identities=(("id", name),), fingerprint=fingerprint, id=name, **fields)

    def endpoint(self, **fields: Any) -> Endpoint:
        """An endpoint with nothing left at its default."""
        given: dict[str, Any] = {
            "environment": Environment.LIVE,
            "tenant": "acme",
            "url": "https://example.com/hook?a=1&b=ü",
            "events": ("order.*", "user.created"),
            "description": "Orders \N{RIGHTWARDS ARROW} ERP",
            "headers": (("x-a", "1"), ("x-b", '"quoted"')),
            "secrets": (Secret("whsec_b2xk", NOW - 1, NOW + 1), Secret("whsec_bmV3", NOW)),
            "retry": "standard-webhooks",
            "connect_timeout_ms": 1_000,
            "timeout_ms": 9_000,
            "created_at": NOW,
            "updated_at": NOW,
        }
        return Endpoint(key=self.key(), **{**given, **fields})

    def api_key(self, **fields: Any) -> ApiKey:
        """An API key."""
        key = self.key()
        given: dict[str, Any] = {
            "hash": key.to_bytes(32, "big"),
            "prefix": "ph_live_ab",
            "environment": Environment.LIVE,
            "scope": Scope.PUBLISH,
            "name": "shop",
            "created_at": NOW,
        }
        return ApiKey(key=key, **{**given, **fields})

    def source(self, **fields: Any) -> Source:
        """A source with nothing left at its default."""
        key = self.key()
        given: dict[str, Any] = {
            "environment": Environment.LIVE,
            "tenant": "acme",
            "name": "Payments",
            "provider": "custom",
            "token": f"tok-{key}",
            "secrets": (Secret("b2xk", NOW - 1, NOW + 1), Secret("bmV3", NOW)),
            "description": "Mandates \N{RIGHTWARDS ARROW} ERP",
            "created_at": NOW,
            "updated_at": NOW,
            "rules": SourceRules(
                fresh_seconds=60,
                heartbeat_seconds=0,
                body_bytes_max=5_000,
                while_paused=WhilePaused.REFUSE,
                key_hosts=("keys.example.com",),
                declaration='{"name": "custom"}',
            ),
        }
        return Source(key=key, **{**given, **fields})

    def request(self, source_key: int = SOURCE, **fields: Any) -> InboundRequest:
        """A request; its key is of the time at which it was received."""
        given: dict[str, Any] = {
            "received_at": NOW,
            "method": "POST",
            "url": "https://hooks.example.com/in/tok?a=1&b=ü",
            "head": 'Content-Type: application/json\r\nX-Twice:"1"\r\nx-twice: ü\r\n',
            "body": b'{"n": 1}\x00\xff',
            "verdict": Verdict.GENUINE,
            "status": 200,
        }
        given.update(fields)
        return InboundRequest(key=self.key(given["received_at"]), source_key=source_key, **given)

    def arrival(
        self,
        source_key: int = SOURCE,
        *,
        environment: Environment = Environment.LIVE,
        tenant_id: str = "acme",
        objection: Objection | None = None,
        **fields: Any,
    ) -> Arrival:
        """A request to keep; with an objection, a refused one."""
        if objection is not None:
            fields = {"verdict": Verdict.REFUSED, "status": 401, **fields}
        detail = "" if objection is None else "It is not signed."
        return Arrival(self.request(source_key, **fields), environment, tenant_id, objection, detail)

    def read_event(
        self,
        name: str,
        *owed: int,
        position: int = 0,
        window_ms: int = DAY_MS,
        stream: str | None = None,
        sequence: int | None = None,
        **fields: Any,
    ) -> ReadEvent:
        """An event of a request; those of one name are repetitions of each other."""
        return ReadEvent(
            new=self.new_event(*owed, **fields),
            position=position,
            digest=name.encode().rjust(16, b"\x00"),
            window_ms=window_ms,
            stream=stream,
            sequence=sequence,
        )

    def incident(self, **fields: Any) -> Incident:
        """An incident of a source."""
        given: dict[str, Any] = {
            "environment": Environment.LIVE,
            "tenant": "acme",
            "kind": IncidentKind.SOURCE_SILENT,
            "source_key": SOURCE,
            "opened_at": NOW,
            "detail": "Nothing came for an hour.",
        }
        return Incident(key=self.key(), **{**given, **fields})


def item(request: InboundRequest, position: int = WHOLE, waived: Objection | None = None) -> InboxItem:
    """What is in the inbox of a request that nobody has looked at yet."""
    return InboxItem(request, position, waived, 0, request.received_at)


def tenant(tenant_id: str = "acme", **fields: Any) -> Tenant:
    """A tenant."""
    given: dict[str, Any] = {"environment": Environment.LIVE, "name": "Acme", "created_at": NOW}
    return Tenant(id=tenant_id, **{**given, **fields})


def attempt(number: int = 1, **fields: Any) -> Attempt:
    """A successful attempt."""
    given: dict[str, Any] = {"started_at": NOW + number, "outcome": "success", "status": 200}
    return Attempt(number=number, **{**given, **fields})
