"""Keeping what is sent to sources, before anything is done with it."""

from collections.abc import Sequence
from typing import Any, Final

from posthouse.core.limits import KIB, MIB
from posthouse.store.postgres.binding import columns, storable
from posthouse.store.postgres.lane import Turn
from posthouse.store.postgres.transact import Transaction
from posthouse.store.protocol import Arrival
from posthouse.store.shared.spans import PERIOD_BITS

Row = tuple[Any, ...]

PART_BYTES: Final = 8 * MIB  #: of one statement, about: it is held in memory, here and there
_ROW_BYTES: Final = 2 * KIB  # of a request besides its body, about

_REQUEST_COLUMNS: Final = 11
_INBOX_COLUMNS: Final = 3
_REFUSED_COLUMNS: Final = 8
_PLACE_COLUMNS: Final = 4


async def take(turn: Turn, arrivals: Sequence[Arrival]) -> None:
    """Write all requests in one transaction; what is too much for one statement is written in several."""
    parts = _parts(arrivals)
    if len(parts) == 1:
        await turn.single("take", *_bindings_of(parts[0]))
        return

    async def run(transaction: Transaction) -> None:
        for part in parts:
            await transaction.count("take", *_bindings_of(part))

    await turn.transact(run)


def _parts(arrivals: Sequence[Arrival]) -> list[list[Arrival]]:
    parts: list[list[Arrival]] = []
    room = 0
    for arrival in arrivals:
        size = len(arrival.request.body) + _ROW_BYTES
        room -= size
        if room < 0:
            parts.append([])
            room = PART_BYTES - size
        parts[-1].append(arrival)
    return parts


def _bindings_of(arrivals: Sequence[Arrival]) -> list[list[Any]]:
    """What the statement ``take`` takes: each request goes to the inbox or, with an objection, to quarantine."""
    requests: list[Row] = []
    inbox: list[Row] = []
    refused: list[Row] = []
    places: set[tuple[str, str, int, int]] = set()
    latest = None
    for arrival in arrivals:
        request, environment, tenant = arrival.request, arrival.environment.value, arrival.tenant
        key, source_key, at = request.key, request.source_key, request.received_at
        requests.append(
            (
                key,
                source_key,
                at,
                request.status,
                environment,
                tenant,
                request.method,
                storable(request.url),
                storable(request.head),
                request.verdict,
                request.body,
            )
        )
        place = (environment, tenant, source_key, key >> PERIOD_BITS)
        if place != latest:  # most have the place of the one before
            latest = place
            places.add(place)
        if arrival.objection is None:
            inbox.append((source_key, key, at))
        else:
            size = len(request.body)
            detail = storable(arrival.detail)
            refused.append((key, source_key, environment, tenant, arrival.objection, detail, at, size))
    return [
        *columns(requests, _REQUEST_COLUMNS),
        *columns(inbox, _INBOX_COLUMNS),
        *columns(refused, _REFUSED_COLUMNS),
        *columns(list(places), _PLACE_COLUMNS),
    ]
