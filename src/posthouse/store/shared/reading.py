"""What readings mean: which are refused, which of their events are repetitions, and the rows that all of it makes."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol

from msgspec.structs import astuple

from posthouse.core.inbound import Incident, IncidentKind
from posthouse.core.model import Tenant
from posthouse.store.protocol import (
    Accepted,
    Gone,
    NewEvent,
    Overtaken,
    PassedOn,
    ReadEvent,
    ReadRequest,
    StaleCatalogue,
)
from posthouse.store.shared.memory import Digest, Known, Memory
from posthouse.store.shared.streams import NUMBER_MAX, Counted

Row = tuple[Any, ...]
Place = tuple[int, int, int]  #: of an item in the inbox: source key, request key, position


class Handed(NamedTuple):
    """A reading, and when it was handed in."""

    reading: ReadRequest
    now: int


class Events(Protocol):
    """Where new events go, with all that they owe, and their tenants."""

    def overtaken(self, item: NewEvent) -> int | None:
        """The key above which an event must have its own; None if it has."""
        ...

    def refuse(self, items: Iterable[NewEvent]) -> None:
        """These come again later, and nothing ahead of them."""
        ...

    def add(self, item: NewEvent) -> None:
        """One event."""
        ...

    def add_tenants(self, tenants: Iterable[Tenant]) -> None:
        """Tenants that may be new."""
        ...


def place_of(handed: Handed) -> Place:
    """Where the item of a reading stands."""
    item = handed.reading.item
    return item.request.source_key, item.request.key, item.position


def digests_of(handed: Iterable[Handed]) -> list[Digest]:
    """What must be looked up to recognise repetitions."""
    return [
        (reading.item.request.source_key, event.digest)
        for reading, _now in handed
        for event in reading.events
        if event.window_ms > 0
    ]


def refusals_of(handed: Sequence[Handed], waiting: set[Place], version: int) -> list[Gone | StaleCatalogue | None]:
    """Why each reading is refused, if it is: ``waiting`` are the items in the inbox, the others are gone."""
    waiting = set(waiting)
    refusals: list[Gone | StaleCatalogue | None] = []
    for place, (reading, _now) in zip(map(place_of, handed), handed, strict=True):
        if place not in waiting:
            refusals.append(Gone())
        elif reading.catalogue_version != version:
            refusals.append(StaleCatalogue(version))
        else:
            waiting.remove(place)  # the same item once more in this call is gone
            refusals.append(None)
    return refusals


class ReadingRows:
    """The rows that readings will write, in the columns of the statements of the same names."""

    def __init__(self, memory: Memory, events: Events) -> None:
        self.gone: list[Place] = []
        self.readings: list[Row] = []
        self.arrivals: list[Row] = []
        self.repeats: list[Row] = []
        self.doubts: list[Row] = []
        self.incidents: list[Row] = []
        self.counted: list[Counted] = []
        self._memory = memory
        self._events = events

    def add(self, handed: Handed) -> PassedOn | Overtaken:
        """Take in a reading; what becomes of it. One that is refused leaves nothing."""
        reading, now = handed
        floor = self._overtaken(reading)
        if floor is not None:
            self._events.refuse(event.new for event in reading.events)
            return Overtaken(floor)
        item = reading.item
        self.gone.append(place_of(handed))
        self._events.add_tenants(reading.new_tenants)
        accepted: list[Accepted] = []
        numbers: dict[str, list[int]] = {}
        duplicates, unchecked = 0, False
        for event in reading.events:
            known = self._repetition(reading, event)
            if known is not None:
                duplicates += 1
                accepted.append(Accepted(known.key, known.id, 0, True))  # noqa: FBT003 - as in intake
                continue
            unchecked |= self._add_event(reading, event)
            accepted.append(Accepted(event.new.event.key, event.new.event.id, len(event.new.owed), False))  # noqa: FBT003 - as in intake
            if event.stream is not None and event.sequence is not None and 0 <= event.sequence <= NUMBER_MAX:
                numbers.setdefault(event.stream, []).append(event.sequence)
        if numbers:
            self.counted.append(Counted(reading, now, numbers))
        if unchecked and reading.incident_keys:
            self.incidents.append(astuple(_unavailable(reading, now)))
        for doubt in reading.doubts:
            place = (item.request.key, doubt.position, item.request.source_key, reading.environment, reading.tenant)
            self.doubts.append((*place, doubt.objection, doubt.detail, doubt.type, now))
        if any(doubt.position == item.position for doubt in reading.doubts):
            assert not reading.events, "what goes back to quarantine as a whole is not passed on"
            assert len(reading.doubts) == 1, "what goes back to quarantine as a whole is doubted once"
        else:
            self.readings.append(_reading_row(reading, now, accepted, duplicates))
        return PassedOn(tuple(accepted), unchecked)

    def _overtaken(self, reading: ReadRequest) -> int | None:
        at = reading.item.request.received_at
        source_key = reading.item.request.source_key
        floors = [
            self._events.overtaken(event.new)
            for event in reading.events
            if event.new.orders and self._memory.recognise((source_key, event.digest), at, event.window_ms) is None
        ]
        return max((floor for floor in floors if floor is not None), default=None)

    def _repetition(self, reading: ReadRequest, event: ReadEvent) -> Known | None:
        """Note an event that came before, and say which."""
        request = reading.item.request
        known = self._memory.recognise((request.source_key, event.digest), request.received_at, event.window_ms)
        if known is not None:
            self.repeats.append((known.key, request.key, event.position, request.source_key))
        return known

    def _add_event(self, reading: ReadRequest, event: ReadEvent) -> bool:
        """Take in a new event; whether it could be a repetition without anybody knowing."""
        request, new = reading.item.request, event.new
        self._events.add(new)
        source_key, at = request.source_key, request.received_at
        digest, unchecked = None, False
        if event.window_ms > 0:
            digest, unchecked = event.digest, not self._memory.is_whole
            self._memory.learn((source_key, digest), Known(new.event.key, new.event.id, at))
        self.arrivals.append((new.event.key, source_key, request.key, event.position, digest, at, unchecked))
        return unchecked


def _reading_row(reading: ReadRequest, now: int, accepted: Sequence[Accepted], duplicates: int) -> Row:
    item = reading.item
    pairs = zip(reading.events, accepted, strict=True)
    found = ",".join(f"[{event.position},{a.key},{a.duplicate:d}]" for event, a in pairs)
    return (
        item.request.key,
        item.position,
        item.request.source_key,
        now,
        len(accepted) - duplicates,
        duplicates,
        len(reading.doubts),
        reading.is_heartbeat,
        reading.delivery,
        f"[{found}]",
    )


def _unavailable(reading: ReadRequest, now: int) -> Incident:
    return Incident(
        key=reading.incident_keys[-1],  # gaps take the others, from the front
        environment=reading.environment,
        tenant=reading.tenant,
        kind=IncidentKind.DEDUPE_UNAVAILABLE,
        source_key=reading.item.request.source_key,
        opened_at=now,
        detail="Repetitions are not recognised for now; what comes is passed on, and marked.",
    )
