"""A PostgreSQL that keeps what it acknowledges, with an empty database, for rigs and drills that end processes."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from posthouse.testing.postgres.cluster import Cluster
from posthouse.testing.postgres.databases import EMPTY, make_database
from posthouse.testing.postgres.replication import free_ports


@contextmanager
def durable_server() -> Iterator[tuple[Cluster, str]]:
    """The server and the name of the database. Raises NoPostgres if there is none here."""
    (port,) = free_ports(1)
    cluster = Cluster.start(durable=True, listen_addresses="127.0.0.1", port=str(port), autovacuum="on")
    try:
        yield cluster, asyncio.run(make_database(cluster, template=EMPTY))
    finally:
        cluster.stop()
