"""Calls of one kind that wait for the same turn become one operation.

A dozen statements for a call of one event cost more than its rows. So what comes before the
operation starts joins the call that is waiting already.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from posthouse.core.errors import StoreUnavailable

Via = TypeVar("Via")  #: what an operation writes with: a connection, a turn of a lane
Item = TypeVar("Item")
Work = TypeVar("Work")  #: what an operation is while it runs: steps, or an awaitable
Result = TypeVar("Result")


class _Gathering(Generic[Via, Item, Work]):
    """What several callers handed in, until the operation starts."""

    def __init__(self, operation: Callable[[Via, Sequence[Item]], Work]) -> None:
        self._operation = operation
        self.items: list[Item] = []
        self.callers = 0
        self.started = False

    def __call__(self, via: Via) -> Work:
        self.started = True
        return self._operation(via, self.items)


class Gatherer(Generic[Via, Item, Work, Result]):
    """Submits one kind of operation on sequences of items.

    ``submit`` queues an operation and gives the future of its result; it may call the operation again if
    nothing was written.
    """

    def __init__(
        self,
        submit: Callable[[Callable[[Via], Work]], asyncio.Future[Result]],
        operation: Callable[[Via, Sequence[Item]], Work],
    ) -> None:
        self._submit = submit
        self._operation = operation
        self._gathering: _Gathering[Via, Item, Work] | None = None
        self._future: asyncio.Future[Result] | None = None

    async def submit(self, items: Sequence[Item]) -> tuple[Result, int]:
        """The result for everything that was gathered, and where in that the caller's items start.

        Raises what the operation raises for the caller's own items, and :class:`StoreUnavailable`.
        """
        gathering, future = self._gathering, self._future
        if gathering is None or future is None or gathering.started or future.done():
            gathering = _Gathering(self._operation)
            future = self._submit(gathering)
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
        return await self._submit(lambda via: self._operation(via, items)), 0
