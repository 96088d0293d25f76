"""Random work for a store: what a node, its publishers and its operators might ask of it next."""

from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import Final
from unittest import mock

from store_operations import (
    Accept,
    Acquire,
    Bury,
    Delivery,
    Discard,
    DiscardEndpoint,
    Operation,
    Probe,
    PutEndpoint,
    Retry,
    SetState,
    Settle,
    epoch_of,
)
from store_rows import Rows

from posthouse.core import ids
from posthouse.core.delivery import State
from posthouse.core.model import Endpoint, EndpointState, Environment, Event, Lane, Obligation, Tenant
from posthouse.store.protocol import Accepted, NewEvent, Settlement
from posthouse.store.sqlite import connection, writer
from posthouse.testing.conformance.values import NOW, attempt

#: Tenant → endpoints that its events are owed to, whether the catalogue knows them or not.
TENANTS: Final = {"acme": (3, 5, 8), "globex": (13, 21)}

_BODY: Final = bytes(range(256)) * 160


class Load:
    """Makes operations that fit the rows of a store. The same chance and the same rows make the same ones."""

    def __init__(self, chance: Random, *, small: bool = False) -> None:
        """``small``: a few events with short bodies, so that few calls on the disk make a batch."""
        self._chance = chance
        self._counts = (1, 2) if small else (1, 1, 1, 2, 5, 30)
        self._sizes = (20, 300) if small else (20, 300, 300, 3_000, 30_000)
        self._key = 0
        self._now = NOW
        self._lives = 0

    def begin(self) -> list[Operation]:
        """A node begins: it takes the slots of whoever had them, who must be dead. For one turn of the loop each."""
        self._lives += 1
        node, now = f"node-{self._lives}", self._tick()
        return [Bury(node, now), Acquire(node, now)]

    def batch(self, rows: Rows) -> list[Operation]:
        """Operations for one turn of the loop, in the order in which the writer runs them."""
        chance = self._chance
        if chance.random() < 0.04:
            endpoint_key = chance.choice(TENANTS["acme"])
            count = sum(delivery[1] == endpoint_key for delivery in rows["obligations"])
            return [DiscardEndpoint(endpoint_key, count, self._tick())]
        operations: list[Operation] = [self._accept(rows, is_first=n == 0) for n in range(chance.randrange(4))]
        untouched = [(d[0], d[1]) for d in rows["obligations"]]
        chance.shuffle(untouched)
        if untouched and chance.random() < 0.7:
            operations.append(self._settle(rows, [untouched.pop() for _ in range(min(len(untouched), 6))]))
        operations += self._operators(rows, untouched)
        operations += self._rare(rows)
        return operations or [Probe(self._tick())]

    def accept_many(self, rows: Rows, count: int) -> Accept:
        """One request with many events."""
        return Accept(tuple(self._event("acme", None) for _ in range(count)), _version(rows))

    # -- publishers ---------------------------------------------------------------------------------

    def _accept(self, rows: Rows, *, is_first: bool) -> Accept:
        """``is_first`` of its turn: it alone names its tenant, so that a turn raises the catalogue's version once."""
        chance = self._chance
        tenant = chance.choice(sorted(TENANTS))
        count = chance.choice(self._counts)
        events = [self._event(tenant, chance.choice((None, "id", "key"))) for _ in range(count)]
        repeats: dict[int, Accepted] = {}
        known = [key for key in rows["identities"] if key[3] == tenant]
        if known and chance.random() < 0.3:
            identity = chance.choice(known)
            repeats[count - 1] = _answer_to(rows, identity)
            events[-1] = _repeat(events[-1], identity, rows)
        named = Tenant(id=tenant, environment=Environment.LIVE, name=tenant, created_at=NOW)
        return Accept(tuple(events), _version(rows), repeats, (named,) if is_first else ())

    def _event(self, tenant: str, identity: str | None) -> NewEvent:
        chance = self._chance
        self._key = key = ids.next_key(self._key, self._tick(), 1)
        size = chance.choice(self._sizes)
        start = chance.randrange(256)
        owed = chance.sample(TENANTS[tenant], chance.randrange(len(TENANTS[tenant]) + 1))
        event = Event(
            key=key,
            id=ids.make_id(ids.EVENT, key),
            environment=Environment.LIVE,
            tenant=tenant,
            type="order.created",
            accepted_at=self._now,
            data=_BODY[start : start + size],
        )
        identities = () if identity is None else ((identity, f"publisher-{key}"),)
        return NewEvent(
            event, tuple(owed), chance.choice((Lane.LIVE, Lane.BACKLOG)), identities, b"print" if identity else b""
        )

    # -- the node -----------------------------------------------------------------------------------

    def _settle(self, rows: Rows, deliveries: list[Delivery]) -> Settle:
        settlements = []
        fenced = []
        for i, (event_key, endpoint_key) in enumerate(deliveries):
            lane, due_at, attempts, round_, last_number, opened_at, *_ = rows["obligations"][event_key, endpoint_key]
            obligation = Obligation(
                event_key, endpoint_key, Lane(lane), due_at, opened_at, attempts, round_, last_number
            )
            late = self._chance.random() < 0.1
            state = self._chance.choice((State.DELIVERED, State.DELIVERED, State.RETRYING, State.EXHAUSTED))
            made = attempt(last_number + 1, started_at=self._tick(), response_body=_BODY[: self._chance.randrange(900)])
            settlement = Settlement(
                obligation=obligation,
                epoch=epoch_of(rows, endpoint_key) - late,
                attempt=made,
                state=state,
                settled_at=self._now,
                due_at=self._now + 1_000,
                reason="attempts_spent" if state is State.EXHAUSTED else None,
            )
            settlements.append(settlement)
            fenced += [i] if late else []
        return Settle(tuple(settlements), tuple(fenced))

    # -- operators ----------------------------------------------------------------------------------

    def _operators(self, rows: Rows, untouched: list[Delivery]) -> list[Operation]:
        chance = self._chance
        operations: list[Operation] = []
        if untouched and chance.random() < 0.4:
            operations.append(Discard(untouched.pop(), self._tick()))
        if untouched and chance.random() < 0.3:
            operations.append(Retry(untouched.pop(), self._tick()))
        if rows["history"] and chance.random() < 0.4:
            event_key, endpoint_key, _round = chance.choice(list(rows["history"]))
            if (event_key, endpoint_key) not in rows["obligations"]:
                operations.append(Retry((event_key, endpoint_key), self._tick()))
        return operations

    def _rare(self, rows: Rows) -> list[Operation]:
        chance = self._chance
        operations: list[Operation] = []
        endpoints = [key[0] for key in rows["endpoints"]]
        if chance.random() < 0.15:
            self._key = ids.next_key(self._key, self._tick(), 1)
            url = f"https://example.com/{self._key}"
            endpoint = Endpoint(
                key=self._key, environment=Environment.LIVE, tenant="acme", url=url, updated_at=self._now
            )
            operations.append(PutEndpoint(endpoint))
        elif endpoints and chance.random() < 0.15:
            state = chance.choice((EndpointState.PAUSED, EndpointState.ACTIVE))
            operations.append(SetState(chance.choice(endpoints), state, self._tick()))
        if chance.random() < 0.1:
            operations.append(SetState(1, EndpointState.PAUSED, self._tick(), exists=False))
        return operations

    def _tick(self) -> int:
        self._now += 1
        return self._now


@contextmanager
def short_log(pages: int, bytes_kept: int) -> Iterator[None]:
    """Let stores copy the log into the file when it has so many pages, and then cut it back to so many bytes."""
    with (
        mock.patch.object(writer, "WAL_PAGES_MAX", pages),
        mock.patch.object(connection, "WAL_BYTES_KEPT", bytes_kept),
    ):
        yield


def _version(rows: Rows) -> int:
    version: int = rows["catalogue"][1,][0]
    return version


def _answer_to(rows: Rows, identity: tuple[object, ...]) -> Accepted:
    """What publishing this identity again must answer."""
    _print, event_key = rows["identities"][identity]
    public_id, *_, owed, _data = rows["events"][event_key,]
    return Accepted(event_key, public_id, owed.count(",") + (owed != "[]"), duplicate=True)


def _repeat(new: NewEvent, identity: tuple[object, ...], rows: Rows) -> NewEvent:
    """The event, published under an identity that is known."""
    _environment, kind, value, _tenant = identity
    fingerprint, _event_key = rows["identities"][identity]
    return NewEvent(new.event, new.owed, new.lane, ((str(kind), str(value)),), fingerprint)
