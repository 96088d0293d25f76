"""The numbers that senders count their events with: what is missing opens an incident, what comes late shrinks it."""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from msgspec.structs import replace

from posthouse.core.gaps import Gap, Stream, advance
from posthouse.core.inbound import Incident, IncidentKind
from posthouse.core.limits import GAPS_OPEN_MAX
from posthouse.store.protocol import ReadRequest

NUMBER_MAX: Final = (1 << 63) - 2  #: a greater number, or one below 0, counts nothing

Place = tuple[int, str]  #: source key, stream


class Counted(NamedTuple):
    """Numbers of the new events of one reading."""

    reading: ReadRequest
    now: int
    numbers: Mapping[str, Sequence[int]]  #: stream → numbers, at least one each


class OpenGap(NamedTuple):
    """An incident that is open: numbers of a stream that are missing."""

    key: int
    source_key: int
    stream: str
    first: int
    last: int
    missing: int


class Filled(NamedTuple):
    """What is left of a gap of which numbers came late."""

    key: int
    missing: int
    closed_at: int | None


def places_of(counted: Iterable[Counted]) -> list[Place]:
    """The streams that are counted on, in the order of their keys."""
    return sorted({(reading.item.request.source_key, name) for reading, _now, numbers in counted for name in numbers})


def gap_incident(reading: ReadRequest, now: int, stream: str, gap: Gap, key: int) -> Incident:
    """What is recorded of a gap."""
    missing = gap.last - gap.first + 1
    numbers = f"Number {gap.first}" if missing == 1 else f"Numbers {gap.first} to {gap.last}"
    return Incident(
        key=key,
        environment=reading.environment,
        tenant=reading.tenant,
        kind=IncidentKind.SEQUENCE_GAP,
        source_key=reading.item.request.source_key,
        opened_at=now,
        detail=f"{numbers} of the stream {stream!r} did not come.",
        stream=stream,
        first=gap.first,
        last=gap.last,
        missing=missing,
    )


class Counting:
    """Brings streams forward in memory, one reading after the other, and holds what is to be written then.

    ``gaps`` are all that are open of the sources that are counted on: there are at most ``GAPS_OPEN_MAX`` of each.
    """

    def __init__(self, streams: Mapping[Place, Stream], gaps: Iterable[OpenGap]) -> None:
        self.streams = dict(streams)
        self.filled: dict[int, Filled] = {}  #: gaps that were there before, by key
        self._opened: dict[int, Incident] = {}
        self._gaps: dict[Place, list[OpenGap]] = {}  # by their first numbers
        self._room: dict[int, int] = {}
        for gap in sorted(gaps, key=lambda gap: gap.first):
            self._add(gap)

    @property
    def opened(self) -> tuple[Incident, ...]:
        """Gaps that are new."""
        return tuple(self._opened.values())

    def count_on(self, counted: Counted) -> None:
        """The numbers of one reading."""
        reading, now, numbers = counted
        source_key = reading.item.request.source_key
        keys = iter(reading.incident_keys)
        for name, of_stream in numbers.items():
            place = (source_key, name)
            progress = advance(self.streams.get(place), of_stream)
            self.streams[place] = progress.stream
            for number in progress.late:
                self._fill(place, number, now)
            room = self._room.get(source_key, GAPS_OPEN_MAX)
            for gap, key in zip(progress.gaps[: max(0, room)], keys, strict=False):
                incident = self._opened[key] = gap_incident(reading, now, name, gap, key)
                self._add(OpenGap(key, source_key, name, gap.first, gap.last, incident.missing or 0))

    def _add(self, gap: OpenGap) -> None:
        # A new gap lies above all numbers that its stream has had, so they stay in their order.
        self._gaps.setdefault((gap.source_key, gap.stream), []).append(gap)
        self._room[gap.source_key] = self._room.get(gap.source_key, GAPS_OPEN_MAX) - 1

    def _fill(self, place: Place, number: int, now: int) -> None:
        """A number came late: the gap that holds it is smaller, or closed.

        Gaps of a stream do not overlap, so only the open one that starts last before it can hold it.
        """
        gaps = self._gaps.get(place, [])
        at = bisect_right(gaps, number, key=lambda gap: gap.first) - 1
        if at < 0 or gaps[at].last < number:
            return
        gap = gaps[at]
        missing = gap.missing - 1
        closed_at = None if missing > 0 else now
        if closed_at is None:
            gaps[at] = gap._replace(missing=missing)
        else:
            del gaps[at]
            self._room[gap.source_key] += 1
        if gap.key in self._opened:
            self._opened[gap.key] = replace(self._opened[gap.key], missing=missing, closed_at=closed_at)
        else:
            self.filled[gap.key] = Filled(gap.key, missing, closed_at)
