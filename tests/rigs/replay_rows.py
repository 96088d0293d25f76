"""The rows of a replay: a store full of delivered deliveries, and what a job made of them, counted apart from it."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import apsw
import msgspec

from posthouse.core.delivery import State
from posthouse.core.ids import EVENT, make_id, next_key
from posthouse.core.limits import LEASE_RENEW_MS
from posthouse.core.model import Attempt, Environment, Event, Lane, Obligation, slot_of
from posthouse.store.open import open_store
from posthouse.store.protocol import AcceptRequest, NewEvent, Settlement, Store
from posthouse.store.sqlite.store import DATABASE
from posthouse.system import SystemClock
from posthouse.testing.seizing import seize

_NODE = "replay-rig"
_BATCH = 250  # events in one transaction
_DATA = b'{"sequence":%d,"object":"invoice","note":"' + b"Thank you for your order. " * 13 + b'"}'  # about 400 bytes


async def fill(data: Path, *, endpoints: Sequence[int], events: int) -> list[str]:
    """Accept events that each owe a delivery to each endpoint, and settle all of them as delivered; the events' ids.

    The node does not run. Its own operations of the store make the rows, so they are what a node leaves behind.
    """
    clock = SystemClock()
    store = await open_store(data, clock=clock)
    try:
        return await _fill(store, clock, endpoints, events)
    finally:
        await store.close()


async def _fill(store: Store, clock: SystemClock, endpoints: Sequence[int], events: int) -> list[str]:
    version = (await store.catalogue.load()).version
    key = await store.admin.key_floor()
    epochs: dict[int, int] = {}
    renew_at = 0.0
    ids: list[str] = []
    before: list[Settlement] = []
    for start in range(0, events, _BATCH):
        if clock.monotonic() >= renew_at:
            renew_at = clock.monotonic() + LEASE_RENEW_MS / 1_000
            epochs = dict((await seize(store.ownership, _NODE, now=clock.now_ms())).epochs)
        new = []
        for number in range(start, min(start + _BATCH, events)):
            now = clock.now_ms()
            key = next_key(key, now, 1)
            event = Event(
                key=key,
                id=make_id(EVENT, key),
                environment=Environment.LIVE,
                tenant="default",
                type="replay",
                accepted_at=now,
                data=_DATA % number,
            )
            new.append(NewEvent(event, tuple(endpoints), Lane.LIVE))
            ids.append(event.id)
        results, _ = await asyncio.gather(
            store.intake.accept([AcceptRequest(tuple(new), version)]), store.work.settle(before)
        )
        assert isinstance(results[0], tuple), results
        before = list(_delivered(new, epochs, clock.now_ms()))
    await store.work.settle(before)
    await store.ownership.leave(_NODE)
    return ids


def _delivered(new: Sequence[NewEvent], epochs: dict[int, int], now: int) -> Iterator[Settlement]:
    """What becomes of these when each is delivered at the first attempt."""
    made = Attempt(
        number=1, started_at=now, outcome="success", status=200, peer="127.0.0.1:80", total_us=900, reused=True
    )
    for each in new:
        for endpoint in each.owed:
            accepted_at = each.event.accepted_at
            yield Settlement(
                obligation=Obligation(each.event.key, endpoint, each.lane, accepted_at, accepted_at),
                epoch=epochs[slot_of(endpoint)],
                attempt=made,
                state=State.DELIVERED,
                settled_at=now,
            )


class JobRow(msgspec.Struct, frozen=True):
    """The job as its row stands, and what the other tables say that it did."""

    state: str
    total: int | None
    counted: int
    done: int
    skipped: int
    reopened: int  #: rows of rounds that were opened again


class Rounds(msgspec.Struct, frozen=True):
    """What the rows say when all is over."""

    deliveries: int  #: pairs of event and endpoint with settled rounds
    one_more: int  #: … with exactly two rounds, numbered 1 and 2, both delivered
    reopened: int  #: … of which exactly the first one was opened again
    attempts: int
    open: int


def look_at_job(data: Path) -> JobRow:
    """Read the one job and what it did, in one snapshot, while nobody writes."""
    with _reading(data) as connection:
        columns = "state, total, counted, done, skipped, (SELECT count(*) FROM reopened)"
        (row,) = connection.execute(f"SELECT {columns} FROM jobs")  # noqa: S608 - a constant
        return JobRow(*row)


def count_rounds(data: Path) -> Rounds:
    """Count the rows of a store that nobody writes to."""
    with _reading(data) as connection:
        ((deliveries, one_more),) = connection.execute(
            "SELECT count(*), sum(rounds = 2 AND first = 1 AND last = 2 AND delivered = 2) FROM ("
            " SELECT count(*) AS rounds, min(round) AS first, max(round) AS last, sum(state = 'delivered') AS delivered"
            " FROM history GROUP BY event_key, endpoint_key)"
        )
        ((reopened,),) = connection.execute(
            "SELECT count(*) FROM (SELECT count(*) AS rows, max(round) AS round FROM reopened"
            " GROUP BY event_key, endpoint_key) WHERE rows = 1 AND round = 1"
        )
        ((attempts,),) = connection.execute("SELECT count(*) FROM attempts")
        ((open_,),) = connection.execute("SELECT count(*) FROM obligations")
        return Rounds(deliveries, one_more, reopened, attempts, open_)


@contextmanager
def _reading(data: Path) -> Iterator[apsw.Connection]:
    """A connection that cannot write, in one snapshot."""
    with closing(apsw.Connection(str(data / DATABASE), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
        connection.execute("BEGIN")
        yield connection
