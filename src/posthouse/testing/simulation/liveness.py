"""After the faults: everything heals, and everything that is owed must arrive."""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Final

from posthouse.core.envelope import parse_rfc3339
from posthouse.core.ids import parse_delivery_id
from posthouse.core.rate import parse_rate
from posthouse.core.rules import Order
from posthouse.testing.simulation.api_client import ApiClient
from posthouse.testing.simulation.machine import SimClock
from posthouse.testing.simulation.operators import Operators
from posthouse.testing.simulation.plan import Plan, generator
from posthouse.testing.simulation.records import Change, DeliveryCall, EndpointRecord, Outcome, Records
from posthouse.testing.simulation.stewards import Stewards

PEOPLE_SECONDS_MAX: Final = 90.0  #: until every publisher and operator has an answer
DELIVERIES_SECONDS_MAX: Final = 150.0  #: from then on until everything is delivered, and no rate makes it wait
SOON_MS: Final = 25_000  #: what is due later than this is hastened by an operator

_LOOK_SECONDS: Final = 2.0
_SPARE: Final = 1.25  # times what rules demand


class Liveness:
    """Waits until nothing is owed any more that could be delivered."""

    def __init__(
        self,
        plan: Plan,
        records: Records,
        *,
        api: ApiClient,
        operators: Operators,
        stewards: Stewards,
        clock: SimClock,
    ) -> None:
        self._plan = plan
        self._records = records
        self._api = api
        self._operators = operators
        self._stewards = stewards
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._chance = generator(plan.seed, "liveness")

    async def wait_for_people(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        """Publishers and operators come to an end, because the node answers them."""
        people = tasks[:-1]  # the sampler goes on
        _, late = await asyncio.wait(people, timeout=PEOPLE_SECONDS_MAX)
        if late:
            names = sorted({str(task.get_coro()) for task in late})
            self._records.find("liveness", f"{len(late)} people never got an answer: {names[:3]}", self._loop.time())

    async def wait_for_deliveries(self) -> None:
        """Held endpoints go on, far retries are hastened; then wait until only what cannot be delivered is open."""
        held = {
            record.id: record
            for record in self._records.endpoints
            if record.id is not None and (self._plan.hosts[record.host].dead or self._chance.random() < 0.15)
        }
        self._records.held = frozenset(record.number for record in held.values())
        ends_at = self._loop.time() + DELIVERIES_SECONDS_MAX
        ends_at += _SPARE * (await self._open(held) or 0) * max(self._pauses(), default=0.0)
        while True:
            for record in self._records.endpoints:
                if record.id is not None and record.id not in held:
                    await self._operators.resume_if_held(record)
            await self._stewards.finish()
            finished = await self._operators.finish_jobs()
            await self._hasten(held)
            await asyncio.sleep(_LOOK_SECONDS)
            if finished and await self._open(held) == 0:
                return
            if self._loop.time() >= ends_at:
                self._records.note(self._loop.time(), "not everything was delivered in time")
                return

    def _pauses(self) -> Iterator[float]:
        """Seconds that a rule may demand for each delivery: a rate, or a batch that one ordering key cannot fill."""
        rates = [planned.rules.rate for planned in self._plan.tenants]
        for record in self._records.endpoints:
            rates += [record.rules.rate, *(c.value for c in record.calls if c.change is Change.RATE)]
            ordered = record.rules.order is not Order.NONE or any(c.change is Change.ORDER for c in record.calls)
            if ordered and record.rules.batch is not None:
                yield record.rules.batch.max_wait_ms / 1_000
        yield from (1 / parse_rate(rate).per_second for rate in rates if rate is not None)

    async def _open(self, held: dict[str, EndpointRecord]) -> int | None:
        """How many deliveries are open, and requests unread, that ought not to be; None if nobody answers."""
        call = await self._api.ask("GET", "/v1/audit", patience=10.0)
        if call.outcome is not Outcome.DONE:
            return None
        if call.answer["imbalance"]:
            self._records.find("I1 conservation", f"the audit shows {call.answer}", call.ended_at)
        books = [shown for shown in call.answer["endpoints"] if shown["endpoint"] not in held]
        unread = sum(int(shown["waiting"]) for shown in call.answer["sources"])
        return unread + sum(int(shown["waiting"]) + int(shown["retrying"]) for shown in books)

    async def _hasten(self, held: dict[str, EndpointRecord]) -> None:
        """Retry what waits for a time far ahead: the schedule says so, or the clock was wrong when it was set."""
        for status in ("waiting", "retrying"):
            cursor = ""
            while True:
                call = await self._api.ask("GET", f"/v1/deliveries?limit=200&status={status}{cursor}", patience=10.0)
                if call.outcome is not Outcome.DONE:
                    return
                for shown in call.answer["data"]:
                    due = shown["next_attempt_at"]
                    if shown["endpoint"] in held or parse_rfc3339(due) - self._clock.now_ms() < SOON_MS:
                        continue
                    keys = parse_delivery_id(shown["id"])
                    assert keys is not None
                    retry = self._api.begin("POST", f"/v1/deliveries/{shown['id']}/retry")
                    self._records.delivery_calls.append(DeliveryCall("retry", keys, retry))
                    self._records.counts["hastened"] += 1
                    await self._api.finish(retry, patience=10.0)
                if call.answer["next_cursor"] is None:
                    break
                cursor = f"&cursor={call.answer['next_cursor']}"
