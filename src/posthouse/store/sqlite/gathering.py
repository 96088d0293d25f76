"""Calls of one kind that wait for the same transaction become one operation.

A dozen statements for a call of one event cost more than its rows. So what comes before the
transaction starts joins the call that is waiting already.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import apsw

from posthouse.core.errors import StoreUnavailable
from posthouse.store.sqlite.writer import Steps, Writer

Item = TypeVar("Item")
Result = TypeVar("Result")


class _Gathering(Generic[Item, Result]):
    """What several callers handed in, until the transaction starts."""

    def __init__(self, operation: Callable[[apsw.Connection, Sequence[Item]], Steps[Result]]) -> None:
        self._operation = operation
        self.items: list[Item] = []
        self.callers = 0
        self.started = False

    def __call__(self, connection: apsw.Connection) -> Steps[Result]:
        self.started = True
        return self._operation(connection, self.items)


class Gatherer(Generic[Item, Result]):
    """Submits one kind of operation on sequences of items."""

    def __init__(self, writer: Writer, operation: Callable[[apsw.Connection, Sequence[Item]], Steps[Result]]) -> None:
        self._writer = writer
        self._operation = operation
        self._gathering: _Gathering[Item, Result] | None = None
        self._future: asyncio.Future[Result] | None = None

    async def submit(self, items: Sequence[Item]) -> tuple[Result, int]:
        """The result for everything that was gathered, and where in that the caller's items start.

        Raises what the operation raises for the caller's own items, and :class:`StoreUnavailable`.
        """
        gathering, future = self._gathering, self._future
        if gathering is None or future is None or gathering.started or future.done():
            gathering = _Gathering(self._operation)
            future = self._writer.submit(gathering)
            self._gathering, self._future = gathering, future
        start = len(gathering.items)
        gathering.items.extend(items)
        gathering.callers += 1
        try:
            # Shielded: who stops waiting must not withdraw what others wait for.
            return await asyncio.shield(future), start
        except StoreUnavailable:
            raise
        except Exception:
            if gathering.callers == 1:
                raise
        # Somebody's items spoiled it, and nothing was written: now each for itself.
        return await self._writer.submit(lambda connection: self._operation(connection, items)), 0
