"""The embedded store keeps every promise of the protocol."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from posthouse.store.open import open_store
from posthouse.testing.conformance import (
    Stores,
    TestAudit,
    TestCatalogue,
    TestChanges,
    TestDiscarding,
    TestHealth,
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
