"""Law: a dead endpoint's backlog, however large, neither delays the others nor fills the memory."""

import asyncio
import os
from pathlib import Path

import backlog_rig
import pytest

from posthouse.testing.postgres.durable import durable_server

pytestmark = pytest.mark.rig

DELIVERIES = int(os.environ.get("RIG_DELIVERIES", "50000"))


async def test_a_healthy_endpoint_is_served_at_once_next_to_a_huge_backlog(tmp_path: Path) -> None:
    figures = await backlog_rig.run(tmp_path, deliveries=DELIVERIES)
    assert not figures.faults()


def test_a_healthy_endpoint_is_served_at_once_next_to_a_huge_backlog_in_a_database(tmp_path: Path) -> None:
    with durable_server() as (cluster, database):
        figures = asyncio.run(backlog_rig.run(tmp_path, deliveries=DELIVERIES, database=cluster.dsn(database)))
    assert not figures.faults()
