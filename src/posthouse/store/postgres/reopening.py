"""Opening a delivery again, or sooner."""

from posthouse.core.delivery import Signal, State, step
from posthouse.core.model import Lane, Obligation, slot_of
from posthouse.store.postgres.ordering import kept_ordering_key
from posthouse.store.postgres.transact import Transaction


async def retry(t: Transaction, event_key: int, endpoint_key: int, *, now: int) -> Obligation | None:
    """Make a delivery due now, from every state; see the protocol.

    The transaction holds the catalogue, which says whether the endpoint keeps order, and the delivery's guard. Of two
    that open the same round again one fails: run again, it finds the delivery open. What retention drops is there
    until this is done, or not at all.
    """
    rows = await t.rows("hasten_obligation", event_key, endpoint_key, now)
    if rows:
        lane, *values = rows[0]
        return Obligation(event_key, endpoint_key, Lane(lane), *values)
    await t.rows("begin_reopening")
    settled = await t.rows("latest_history", event_key, endpoint_key)
    if not settled:
        return None
    round_, state, reason, last_number = settled[0]
    step(State(state), Signal.RETRY)  # the table allows it from every settled state
    key = await kept_ordering_key(t, event_key, endpoint_key)
    await t.count("insert_reopened", event_key, endpoint_key, round_, state, reason, now)
    place = (event_key, endpoint_key, now, round_ + 1, last_number, slot_of(endpoint_key), key)
    await t.count("reopen_obligation", *place)
    return Obligation(event_key, endpoint_key, Lane.BACKLOG, now, now, 0, round_ + 1, last_number, key)
