"""Keeping what is sent to sources, before anything is done with it."""

from collections.abc import Sequence
from typing import Final

import apsw

from posthouse.core.inbound import WHOLE
from posthouse.store.protocol import Arrival
from posthouse.store.sqlite.planning import Row, write_rows
from posthouse.store.sqlite.rows import PERIOD_BITS
from posthouse.store.sqlite.statements import SQL
from posthouse.store.sqlite.writer import Steps

_INSERT_INBOX_ITEM: Final = SQL["insert_inbox_item"]
_INSERT_REFUSED: Final = SQL["insert_refused"]
_INSERT_REQUEST: Final = SQL["insert_request"]
_NOTE_ENVIRONMENT_PERIOD: Final = SQL["note_inbound_environment_period"]
_NOTE_SOURCE_PERIOD: Final = SQL["note_source_period"]
_NOTE_TENANT_PERIOD: Final = SQL["note_inbound_tenant_period"]


def take(connection: apsw.Connection, arrivals: Sequence[Arrival]) -> Steps[None]:
    """Write all requests; each goes to the inbox or, with an objection, to quarantine."""
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
                environment,
                tenant,
                at,
                request.method,
                request.url,
                request.head,
                request.verdict,
                request.status,
                request.body,
            )
        )
        place = (environment, tenant, source_key, key >> PERIOD_BITS)
        if place != latest:  # most have the place of the one before
            latest = place
            places.add(place)
        if arrival.objection is None:
            inbox.append((source_key, key, WHOLE, None, at))
        else:
            size = len(request.body)
            refused.append((key, source_key, environment, tenant, arrival.objection, arrival.detail, at, size))
    yield from write_rows(connection, _INSERT_REQUEST, requests)
    yield from write_rows(connection, _INSERT_INBOX_ITEM, inbox)
    yield from write_rows(connection, _INSERT_REFUSED, refused)
    yield from write_rows(connection, _NOTE_SOURCE_PERIOD, list({place[2:] for place in places}))
    yield from write_rows(connection, _NOTE_TENANT_PERIOD, list({(e, t, period) for e, t, _source, period in places}))
    yield from write_rows(connection, _NOTE_ENVIRONMENT_PERIOD, list({(place[0], place[3]) for place in places}))
