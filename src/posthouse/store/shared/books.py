"""The books, recounted: debts from the events, everything else from the rows that should pay them.

Nothing here is a counter that something kept up to date. Settled rounds are history minus what was
opened again; both only ever grow, so the sum is right at every instant. What retention drops is added to sums that are
kept, debts and what paid them apart, in the transaction that drops it: so what was missing before is missing still.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from posthouse.core.delivery import State
from posthouse.core.model import Environment
from posthouse.store.protocol import Books

OWED: Final = "owed"  #: in the place of a state: what events owed that are gone

_Home = tuple[str, str]  # environment, tenant


class Recount(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine has counted, in one snapshot."""

    owed: Sequence[tuple[str, str, int, int]]  #: environment, tenant, endpoint key, count; by the events
    settled: Sequence[tuple[int, str, str | None, int]]  #: endpoint key, state, reason, rounds
    reopened: Sequence[tuple[int, str, str | None, int]]  #: the same of rounds that count no more
    open: Sequence[tuple[int, int, int]]  #: endpoint key, how many, how many of them were attempted
    endpoints: Sequence[tuple[int, str, str]]  #: key, environment, tenant; by the catalogue
    #: What retention dropped: environment, tenant, endpoint key, state or OWED, reason or "", count.
    bygone: Sequence[tuple[str, str, int, str, str, int]]


def books_of(recount: Recount, environment: Environment, tenant: str | None) -> list[Books]:
    """The books of every endpoint with deliveries; ``tenant`` None: of all of the environment."""
    owed = Counter[tuple[str, str, int]]()
    for of_environment, of_tenant, endpoint_key, count in recount.owed:
        owed[of_environment, of_tenant, endpoint_key] += count
    settled: dict[int, Counter[tuple[str, str | None]]] = defaultdict(Counter)
    for endpoint_key, state, reason, count in recount.settled:
        settled[endpoint_key][state, reason] += count
    for endpoint_key, state, reason, count in recount.reopened:
        settled[endpoint_key][state, reason] -= count
    for of_environment, of_tenant, endpoint_key, state, reason, count in recount.bygone:
        if state == OWED:
            owed[of_environment, of_tenant, endpoint_key] += count
        else:
            settled[endpoint_key][state, reason or None] += count
    open_ = {endpoint_key: (count, attempted) for endpoint_key, count, attempted in recount.open}

    homes = _homes(recount, owed)
    nowhere = (environment, "")  # rows of an endpoint that nothing else knows: they show wherever one looks
    places = set(owed) | {(*homes.get(key, nowhere), key) for key in (*settled, *open_)}
    books = []
    for of_environment, of_tenant, endpoint_key in sorted(places):
        if of_environment != environment or (tenant is not None and of_tenant != tenant):
            continue
        # What pays a debt is booked once, where the endpoint belongs; a debt elsewhere stays unpaid and shows.
        at_home = homes.get(endpoint_key, nowhere) == (of_environment, of_tenant)
        paid = settled.get(endpoint_key) if at_home else None
        count, attempted = open_.get(endpoint_key, (0, 0)) if at_home else (0, 0)
        books.append(
            Books(
                environment=environment,
                tenant=of_tenant,
                endpoint_key=endpoint_key,
                owed=owed[of_environment, of_tenant, endpoint_key],
                waiting=count - attempted,
                retrying=attempted,
                **_settled_columns(paid or Counter()),
            )
        )
    return books


def _homes(recount: Recount, owed: Counter[tuple[str, str, int]]) -> dict[int, _Home]:
    """Whose each endpoint is: as the catalogue says, or else as the events do that owe to it."""
    homes: dict[int, _Home] = {key: (environment, tenant) for environment, tenant, key in owed}
    for key, environment, tenant in recount.endpoints:
        homes[key] = (environment, tenant)
    return homes


def _settled_columns(settled: Counter[tuple[str, str | None]]) -> dict[str, Any]:
    delivered = exhausted = 0
    discarded: Counter[str] = Counter()
    for (state, reason), count in settled.items():
        if state == State.DELIVERED:
            delivered += count
        elif state == State.EXHAUSTED:
            exhausted += count
        elif count:
            discarded[str(reason)] += count
    return {"delivered": delivered, "exhausted": exhausted, "discarded": dict(discarded)}
