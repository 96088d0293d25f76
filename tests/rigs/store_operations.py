"""What the rigs do to a store: operations that know what must be answered, and which rows must be left."""

from dataclasses import dataclass, field
from typing import Final, Protocol

from store_rows import Rows

from posthouse.core.delivery import State
from posthouse.core.errors import NotFound
from posthouse.core.limits import LEASE_MS
from posthouse.core.model import SLOTS, Endpoint, EndpointState, Lane, Tenant, slot_of
from posthouse.store.protocol import (
    Accepted,
    AcceptRequest,
    NewEvent,
    Outdated,
    Remembered,
    Settled,
    Settlement,
    Store,
)
from posthouse.store.sqlite.rows import PERIOD_BITS
from posthouse.testing.seizing import outlive

Delivery = tuple[int, int]  # event key, endpoint key

UNORDERED: Final = (None, 0)  #: ordering key and behind, of a delivery whose endpoint keeps no order


class Operation(Protocol):
    """One call of a store. Operations of one batch touch different rows."""

    async def play(self, store: Store) -> bool:
        """Call; whether the answer is the right one. Raises what the store raises if it is unavailable."""
        ...

    def write(self, rows: Rows) -> None:
        """Do to the rows what the call does to the store."""
        ...


@dataclass(frozen=True)
class Accept:
    """Accept events as one request; ``repeats`` says which of them are known already, and as what."""

    events: tuple[NewEvent, ...]
    version: int
    repeats: dict[int, Accepted] = field(default_factory=dict)
    tenants: tuple[Tenant, ...] = ()

    async def play(self, store: Store) -> bool:
        request = AcceptRequest(events=self.events, catalogue_version=self.version, new_tenants=self.tenants)
        new = [Accepted(n.event.key, n.event.id, len(n.owed), duplicate=False) for n in self.events]
        expected = tuple(self.repeats.get(i, accepted) for i, accepted in enumerate(new))
        return await store.intake.accept([request]) == [expected]

    def write(self, rows: Rows) -> None:
        for i, new in enumerate(self.events):
            if i not in self.repeats:
                _write_event(rows, new)
        for tenant in self.tenants:
            if (tenant.environment, tenant.id) not in rows["tenants"]:
                rows["tenants"][tenant.environment, tenant.id] = (tenant.name, tenant.created_at)
                _raise_version(rows)


def _write_event(rows: Rows, new: NewEvent) -> None:
    e = new.event
    owed = f"[{','.join(map(str, new.owed))}]"
    rows["events"][e.key,] = (
        e.id,
        e.environment,
        e.tenant,
        e.type,
        e.accepted_at,
        e.occurred_at,
        e.ordering_key,
        owed,
        e.data,
    )
    for kind, value in new.identities:
        rows["identities"][e.environment, kind, value, e.tenant] = (new.fingerprint, e.key)
    for endpoint_key in new.owed:
        rows["obligations"][e.key, endpoint_key] = (new.lane, e.accepted_at, 0, 1, 0, e.accepted_at, *UNORDERED)
    period = e.key >> PERIOD_BITS
    rows["environment_periods"][e.environment, period] = ()
    rows["tenant_periods"][e.environment, e.tenant, period] = ()


@dataclass(frozen=True)
class Settle:
    """Make outcomes durable; those at ``fenced`` come under an epoch that is over."""

    settlements: tuple[Settlement, ...]
    fenced: tuple[int, ...] = ()

    async def play(self, store: Store) -> bool:
        return await store.work.settle(self.settlements) == Settled(fenced=self.fenced)

    def write(self, rows: Rows) -> None:
        for i, s in enumerate(self.settlements):
            if i in self.fenced:
                continue
            o, a = s.obligation, s.attempt
            assert a is not None
            rows["attempts"][o.event_key, o.endpoint_key, a.number] = (
                a.started_at,
                a.outcome,
                a.status,
                a.response_body,
            )
            if s.state is State.RETRYING:
                row = (s.lane, s.due_at, o.attempts + 1, o.round, a.number, o.opened_at, *UNORDERED)
                rows["obligations"][o.event_key, o.endpoint_key] = row
            else:
                _close(rows, (o.event_key, o.endpoint_key), s.state, s.reason, at=s.settled_at)


def _close(rows: Rows, delivery: Delivery, state: State, reason: str | None, *, at: int) -> None:
    """Move an open delivery to history; discarding is no attempt."""
    lane, _due_at, attempts, round_, _last_number, opened_at, *_ = rows["obligations"].pop(delivery)
    attempts += state is not State.DISCARDED
    rows["history"][*delivery, round_] = (state, reason, lane, attempts, opened_at, at)
    rows["endpoint_periods"][delivery[1], delivery[0] >> PERIOD_BITS] = ()


@dataclass(frozen=True)
class Retry:
    """Make a delivery due now, whatever its state."""

    delivery: Delivery
    now: int

    async def play(self, store: Store) -> bool:
        return await store.work.retry(*self.delivery, now=self.now) is not None

    def write(self, rows: Rows) -> None:
        if self.delivery in rows["obligations"]:
            lane, _due_at, *rest = rows["obligations"][self.delivery]
            rows["obligations"][self.delivery] = (lane, self.now, *rest)
            return
        round_ = max(key[2] for key in rows["history"] if key[:2] == self.delivery)
        state, reason, *_ = rows["history"][*self.delivery, round_]
        number = max((key[2] for key in rows["attempts"] if key[:2] == self.delivery), default=0)
        rows["reopened"][*self.delivery, round_] = (state, reason, self.now)
        rows["obligations"][self.delivery] = (Lane.BACKLOG, self.now, 0, round_ + 1, number, self.now, *UNORDERED)


@dataclass(frozen=True)
class Discard:
    """Give an open delivery up."""

    delivery: Delivery
    now: int

    async def play(self, store: Store) -> bool:
        return await store.work.discard(*self.delivery, reason="cancelled", now=self.now)

    def write(self, rows: Rows) -> None:
        _close(rows, self.delivery, State.DISCARDED, "cancelled", at=self.now)


@dataclass(frozen=True)
class DiscardEndpoint:
    """Give all open deliveries of an endpoint up."""

    endpoint_key: int
    count: int
    now: int

    async def play(self, store: Store) -> bool:
        discarded = await store.work.discard_endpoint(
            self.endpoint_key, reason="endpoint_deleted", now=self.now, limit=1_000_000
        )
        return discarded == self.count

    def write(self, rows: Rows) -> None:
        for delivery in [d for d in rows["obligations"] if d[1] == self.endpoint_key]:
            _close(rows, (delivery[0], delivery[1]), State.DISCARDED, "endpoint_deleted", at=self.now)


@dataclass(frozen=True)
class PutEndpoint:
    """Make an endpoint, under an Idempotency-Key."""

    endpoint: Endpoint

    async def play(self, store: Store) -> bool:
        return await store.catalogue.put_endpoint(self.endpoint, remember=self._remembered) > 0

    def write(self, rows: Rows) -> None:
        e, r = self.endpoint, self._remembered
        rows["endpoints"][e.key,] = (e.environment, e.tenant, e.url, e.state, e.state_reason, e.updated_at)
        rows["remembered"][r.environment, r.key] = (r.fingerprint, r.ref)
        _raise_version(rows)

    @property
    def _remembered(self) -> Remembered:
        return Remembered(self.endpoint.environment, f"made-{self.endpoint.key}", b"print", self.endpoint.key)


@dataclass(frozen=True)
class SetState:
    """Change the state of an endpoint. If there is none of this key, the transaction is refused for everyone in it."""

    endpoint_key: int
    state: EndpointState
    now: int
    exists: bool = True

    async def play(self, store: Store) -> bool:
        catalogue = store.catalogue
        while True:
            stored = await catalogue.endpoint(self.endpoint_key)
            seen = 0 if stored is None else stored.revision
            try:
                await catalogue.set_endpoint_state(self.endpoint_key, self.state, seen=seen, reason="rig", now=self.now)
            except NotFound:
                return not self.exists
            except Outdated:
                continue
            return self.exists

    def write(self, rows: Rows) -> None:
        if self.exists:
            environment, tenant, url, *_ = rows["endpoints"][self.endpoint_key,]
            rows["endpoints"][self.endpoint_key,] = (environment, tenant, url, self.state, "rig", self.now)
            _raise_version(rows)


@dataclass(frozen=True)
class Bury:
    """A node joins, and everybody else on the register is dead."""

    node: str
    now: int

    async def play(self, store: Store) -> bool:
        return await outlive(store.ownership, self.node, now=self.now)

    def write(self, rows: Rows) -> None:
        for key, (_owner, epoch, until) in list(rows["slots"].items()):
            rows["slots"][key] = (None, epoch, until)


@dataclass(frozen=True)
class Acquire:
    """A node that joined then takes all slots."""

    node: str
    now: int  #: when it joined

    async def play(self, store: Store) -> bool:
        return len((await store.ownership.acquire(self.node)).epochs) == SLOTS

    def write(self, rows: Rows) -> None:
        for key, (_owner, epoch, _until) in list(rows["slots"].items()):
            rows["slots"][key] = (self.node, epoch + 1, self.now + LEASE_MS)


@dataclass(frozen=True)
class Probe:
    """Write the row of readiness checks."""

    now: int

    async def play(self, store: Store) -> bool:
        await store.admin.probe(now=self.now)
        return True

    def write(self, rows: Rows) -> None:
        rows["probe"][1,] = (self.now,)


def epoch_of(rows: Rows, endpoint_key: int) -> int:
    """The epoch of the slot of an endpoint."""
    epoch: int = rows["slots"][slot_of(endpoint_key),][1]
    return epoch


def _raise_version(rows: Rows) -> None:
    (version,) = rows["catalogue"][1,]
    rows["catalogue"][1,] = (version + 1,)
