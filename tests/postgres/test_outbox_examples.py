"""The examples of the outbox run as they stand, by every library."""

import asyncio
import subprocess
import sys
from pathlib import Path

from posthouse.sdk.outbox import outbox_schema
from posthouse.testing.postgres.cluster import Cluster
from posthouse.testing.postgres.databases import EMPTY, connect, drop_database, make_database

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "outbox.py"
LIBRARIES = ("sqlalchemy", "sqlalchemy-async", "asyncpg", "psycopg", "psycopg-async", "django")


async def test_each_library_publishes_what_it_commits(cluster: Cluster) -> None:
    name = await make_database(cluster, template=EMPTY)
    looker = await connect(cluster, name)
    await looker.execute(outbox_schema())
    await looker.execute("CREATE TABLE orders (number integer PRIMARY KEY)")
    for library in LIBRARIES:
        command = [sys.executable, str(EXAMPLE), library, cluster.dsn(name)]
        shown = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
        assert (shown.stdout, shown.stderr) == (f"{library}: committed\n", "")
    ids = await looker.fetch("SELECT id FROM posthouse.posthouse_outbox_v1 ORDER BY n")
    assert [row["id"] for row in ids] == [f"order-{number}-paid" for number in range(1, 9)]
    assert await looker.fetchval("SELECT count(*) FROM orders") == 8
    await looker.close()
    await drop_database(cluster, name)
