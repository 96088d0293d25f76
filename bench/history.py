"""What days of history cost a store in PostgreSQL: the hot path beside an empty store, and the drop of a day.

Fills a store with settled events, a quarter of them on each of four days, and their attempts. Then it accepts and
settles in that store and in an empty one, in turns, and prints CPU and wall microseconds for an event and the ratio of
the walls. At last it drops the oldest day, of which a few events are owed still, while another node accepts all the
time, and prints how long which steps took and the longest wait for an acceptance.

Run: ``python bench/history.py [--events 100000] [--rounds 10]``. 10,000,000 events take six minutes and 20 GB of the
temporary directory.
"""

import argparse
import asyncio
import statistics
import time
from collections import defaultdict
from typing import Any

import asyncpg
import uvloop
from store_cycle import Load, SystemClock, steady
from subjects import SERVER

from posthouse.core import ids
from posthouse.core.model import slot_of
from posthouse.store.postgres.days import day_of, keys_of
from posthouse.store.postgres.store import PostgresStore, open_postgres
from posthouse.store.protocol import AcceptRequest
from posthouse.store.shared.retaining import DAY_MS
from posthouse.testing.postgres.cluster import Cluster
from posthouse.testing.seizing import seize

DAYS = 4  #: of history
OPEN = 50  #: events of each day that are owed still
BATCH = 64
ENDPOINTS = 200
ROUND_EVENTS = 6_400
STEP_ROWS = 200  #: as a node does it

#: $1: first key of the day; $2: how many events; $3: milliseconds between two; $4: endpoint keys; $5: their slots; the
#: first OPEN events are owed. Every fifth of the others was attempted twice.
FILL = (
    """
    INSERT INTO events (key, id, environment, tenant, type, accepted_at, owed, data)
    SELECT $1::bigint + ((i * $3::bigint) << 22), 'evt_' || ($1::bigint + i), 'live', 'default', 'order.created',
        (($1::bigint >> 22) + i * $3::bigint) + 1735689600000, ARRAY[($4::bigint[])[1 + i % cardinality($4::bigint[])]],
        convert_to('{"id": "' || repeat('x', 437) || '"}', 'UTF8')
    FROM generate_series(0, $2::bigint - 1) AS i
    """,
    """
    INSERT INTO identities (environment, kind, value, tenant, fingerprint, event_key, event_id, owed)
    SELECT 'live', 'id', md5(($1::bigint + i)::text), 'default', 'ffffffffffffffff'::bytea,
        $1::bigint + ((i * $3::bigint) << 22), 'evt_' || ($1::bigint + i), 1
    FROM generate_series(0, $2::bigint - 1) AS i
    """,
    f"""
    INSERT INTO history (event_key, endpoint_key, round, attempts, opened_at, settled_at, lane, state)
    SELECT $1::bigint + ((i * $3::bigint) << 22), ($4::bigint[])[1 + i % cardinality($4::bigint[])], 1,
        1 + (i % 5 = 0)::integer, 0, 0, 0, 'delivered'
    FROM generate_series({OPEN}, $2::bigint - 1) AS i
    """,  # noqa: S608 - a number of ours
    f"""
    INSERT INTO attempts (
        event_key, endpoint_key, started_at, number, status, first_byte_us, total_us, reused, outcome, peer,
        response_headers, response_body
    )
    SELECT $1::bigint + ((i * $3::bigint) << 22), ($4::bigint[])[1 + i % cardinality($4::bigint[])], 0, n, 200, 800,
        900, true, 'success', '127.0.0.1:8080', 'content-type: text/plain', 'ok'::bytea
    FROM generate_series({OPEN}, $2::bigint - 1) AS i, generate_series(1, 1 + (i % 5 = 0)::integer) AS n
    """,  # noqa: S608 - a number of ours
    f"""
    INSERT INTO obligations (
        event_key, endpoint_key, due_at, opened_at, attempts, round, last_number, slot, lane, behind
    )
    SELECT $1::bigint + ((i * $3::bigint) << 22), ($4::bigint[])[1 + i % cardinality($4::bigint[])], 0, 0, 0, 1, 0,
        ($5::smallint[])[1 + i % cardinality($5::smallint[])], 0, false
    FROM generate_series(0, {OPEN} - 1) AS i WHERE i < $2::bigint
    """,  # noqa: S608 - a number of ours
    """
    INSERT INTO environment_periods (environment, period)
    SELECT DISTINCT 'live', ($1::bigint + ((i * $3::bigint) << 22)) >> 36
    FROM generate_series(0, $2::bigint - 1) AS i ON CONFLICT DO NOTHING
    """,
    """
    INSERT INTO tenant_periods (environment, tenant, period)
    SELECT DISTINCT 'live', 'default', ($1::bigint + ((i * $3::bigint) << 22)) >> 36
    FROM generate_series(0, $2::bigint - 1) AS i ON CONFLICT DO NOTHING
    """,
    """
    INSERT INTO endpoint_periods (endpoint_key, period)
    SELECT DISTINCT ($4::bigint[])[1 + i % cardinality($4::bigint[])], ($1::bigint + ((i * $3::bigint) << 22)) >> 36
    FROM generate_series(0, $2::bigint - 1) AS i ON CONFLICT DO NOTHING
    """,
)


async def open_in(server: Cluster, database: str) -> PostgresStore:
    """The store in a database, made if there is none."""
    return await open_postgres(server.dsn(database), clock=SystemClock(), commit_interval_ms=0)


async def fill(server: Cluster, store: PostgresStore, events: int) -> list[int]:
    """Write history; the days that it is of, oldest first."""
    today = day_of(SystemClock().now_ms())
    days = list(range(today - DAYS - 1, today - 1))
    endpoint_keys = [ids.first_key_at(1_740_000_000_000 + 977 * i) for i in range(ENDPOINTS)]
    slots = [slot_of(key) for key in endpoint_keys]
    of_day = events // DAYS
    connection = await asyncpg.connect(server.dsn("filled"))
    await connection.execute("SET search_path = posthouse; SET synchronous_commit = off")
    for day in days:
        await store.admin.make_room(now=day * DAY_MS)
        begun = time.perf_counter()
        for statement in FILL:
            arguments = [keys_of(day)[0], of_day, DAY_MS // of_day, endpoint_keys, slots]
            count = 5 if "$5" in statement else 4 if "$4" in statement else 3
            await connection.execute(statement, *arguments[:count], timeout=3_600)
        print(f"day {day}: {of_day} events in {time.perf_counter() - begun:.0f} s", flush=True)
    for statement in ("VACUUM ANALYZE", "CHECKPOINT"):
        await connection.execute(statement, timeout=3_600)
    await connection.close()
    return days


async def hot_path(empty: PostgresStore, full: PostgresStore, rounds: int) -> None:
    """Accept and settle in both, in turns."""
    measured: dict[str, list[tuple[float, float]]] = {"empty": [], "filled": []}
    stores = {"empty": empty, "filled": full}
    epochs = {name: dict((await seize(store.ownership, "bench", now=0)).epochs) for name, store in stores.items()}
    for number in range(rounds + 1):
        for name, store in list(stores.items())[:: 1 if number % 2 else -1]:
            load = Load(epochs[name], ENDPOINTS, identities=True)
            taken = await steady(store, load, BATCH, ROUND_EVENTS)
            if number:  # the first warms up
                measured[name].append(taken)
    walls = {}
    for name, figures in measured.items():
        cpu, walls[name] = (statistics.median(column) / ROUND_EVENTS * 1e6 for column in zip(*figures, strict=True))
        print(f"{name:6}: CPU {cpu:6.1f} us/event, wall {walls[name]:6.1f}")
    ratios = [f[1] / e[1] for f, e in zip(measured["filled"], measured["empty"], strict=True)]
    of_medians = walls["filled"] / walls["empty"]
    print(f"filled / empty: {statistics.median(ratios):.3f} by round, {of_medians:.3f} of medians")


async def drop(server: Cluster, store: PostgresStore, day: int) -> None:
    """Drop a day on one node while another accepts."""
    looker = await asyncpg.connect(server.dsn("filled"))
    load = Load({}, ENDPOINTS, identities=True)
    waits: list[float] = []
    done = False

    async def accept() -> None:
        while not done:
            batch: list[AcceptRequest] = load.batch(BATCH)
            begun = time.perf_counter()
            await store.intake.accept(batch)
            waits.append(time.perf_counter() - begun)
            await asyncio.sleep(0.002)

    node = await open_in(server, "filled")
    accepting = asyncio.ensure_future(accept())
    await asyncio.sleep(1)
    before = max(waits)
    steps: dict[str, list[float]] = defaultdict(list)
    more = True
    while more:
        now = SystemClock().now_ms()
        state: Any = await looker.fetchval("SELECT state FROM posthouse.days WHERE day = $1", day)
        begun = time.perf_counter()
        more = await node.admin.retain(now=now, keep_ms=now - (day + 1) * DAY_MS - 1, limit=STEP_ROWS)
        steps[str(state)].append(time.perf_counter() - begun)
    done = True
    await accepting
    await node.close()
    await looker.close()
    names = {"made": "counting", "counted": "the day goes", "dropped": "what is left", "None": "the last look"}
    for name, taken in steps.items():
        print(f"{names.get(name, name):13}: {len(taken):6} steps, {sum(taken):8.3f} s, longest {max(taken):.3f} s")
    print(f"longest acceptance: {max(waits):.3f} s of {len(waits)}; before that {before:.3f} s")


async def run(options: argparse.Namespace) -> None:
    """Measure everything."""
    server = Cluster.start(durable=True, **SERVER)
    try:
        owner = await asyncpg.connect(server.dsn("postgres"))
        for name in ("empty", "filled"):
            await owner.execute(f"CREATE DATABASE {name}")
        await owner.close()
        empty, full = [await open_in(server, name) for name in ("empty", "filled")]
        days = await fill(server, full, options.events)
        await hot_path(empty, full, options.rounds)
        await drop(server, full, days[0])
        await empty.close()
        await full.close()
    finally:
        server.stop()


def main() -> None:
    """Read the arguments and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=100_000, help="events of history; with six attempts for five")
    parser.add_argument("--rounds", type=int, default=10, help="of accepting and settling in either store")
    uvloop.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
