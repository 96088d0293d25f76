"""Answers that are lost: the call was done, and who made it hears that nobody knows. So it is made again."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

import pytest

from posthouse.core.errors import StoreUnavailable
from posthouse.store.protocol import Outdated, Store
from posthouse.testing.conformance.scene import Scene

T = TypeVar("T")


class _Unheard:
    """A facet that does what it is asked, and whose answers are lost."""

    def __init__(self, facet: object) -> None:
        self._facet = facet

    def __getattr__(self, name: str) -> Callable[..., Awaitable[None]]:
        method = getattr(self._facet, name)

        async def call(*args: Any, **named: Any) -> None:
            await method(*args, **named)
            raise StoreUnavailable("The answer was lost.")

        return call


class _UnheardStore:
    """A store of such facets."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __getattr__(self, name: str) -> _Unheard:
        return _Unheard(getattr(self._store, name))


async def outdated(scene: Scene, call: Callable[[Store], Awaitable[T]]) -> None:
    """A change is made again because the first answer was lost: it is there, so what was known of the thing is old."""
    with pytest.raises(StoreUnavailable):
        await call(cast("Store", _UnheardStore(scene.store)))
    with pytest.raises(Outdated):
        await call(scene.store)


async def repeated(scene: Scene, call: Callable[[Store], Awaitable[T]]) -> T:
    """What a call gives that is made again because the first answer was lost."""
    with pytest.raises(StoreUnavailable):
        await call(cast("Store", _UnheardStore(scene.store)))
    return await call(scene.store)
