"""What statements about what comes in touch: what they are asked for, however much lies beside it.

Counted are the rows of all steps of a plan, so a machine that is busy changes nothing. The planner knows nothing of the
tables yet, or all of it: neither may lead it on a walk.
"""

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, Final, TypeAlias

import asyncpg
import pytest

from posthouse.store.postgres.dial import LISTS, PINNED
from posthouse.store.postgres.statements import SQL
from posthouse.testing.postgres.cluster import Cluster
from posthouse.testing.postgres.databases import connect, drop_database, make_database

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

FIRST: Final = 1 << 60
STEP: Final = 1 << 22  #: a millisecond of keys
MAX: Final = (1 << 63) - 1
SOURCES: Final = 20
ROWS: Final = 12_000  #: two thirds of them are read

FILL: Final = f"""
INSERT INTO requests (key, source_key, received_at, status, environment, tenant, method, url, head, verdict, body)
SELECT {FIRST} + n::bigint * {STEP}, n % {SOURCES}, n, 200, 'live', 't' || n % 9, 'POST', '/', '', 'genuine', 'x'
FROM generate_series(0, {ROWS - 1}) AS n;
INSERT INTO source_periods SELECT DISTINCT source_key, key >> 36 FROM requests;
INSERT INTO inbound_tenant_periods SELECT DISTINCT environment, tenant, key >> 36 FROM requests;
INSERT INTO inbound_environment_periods SELECT DISTINCT environment, key >> 36 FROM requests;
INSERT INTO inbox (source_key, request_key, position, waived, attempts, due_at)
SELECT source_key, key, -1, NULL, 0, received_at FROM requests WHERE received_at >= {ROWS * 2 // 3};
INSERT INTO readings (
    request_key, position, source_key, at, events, duplicates, quarantined, heartbeat, delivery, found
)
SELECT key, -1, source_key, received_at, 1, 0, 0, false, NULL, '[]' FROM requests WHERE received_at < {ROWS * 2 // 3};
INSERT INTO arrivals (event_key, source_key, request_key, position, digest, at, unchecked)
SELECT request_key + 1, source_key, request_key, 0, decode(md5(request_key::text), 'hex'), at, false FROM readings;
INSERT INTO events (key, id, environment, tenant, type, accepted_at, owed, data)
SELECT event_key, 'e' || event_key, 'live', 't', 'x', at, '{{}}', '' FROM arrivals;
INSERT INTO seen (source_key, digest, event_key, event_id, at)
SELECT source_key, digest, event_key, '', at FROM arrivals;
INSERT INTO quarantine (
    request_key, position, source_key, environment, tenant, objection, detail, at, acknowledged, bytes
)
SELECT key, -1, source_key, 'live', tenant, 'bad_signature', '', received_at, received_at % 2 = 0, 1
FROM requests WHERE received_at < {ROWS * 2 // 3};
INSERT INTO incidents (
    key, environment, tenant, kind, source_key, opened_at, closed_at, detail, stream, first, last, missing
)
SELECT key, 'live', 't', 'sequence_gap', source_key, 0, CASE WHEN received_at % 50 > 0 THEN 1 END, '', 's',
    received_at * 9, received_at * 9 + 1, 2
FROM requests;
INSERT INTO streams (source_key, stream, high, steps)
SELECT n % {SOURCES}, 's' || n, 1, 1 FROM generate_series(1, 9000) AS n;
"""  # noqa: S608 - only numbers of its own


@pytest.fixture(params=["unknown", "known"])
async def filled(request: pytest.FixtureRequest, cluster: Cluster) -> AsyncIterator[Connection]:
    """A store with much in it, of which the planner knows nothing or all."""
    name = await make_database(cluster)
    connection = await connect(cluster, name)
    await connection.execute("SET search_path = posthouse; SET jit = off")
    await connection.execute(FILL)
    if request.param == "known":
        await connection.execute("ANALYZE")
    yield connection
    await connection.close()
    await drop_database(cluster, name)


def arguments(n: int) -> dict[str, tuple[Any, ...]]:
    """For each statement what it is asked: of ``n`` things, or a page of so many."""
    waiting = range(ROWS * 2 // 3, ROWS * 2 // 3 + n)
    keys, sources = [FIRST + i * STEP for i in waiting], [i % SOURCES for i in waiting]
    one, live, zeros, digests = [1] * n, ["live"] * n, [0] * n, [f"\\x{i:032x}" for i in range(n)]
    read = [FIRST + i * STEP for i in range(n)]
    whole, nothing, texts = [-1] * n, [None] * n, ["x"] * n
    new = [key + 7 for key in keys]
    places = (["live"], ["t"], [1], [1])
    return {
        "take": (
            *(new, sources, one, one, live, texts, texts, texts, texts, texts, digests),
            *(sources, new, one),
            *([[]] * 8),
            *places,
        ),
        "fetch_inbox": (7, -1, 0, MAX, MAX, n + 1, 1 << 20),
        "postpone_inbox_item": (keys[0], -1, 1, 1),
        "waiting_in_inbox": (sources, keys, whole),
        "insert_readings": (
            *(sources, keys, whole),
            *(keys, whole, sources, one, one, zeros, zeros, ["f"] * n, nothing, texts),
            *(new, sources, keys, zeros, digests, one, ["f"] * n),
            *([[]] * 4),
        ),
        "put_doubts": (read, whole, sources, live, texts, texts, texts, nothing, one),
        "find_streams": ([i % SOURCES for i in range(n)], [f"s{i}" for i in range(n)]),
        "open_gaps": ([7],),
        "put_streams": (sources, [f"s{i}" for i in range(n)], one, one),
        "fill_gaps": (keys, one, nothing),
        "insert_gaps": (new, live, texts, texts, sources, one, nothing, texts, texts, one, one, one),
        "open_incidents": (new, live, texts, texts, keys, one, nothing, texts, texts, one, one, one),
        "put_rhythms": (keys, one, one, texts, one),
        "find_seen": (sources, digests),
        "put_seen": (sources, digests, keys, texts, one),
        "next_arrivals": (MAX, 0, n),
        "fill_seen": (FIRST + (ROWS * 2 // 3 - n) * STEP, MAX, 0),
        "prune_seen": (MAX, n),
        "resolve_quarantined": (read, whole, "released", 1),
        "expired_in_quarantine": (MAX, n),
        "origin": (read[0] + 1,),
        "pick_requests_of_environment": ("live", 0, MAX, 0, MAX, None, n),
        "pick_requests_of_tenant": ("live", 0, MAX, 0, MAX, None, n, "t3"),
        "pick_requests_of_source": ("live", 0, MAX, 0, MAX, None, n, None, 7),
        "describe_requests": (keys,),
        "quarantine_of_source_newest_first": ("live", None, MAX, -1, 7, None, n),
        "quarantine_of_source_oldest_first": ("live", None, -1, -1, 7, None, n),
        "quarantine_of_environment_newest_first": ("live", None, MAX, -1, None, None, n),
        "quarantine_of_environment_oldest_first": ("live", None, -1, -1, None, None, n),
        "list_incidents": (MAX, "live", None, None, None, None, n),
        "close_incidents": ("sequence_gap", 7, 1),
    }


#: Rows that are touched for each that is asked for, and besides; most take a look and a write for each of two tables.
EACH: Final = 12
BESIDES: Final = 250
#: Statements that look at more, and why: of each period and a source there are few requests among all of it.
LAVISH: Final = {
    "pick_requests_of_source": 12 * SOURCES,
    "pick_requests_of_tenant": 12 * 9,
    "open_gaps": 40,
    "close_incidents": 40,
}
LISTED: Final = ("pick_", "describe_", "quarantine_", "list_")


@pytest.mark.parametrize("n", [64, 1_024])
async def test_they_touch_what_they_are_asked_for(filled: Connection, n: int) -> None:
    too_many = {}
    for name, given in arguments(n).items():
        settings = LISTS if name.startswith(LISTED) else PINNED
        touched = await rows_touched(filled, name, given, settings)
        if touched > LAVISH.get(name, EACH) * n + BESIDES:
            too_many[name] = touched
    assert too_many == {}


async def test_heads_cost_by_sources(filled: Connection) -> None:
    """Not by what waits."""
    assert await rows_touched(filled, "inbox_heads", (), PINNED) <= 12 * SOURCES


async def test_that_something_left_the_quarantine_already_is_as_durable_as_if_it_left_now(filled: Connection) -> None:
    """Whoever repeats a call that had no answer hears nothing that a standby does not know: a lock makes it wait."""
    entry = ([FIRST], [-1])
    assert len(await filled.fetch(SQL["resolve_quarantined"], *entry, "discarded", 1)) == 1
    async with filled.transaction():
        assert await filled.fetch(SQL["resolve_quarantined"], *entry, "discarded", 1) == []
        assert await filled.fetchval("SELECT pg_current_xact_id_if_assigned() IS NOT NULL")


async def rows_touched(connection: Connection, name: str, given: tuple[Any, ...], settings: Mapping[str, str]) -> int:
    """How many rows all steps of a statement's plan gave or left out. What it writes is taken back."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        for setting, value in settings.items():
            await connection.execute(f"SET LOCAL {setting} = {value}")
        await connection.execute(f"PREPARE asked AS {SQL[name]}")
        execute = f"EXECUTE asked({', '.join(map(literal, given))})" if given else "EXECUTE asked"
        plan = await connection.fetchval(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {execute}")
        await connection.execute("DEALLOCATE asked")
        return sum(rows_of(step) for step in steps(json.loads(plan)[0]["Plan"]))
    finally:
        await transaction.rollback()


def steps(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from steps(part)


def rows_of(step: dict[str, Any]) -> int:
    left_out = sum(count for key, count in step.items() if key.startswith("Rows Removed"))
    return int((step["Actual Rows"] + left_out) * step["Actual Loops"])


def literal(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, list):
        return "'{" + ",".join("NULL" if v is None else json.dumps(str(v)) for v in value) + "}'"
    return f"'{value}'"
