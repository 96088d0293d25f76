"""Who is sent and who stands behind, among the open deliveries of one endpoint and one ordering key.

Of each (endpoint, ordering key) with open deliveries exactly one does not stand behind: an index allows
no second one, and whoever takes it away lets out the oldest behind it in the same transaction. Whoever may change
which one that is holds the guard of the key, and looks only when it is held.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from posthouse.core.model import slot_of
from posthouse.store.postgres.binding import columns
from posthouse.store.postgres.readers import Readers
from posthouse.store.postgres.transact import Transaction

#: A place in the queues of an endpoint: lane, due_at, event key.
Place = tuple[int, int, int]
FIRST_PLACE: Final[Place] = (-1, 0, 0)  #: before everything

Delivery = tuple[int, int]  #: event key, endpoint key
Orders = tuple[tuple[int, str], ...]  #: endpoint keys and ordering keys


async def ordering_keys(readers: Readers, deliveries: Iterable[Delivery]) -> dict[Delivery, str]:
    """The ordering keys of these deliveries' events, of those that have one.

    They never change, whether a delivery keeps its one or not: so they say which guards to hold before anything is
    looked at.
    """
    rows = await readers.quick("ordering_keys", *columns(list(deliveries), 2))
    return {(event_key, endpoint_key): ordering_key for event_key, endpoint_key, ordering_key in rows}


def orders_among(keys: Mapping[Delivery, str]) -> Orders:
    """The endpoints and ordering keys in what :func:`ordering_keys` says."""
    return tuple({(endpoint_key, ordering_key) for (_event_key, endpoint_key), ordering_key in keys.items()})


async def guards_of(readers: Readers, deliveries: Iterable[Delivery]) -> Orders:
    """The endpoints and ordering keys whose guards to hold while these deliveries change."""
    return orders_among(await ordering_keys(readers, deliveries))


async def newest_open(t: Transaction, places: Orders) -> dict[tuple[int, str], int]:
    """The newest event that is owed and open, of each of these endpoints and ordering keys that has one.

    Ask only under their guards: what is accepted beside would not be seen.
    """
    rows = await t.rows("newest_open", *columns(places, 2)) if places else []
    return {(endpoint_key, ordering_key): event_key for endpoint_key, ordering_key, event_key in rows}


async def kept_ordering_key(t: Transaction, event_key: int, endpoint_key: int) -> str | None:
    """The ordering key that a delivery keeps when it is opened; None if its endpoint keeps no order."""
    rows = await t.rows("kept_ordering_key", event_key, endpoint_key)
    return rows[0]["ordering_key"] if rows else None


async def let_out(t: Transaction, gone: Iterable[tuple[int, str | None, int]]) -> None:
    """Call after open deliveries that stood ahead are gone: endpoint, ordering key if it kept one, and when."""
    latest: dict[tuple[int, str], int] = {}
    for endpoint_key, ordering_key, at in gone:
        if ordering_key is not None:
            latest[endpoint_key, ordering_key] = at
    if latest:
        await t.count("let_out", *columns([(*order, at) for order, at in latest.items()], 3))


async def give_up_order(t: Transaction, endpoint_key: int, event_keys: Sequence[int], now: int) -> int:
    """Let these deliveries keep no order any more; the number of those that kept one."""
    rows = await t.rows("give_up_order", sorted(event_keys), endpoint_key, now)
    await let_out(t, ((endpoint_key, row["ordering_key"], now) for row in rows))
    return len(rows)


async def kept_of_endpoint(readers: Readers, endpoint_key: int, limit: int) -> list[int]:
    """Events of some deliveries that keep an ordering key: first those that stand behind others."""
    rows = await readers.quick("behind_of_endpoint", endpoint_key, limit)
    if len(rows) < limit:
        rows += await readers.quick("ahead_of_endpoint", endpoint_key, limit - len(rows))
    return [row["event_key"] for row in rows]


async def not_in_order(readers: Readers, endpoint_key: int, after: Place, limit: int) -> list[Any]:
    """Some deliveries behind ``after`` that should keep an ordering key and do not: their places, and that key."""
    return await readers.quick("not_in_order", slot_of(endpoint_key), endpoint_key, *after, limit)


async def keep_order(t: Transaction, endpoint_key: int, found: Sequence[tuple[int, str]]) -> int:
    """Let those keep order that :func:`not_in_order` has found, as far as they are open; the number of them.

    Pairs of event key and ordering key.
    """
    keys = dict(found)
    rows = await t.rows("lock_unordered", sorted(keys), endpoint_key)
    taken: set[str] = set()
    kept: list[tuple[int, int, str, bool]] = []
    for row in rows:  # by event key: so the first one of a key is its oldest
        ordering_key = keys[row["event_key"]]
        kept.append((row["event_key"], endpoint_key, ordering_key, ordering_key not in taken))
        taken.add(ordering_key)
    if not kept:
        return 0
    await t.count("keep_order", *columns(kept, 4))
    stepped = await t.rows("step_back", endpoint_key, list(taken))
    if stepped:
        await t.count("step_forward", endpoint_key, [row["ordering_key"] for row in stepped])
    return len(kept)
