"""A PostgreSQL that keeps what it acknowledges, with an empty database, for rigs that end processes."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from posthouse.testing.postgres.cluster import Cluster
from posthouse.testing.postgres.databases import EMPTY, make_database


@contextmanager
def durable_server() -> Iterator[tuple[Cluster, str]]:
    """The server and the name of the database. Raises NoPostgres if there is none here."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    cluster = Cluster.start(durable=True, listen_addresses="127.0.0.1", port=port, autovacuum="on")
    try:
        yield cluster, asyncio.run(make_database(cluster, template=EMPTY))
    finally:
        cluster.stop()
