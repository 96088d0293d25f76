"""What every store must do: the suite behind :mod:`posthouse.store.protocol`, for pytest with pytest-asyncio.

An engine's own test module imports the classes and gives them one fixture, ``stores``::

    pytest.register_assert_rewrite("posthouse.testing.conformance")

    from posthouse.testing.conformance import *


    @pytest.fixture
    async def stores(tmp_path):
        stores = Stores(lambda: open_store(tmp_path, clock=ManualClock(), commit_interval_ms=0))
        yield stores
        await stores.close()

``TestRaces`` and ``TestHints`` are for engines that several processes may have open, and take another fixture,
``pair``.
The store must be new for each test; opening it again in the same test must find what was there.
"""

from posthouse.testing.conformance.catalogue import TestCatalogue
from posthouse.testing.conformance.changes import TestChanges
from posthouse.testing.conformance.health import TestHealth
from posthouse.testing.conformance.hints import TestHints
from posthouse.testing.conformance.inbound import TestInbound
from posthouse.testing.conformance.inbound_ledger import TestInboundRequests, TestSourceBooks
from posthouse.testing.conformance.inbound_passing import TestInboundPassing
from posthouse.testing.conformance.inbound_quarantine import TestInboundQuarantine
from posthouse.testing.conformance.inbound_streams import TestInboundStreams
from posthouse.testing.conformance.incidents import TestIncidents
from posthouse.testing.conformance.intake import TestIntake
from posthouse.testing.conformance.job_filters import TestJobFilters
from posthouse.testing.conformance.job_steps import TestJobSteps
from posthouse.testing.conformance.jobs import TestJobs, TestJobsAndOrder, TestWaiting
from posthouse.testing.conformance.ledger import TestAudit, TestLedger
from posthouse.testing.conformance.life import TestLife
from posthouse.testing.conformance.ordering import TestOrder, TestReordering
from posthouse.testing.conformance.overtaken import TestOvertaken
from posthouse.testing.conformance.ownership import TestNodes, TestOwnership, TestUnquiet
from posthouse.testing.conformance.parking import TestParking
from posthouse.testing.conformance.queues import TestQueues
from posthouse.testing.conformance.races import Pair, TestRaces
from posthouse.testing.conformance.reopening import TestDiscarding, TestRetrying
from posthouse.testing.conformance.retiming import TestRetiming
from posthouse.testing.conformance.scene import Scene, Stores
from posthouse.testing.conformance.settling import TestSettling
from posthouse.testing.conformance.unknown import TestUnknown

__all__ = [
    "Pair",
    "Scene",
    "Stores",
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
