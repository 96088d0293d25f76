"""The PostgreSQL store keeps every promise of the protocol."""

from collections.abc import AsyncIterator

import pytest

from posthouse.testing.conformance import (
    Pair,
    Scene,
    Stores,
    TestAudit,
    TestCatalogue,
    TestChanges,
    TestDiscarding,
    TestHealth,
    TestHints,
    TestInbound,
    TestInboundPassing,
    TestInboundQuarantine,
    TestInboundRequests,
    TestInboundStreams,
    TestIncidents,
    TestIntake,
    TestJobFilters,
    TestJobs,
    TestJobsAndOrder,
    TestJobSteps,
    TestLedger,
    TestLife,
    TestNodes,
    TestOrder,
    TestOvertaken,
    TestOwnership,
    TestParking,
    TestQueues,
    TestRaces,
    TestReordering,
    TestRetiming,
    TestRetrying,
    TestSettling,
    TestSourceBooks,
    TestUnknown,
    TestUnquiet,
    TestWaiting,
)
from posthouse.testing.postgres.cluster import Cluster
from posthouse.testing.postgres.databases import drop_database, make_database, open_store_at

__all__ = [
    "TestAudit",
    "TestCatalogue",
    "TestChanges",
    "TestDiscarding",
    "TestHealth",
    "TestHints",
    "TestInbound",
    "TestInboundPassing",
    "TestInboundQuarantine",
    "TestInboundRequests",
    "TestInboundStreams",
    "TestIncidents",
    "TestIntake",
    "TestJobFilters",
    "TestJobSteps",
    "TestJobs",
    "TestJobsAndOrder",
    "TestLedger",
    "TestLife",
    "TestNodes",
    "TestOrder",
    "TestOvertaken",
    "TestOwnership",
    "TestParking",
    "TestQueues",
    "TestRaces",
    "TestReordering",
    "TestRetiming",
    "TestRetrying",
    "TestSettling",
    "TestSourceBooks",
    "TestUnknown",
    "TestUnquiet",
    "TestWaiting",
]


@pytest.fixture
async def stores(cluster: Cluster) -> AsyncIterator[Stores]:
    name = await make_database(cluster)
    stores = Stores(lambda: open_store_at(cluster.dsn(name)))
    yield stores
    await stores.close()
    await drop_database(cluster, name)


@pytest.fixture
async def pair(cluster: Cluster) -> AsyncIterator[Pair]:
    name = await make_database(cluster)
    stores = Stores(lambda: open_store_at(cluster.dsn(name)))
    scene = await stores.open()
    other = await open_store_at(cluster.dsn(name))
    yield Pair(scene, Scene(other, "other", scene.epochs, scene.values))
    await other.close()
    await stores.close()
    await drop_database(cluster, name)
