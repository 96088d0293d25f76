"""The books, recounted: debts from the events, everything else from the rows that should pay them.

Nothing here is a counter that something kept up to date. Settled rounds are history minus what was
opened again; both only ever grow, so the sum is right at every instant.
"""

from collections import Counter, defaultdict
from typing import Any, Final

import apsw
import msgspec

from posthouse.core.delivery import State
from posthouse.core.model import Environment
from posthouse.store.protocol import Books
from posthouse.store.sqlite.rows import value_of
from posthouse.store.sqlite.statements import SQL

_ENDPOINTS: Final = SQL["audit_endpoints"]
_OPEN: Final = SQL["audit_open"]
_OWED: Final = SQL["audit_owed"]
_REOPENED: Final = SQL["audit_reopened"]
_SETTLED: Final = SQL["audit_settled"]

_Home = tuple[str, str]  # environment, tenant


def audit(connection: apsw.Connection, environment: Environment, tenant: str | None) -> list[Books]:
    """The books of every endpoint with deliveries, in the one snapshot that ``connection`` stands in."""
    owed = Counter[tuple[str, str, int]]()
    for of_environment, of_tenant, endpoint_key, count in _rows(connection, _OWED):
        owed[of_environment, of_tenant, endpoint_key] += count
    settled: dict[int, Counter[tuple[str, str | None]]] = defaultdict(Counter)
    for endpoint_key, state, reason, count in _rows(connection, _SETTLED):
        settled[endpoint_key][state, reason] += count
    for endpoint_key, state, reason, count in _rows(connection, _REOPENED):
        settled[endpoint_key][state, reason] -= count
    open_ = {endpoint_key: (count, attempted) for endpoint_key, count, attempted in _rows(connection, _OPEN)}

    homes = _homes(connection, owed)
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


def _homes(connection: apsw.Connection, owed: Counter[tuple[str, str, int]]) -> dict[int, _Home]:
    """Whose each endpoint is: as the catalogue says, or else as the events do that owe to it."""
    homes: dict[int, _Home] = {key: (environment, tenant) for environment, tenant, key in owed}
    for key, environment, tenant in _rows(connection, _ENDPOINTS):
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


def _rows(connection: apsw.Connection, statement: str) -> list[Any]:
    rows: list[Any] = msgspec.json.decode(value_of(connection, statement))
    return rows
