"""Publishers: clients that publish, and repeat what they do not know the outcome of, as a careful client does."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from random import Random
from typing import Final

from posthouse.testing.simulation.api_client import ApiClient
from posthouse.testing.simulation.machine import EPOCH_MS
from posthouse.testing.simulation.plan import PublisherPlan, generator
from posthouse.testing.simulation.records import Call, Outcome, Publication, Records

TYPES: Final = ("order.created", "order.paid", "order.paid.late", "user.signup", "user.left", "misc")
NOBODY: Final = "nobody"  #: a tenant without endpoints

_STALE_SECONDS: Final = 900
_ODD_BODIES: Final = (
    b"{",
    b"[]",
    b'{"type":"order.paid"}',
    b'{"type":"order paid","data":1}',
    b'{"type":"order.paid","data":"\\u0000"}',
    b'{"type":"order.paid","data":' + b"[" * 70 + b"]" * 70 + b"}",
    b'{"type":"order.paid","data":1,"colour":"red"}',
    b'{"type":"order.paid","data":"\xff"}',
    b'{"type":"order.paid","data":1,"id":"a.b"}',
)


@dataclass(slots=True)
class Parcel:
    """What goes in one request, and goes again with the same bytes."""

    items: list[Publication]
    body: bytes
    key: str | None
    batch: bool


class Publisher:
    """One client, one request at a time.

    Args:
        plan: what it publishes.
        seed: of the history.
        api: sends and writes down.
        records: get every event.
        nonces: numbers that no two events share.
        ends_at: the loop time after which it publishes nothing new.
    """

    def __init__(
        self, plan: PublisherPlan, seed: int, *, api: ApiClient, records: Records, nonces: "count[int]", ends_at: float
    ) -> None:
        self._plan = plan
        self._api = api
        self._records = records
        self._nonces = nonces
        self._ends_at = ends_at
        self._chance = generator(seed, f"publisher {plan.number}")
        self._key_chance = generator(seed, f"keys {plan.number}")
        self._acknowledged: list[Parcel] = []

    async def run(self) -> None:
        """Publish until the plan's time is over, and everything has an outcome."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._chance.expovariate(1 / self._plan.pause))
            if loop.time() >= self._ends_at:
                return
            if self._chance.random() < self._plan.odd_share:
                await self._be_odd()
            else:
                await self.publish(self._parcel())

    async def publish(self, parcel: Parcel) -> None:
        """Send, and send again while the outcome is unknown or the node asks to."""
        backoff = 0.2
        while True:
            call = await self._send(parcel)
            if call.outcome is Outcome.DONE:
                if all(item.named for item in parcel.items):
                    self._acknowledged.append(parcel)
                return
            if call.outcome is Outcome.REFUSED and call.status not in {429, 503}:
                return
            if call.outcome is Outcome.UNKNOWN and parcel.key is None and self._chance.random() < 0.3:
                return  # gives up; nobody knows
            await asyncio.sleep(backoff * self._chance.uniform(0.5, 1.5))
            backoff = min(2 * backoff, 3.0)

    async def flood(self, tenant: str, event_type: str, events: int, batch: int) -> None:
        """Publish many events at once, in batches side by side."""
        async with asyncio.TaskGroup() as group:
            for start in range(0, events, batch):
                items = [self._item(tenant, event_type, tiny=True) for _ in range(min(batch, events - start))]
                group.create_task(self.publish(self._packed(items, f"flood-{items[0].nonce}", batch=True)))

    # -- making ---------------------------------------------------------------------------------

    def _parcel(self) -> Parcel:
        chance, plan = self._chance, self._plan
        batch = chance.random() < plan.batch_share
        keyed = chance.random() < plan.named_share / 2
        items = [
            self._item(plan.tenant, chance.choice(TYPES))
            for _ in range(chance.randint(1, plan.batch_max) if batch else 1)
        ]
        return self._packed(items, f"key {items[0].nonce}" if keyed else None, batch=batch)

    def _item(self, tenant: str, event_type: str, *, tiny: bool = False) -> Publication:
        chance, plan = self._chance, self._plan
        nonce = next(self._nonces)
        named = not tiny and chance.random() < plan.named_share
        occurred_ms = None
        if not tiny and chance.random() < 0.2:
            ago = _STALE_SECONDS if chance.random() < 0.5 else chance.randint(0, 60)
            occurred_ms = EPOCH_MS + (int(asyncio.get_running_loop().time()) - ago) * 1_000 + chance.randint(0, 999)
        item = Publication(
            nonce=nonce,
            tenant=tenant,
            type=event_type,
            data=b'{"n":%d}' % nonce if tiny else _data(chance, nonce, plan.data_bytes),
            id=f"{chance.choice(('order', 'a/b', 'x_'))}{nonce}" if named else None,
            named=named,
            occurred_ms=occurred_ms,
            ordering_key=None if tiny else self._ordering_key(),
        )
        self._records.publications.append(item)
        return item

    def _ordering_key(self) -> str | None:
        """Shared by publishers, so that several write to one key at a time."""
        plan, chance = self._plan, self._key_chance
        if not plan.ordering_keys or chance.random() >= plan.keyed_share:
            return None
        return f"key {chance.randrange(plan.ordering_keys)}"

    def _packed(self, items: list[Publication], key: str | None, *, batch: bool) -> Parcel:
        for item in items:
            item.named = item.named or key is not None
        written = [_written(item) for item in items]
        body = b'{"events":[%s]}' % b",".join(written) if batch else written[0]
        return Parcel(items, body, key, batch)

    async def _send(self, parcel: Parcel) -> Call:
        path = "/v1/events/batch" if parcel.batch else "/v1/events"
        call = self._api.begin("POST", path, parcel.body, key=parcel.key)
        for position, item in enumerate(parcel.items):
            item.calls.append(call)
            item.positions.append(position if parcel.batch else None)
        await self._api.finish(call, patience=self._plan.patience)
        return call

    # -- what must be refused, or recognised ------------------------------------------------------

    async def _be_odd(self) -> None:
        chance = self._chance
        kind = chance.choice(("malformed", "repeat", "repeat", "reuse"))
        if kind == "malformed" or not self._acknowledged:
            call = self._api.begin("POST", "/v1/events", chance.choice(_ODD_BODIES))
            await self._api.finish(call, patience=self._plan.patience)
            if call.outcome is Outcome.DONE:
                self._records.find("I3 invention", f"a malformed event was accepted: {call.body!r}", call.ended_at)
            self._records.counts["odd malformed"] += 1
            return
        parcel = chance.choice(self._acknowledged)
        self._records.counts[f"odd {kind}"] += 1
        if kind == "repeat":
            await self._send(parcel)
            return
        await self._reuse(parcel)

    async def _reuse(self, parcel: Parcel) -> None:
        """Another event under the identity of one that was acknowledged."""
        others = [
            Publication(
                nonce=next(self._nonces),
                tenant=item.tenant,
                type=item.type,
                data=b'{"n":%d,"other":true}' % item.nonce,
                id=item.id,
                named=True,
                occurred_ms=item.occurred_ms,
                forbidden=True,
                ordering_key=item.ordering_key,
            )
            for item in parcel.items
        ]
        self._records.publications += others
        call = await self._send(self._packed(others, parcel.key, batch=parcel.batch))
        if call.outcome is Outcome.DONE:
            message = f"another body was accepted under the identity of {parcel.items[0].id or parcel.key}"
            self._records.find("I8 density", message, call.ended_at)


def type_for(patterns: Sequence[str]) -> str:
    """An event type that one of the patterns takes."""
    pattern = patterns[0]
    return "order.paid" if pattern == "*" else pattern.replace("*", "created")


def _data(chance: Random, nonce: int, size: int) -> bytes:
    """JSON whose bytes no encoder would write just so."""
    filler = chance.choice(("x", "é", "\\u00e9", '\\"', " ", "\\n")) * chance.randint(0, size // 2)
    shape = chance.choice(('{"n":%d,"pad":"%s"}', '{ "pad" : "%s" ,"n":%d}', '{"n":%d, "e":1.50e1 ,"pad":"%s"}'))
    values = (filler, nonce) if shape.startswith("{ ") else (nonce, filler)
    return (shape % values).encode()


def _written(item: Publication) -> bytes:
    """The event as it stands in a request."""
    fields = {"tenant": item.tenant, "id": item.id, "ordering_key": item.ordering_key}
    if item.occurred_ms is not None:
        fields["occurred_at"] = datetime.fromtimestamp(item.occurred_ms / 1_000, UTC).isoformat(timespec="milliseconds")
    more = "".join(f",{json.dumps(name)}:{json.dumps(value)}" for name, value in fields.items() if value is not None)
    return b'{"type":%s,"data":%s%s}' % (json.dumps(item.type).encode(), item.data, more.encode())
