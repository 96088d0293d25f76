"""The follower: it asks again and again, at once where it is told, and whatever went wrong."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from posthouse.core.errors import StoreUnavailable
from posthouse.gateway.catalogue import Catalogue
from posthouse.gateway.follower import Follower
from posthouse.store.protocol import CatalogueChanges, CatalogueSnapshot


class Shelf:
    """A catalogue facet that says which version there is, or fails."""

    def __init__(self) -> None:
        self.version = 1
        self.faults: list[Exception] = []
        self.asked = asyncio.Event()

    async def load(self) -> CatalogueSnapshot:
        return CatalogueSnapshot(self.version, (), (), ())

    async def changes(self, since: int) -> CatalogueChanges:
        assert since <= self.version
        self.asked.set()
        if self.faults:
            raise self.faults.pop(0)
        return CatalogueChanges(self.version)


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
async def catalogue(shelf: Shelf) -> AsyncIterator[Catalogue]:
    catalogue = Catalogue(shelf)  # type: ignore[arg-type]  # the facet's reading half
    await catalogue.refresh()
    follower = Follower(catalogue)
    follower.start()
    yield catalogue
    await follower.stop()
    await follower.stop()


async def looked(shelf: Shelf) -> None:
    shelf.asked.clear()
    async with asyncio.timeout(10):  # a busy machine
        await shelf.asked.wait()
    await asyncio.sleep(0)


async def test_it_asks_though_nobody_tells_it(catalogue: Catalogue, shelf: Shelf) -> None:
    shelf.version = 2
    await looked(shelf)
    assert catalogue.version == 2


async def test_it_asks_at_once_when_it_is_told(
    catalogue: Catalogue, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("posthouse.gateway.follower.CATALOGUE_LOOK_MS", 1_000_000)
    await looked(shelf)  # the pause before it was of the usual length
    shelf.version = 2
    catalogue.heard_of(2)
    await looked(shelf)
    assert (catalogue.version, catalogue.behind.is_set()) == (2, False)


@pytest.mark.parametrize("fault", [StoreUnavailable(), ZeroDivisionError()])
async def test_it_goes_on_after_a_fault(catalogue: Catalogue, shelf: Shelf, fault: Exception) -> None:
    shelf.faults = [fault, fault]
    shelf.version = 2
    for _ in range(3):
        assert catalogue.version == 1
        await looked(shelf)
    assert catalogue.version == 2
