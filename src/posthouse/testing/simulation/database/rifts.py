"""Carries out what a plan says is wrong with the database, and with the ways to it."""

import asyncio
from collections.abc import Coroutine
from typing import Any, Final

from posthouse.testing.simulation.database.cable import CableFaults
from posthouse.testing.simulation.database.plans import DatabaseFault, Rift
from posthouse.testing.simulation.database.server import DatabaseServer
from posthouse.testing.simulation.loop import SimLoop
from posthouse.testing.simulation.plan import Plan
from posthouse.testing.simulation.records import Records, Trouble

AFTERMATH: Final = 4.0  #: seconds until lanes have connections again, and what is in memory was read anew

_SLOW: Final = (0.02, 0.3)
_LOSSY: Final = 0.08
_DEAF: Final = 0.8
_COMMITS_SECONDS: Final = 8.0  #: a fault that waits for a commit waits no longer


class Rifts:
    """Everything that goes wrong between the nodes of one history and their database.

    Args:
        plan: what, and when.
    """

    def __init__(self, plan: Plan, loop: SimLoop, server: DatabaseServer, records: Records) -> None:
        self._plan = plan
        self._began = loop.now
        self._loop = loop
        self._server = server
        self._records = records
        self._troubles: list[Trouble] = []  # those that are not over
        self._server_lock = asyncio.Lock()
        self._healed = False
        self._counting: list[tuple[int, asyncio.Future[None]]] = []

    def coroutines(self) -> list[Coroutine[Any, Any, None]]:
        """One for each fault."""
        self._server.replication.on_commit = self._count
        return [self._spoil(fault) for fault in self._plan.database_faults]

    async def heal(self) -> None:
        """Nothing is wrong any more; a server that is away comes back first."""
        self._healed = True
        cable = self._server.cable
        cable.faults.latency, cable.faults.lost = CableFaults().latency, 0.0
        self._server.exchange.lost = 0.0
        for node in sorted(cable.faults.dark):
            cable.lighten(node)
        self._server.replication.find_standby()
        async with self._server_lock:
            for trouble in self._troubles:
                trouble.until = self._loop.now + AFTERMATH

    async def _spoil(self, fault: DatabaseFault) -> None:
        await asyncio.sleep(max(0.0, self._began + fault.at - self._loop.now))
        if fault.nth and not self._healed:
            await self._wait_for_commits(fault.nth)
        if self._healed:
            return
        if fault.rift in {Rift.RESTART, Rift.FAILOVER}:
            async with self._server_lock:
                if not self._healed:
                    await self._suffer(fault)
        else:
            await self._suffer(fault)

    async def _suffer(self, fault: DatabaseFault) -> None:
        now = self._loop.now
        kind = "hints" if fault.rift is Rift.DEAF else "disk"  # to a node the database is its disk
        trouble = Trouble(kind, now, now + fault.seconds + AFTERMATH, f"database {fault.rift}")
        self._troubles.append(trouble)
        self._records.troubles.append(trouble)
        self._records.note(now, f"database: {fault.rift} for {fault.seconds:.2f} s")
        self._records.counts[f"database {fault.rift}"] += 1
        await self._break(fault)
        if not self._healed:
            trouble.until = self._loop.now + AFTERMATH
            self._troubles.remove(trouble)

    async def _break(self, fault: DatabaseFault) -> None:
        """Let it be so, and take it back; what heals all takes it back by itself."""
        server, cable = self._server, self._server.cable
        if fault.rift is Rift.RESTART:
            await server.restart(fault.seconds)
        elif fault.rift is Rift.FAILOVER:
            self._records.counts["failovers that forget"] += server.replication.forgettable > 0
            await server.fail_over(fault.seconds, silently=fault.silent)
        elif fault.rift is Rift.CUT:
            cable.cut(fault.node)
        elif fault.rift is Rift.DARK:
            nodes = range(self._plan.nodes) if fault.node is None else (fault.node,)
            for node in nodes:
                cable.darken(node)
            await asyncio.sleep(fault.seconds)
            for node in nodes:
                cable.lighten(node)
        elif fault.rift in {Rift.ALONE, Rift.CANCELLED}:
            server.replication.lose_standby(cancels=fault.rift is Rift.CANCELLED)
            await asyncio.sleep(fault.seconds)
            server.replication.find_standby()
        elif fault.rift is Rift.DEAF:
            server.exchange.lost = _DEAF
            await asyncio.sleep(fault.seconds)
            server.exchange.lost = 0.0
        elif fault.rift is Rift.SLOW:
            cable.faults.latency = _SLOW
            await asyncio.sleep(fault.seconds)
            cable.faults.latency = CableFaults().latency
        else:
            cable.faults.lost = _LOSSY
            await asyncio.sleep(fault.seconds)
            cable.faults.lost = 0.0

    # -- in the middle of a commit --------------------------------------------------------------

    async def _wait_for_commits(self, number: int) -> None:
        """Return while the n-th commit from now on waits for the standby; if none comes, after a while."""
        future = self._loop.create_future()
        self._counting.append((number, future))
        await asyncio.wait([future], timeout=_COMMITS_SECONDS)

    def _count(self) -> None:
        counting, self._counting = self._counting, []
        for number, future in counting:
            if number > 1:
                self._counting.append((number - 1, future))
            elif not future.done():
                future.set_result(None)
