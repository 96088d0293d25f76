"""What the API promises, kept in plain values: written from docs/, without a look at the code that keeps it.

Here stands what each request is answered and what it changes; ``traffic`` follows what reaches receivers.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from posthouse.testing.histories.things import (
    ApiKey,
    Delivery,
    Endpoint,
    Event,
    Item,
    Secret,
    Tenant,
    View,
)

STALE_MS = 5 * 60_000
SECRETS_MAX = 4
OVERLAP_MS = 24 * 3_600_000


@dataclass(slots=True)
class Told:
    """What a request is answered: status, the fields that are known, and who learns from the rest."""

    status: int
    fields: Mapping[str, Any] = field(default_factory=dict)
    learn: Callable[[View], None] = lambda _: None


def refused(status: int, code: str) -> Told:
    """A problem document."""
    return Told(status, {"code": code, "status": status})


UNKNOWN = refused(404, "not_found")
CONFLICT = refused(409, "conflict")
REUSED = refused(409, "idempotency_conflict")


@dataclass(slots=True)
class Flight:
    """A request on its way, and what its delivery was when it left."""

    delivery: Delivery
    round: int
    failures: int
    started_at: int
    spends: bool  #: whether a failure counts as one of the attempts of its schedule


@dataclass(slots=True)
class Made:
    """What an Idempotency-Key of a management call made."""

    request: object
    thing: Endpoint | ApiKey
    secret: Secret | None = None


class Model:
    """The whole of it. ``now`` is set before every step."""

    def __init__(self, now: int, *, per_endpoint: int, in_all: int) -> None:
        self.now = now
        self.per_endpoint = per_endpoint
        self.in_all = in_all
        self.endpoints: list[Endpoint] = []
        self.events: list[Event] = []
        self.deliveries: dict[tuple[int, int], Delivery] = {}  #: by the orders of event and endpoint
        self.tenants: dict[tuple[str, str], Tenant] = {}
        self.keys: list[ApiKey] = []
        self.identities: dict[tuple[str, str, str, str], tuple[object, Event]] = {}
        self.made: dict[tuple[str, str], Made] = {}
        self.retried: dict[tuple[str, str], Delivery] = {}  #: what this life of the node remembers
        self.flights: dict[int, Flight] = {}
        self.woke_at = 0  #: when the node last woke after a sleep that its lease did not outlast
        self.tickets = 0  #: of the latest request

    # -- publishing -----------------------------------------------------------------------------

    def publish(self, environment: str, items: Sequence[Item], key: str | None, *, batch: bool) -> Told:
        """All items, or none."""
        known: list[tuple[object, Event] | None] = []
        fresh: dict[tuple[str, str, str, str], tuple[object, Event]] = {}
        added: list[Event] = []
        for position, item in enumerate(items):
            identities = _identities(environment, item, key, f"{position}/{len(items)}" if batch else None)
            found = [hit for i in identities if (hit := fresh.get(i) or self.identities.get(i)) is not None]
            if any(hit[0] != item for hit in found) or len({hit[1].order for hit in found}) > 1:
                return REUSED
            if found:
                known.append(found[0])
                continue
            event = self._new_event(environment, item, len(self.events) + len(added))
            added.append(event)
            known.append(None)
            fresh |= dict.fromkeys(identities, (item, event))
        self.identities |= fresh
        for event in added:
            self._accept(event)
        rest = iter(added)
        answers = [_published(next(rest) if hit is None else hit[1], duplicate=hit is not None) for hit in known]
        if not batch:
            return answers[0]

        def learn(view: View) -> None:
            for told, shown in zip(answers, view["events"], strict=True):
                told.learn(shown)

        return Told(202, {}, learn)

    def send_test(self, environment: str, endpoint: Endpoint, key: str | None) -> Told:
        """An event for this endpoint only."""
        if not _is_visible(endpoint, environment):
            return UNKNOWN
        item = ("test", endpoint.order)
        identity = None if key is None else (environment, endpoint.tenant, "key", key)
        if identity is not None and identity in self.identities:
            used, event = self.identities[identity]
            return _published(event, duplicate=True) if used == item else REUSED
        event = Event(
            order=len(self.events),
            environment=environment,
            tenant=endpoint.tenant,
            type="posthouse.test",
            data=None,
            accepted_at=self.now,
            occurred_at=None,
            ordering_key=None,
            id=None,
            owed=[endpoint],
        )
        if identity is not None:
            self.identities[identity] = (item, event)
        self._accept(event)
        return _published(event, duplicate=False)

    def _new_event(self, environment: str, item: Item, order: int) -> Event:
        here = [e for e in self.endpoints if (e.environment, e.tenant) == (environment, item.tenant)]
        return Event(
            order=order,
            environment=environment,
            tenant=item.tenant,
            type=item.type,
            data=item.data,
            accepted_at=self.now,
            occurred_at=item.occurred_at,
            ordering_key=item.ordering_key,
            id=item.id,
            owed=[e for e in here if e.state != "deleted" and e.takes(item.type)],
        )

    def _accept(self, event: Event) -> None:
        self.events.append(event)
        self._know_tenant(event.environment, event.tenant)
        stale = event.occurred_at is not None and self.now - event.occurred_at > STALE_MS
        for endpoint in event.owed:
            self.deliveries[event.order, endpoint.order] = Delivery(
                event, endpoint, self.now, (self.now, self.now), "backlog" if stale else "live"
            )

    # -- endpoints ------------------------------------------------------------------------------

    def create_endpoint(self, environment: str, fields: Mapping[str, Any], key: str | None) -> Told:
        """A new endpoint; the same one again for the same Idempotency-Key."""
        request = ("endpoint", dict(fields))
        if key is not None and (environment, key) in self.made:
            return self._made_before(self.made[environment, key], request)
        secret = Secret(fields.get("secret"), self.now)
        given = {name: value for name, value in fields.items() if name not in ("active", "secret")}
        endpoint = Endpoint(
            order=len(self.endpoints),
            environment=environment,
            created_at=self.now,
            updated_at=self.now,
            secrets=[secret],
            **{"tenant": "default", "events": ["*"], "retry": "three-weeks", **given},
        )
        if not fields.get("active", True):
            endpoint.state, endpoint.reason = "paused", "paused_by_operator"
        self.endpoints.append(endpoint)
        self._know_tenant(environment, endpoint.tenant)
        if key is not None:
            self.made[environment, key] = Made(request, endpoint, secret)

        def learn(view: View) -> None:
            endpoint.id, secret.value = view["id"], view["secret"]

        return Told(201, {name: value for name, value in endpoint.view().items() if name != "id"}, learn)

    def change_endpoint(self, environment: str, endpoint: Endpoint, fields: Mapping[str, Any]) -> Told:
        """What PATCH does."""
        if not _is_visible(endpoint, environment):
            return UNKNOWN
        before = (endpoint.state, endpoint.reason)
        if (
            endpoint.state == "active"
            and fields.get("active", True)
            and fields.get("url", endpoint.url) != endpoint.url
        ):
            endpoint.health.forgive()  # it leads elsewhere now
        for name, value in fields.items():
            if name != "active":
                setattr(endpoint, name, value)
        if fields.get("active") is True:
            endpoint.state, endpoint.reason = "active", None
            endpoint.resumed(*before, ticket=self.tickets + 1)
        elif fields.get("active") is False and endpoint.state == "active":
            endpoint.state, endpoint.reason = "paused", "paused_by_operator"
        endpoint.updated_at = self.now
        return Told(200, endpoint.view())

    def set_state(self, environment: str, endpoint: Endpoint, state: str) -> Told:
        """Pause or resume."""
        if not _is_visible(endpoint, environment):
            return UNKNOWN
        if endpoint.state != state:
            before = (endpoint.state, endpoint.reason)
            endpoint.state, endpoint.updated_at = state, self.now
            endpoint.reason = "paused_by_operator" if state == "paused" else None
            if state == "active":
                endpoint.resumed(*before, ticket=self.tickets + 1)
        return Told(200, endpoint.view())

    def delete_endpoint(self, environment: str, endpoint: Endpoint) -> Told:
        """Take it out; what it is owed is discarded."""
        if endpoint.environment != environment:
            return UNKNOWN
        endpoint.state, endpoint.reason = "deleted", None
        owed = [d for d in self.deliveries.values() if d.endpoint is endpoint and d.is_open]
        for delivery in owed:
            delivery.settle("discarded", self.now, "endpoint_deleted")
        return Told(200, {"id": endpoint.id, "discarded": len(owed)})

    def rotate_secret(self, environment: str, endpoint: Endpoint, fields: Mapping[str, Any], key: str | None) -> Told:
        """A new secret; the ones before it overlap."""
        if not _is_visible(endpoint, environment):
            return UNKNOWN
        request = ("rotate", endpoint.order, dict(fields))
        if key is not None and (environment, key) in self.made:
            told = self._made_before(self.made[environment, key], request)
            return Told(200, told.fields) if told.status == 201 else told  # noqa: PLR2004 - made there, found here
        if any(s.value == fields.get("secret") and s.is_valid(self.now) for s in endpoint.secrets):
            return CONFLICT
        ends_at = self.now + fields.get("overlap_ms", OVERLAP_MS)
        for old in endpoint.secrets:
            old.expires_at = ends_at if old.expires_at is None else min(old.expires_at, ends_at)
        secret = Secret(fields.get("secret"), self.now)
        endpoint.secrets = [secret, *(old for old in endpoint.secrets if old.is_valid(self.now))][:SECRETS_MAX]
        endpoint.updated_at = self.now
        if key is not None:
            self.made[environment, key] = Made(request, endpoint, secret)

        def learn(view: View) -> None:
            secret.value = view["secret"]

        return Told(200, endpoint.view(), learn)

    def _made_before(self, made: Made, request: object) -> Told:
        thing = made.thing
        if made.request != request:
            return REUSED
        if isinstance(thing, ApiKey):
            return CONFLICT if thing.is_revoked else Told(201, {**thing.view(), "secret": None})
        if thing.state == "deleted":
            return CONFLICT
        values = [s.value for s in thing.secrets if s.is_valid(self.now)]
        secret = made.secret.value if made.secret is not None and made.secret.value in values else None
        return Told(201, {**thing.view(), "secret": secret})

    # -- deliveries -----------------------------------------------------------------------------

    def retry(self, environment: str, delivery: Delivery, key: str | None) -> Told:
        """Attempt it now, from every state."""
        if delivery.event.environment != environment:
            return UNKNOWN
        told = Told(200, {"id": delivery.id})
        if key is not None and (environment, key) in self.retried:
            return told if self.retried[environment, key] is delivery else REUSED
        if delivery.endpoint.state == "deleted":
            return CONFLICT
        if key is not None:
            self.retried[environment, key] = delivery
        delivery.due = (self.now, self.now)
        if not delivery.is_open:
            delivery.status, delivery.lane, delivery.opened_at = "waiting", "backlog", self.now
            delivery.round += 1
            delivery.failures = 0
            delivery.reason = delivery.settled_at = None
        return told

    def cancel(self, environment: str, delivery: Delivery) -> Told:
        """Discard it if it is open."""
        if delivery.event.environment != environment:
            return UNKNOWN
        if delivery.is_open:
            delivery.settle("discarded", self.now, "cancelled")
        elif (delivery.status, delivery.reason) != ("discarded", "cancelled"):
            return CONFLICT
        return Told(200, {"id": delivery.id, "status": "discarded", "reason": "cancelled"})

    # -- tenants and API keys -------------------------------------------------------------------

    def create_tenant(self, environment: str, tenant_id: str, name: str | None) -> Told:
        """The tenant with this id, made if it is new."""
        tenant = self._know_tenant(environment, tenant_id, name)
        return CONFLICT if name is not None and tenant.name != name else Told(201, tenant.view())

    def create_key(
        self, caller: ApiKey, fields: Mapping[str, Any], key: str | None, *, environment: str | None = None
    ) -> Told:
        """A new API key; its text is told once."""
        target = environment or caller.environment
        if (caller.environment, target) == ("test", "live"):
            return refused(403, "forbidden")
        request = ("key", target, dict(fields))
        if key is not None and (caller.environment, key) in self.made:
            return self._made_before(self.made[caller.environment, key], request)
        made = ApiKey(len(self.keys), target, fields["scope"], fields["name"], self.now)
        self.keys.append(made)
        if key is not None:
            self.made[caller.environment, key] = Made(request, made)

        def learn(view: View) -> None:
            made.id, made.text = view["id"], view["secret"]

        return Told(201, {"environment": target, "scope": made.scope, "name": made.name}, learn)

    def revoke_key(self, environment: str, key: ApiKey) -> Told:
        """Worthless from now on; but the last live admin stays."""
        if key.environment != environment or key.is_revoked:
            return UNKNOWN
        admins = [k for k in self.keys if (k.environment, k.scope, k.is_revoked) == ("live", "admin", False)]
        if admins == [key]:
            return CONFLICT
        key.is_revoked = True
        return Told(200, key.view())

    def _know_tenant(self, environment: str, tenant_id: str, name: str | None = None) -> Tenant:
        return self.tenants.setdefault((environment, tenant_id), Tenant(tenant_id, name or tenant_id, self.now))


def _is_visible(endpoint: Endpoint, environment: str) -> bool:
    return endpoint.environment == environment and endpoint.state != "deleted"


def _identities(environment: str, item: Item, key: str | None, place: str | None) -> list[tuple[str, str, str, str]]:
    found = []
    if item.id is not None:
        found.append((environment, item.tenant, "id", item.id))
    if key is not None:
        found.append((environment, item.tenant, "key", key if place is None else f"{key}#{place}"))
    return found


def _published(event: Event, *, duplicate: bool) -> Told:
    def learn(view: View) -> None:
        shown = (view["id"], view["deliveries"], view["duplicate"])
        assert shown == (event.id or view["id"], len(event.owed), duplicate)
        event.id = view["id"]

    return Told(202, {}, learn)
