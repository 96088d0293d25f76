"""The numbers that senders count their events with: read once, counted on in memory, written once."""

from collections.abc import Sequence

from msgspec.structs import astuple

from posthouse.core.gaps import Stream
from posthouse.store.postgres.binding import columns, storable
from posthouse.store.postgres.transact import Transaction
from posthouse.store.shared.streams import Counted, Counting, OpenGap, places_of


async def count_on(transaction: Transaction, counted: Sequence[Counted]) -> None:
    """Bring all streams forward, one reading after the other; the caller holds the guards of their sources."""
    if not counted:
        return
    counted = [_storable(of_reading) for of_reading in counted]
    places = places_of(counted)
    streams = {
        (source_key, name): Stream(high, steps)
        for source_key, name, high, steps in await transaction.rows("find_streams", *columns(places, 2))
    }
    sources = sorted({source_key for source_key, _name in places})
    gaps = [OpenGap(*row) for row in await transaction.rows("open_gaps", sources)]
    counting = Counting(streams, gaps)
    for of_reading in counted:
        counting.count_on(of_reading)
    rows = [(*place, stream.high, stream.steps) for place, stream in counting.streams.items()]
    await transaction.count("put_streams", *columns(rows, 4))
    if counting.filled:
        await transaction.count("fill_gaps", *columns(list(counting.filled.values()), 3))
    if counting.opened:
        await transaction.count("insert_gaps", *columns([astuple(incident) for incident in counting.opened], 12))


def _storable(counted: Counted) -> Counted:
    """With names of streams as they can be stored: they come from outside, and none of them spoils a reading."""
    numbers: dict[str, list[int]] = {}
    for name, of_stream in counted.numbers.items():
        numbers.setdefault(storable(name), []).extend(of_stream)
    return counted._replace(numbers=numbers)
