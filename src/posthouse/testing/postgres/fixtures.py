"""The server as a fixture of pytest: one for a session, made when the first test asks for it."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from posthouse.testing.postgres.cluster import SERVER_VARIABLE, Cluster
from posthouse.testing.postgres.databases import drop_template, make_template


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A server with a template of a store; where there is no PostgreSQL, tests fail with what to install."""
    lent = os.environ.get(SERVER_VARIABLE)
    cluster = Cluster.borrowed(Path(lent)) if lent else Cluster.start()
    try:
        asyncio.run(make_template(cluster))
        yield cluster
        if lent:
            asyncio.run(drop_template(cluster))
    finally:
        cluster.stop()
