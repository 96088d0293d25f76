"""The server as a fixture of pytest: one for a session, made when the first test asks for it."""

import asyncio
import os
from collections.abc import Iterator

import pytest

from posthouse.testing.postgres.cluster import Cluster, NoPostgres
from posthouse.testing.postgres.databases import make_template


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A server with a template of a store; without a PostgreSQL here, tests are left out (but where CI demands it)."""
    try:
        cluster = Cluster.start()
    except NoPostgres as error:
        if os.environ.get("POSTHOUSE_REQUIRE_PG"):
            raise
        pytest.skip(str(error))
    try:
        asyncio.run(make_template(cluster))
        yield cluster
    finally:
        cluster.stop()
