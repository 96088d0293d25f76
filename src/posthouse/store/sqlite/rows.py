"""Between rows and values: the few conversions that every facet shares."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import apsw

from posthouse.core.model import Environment, Event, Lane

#: Looking a member up here costs a tenth of calling the enum.
ENVIRONMENTS: Final = {member.value: member for member in Environment}
LANES: Final = tuple(Lane)

PERIOD_BITS: Final = 36  #: an event key without these is its period (see schema.sql)
INTEGER_MAX: Final = (1 << 63) - 1

#: (key, id, environment, tenant, type, accepted_at, data, occurred_at, ordering_key)
EventRow = tuple[int, str, str, str, str, int, bytes, int | None, str | None]


Bindings = Sequence[Any] | Mapping[str, Any]


def rows_of(connection: apsw.Connection, statement: str, bindings: Bindings = ()) -> list[Any]:
    """All rows of a statement, as tuples of what its columns hold."""
    return connection.execute(statement, bindings).fetchall()


def value_of(connection: apsw.Connection, statement: str, bindings: Bindings = ()) -> Any:
    """The only column of the only row."""
    return connection.execute(statement, bindings).fetchall()[0][0]


def event_of(row: EventRow) -> Event:
    """The event in a row."""
    key, public_id, environment, tenant, event_type, accepted_at, data, occurred_at, ordering_key = row
    return Event(
        key=key,
        id=public_id,
        environment=ENVIRONMENTS[environment],
        tenant=tenant,
        type=event_type,
        accepted_at=accepted_at,
        data=data,
        occurred_at=occurred_at,
        ordering_key=ordering_key,
    )
