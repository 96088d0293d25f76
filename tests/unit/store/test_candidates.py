"""What looking for the candidates of a job costs: it seeks, whatever lies before the cursor and beside the filter."""

import re
from importlib.resources import files

import apsw
import pytest
from msgspec.structs import replace

from posthouse.core import ids
from posthouse.core.delivery import State
from posthouse.core.jobs import Job, JobFilter, JobKind, JobMode
from posthouse.core.model import Environment
from posthouse.store.shared.candidates import END, PART_ROWS, STEP_ROWS, Place
from posthouse.store.sqlite.candidates import find, superseded
from posthouse.store.sqlite.statements import SQL

FIRST = ids.first_key_at(1_800_000_000_000)
APART = 1 << 24  #: between the keys of two events: 4 ms
EVENTS = 30_000
CANDIDATES = [name for name in SQL if re.match("candidates_(open|settled|undelivered)", name)]
JOB = Job(
    key=1,
    environment=Environment.LIVE,
    kind=JobKind.REPLAY,
    filter=JobFilter(newest=FIRST + EVENTS * APART),
    created_at=0,
    total=0,
)
OF_ENDPOINT = replace(JOB.filter, endpoint_key=7)
OF_SMALL, OF_LARGE = (replace(JOB.filter, source_key=key) for key in (1, 2))
FEW = {"kind": JobKind.RETRY, "filter": replace(JOB.filter, states=(State.EXHAUSTED,))}


@pytest.fixture(scope="module")
def database() -> apsw.Connection:
    """Events that owe to endpoint 7, where they are settled and each hundredth is exhausted, and to 8, still open.

    All came in through source 2, but each thousandth through source 1.
    """
    connection = apsw.Connection(":memory:")
    connection.execute(files("posthouse.store.sqlite").joinpath("schema.sql").read_text("utf-8"))
    connection.execute(
        """WITH RECURSIVE numbers (n) AS (VALUES (0) UNION ALL SELECT n + 1 FROM numbers WHERE n < ?1)
        INSERT INTO events (key, id, environment, tenant, type, accepted_at, ordering_key, owed, data)
        SELECT ?2 + n * ?3, n, 'live', 'acme', 'a', 0, 'k' || (n % 10), '[7,8]', x'31' FROM numbers""",
        (EVENTS - 1, FIRST, APART),
    )
    connection.execute(
        """INSERT INTO history SELECT key, 7, 1, iif(id % 100, 'delivered', 'exhausted'), NULL, 0, 1, 0, 0 FROM events;
        INSERT INTO obligations SELECT key, 8, 0, 0, 0, 1, 0, 0, NULL, 0 FROM events;
        INSERT INTO environment_periods SELECT DISTINCT 'live', key >> 36 FROM events;
        INSERT INTO tenant_periods SELECT DISTINCT 'live', 'acme', key >> 36 FROM events;
        INSERT INTO endpoint_periods SELECT DISTINCT 7, key >> 36 FROM events;
        INSERT INTO arrivals SELECT key, iif(id % 1000, 2, 1), key, 0, NULL, 0, 0 FROM events"""
    )
    return connection


def steps_of(database: apsw.Connection, job: Job, limit: int, after: Place = (0, 0)) -> int:
    """Instructions of SQLite's machine, in hundreds, that one look takes."""
    count = 0

    def tick() -> bool:
        nonlocal count
        count += 1
        return False

    database.set_progress_handler(tick, 100)
    try:
        assert find(database, job, after=after, limit=limit).candidates
    finally:
        database.set_progress_handler(None)
    return count


@pytest.mark.parametrize("name", CANDIDATES)
def test_a_cursor_is_sought(database: apsw.Connection, name: str) -> None:
    """By both of its keys, so that an event with thousands of deliveries is not read anew for each step."""
    statement = SQL[name]
    names = dict.fromkeys(re.findall(r":([a-z_]+)", statement))
    plan = [str(row[3]) for row in database.execute(f"EXPLAIN QUERY PLAN {statement}", names)]
    sought = [step for step in plan if re.match("SEARCH (h|obligations) USING", step)]
    one_endpoint = name == "candidates_undelivered_of_endpoint"  # of which an event has one delivery
    assert len(sought) == 1
    assert ("event_key>?" if one_endpoint else "(event_key,endpoint_key)>(?,?)") in sought[0]
    assert "event_key<?" in sought[0]
    assert not [step for step in plan if "TEMP B-TREE" in step]


@pytest.mark.parametrize(
    "job",
    [
        JOB,
        replace(JOB, filter=OF_ENDPOINT),
        replace(JOB, filter=replace(JOB.filter, tenant="acme")),
        replace(JOB, kind=JobKind.CANCEL),
        replace(JOB, kind=JobKind.RETRY),
        replace(JOB, **FEW),
        replace(JOB, kind=JobKind.RETRY, filter=replace(OF_ENDPOINT, states=(State.EXHAUSTED,))),
        replace(JOB, mode=JobMode.LATEST),
        replace(JOB, filter=OF_LARGE),
        replace(JOB, kind=JobKind.CANCEL, filter=OF_LARGE),
        replace(JOB, kind=JobKind.RETRY, filter=OF_LARGE),
        replace(JOB, kind=JobKind.RETRY, filter=replace(OF_LARGE, states=(State.EXHAUSTED,))),
    ],
)
def test_a_step_costs_the_same_wherever_it_is(database: apsw.Connection, job: Job) -> None:
    late = (FIRST + (EVENTS - 3_000) * APART, 7)
    assert steps_of(database, job, 20, after=late) <= steps_of(database, job, 20) * 1.2 + 5


def test_few_among_many_cost_their_index(database: apsw.Connection) -> None:
    """Exhausted ones are found without reading the delivered ones between them."""
    assert steps_of(database, replace(JOB, **FEW), 200) < steps_of(database, JOB, 200) * 2


@pytest.mark.parametrize(
    ("kind", "states"),
    [(JobKind.CANCEL, ()), (JobKind.REPLAY, ()), (JobKind.RETRY, (State.EXHAUSTED,)), (JobKind.RETRY, ())],
)
def test_a_source_with_few_events_costs_only_them(
    database: apsw.Connection, kind: JobKind, states: tuple[State, ...]
) -> None:
    """All that a job selects of 30 among 30,000 is found in one look, for less than a part of all costs."""
    few, all_ = (replace(JOB, kind=kind, filter=replace(f, states=states)) for f in (OF_SMALL, JOB.filter))
    found = find(database, few, after=(0, 0), limit=100)
    expected = (EVENTS // 1_000) * (2 if kind is JobKind.RETRY and not states else 1)
    assert (len(found.candidates), found.exhausted) == (expected, True)
    assert steps_of(database, few, 100) < steps_of(database, all_, 100)


def test_a_source_with_many_events_costs_only_what_the_job_can_select(database: apsw.Connection) -> None:
    """Its delivered events are leapt over: the exhausted ones are as cheap as if there were no others."""
    exhausted = replace(JOB, kind=JobKind.RETRY, filter=replace(OF_LARGE, states=(State.EXHAUSTED,)))
    found = find(database, exhausted, after=(0, 0), limit=1_000)
    assert (len(found.candidates), found.exhausted) == (EVENTS // 100 - EVENTS // 1_000, True)
    replay = replace(JOB, filter=OF_LARGE)
    assert steps_of(database, exhausted, 1_000) < steps_of(database, replay, 300) * 2


def test_a_look_is_bounded_also_where_it_finds_nothing(database: apsw.Connection) -> None:
    nothing = replace(JOB, filter=replace(JOB.filter, types=("b",)))
    found = find(database, nothing, after=(0, 0), limit=10)
    assert (found.candidates, found.exhausted) == ([], False)
    assert found.reached == (FIRST + (STEP_ROWS - 1) * APART, 7)
    looks = 1
    while not found.exhausted:
        found = find(database, nothing, after=found.reached, limit=10)
        looks += 1
    assert found.reached == END
    assert looks == EVENTS // STEP_ROWS + 1


@pytest.mark.parametrize("limit", [1, 7, PART_ROWS, PART_ROWS + 1, 9_999])
def test_each_delivery_is_found_once_and_in_order(database: apsw.Connection, limit: int) -> None:
    """From several tables at once."""
    newest = FIRST + (1_203 if limit < PART_ROWS else EVENTS) * APART
    job = replace(JOB, kind=JobKind.RETRY, filter=replace(JOB.filter, newest=newest))
    places: list[Place] = []
    reached: Place = (0, 0)
    while reached < END:
        found = find(database, job, after=reached, limit=limit)
        assert len(found.candidates) <= limit
        places += [(c.event_key, c.endpoint_key) for c in found.candidates]
        reached = found.reached
        assert found.exhausted is (reached == END)
    numbers = range(min((newest - FIRST) // APART + 1, EVENTS))
    expected = [(FIRST + n * APART, key) for n in numbers for key in ((7, 8) if n % 100 == 0 else (8,))]
    assert places == expected


@pytest.mark.parametrize("limit", [7, PART_ROWS, PART_ROWS + 1])
@pytest.mark.parametrize("source_key", [1, 2])
def test_each_delivery_of_a_source_is_found_once_and_in_order(
    database: apsw.Connection, source_key: int, limit: int
) -> None:
    """From the open and the exhausted ones at once, whether or not a look begins at an event of the source."""
    newest = FIRST + 3_003 * APART
    job = replace(JOB, kind=JobKind.RETRY, filter=replace(JOB.filter, newest=newest, source_key=source_key))
    places: list[Place] = []
    reached: Place = (FIRST, 0)
    while reached < END:
        found = find(database, job, after=reached, limit=limit)
        places += [(c.event_key, c.endpoint_key) for c in found.candidates]
        reached = found.reached
    numbers = [n for n in range(3_004) if (n % 1_000 == 0) is (source_key == 1)]
    assert places == [(FIRST + n * APART, key) for n in numbers for key in ((7, 8) if n % 100 == 0 else (8,))]


def test_the_newest_of_a_key_supersedes_all_before_it(database: apsw.Connection) -> None:
    job = replace(JOB, kind=JobKind.RETRY, mode=JobMode.LATEST)
    found = find(database, job, after=(FIRST + (EVENTS - 20) * APART, 0), limit=100)
    left = {c.event_key for c in found.candidates} - {key for key, _ in superseded(database, job, found.candidates)}
    assert left == {FIRST + n * APART for n in range(EVENTS - 10, EVENTS)}
    assert superseded(database, replace(job, mode=JobMode.ALL), found.candidates) == frozenset()
