"""What looking for the candidates of a job, and listing, cost on PostgreSQL: they seek, whatever lies beside their way.

Costs are counted in blocks. The tables have no statistics here, as those of a store that was just filled.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

import asyncpg
import pytest
from msgspec.structs import replace

from posthouse.core import ids
from posthouse.core.delivery import State
from posthouse.core.jobs import Job, JobFilter, JobKind, JobMode
from posthouse.core.model import Environment, slot_of
from posthouse.store.postgres.candidates import find, superseded
from posthouse.store.postgres.dial import LISTS, PINNED
from posthouse.store.postgres.statements import SQL
from posthouse.store.postgres.transact import Guards
from posthouse.store.shared.candidates import END, PART_ROWS, STEP_ROWS, Place
from posthouse.store.shared.spans import INTEGER_MAX
from posthouse.testing.postgres.cluster import PORT, Cluster
from posthouse.testing.postgres.databases import connect, drop_database, make_database

FIRST: Final = ids.first_key_at(1_800_000_000_000)
APART: Final = 1 << 24  #: between the keys of two events: 4 ms
EVENTS: Final = 30_000
EXPLAIN: Final = "EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON)"
LARGE: Final = {"events", "history", "obligations", "attempts", "reopened", "arrivals"}
JOB: Final = Job(
    key=1,
    environment=Environment.LIVE,
    kind=JobKind.REPLAY,
    filter=JobFilter(newest=FIRST + EVENTS * APART),
    created_at=0,
    total=0,
)
OF_ENDPOINT = replace(JOB.filter, endpoint_key=7)
OF_SMALL, OF_LARGE = (replace(JOB.filter, source_key=key) for key in (1, 2))
FEW: Final = {"kind": JobKind.RETRY, "filter": replace(JOB.filter, states=(State.EXHAUSTED,))}

FILL: Final = f"""
    INSERT INTO events (key, id, environment, tenant, type, accepted_at, ordering_key, owed, data)
    SELECT {FIRST} + n::bigint * {APART}, n, 'live', 'acme', 'a', 0, 'k' || (n % 10), '{{7,8}}', '1'
    FROM generate_series(0, {EVENTS - 1}) AS n;
    INSERT INTO history (event_key, endpoint_key, round, attempts, opened_at, settled_at, lane, state)
    SELECT key, 7, 1, 1, 0, 0, 0, CASE WHEN id::integer % 100 = 0 THEN 'exhausted' ELSE 'delivered' END FROM events;
    INSERT INTO obligations
        (event_key, endpoint_key, due_at, opened_at, attempts, round, last_number, slot, lane, behind)
    SELECT key, 8, 0, 0, 0, 1, 0, {slot_of(8)}, 0, false FROM events;
    INSERT INTO environment_periods SELECT DISTINCT 'live', key >> 36 FROM events;
    INSERT INTO tenant_periods SELECT DISTINCT 'live', 'acme', key >> 36 FROM events;
    INSERT INTO endpoint_periods SELECT DISTINCT 7, key >> 36 FROM events;
    INSERT INTO arrivals (request_key, event_key, source_key, at, position, unchecked)
    SELECT key, key, CASE WHEN id::integer % 1000 = 0 THEN 1 ELSE 2 END, 0, 0, false FROM events;
"""  # noqa: S608 - numbers of ours


@pytest.fixture(scope="module")
def database(cluster: Cluster) -> Iterator[str]:
    """Events that owe to endpoint 7, where they are settled and each hundredth is exhausted, and to 8, still open.

    All came in through source 2, but each thousandth through source 1.
    """

    async def make() -> str:
        name = await make_database(cluster)
        connection = await connect(cluster, name)
        await connection.execute("SET search_path = posthouse")
        await connection.execute(FILL)
        await connection.close()
        return name

    name = asyncio.run(make())
    yield name
    asyncio.run(drop_database(cluster, name))


class Reading:
    """A snapshot that counts the blocks which its statements look at, and keeps their plans."""

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        self.version: int | None = None
        self.held: frozenset[int] = frozenset()
        self.measures = True
        self.blocks = 0
        self.plans: list[dict[str, Any]] = []
        self._connection = connection

    async def rows(self, name: str, *args: object) -> list[asyncpg.Record]:
        """What a named statement gives."""
        if self.measures:
            text = await self._connection.fetchval(f"{EXPLAIN} {SQL[name]}", *args)
            plan = json.loads(text)[0]["Plan"]
            self.blocks += plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
            self.plans += nodes_of(plan)
        return await self._connection.fetch(SQL[name], *args)

    async def count(self, name: str, *args: object) -> int:
        """How many rows it gives."""
        return len(await self.rows(name, *args))

    async def define(self, script: str) -> None:
        """Nothing is made in a snapshot."""

    async def lock(self, guards: Guards) -> None:
        """Nothing is locked in a snapshot."""


def nodes_of(plan: dict[str, Any]) -> list[dict[str, Any]]:
    """All nodes of a plan."""
    return [plan, *(node for inner in plan.get("Plans", ()) for node in nodes_of(inner))]


@pytest.fixture
async def reading(cluster: Cluster, database: str) -> AsyncIterator[Reading]:
    """With the settings of long reads."""
    settings = {**LISTS, "search_path": "posthouse", "jit": "off"}
    connection = await asyncpg.connect(
        host=str(cluster.socket), port=PORT, user="postgres", database=database, server_settings=settings
    )
    yield Reading(connection)
    await connection.close()


async def blocks_of(reading: Reading, job: Job, limit: int, after: Place = (0, 0)) -> int:
    """Blocks that one look takes."""
    reading.blocks = 0
    assert (await find(reading, job, after=after, limit=limit)).candidates
    return reading.blocks


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
async def test_a_step_costs_the_same_wherever_it_is(reading: Reading, job: Job) -> None:
    """And reads no table from end to end, nor sorts one."""
    late = (FIRST + (EVENTS - 20_000) * APART, 7)
    assert await blocks_of(reading, job, 20, after=late) <= await blocks_of(reading, job, 20) * 1.2 + 20
    scanned = {node.get("Relation Name") for node in reading.plans if node["Node Type"] == "Seq Scan"}
    assert not scanned & LARGE


@pytest.mark.parametrize(
    ("kind", "states"),
    [(JobKind.CANCEL, ()), (JobKind.REPLAY, ()), (JobKind.RETRY, (State.EXHAUSTED,)), (JobKind.RETRY, ())],
)
async def test_a_source_with_few_events_costs_only_them(
    reading: Reading, kind: JobKind, states: tuple[State, ...]
) -> None:
    """All that a job selects of 30 among 30,000 is found in one look."""
    few = replace(JOB, kind=kind, filter=replace(OF_SMALL, states=states))
    found = await find(reading, few, after=(0, 0), limit=100)
    expected = (EVENTS // 1_000) * (2 if kind is JobKind.RETRY and not states else 1)
    assert (len(found.candidates), found.exhausted) == (expected, True)
    assert reading.blocks < EVENTS // 20


async def test_a_look_is_bounded_also_where_it_finds_nothing(reading: Reading) -> None:
    nothing = replace(JOB, filter=replace(JOB.filter, types=("b",)))
    found = await find(reading, nothing, after=(0, 0), limit=10)
    assert (found.candidates, found.exhausted) == ([], False)
    assert found.reached == (FIRST + (STEP_ROWS - 1) * APART, 7)


@pytest.mark.parametrize("limit", [40, PART_ROWS, PART_ROWS + 1])
@pytest.mark.parametrize("source_key", [None, 1, 2])
async def test_each_delivery_is_found_once_and_in_order(reading: Reading, source_key: int | None, limit: int) -> None:
    """From several tables at once, whether or not a look begins at an event of the source."""
    reading.measures = False
    newest = FIRST + 1_203 * APART
    job = replace(JOB, kind=JobKind.RETRY, filter=replace(JOB.filter, newest=newest, source_key=source_key))
    places: list[Place] = []
    reached: Place = (FIRST, 0)
    while reached < END:
        found = await find(reading, job, after=reached, limit=limit)
        assert len(found.candidates) <= limit
        places += [(c.event_key, c.endpoint_key) for c in found.candidates]
        reached = found.reached
        assert found.exhausted is (reached == END)
    numbers = [n for n in range(1_204) if source_key is None or (n % 1_000 == 0) is (source_key == 1)]
    assert places == [(FIRST + n * APART, key) for n in numbers for key in ((7, 8) if n % 100 == 0 else (8,))]


async def test_the_newest_of_a_key_supersedes_all_before_it(reading: Reading) -> None:
    job = replace(JOB, kind=JobKind.RETRY, mode=JobMode.LATEST)
    found = await find(reading, job, after=(FIRST + (EVENTS - 20) * APART, 0), limit=100)
    left_out = await superseded(reading, job, found.candidates)
    assert {c.event_key for c in found.candidates} - {key for key, _ in left_out} == {
        FIRST + n * APART for n in range(EVENTS - 10, EVENTS)
    }
    assert await superseded(reading, replace(job, mode=JobMode.ALL), found.candidates) == frozenset()


_TIMES: Final = (0, INTEGER_MAX)
_MIDDLE: Final = FIRST + EVENTS // 2 * APART
#: The values behind the environment of a statement that lists 50 of something, from the middle on.
PAGES: Final[dict[str, tuple[object, ...]]] = {
    "events_of_environment": (0, _MIDDLE, None, *_TIMES, 50),
    "events_of_tenant": (0, _MIDDLE, None, *_TIMES, 50, "acme"),
    "events_of_source": (0, _MIDDLE, None, *_TIMES, 50, None, 2),
    "pick_open": (0, _MIDDLE, _MIDDLE, 8, *_TIMES, 50, None, None, 0, INTEGER_MAX),
    "pick_settled_of_environment": (0, _MIDDLE, _MIDDLE, 8, *_TIMES, 50, None, None, None),
    "pick_settled_of_tenant": (0, _MIDDLE, _MIDDLE, 8, *_TIMES, 50, "acme", None, None),
    "pick_settled_of_endpoint": (0, _MIDDLE, _MIDDLE, 8, *_TIMES, 50, None, 7, None),
    "pick_undelivered": (0, _MIDDLE, _MIDDLE, 8, *_TIMES, 50, None, None, "exhausted"),
    "pick_undelivered_of_endpoint": (0, _MIDDLE, _MIDDLE, 8, *_TIMES, 50, None, 7, "exhausted"),
}


@pytest.mark.parametrize("name", PAGES)
async def test_a_page_costs_no_more_than_itself(reading: Reading, name: str) -> None:
    """However many lie before it and behind it."""
    assert len(await reading.rows(name, "live", *PAGES[name])) == 50
    assert reading.blocks < 50 * 16


# -- what a step writes -----------------------------------------------------------------------------------


def values_for(name: str, rows: int) -> tuple[str, ...]:
    """The values of a statement that a step runs on so many deliveries."""
    events = [FIRST + n * APART for n in range(rows)]
    opened, settled = (
        (literal(events), literal([8] * rows)),
        (literal(events), literal([7] * rows), literal([1] * rows)),
    )
    keys, first = literal([f"k{n}" for n in range(rows)]), literal([True] * rows)
    return {
        "hold_candidates": opened,
        "candidates_still_open": opened,
        "candidates_still_settled": settled,
        "note_reopened": (*settled, "5"),
        "reopen_candidates": (*settled, literal([slot_of(7)] * rows), keys, first, "5", "2"),
        "hasten_candidates": (*opened, "5"),
        "park_candidates": opened,
        "drain_candidates": opened,
        "promote_candidates": (*opened, "5"),
    }[name]


def literal(values: list[Any]) -> str:
    """An array as it is written in SQL."""
    return "'{" + ",".join(str(value) for value in values) + "}'"


@pytest.mark.parametrize(
    "name",
    [
        "hold_candidates",
        "candidates_still_open",
        "candidates_still_settled",
        "note_reopened",
        "reopen_candidates",
        "hasten_candidates",
        "park_candidates",
        "drain_candidates",
        "promote_candidates",
    ],
)
async def test_what_a_step_writes_costs_by_its_rows(cluster: Cluster, database: str, name: str) -> None:
    """With the plan that is made once, and for no values."""
    settings = {**PINNED, "search_path": "posthouse", "jit": "off"}
    connection = await asyncpg.connect(
        host=str(cluster.socket), port=PORT, user="postgres", database=database, server_settings=settings
    )
    try:
        await connection.execute(f"PREPARE one AS {SQL[name]}")
        blocks = []
        for rows in (64, 1_024):
            step = connection.transaction()
            await step.start()
            text = await connection.fetchval(f"{EXPLAIN} EXECUTE one ({', '.join(values_for(name, rows))})")
            await step.rollback()
            plan = json.loads(text)[0]["Plan"]
            assert not {n["Relation Name"] for n in nodes_of(plan) if n["Node Type"] == "Seq Scan"} & LARGE
            blocks.append(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])
        assert blocks[1] <= blocks[0] * 16 * 1.3
    finally:
        await connection.close()
