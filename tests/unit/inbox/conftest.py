"""A node whose inbox is looked at, and a reader by itself."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest

from posthouse.gateway.catalogue import Catalogue
from posthouse.gateway.key_source import KeySource
from posthouse.gateway.routes import EventRouter
from posthouse.inbox.reader import RequestReader
from posthouse.store.protocol import CatalogueFacet
from posthouse.testing.house import House
from posthouse.testing.manual_clock import ManualClock


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """A running node on a new store."""
    house = await House.start(tmp_path / "data")
    yield house
    await house.node.stop(drain_seconds=0)


@pytest.fixture
def reader() -> RequestReader:
    """A reader that knows no endpoint: what it finds goes nowhere."""
    clock = ManualClock()
    catalogue = Catalogue(cast("CatalogueFacet", None))  # nobody asks the store for another one
    return RequestReader(catalogue, EventRouter(catalogue), clock, KeySource(clock, node=1, floor=0))
