"""Giving up open deliveries: some, or those that a newer one supersedes."""

from collections.abc import Sequence

from posthouse.core.model import slot_of
from posthouse.core.rules import SUPERSEDED
from posthouse.store.postgres.binding import columns
from posthouse.store.postgres.ordering import Delivery, let_out
from posthouse.store.postgres.planning import keep_newest
from posthouse.store.postgres.readers import Readers
from posthouse.store.postgres.transact import Transaction


async def discard(t: Transaction, deliveries: Sequence[Delivery], *, reason: str, now: int) -> list[Delivery]:
    """Discard those of these distinct deliveries that are open, and let out what stands behind; which they were.

    The transaction holds their guards.
    """
    gone = await t.rows("discard_obligations", *columns(sorted(deliveries), 2), reason, now)
    await let_out(t, ((row["endpoint_key"], row["ordering_key"], now) for row in gone if not row["behind"]))
    return [(row["event_key"], row["endpoint_key"]) for row in gone]


async def open_of_endpoint(readers: Readers, endpoint_key: int, limit: int) -> list[Delivery]:
    """Some open deliveries of an endpoint: first those that stand behind others.

    So none of them is let out only to be discarded next.
    """
    rows = await readers.quick("behind_of_endpoint", endpoint_key, limit)
    if len(rows) < limit:
        rows += await readers.quick("open_of_endpoint", slot_of(endpoint_key), endpoint_key, limit - len(rows))
    return [(row["event_key"], endpoint_key) for row in rows]


async def supersede(t: Transaction, deliveries: Sequence[Delivery], now: int) -> list[Delivery]:
    """Discard what a newer one behind it makes out of date; see the protocol. The transaction holds their guards."""
    found = await t.rows("out_of_date", *columns(sorted(set(deliveries)), 2))
    if not found:
        return []
    await keep_newest(t, {(row["endpoint_key"], row["ordering_key"]): now for row in found})
    outdated = [(row["event_key"], row["endpoint_key"]) for row in found]
    gone = frozenset(await discard(t, outdated, reason=SUPERSEDED, now=now))
    return [delivery for delivery in dict.fromkeys(deliveries) if delivery in gone]
