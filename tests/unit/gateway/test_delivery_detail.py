"""A delivery and its attempts are two reads; what is shown is one state all the same."""

from types import SimpleNamespace
from typing import Any

from posthouse.core.delivery import State
from posthouse.core.ids import delivery_id
from posthouse.core.model import Attempt, Environment, Lane
from posthouse.gateway.deliveries import Deliveries
from posthouse.store.protocol import DeliveryRecord
from posthouse.testing.manual_clock import ManualClock


def record() -> DeliveryRecord:
    """A delivery with one attempt."""
    return DeliveryRecord(
        event_key=1,
        endpoint_key=2,
        event_id="evt",
        event_type="order.paid",
        environment=Environment.LIVE,
        tenant="default",
        state=State.RETRYING,
        lane=Lane.LIVE,
        round=1,
        attempts=1,
        opened_at=1,
        due_at=1,
        settled_at=None,
        reason=None,
        last_outcome="status",
        last_status=500,
    )


class Ledger:
    """Settles one more attempt between the two reads."""

    async def delivery(self, *_keys: int) -> DeliveryRecord:
        return record()

    async def attempts(self, *_keys: int) -> list[Attempt]:
        return [Attempt(number=number, started_at=1, outcome="status", status=500) for number in (1, 2)]


async def test_an_attempt_that_is_not_counted_yet_is_not_shown_yet() -> None:
    store: Any = SimpleNamespace(ledger=Ledger())
    catalogue: Any = SimpleNamespace(endpoint=lambda _key: None, tenant=lambda *_names: None)
    hints: Any = SimpleNamespace(holding=lambda *_place: None)
    deliveries = Deliveries(store, catalogue, hints, SimpleNamespace(), ManualClock())  # type: ignore[arg-type]
    detail = await deliveries.get(Environment.LIVE, delivery_id(1, 2))
    assert [attempt.number for attempt in detail.attempts] == [1]
    assert detail.record.attempts == 1
