"""Several nodes on one database: what is tested of them on an embedded store holds here too. The names are imported."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

# ruff: noqa: F401 - pytest finds them here
from tests.integration.engine.test_many_nodes import (
    test_a_job_goes_on_when_its_node_dies,
    test_a_node_that_stood_still_settles_nothing_and_begins_anew,
    test_a_node_that_stops_gives_its_slots_up_at_once_and_nothing_is_sent_twice,
    test_an_edge_accepts_and_delivers_nothing,
    test_order_is_kept_through_twenty_takeovers,
    test_the_slots_are_shared_out_evenly_and_a_few_at_a_time,
    test_the_work_of_a_node_that_died_goes_on,
    test_what_is_published_anywhere_is_sent_once_by_whoever_works_for_the_endpoint,
)

from posthouse.testing.manual_clock import ManualClock
from posthouse.testing.postgres.cluster import Cluster
from posthouse.testing.postgres.databases import open_store_at
from posthouse.testing.town import Town

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
async def town(cluster: Cluster, hooks: str, tmp_path: Path) -> AsyncIterator[Town]:
    town = Town(tmp_path, ManualClock(), lambda: open_store_at(cluster.dsn(hooks)))
    yield town
    await town.close()
