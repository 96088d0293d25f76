"""What is noticed beside the requests: silence, gaps, repetitions that cannot be recognised, refusals that expire."""

from collections.abc import Awaitable, Callable

import apsw
from tests.integration.inbox import senders
from tests.integration.inbox.senders import SECRET

from posthouse.core.inbound import IncidentKind, Resolution
from posthouse.core.limits import QUARANTINE_BYTES_MAX, QUARANTINE_MS
from posthouse.core.model import Environment
from posthouse.store.protocol import QuarantineQuery
from posthouse.testing.house import House
from posthouse.testing.manual_clock import ManualClock

Start = Callable[..., Awaitable[House]]

HEARTBEAT_MS = 300_000  # of Cornerstone


async def test_a_silent_source_is_an_incident(house: House) -> None:
    """Twice its heartbeat without a word: recorded, and closed by the next word."""
    source = await house.source("cornerstone", SECRET)
    await house.post(source, *senders.cornerstone())
    await house.read(1)
    house.clock.advance(2 * HEARTBEAT_MS)
    await house.look_after()
    assert await house.incidents() == []
    house.clock.advance(1)
    await house.look_after()
    await house.look_after()
    (incident,) = await house.incidents()
    assert (incident.kind, incident.source_key) == (IncidentKind.SOURCE_SILENT, source.key)
    assert incident.closed_at is None
    await house.post(source, *senders.cornerstone())
    await house.read(2)
    await house.look_after()
    (incident,) = await house.incidents()
    assert incident.closed_at == house.clock.now_ms()


async def test_forged_requests_are_no_sign_of_life(house: House) -> None:
    source = await house.source("cornerstone", SECRET)
    await house.post(source, *senders.cornerstone())
    await house.read(1)
    house.clock.advance(2 * HEARTBEAT_MS + 1)
    await house.post(source, *senders.cornerstone(secret="forged"))
    await house.look_after()
    assert [incident.kind for incident in await house.incidents()] == [IncidentKind.SOURCE_SILENT]


async def test_a_paused_source_is_not_silent(house: House) -> None:
    source = await house.source("cornerstone", SECRET, heartbeat_seconds=60)
    await house.pause(source)
    house.clock.advance(10 * HEARTBEAT_MS)
    await house.look_after()
    assert await house.incidents() == []


async def test_a_promised_rhythm_counts_from_the_start(house: House) -> None:
    """A source that never says a word, although its operator expects one."""
    await house.source("github", SECRET, heartbeat_seconds=60)
    await house.source("github", SECRET)
    house.clock.advance(120_001)
    await house.look_after()
    assert len(await house.incidents()) == 1


async def test_a_rhythm_outlives_the_node(start: Start) -> None:
    clock = ManualClock()
    house = await start(clock)
    source = await house.source("cornerstone", SECRET)
    await house.post(source, *senders.cornerstone())
    await house.read(1)
    await house.node.stop(drain_seconds=0)
    house = await start(clock)
    house.clock.advance(2 * HEARTBEAT_MS + 1)
    await house.look_after()
    (incident,) = await house.incidents()
    assert incident.source_key == source.key


async def test_missing_numbers_are_a_gap_with_a_name(house: House) -> None:
    """And what comes late fills it."""
    source = await house.source("cornerstone", SECRET)
    await house.post(source, *senders.cornerstone(*range(20)))
    await house.post(source, *senders.cornerstone(25))
    await house.read(2)
    (gap,) = await house.incidents()
    assert (gap.kind, gap.stream, gap.first, gap.last, gap.missing) == (IncidentKind.SEQUENCE_GAP, "s-1", 20, 24, 5)
    await house.post(source, *senders.cornerstone(22))
    await house.read(3)
    (gap,) = await house.incidents()
    assert (gap.missing, gap.closed_at) == (4, None)
    await house.post(source, *senders.cornerstone(20, 21, 23, 24, 25))
    await house.read(4)
    (gap,) = await house.incidents()
    assert gap.missing == 0
    assert gap.closed_at is not None


async def test_without_what_recognises_repetitions_events_are_passed_on_and_marked(house: House) -> None:
    """Nothing stops and nothing is lost; then it is made anew from what the store knows (D26)."""
    source = await house.source("github", SECRET)
    await house.post(source, *senders.github(senders.issue(1), delivery="d-1"))
    await house.read(1)
    with_database = apsw.Connection(str(house.directory / "posthouse.db"))
    with_database.execute("DROP TABLE seen")
    with_database.close()
    await house.post(source, *senders.github(senders.issue(1), delivery="d-1"))
    await house.read(2)
    origins = [await house.ports.store.inbound.origin(event.key) for event in await house.events()]
    assert [origin.unchecked for origin in origins if origin is not None] == [False, True]
    (incident,) = await house.incidents()
    assert (incident.kind, incident.closed_at) == (IncidentKind.DEDUPE_UNAVAILABLE, None)
    await house.look_after()
    (incident,) = await house.incidents()
    assert incident.closed_at is not None
    await house.post(source, *senders.github(senders.issue(1), delivery="d-1"))
    await house.read(3)
    assert (len(await house.events()), house.node.metrics.events_repeated) == (2, 1)


async def test_what_was_refused_expires_after_a_week(house: House) -> None:
    """What was acknowledged never does."""
    source = await house.source("github", SECRET)
    await house.post(source, *senders.github(senders.issue(), secret="forged"))
    await house.post(source, *senders.github(b"no JSON"))
    await house.read(1)
    house.clock.advance(QUARANTINE_MS - 1)
    await house.look_after()
    assert len(await house.quarantine()) == 2
    house.clock.advance(60_001)
    await house.look_after()
    (left,) = await house.quarantine()
    assert left.acknowledged
    query = QuarantineQuery(environment=Environment.LIVE, resolved=True)
    (gone,) = await house.ports.store.inbound.quarantine(query)
    assert gone.resolution is Resolution.EXPIRED
    assert await house.ports.store.inbound.request(gone.request_key) is None


async def test_refused_requests_are_kept_within_a_bound(house: House) -> None:
    """Beyond it they are refused all the same, and an incident says that they are not kept."""
    source = await house.source("github", SECRET)
    house.node._keeper._room._bytes[source.key] = QUARANTINE_BYTES_MAX
    assert (await house.post(source, *senders.github(senders.issue(), secret="forged"))).status_code == 401
    assert await house.quarantine() == []
    assert house.node.metrics.requests_turned_away["quarantine_full"] == 1
    await house.node._keeper._note_full_quarantines(house.clock.now_ms())
    (incident,) = await house.incidents()
    assert incident.kind is IncidentKind.QUARANTINE_FULL
    house.clock.advance(60_000)
    await house.look_after()
    (incident,) = await house.incidents()
    assert incident.closed_at is not None
