"""Lives of the node: each is started as ``posthouse serve`` starts it, and ends as processes end."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any, Final, NoReturn

import apsw

from posthouse.assembly import Assembled, assemble
from posthouse.config import Config
from posthouse.core.errors import PosthouseError
from posthouse.core.failpoints import Failpoint
from posthouse.testing.disk import Call, FileKind
from posthouse.testing.simulation.homes import Home
from posthouse.testing.simulation.lives import Crash
from posthouse.testing.simulation.loop import SimLoop
from posthouse.testing.simulation.machine import SimClock, SimEntropy
from posthouse.testing.simulation.network import SimNetwork
from posthouse.testing.simulation.plan import API_PORT, CrashPlan, Plan, Trigger, api_address, generator
from posthouse.testing.simulation.records import Life, Records
from posthouse.testing.simulation.tasks import LIFE

#: A node that does not end within so many seconds after it was told to hangs.
STOP_SECONDS_MAX: Final = 75.0
_START_PAUSE_MIN: Final = 0.3  # after a start that failed


class Supervisor:
    """Starts a node, ends it, starts it again.

    ``inspect(how)`` is called between two lives, with how the first one ended.

    Args:
        node: its number, from 0 on.
        numbers: of lives; no two nodes have the same.
        home: where it keeps its store.
        ports: gets which life opened the outbound connection from a port.

    Attributes:
        alive: whether a life is under way (it may be starting, frozen or stopping).
        number: of the latest life.
        key: the API key that the node wrote down last.
        was_ready: set since a life listened, or no other one will begin.
    """

    def __init__(
        self,
        plan: Plan,
        loop: SimLoop,
        *,
        node: int,
        numbers: Iterator[int],
        home: Home,
        network: SimNetwork,
        ports: dict[int, int],
        clock: SimClock,
        records: Records,
        inspect: Callable[[str], None],
    ) -> None:
        self.node = node
        self.alive = False
        self.number = 0
        self.key: str | None = None
        self.was_ready = asyncio.Event()
        self.armed: list[CrashPlan] = []
        self._plan = plan
        self._loop = loop
        self._network = network
        self._numbers = numbers
        self._home = home
        self._clock = clock
        self._records = records
        self._inspect = inspect
        self._chance: Random = generator(plan.seed, f"supervisor {node}" if node else "supervisor")
        self._config: dict[str, Any] = {
            "host": api_address(node),
            "port": API_PORT,
            "in_flight_max": plan.in_flight_max,
            "in_flight_per_endpoint": plan.in_flight_per_endpoint,
            "commit_interval_ms": plan.commit_interval_ms,
            "drain_seconds": plan.drain_seconds,
        }
        self._left: dict[CrashPlan, int] = {}  # of the n of an armed crash
        self._disk_sides = 0  # since the last start
        self._ended: asyncio.Future[str] | None = None
        self._stop: asyncio.Future[None] | None = None
        self._pause: float | None = None
        self._resting: asyncio.Future[None] | None = None
        self._assembled: Assembled | None = None
        self._over = False
        self._ports = ports
        self.life = Life(0, loop.now, node)  #: the latest

    @property
    def serves(self) -> bool:
        """Whether the latest life listens."""
        return self.alive and self.life.ready_at is not None and self.life.stopping_at is None

    async def run(self) -> None:
        """Keep a node alive until :meth:`finish`."""
        while not self._over:
            how = await self._live()
            pause, self._pause = self._pause, None
            if pause is None:
                pause = self._chance.uniform(_START_PAUSE_MIN, 2.0)
            if how in {"kill", "power"}:
                self._loop.bury(self.number)
                self._home.bury()
            if how == "power":
                self._network.revive()
            self._inspect(how)
            if not self._over:
                await asyncio.sleep(pause)

    def finish(self) -> None:
        """Stop the node for good; :meth:`run` returns then."""
        self._over = True
        self.was_ready.set()
        self.armed.clear()
        self.stop(0.0)

    def stop(self, pause: float) -> None:
        """SIGTERM; another life begins so many seconds after the end of this one."""
        if self._stop is not None and not self._stop.done():
            self._pause = pause
            self._stop.set_result(None)

    def crash(self, *, power: bool, pause: float) -> None:
        """End the life at this instant, from outside it."""
        if self.alive:
            self._end(power=power, pause=pause)

    # -- one life -------------------------------------------------------------------------------

    async def _live(self) -> str:
        self.number = next(self._numbers)
        self.alive = True
        self._disk_sides = 0
        self.life = life = Life(self.number, self._loop.now, self.node)
        self._records.lives.append(life)
        self._records.note(self._loop.now, f"life {self.number} begins")
        self._ended = self._loop.create_future()
        self._stop = self._loop.create_future()
        task = self._loop.start_life(self.number, self._serve(life))
        task.add_done_callback(self._returned)
        how = await self._ended
        self.alive = False
        life.ended_at = self._loop.now
        life.how = how
        self._assembled = None
        self._records.note(self._loop.now, f"life {life.number} ends: {how}")
        self._records.counts[f"life {how}"] += 1
        return how

    def _returned(self, task: asyncio.Task[str]) -> None:
        """The process ended by itself."""
        if self._ended is None or self._ended.done() or task.cancelled():
            return
        error = task.exception()
        if isinstance(error, apsw.Error) and self.life.stopping_at is not None:
            # Closing copies the log into the file, and SQLite ignores it if that fails; a disk in Python cannot.
            self._records.note(self._loop.now, f"the disk refused the last copy of the log: {error}")
            self._records.counts["close refused"] += 1
            self._network.cut_life(self.number, silently=False)
            self._ended.set_result("failed")
            return
        if error is not None:
            self._records.find("fault of the program", f"the node ended with {error!r}", self._loop.now)
        self._network.cut_life(self.number, silently=False)
        self._ended.set_result("fault" if error is not None else task.result())

    async def _serve(self, life: Life) -> str:
        """What ``posthouse.app`` does."""
        assert self._stop is not None
        number = life.number
        entropy = SimEntropy(generator(self._plan.seed, f"entropy {number}"))
        machine = self._home.machine(self._clock, entropy, self._network, self._connect, self._reach)
        try:
            assembled = await assemble(Config(data=self._home.directory, **self._config), machine)
        except (PosthouseError, apsw.Error) as error:  # the second: as in _returned
            self._records.note(self._loop.now, f"life {number} cannot open its store: {error}")
            return "refused"
        node, store, server = assembled.node, assembled.store, assembled.server
        try:
            await node.start(keep_first_key=self._keep_key)
            await server.start(api_address(self.node), API_PORT)
            life.ready_at = self._loop.now
            self.was_ready.set()
            self._assembled = assembled
            await asyncio.wait((self._stop, store.failed), return_when=asyncio.FIRST_COMPLETED)
            if store.failed.done():
                self._records.note(self._loop.now, f"life {number}: {store.failed.result()}")
                life.stopping_at = self._loop.now
                await server.stop(grace_seconds=0)
                return "failed"
            life.stopping_at = self._loop.now
            node.drain()
            await server.stop(grace_seconds=5)
            await node.stop()
        except PosthouseError as error:
            self._records.note(self._loop.now, f"life {number} cannot start: {error}")
            return "refused"
        else:
            return "stopped"
        finally:
            life.stopping_at = life.stopping_at or self._loop.now
            await assembled.close()

    async def _connect(self, infos: Sequence[Any]) -> Any:
        life = self.number
        sock = await self._network.connect(infos)
        self._ports[sock.getsockname()[1]] = life
        return sock

    def _keep_key(self, text: str) -> None:
        """As the process writes it to a file of its own, durably, before the store knows the key."""
        self.key = text

    def render_metrics(self) -> bytes | None:
        """What ``GET /metrics`` would answer now, without a connection; None if nobody listens."""
        return None if self._assembled is None or not self.serves else self._assembled.node.metrics.render()

    # -- crashing -------------------------------------------------------------------------------

    def _end(self, *, power: bool, pause: float) -> None:
        """The process ends between two instructions: its memory is gone, its connections break."""
        assert self._ended is not None
        self._pause = pause
        self._home.crash(power=power)
        self._network.cut_life(self.number, silently=power)
        self._loop.kill(self.number)
        self.alive = False
        self._ended.set_result("power" if power else "kill")

    def _reach(self, point: Failpoint) -> None:
        self._records.counts[f"reach {point}"] += 1
        for crash in self.armed:
            if crash.trigger is Trigger.FAILPOINT and crash.point is point:
                self._count_down(crash, f"at {point}")

    def on_disk(self, call: Call, file: FileKind) -> None:
        """A call of the disk begins, or ends."""
        if not self.alive or LIFE.get() != self.number:
            return
        self._disk_sides += 1
        for crash in self.armed:
            if crash.trigger is Trigger.DISK:
                self._count_down(crash, f"in {call} of {file}")
            elif crash.trigger is Trigger.START and self._disk_sides == crash.nth:
                self._fire(crash, f"in {call} of {file}, {self._disk_sides} calls after the start")

    def _count_down(self, crash: CrashPlan, where: str) -> None:
        left = self._left.get(crash, crash.nth) - 1
        self._left[crash] = left
        if left <= 0:
            self._fire(crash, where)

    def _fire(self, crash: CrashPlan, where: str) -> NoReturn:
        """Die here. Everything that the life still does while it unwinds is done to nothing."""
        self.armed.remove(crash)
        self._records.note(self._loop.now, f"{'power cut' if crash.power else 'kill'} {where}")
        self._records.counts[f"crash {crash.trigger}"] += 1
        if crash.point is not None:
            self._records.counts[f"crash at {crash.point}"] += 1
        self._end(power=crash.power, pause=crash.pause)
        raise Crash
