"""The embedded store keeps every promise of the protocol."""

from collections.abc import AsyncIterator, Awaitable
from pathlib import Path

import pytest

from posthouse.store.open import open_store
from posthouse.store.protocol import Store
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
from posthouse.testing.manual_clock import ManualClock

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
async def stores(tmp_path: Path) -> AsyncIterator[Stores]:
    stores = Stores(lambda: open_store(tmp_path / "store", clock=ManualClock(), commit_interval_ms=0))
    yield stores
    await stores.close()


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    def shared() -> Awaitable[Store]:
        return open_store(tmp_path / "store", clock=ManualClock(), commit_interval_ms=0, shared=True)

    stores = Stores(shared)
    scene = await stores.open()
    other = await shared()
    yield Pair(scene, Scene(other, "other", scene.epochs, scene.values))
    await other.close()
    await stores.close()
