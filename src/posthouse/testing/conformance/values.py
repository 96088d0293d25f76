"""Valid values, each different from the one before."""

from typing import Any, Final

from posthouse.core import ids
from posthouse.core.model import ApiKey, Attempt, Endpoint, Environment, Event, Lane, Scope, Secret, Tenant
from posthouse.core.rules import Order
from posthouse.store.protocol import NewEvent

NOW: Final = 1_800_000_000_000  #: when everything happens, in Unix milliseconds
LEASE_MS: Final = 10_000


class Values:
    """Makes values. Keys grow as they do on a node."""

    def __init__(self) -> None:
        self._last_key = 0

    def key(self, at: int = NOW) -> int:
        """A key that was not there before."""
        self._last_key = ids.next_key(self._last_key, at, 1)
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


def tenant(tenant_id: str = "acme", **fields: Any) -> Tenant:
    """A tenant."""
    given: dict[str, Any] = {"environment": Environment.LIVE, "name": "Acme", "created_at": NOW}
    return Tenant(id=tenant_id, **{**given, **fields})


def attempt(number: int = 1, **fields: Any) -> Attempt:
    """A successful attempt."""
    given: dict[str, Any] = {"started_at": NOW + number, "outcome": "success", "status": 200}
    return Attempt(number=number, **{**given, **fields})
