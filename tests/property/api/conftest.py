"""A gateway with its API in process, over a real store."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from posthouse.testing.quiet_house import QuietHouse, open_quiet_house


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[QuietHouse]:
    async with open_quiet_house(tmp_path / "store") as opened:
        yield opened


@pytest.fixture
async def client(house: QuietHouse) -> AsyncIterator[httpx2.AsyncClient]:
    """Speaks with the live admin key."""
    async with house.client(house.admin_key) as opened:
        yield opened
