"""After the way to the store was lost and found again: what is in memory is read anew."""

import asyncio
from typing import Final

from posthouse.core.errors import PosthouseError
from posthouse.engine.engine import Engine
from posthouse.gateway.catalogue import Catalogue
from posthouse.store.protocol import Store
from posthouse.telemetry import Log, log

AGAIN_S: Final = 0.5  #: before another try to read, if the store is gone again


class Recovery:
    """Waits for the store to come back.

    Behind the new connection may be another server, which never heard of rows that memory knows, or one that does not
    know whose the slots are. So nothing is sent until the leases were renewed there, all buffers are forgotten and
    filled again from the rows, and a catalogue whose version went back is read as if there had been none.
    """

    def __init__(self, store: Store, catalogue: Catalogue, engine: Engine) -> None:
        self._store = store
        self._catalogue = catalogue
        self._engine = engine
        self._back = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to listen."""
        self._store.when_back(self._told)
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """React no more. Idempotent."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    def _told(self) -> None:
        self._engine.leases.doubt()
        self._back.set()

    async def _run(self) -> None:
        while True:
            await self._back.wait()
            self._back.clear()
            try:
                await self._read_anew()
            except PosthouseError as error:  # the sweep finds what is owed all the same
                log(Log.LOOP_FAILED, exc_info=error, loop="recovery")
                self._back.set()
                await asyncio.sleep(AGAIN_S)

    async def _read_anew(self) -> None:
        await self._catalogue.refresh()  # what it says of changes that were forgotten, or made, it tells by itself
        for desk in self._engine.board.desks():
            self._engine.board.forget_all(desk)
        await self._engine.survey()
        log(Log.STORE_READ_ANEW)
