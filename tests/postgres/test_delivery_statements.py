"""What statements about deliveries touch: what they are asked for, however much else is open.

The planner knows nothing of the tables yet, or all of it: neither may lead it on a walk.
"""

from collections.abc import AsyncIterator
from typing import Any, Final, TypeAlias

import asyncpg
import pytest

from posthouse.core.model import slot_of
from posthouse.store.postgres.dial import LISTS, PINNED
from posthouse.testing.postgres.cluster import Cluster
from posthouse.testing.postgres.databases import connect, drop_database, make_database
from posthouse.testing.postgres.plans import touched

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

FIRST: Final = 1 << 60
STEP: Final = 1 << 22  #: a millisecond of keys
ROWS: Final = 12_000
ENDPOINT: Final = 1  #: endpoints 1 to 4; to 3 and 4 things are sent in order, of which 3 has many behind each key
MAX: Final = (1 << 62) - 1

SLOTS: Final = ", ".join(f"({endpoint}, {slot_of(endpoint)})" for endpoint in range(1, 5))
FILL: Final = f"""
CREATE TEMP TABLE made AS
SELECT n, {FIRST} + n::bigint * {STEP} AS key, n % 4 + 1 AS endpoint FROM generate_series(0, {ROWS - 1}) AS n;
CREATE TEMP TABLE places (endpoint, slot) AS VALUES {SLOTS};
INSERT INTO events (key, id, environment, tenant, type, accepted_at, ordering_key, owed, data)
SELECT key, 'e' || n, 'live', 't', 'x', n, CASE WHEN n % 4 > 0 THEN 'k' || n % 40 END, ARRAY[endpoint], 'x' FROM made;
INSERT INTO identities (environment, kind, value, tenant, fingerprint, event_key, event_id, owed)
SELECT 'live', 'id', 'e' || n, 't', 'f', key, 'e' || n, 1 FROM made;
INSERT INTO obligations (
    event_key, endpoint_key, due_at, opened_at, attempts, round, last_number, slot, lane, behind, ordering_key
)
SELECT
    key, endpoint, n, n, n % 2, 1, n % 2, slot, 0,
    endpoint > 2 AND n > 40, CASE WHEN endpoint > 2 THEN 'k' || n % 40 END
FROM made JOIN places USING (endpoint);
INSERT INTO attempts (
    event_key, endpoint_key, started_at, number, total_us, reused, outcome, response_headers, response_body
)
SELECT key, endpoint, n, 1, 0, false, 'status', '', '' FROM made WHERE n % 2 = 1;
INSERT INTO history (event_key, endpoint_key, round, attempts, opened_at, settled_at, lane, state)
SELECT key, 9, 1, 1, 0, 0, 0, 'delivered' FROM made;
UPDATE slots SET owner = 'n', epoch = 1;
"""  # noqa: S608 - only numbers of its own


@pytest.fixture(params=["unknown", "known"])
async def filled(request: pytest.FixtureRequest, cluster: Cluster) -> AsyncIterator[Connection]:
    """A store with much in it, of which the planner knows nothing or all."""
    name = await make_database(cluster)
    connection = await connect(cluster, name)
    await connection.execute("SET search_path = posthouse, pg_temp; SET jit = off")
    await connection.execute(FILL)
    if request.param == "known":
        await connection.execute("ANALYZE")
    yield connection
    await connection.close()
    await drop_database(cluster, name)


def arguments(n: int) -> dict[str, tuple[Any, ...]]:
    """For each statement what it is asked: of ``n`` things, or a page of so many."""
    every = range(4_000, 4_000 + 4 * n, 4)  # of endpoint 1, in the middle of all
    keys, one, zeros, nothing = [FIRST + i * STEP for i in every], [1] * n, [0] * n, [None] * n
    texts, live, whole = ["x"] * n, ["live"] * n, [f"\\x{i:02x}" for i in range(16)] * (n // 16)
    new = [key + 7 for key in keys]
    ordered, mixed = [key + STEP * 2 for key in keys], [f"k{i % 40}" for i in range(n)]
    events = (new, texts, live, texts, texts, one, whole, nothing, nothing, ["{1}"] * n)
    claims = (live, ["id"] * n, [f"new{i}" for i in every], ["t"] * n, whole, new, texts, one)
    periods = (["live"], ["t"], [1], ["live"], [1])
    slots = ([slot_of(1)], [1])
    moves = (list(range(n)), keys, one, one, zeros)
    ends = (["delivered"] * n, nothing, one, zeros, one, one)
    tried = (one, texts, one, nothing, nothing, nothing, nothing, nothing, nothing, one, ["f"] * n, texts, whole)
    place = (slot_of(1), 1, 0)
    return {
        "accept": (
            *(17, 0, list(range(n)), *events),
            *(list(range(n)), new, one, zeros, one, one, list(range(n)), *claims, [slot_of(1)] * n, *periods),
        ),
        "find_identities": (live, ["id"] * n, [f"e{i}" for i in every], ["t"] * n),
        "claim_identities": claims,
        "insert_events": (*events, *periods),
        "insert_obligations": (new, one, zeros, one, one, [slot_of(1)] * n),
        "insert_ordered": (new, [3] * n, zeros, one, one, mixed, [slot_of(3)] * n),
        "ordering_keys": (ordered, [3] * n),
        "let_out": ([3] * 40, [f"k{i}" for i in range(40)], [1] * 40),
        "discard_all_but_newest": ([3], ["k2"], [1], n, "superseded"),
        "out_of_date": (ordered, [3] * n),
        "behind_of_endpoint": (3, n),
        "ahead_of_endpoint": (3, n),
        "give_up_order": (ordered, 3, 1),
        "not_in_order": (slot_of(2), 2, -1, 0, 0, n),
        "lock_unordered": ([key + STEP for key in keys], 2),
        "keep_order": ([key + STEP for key in keys], [2] * n, [f"x{i}" for i in range(n)], ["t"] * n),
        "step_back": (3, [f"k{i}" for i in range(40)]),
        "step_forward": (2, ["none"]),
        "fetch_heads": (*place, MAX, 4_000, keys[0], n),
        "events_by_key": (keys,),
        "settle": (*slots, *moves, *ends, one, *tried, "t"),
        "lock_obligations": (keys, one),
        "attempt_numbers": (list(range(n)), keys, one, one),
        "settle_in_turn": (*moves, *ends, one),
        "insert_attempts": (keys, one, [7] * n, *tried),
        "hasten_obligation": (keys[0], 1, 1),
        "latest_history": (keys[0], 9),
        "reopen_obligation": (new[0], 3, 1, 2, 1, slot_of(3), "k1"),
        "timed_ahead": (0, keys[0], 1, n, list(range(256))),
        "retime_obligations": (one, keys, one, one, zeros),
        "discard_obligations": (keys, one, "cancelled", 1),
        "open_of_endpoint": (*place[:2], n),
    }


#: What is touched for each that is asked for, and besides; most take a look and a write for each of several tables.
ROWS_EACH: Final = 14
BLOCKS_EACH: Final = 50
BESIDES: Final = 400
#: Statements whose rows pass through more steps, and how many.
LONG: Final = {"settle": 26}


@pytest.mark.parametrize("n", [64, 1_024])
async def test_they_touch_what_they_are_asked_for(filled: Connection, n: int) -> None:
    too_many = {}
    for name, given in arguments(n).items():
        found = await touched(filled, name, given, LISTS if name == "timed_ahead" else PINNED)
        if found.rows > LONG.get(name, ROWS_EACH) * n + BESIDES or found.blocks > BLOCKS_EACH * n + BESIDES:
            too_many[name] = found
    assert too_many == {}


async def test_a_survey_costs_by_endpoints(filled: Connection) -> None:
    """Not by what is open; a slot of which nothing is costs a look. And a page costs by what it may hold."""
    found = await touched(filled, "survey", (list(range(256)), -1, 1_000), PINNED)
    assert found.rows <= 256 * 8
    assert found.blocks <= 256 * 10
    first = slot_of(1)
    page = await touched(filled, "survey", (list(range(first, 256)), -1, 1), PINNED)
    assert page.rows <= 40
    assert page.blocks <= 100
