"""The numbers that senders count their events with: what is missing opens an incident, what comes late shrinks it."""

from collections.abc import Sequence
from typing import Final

import apsw
import msgspec
from msgspec.structs import astuple

from posthouse.core.gaps import Stream, advance
from posthouse.core.limits import GAPS_OPEN_MAX
from posthouse.store.shared.streams import Counted, gap_incident, places_of
from posthouse.store.sqlite.planning import write_rows
from posthouse.store.sqlite.rows import rows_of, value_of
from posthouse.store.sqlite.statements import SQL
from posthouse.store.sqlite.writer import Steps

_COUNT_OPEN_GAPS: Final = SQL["count_open_gaps"]
_FILL_GAP: Final = SQL["fill_gap"]
_FIND_STREAMS: Final = SQL["find_streams"]
_INSERT_GAP: Final = SQL["insert_gap"]
_PUT_STREAM: Final = SQL["put_stream"]

_encode = msgspec.json.Encoder().encode


def count_on(connection: apsw.Connection, counted: Sequence[Counted]) -> Steps[None]:
    """Bring all streams forward, one reading after the other."""
    streams = _find(connection, counted)
    for reading, now, numbers in counted:
        source_key = reading.item.request.source_key
        keys = iter(reading.incident_keys)
        for name, of_stream in numbers.items():
            progress = advance(streams.get((source_key, name)), of_stream)
            streams[source_key, name] = progress.stream
            for number in progress.late:
                connection.execute(_FILL_GAP, (source_key, name, number, now))
            room = GAPS_OPEN_MAX - _open_gaps(connection, source_key) if progress.gaps else 0
            for gap, key in zip(progress.gaps[: max(0, room)], keys, strict=False):
                connection.execute(_INSERT_GAP, astuple(gap_incident(reading, now, name, gap, key)))
            yield 1 + len(of_stream)
    rows = [(*place, stream.high, stream.steps) for place, stream in streams.items()]
    yield from write_rows(connection, _PUT_STREAM, rows)


def _find(connection: apsw.Connection, counted: Sequence[Counted]) -> dict[tuple[int, str], Stream]:
    rows = rows_of(connection, _FIND_STREAMS, (_encode(places_of(counted)).decode(),))
    return {(source_key, name): Stream(high, steps) for source_key, name, high, steps in rows}


def _open_gaps(connection: apsw.Connection, source_key: int) -> int:
    count: int = value_of(connection, _COUNT_OPEN_GAPS, (source_key,))
    return count
