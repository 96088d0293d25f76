"""One history: the node, everybody around it, everything that goes wrong, and the end."""

import asyncio
from collections.abc import Coroutine, Iterable
from itertools import count
from pathlib import Path
from typing import Any, Final

from posthouse.core.success import parse_success
from posthouse.testing.disk import Disk
from posthouse.testing.simulation.api_client import ApiClient
from posthouse.testing.simulation.database.rifts import Rifts
from posthouse.testing.simulation.database.server import DatabaseServer
from posthouse.testing.simulation.faults import SLOW_SECONDS, SLOW_SYNC, Faults
from posthouse.testing.simulation.feed_reader import FeedReader
from posthouse.testing.simulation.homes import Apart, Home, OwnDisk
from posthouse.testing.simulation.http_client import Doors, HttpClient
from posthouse.testing.simulation.inspection import Inspector
from posthouse.testing.simulation.key_host import KeyHost
from posthouse.testing.simulation.liveness import Liveness
from posthouse.testing.simulation.loop import SimLoop
from posthouse.testing.simulation.machine import SimClock
from posthouse.testing.simulation.network import SimNetwork
from posthouse.testing.simulation.offload import SimOffload
from posthouse.testing.simulation.operators import Operators
from posthouse.testing.simulation.plan import (
    API_PORT,
    KEY_ADDRESS,
    KEY_HOST,
    Plan,
    PublisherPlan,
    SourcePlan,
    api_address,
    generator,
)
from posthouse.testing.simulation.publishers import NOBODY, Publisher, type_for
from posthouse.testing.simulation.receivers import Receiver
from posthouse.testing.simulation.records import Records, Sample, Trouble
from posthouse.testing.simulation.senders import Sender
from posthouse.testing.simulation.stewards import Stewards
from posthouse.testing.simulation.supervisor import Supervisor
from posthouse.testing.simulation.trace import Trace

_SAMPLE_SECONDS: Final = 2.0
_QUIET_SAMPLE_SECONDS: Final = 300.0  # during an outage
_SAMPLES_AN_INSPECTION: Final = 6
_FLOOD_BATCH: Final = 40
_BURST_BATCH: Final = 1_000


class World:
    """Everything of one history.

    Args:
        plan: what happens.
        loop: on which it happens.
        trace: of the loop.
        place: an empty directory, for the disk and for copies of it.

    Attributes:
        records: what was seen.
        began: the loop time at which the plan began.
        healed_at: the loop time at which everything healed.
    """

    def __init__(self, plan: Plan, loop: SimLoop, trace: Trace, place: Path) -> None:
        self.plan = plan
        self.records = Records()
        self.began = loop.now
        self.healed_at = loop.now + plan.seconds + plan.outage
        self.clock = SimClock(loop)
        self._loop = loop
        self.network = SimNetwork(loop, generator(plan.seed, "network"), trace)
        self._trace = trace
        self.disk = Disk(place / "disk", generator(plan.seed, "disk"), trace=self._note_disk)
        self.offload = SimOffload(loop, generator(plan.seed, "offload"))
        self.inspector = Inspector(loop, self.disk, place / "copy", self.records)
        self.server = self._make_server(place) if plan.nodes else None
        self._ports: dict[int, int] = {}
        self.supervisors = self._make_supervisors(place)
        self.disk.faults.on_call = self.supervisors[0].on_disk
        self.faults = Faults(
            plan,
            loop.now,
            loop=loop,
            network=self.network,
            disk=self.disk,
            offload=self.offload,
            clock=self.clock,
            supervisors=self.supervisors,
            records=self.records,
        )
        self.rifts = None if self.server is None else Rifts(plan, loop, self.server, self.records)
        self.receivers = [
            Receiver(
                host,
                plan.seed,
                self.records,
                life_of=lambda port: self._ports.get(port, 0),
                timeout_of=lambda number: plan.endpoints[number].timeout_ms / 1_000,
                success_of=lambda number: parse_success(plan.endpoints[number].rules.success).statuses,
                began=loop.now,
            )
            for host in plan.hosts
        ]
        self.network.names.update({host.name: (host.address,) for host in plan.hosts})
        self.key_host = KeyHost(plan.key_faults, loop.now, self.records.counts)
        self.network.names[KEY_HOST] = (KEY_ADDRESS,)
        self._nonces = count(1)
        self._door_chance = generator(plan.seed, "doors")
        self._clients: list[HttpClient] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._reader: FeedReader | None = None
        self.operators: Operators
        self.stewards: Stewards

    async def live(self) -> None:
        """Live the history to its end, the stop of the node included."""
        for receiver in self.receivers:
            await receiver.start()
        await self.key_host.start()
        self.operators = Operators(self.plan, self._api, self.records, self.clock, self._is_over)
        self.stewards = Stewards(self.plan, self._api, self.records, self.clock, self._is_over)
        if self.plan.reads_feed:
            self._reader = FeedReader(self.plan, self._api(), self.records, self._is_over)
            self._start([self._reader.run()])
        faults = self.faults.coroutines()
        if self.server is not None and self.rifts is not None:
            await self.server.start()
            faults += self.rifts.coroutines()
        nodes = [asyncio.create_task(self._run_node(supervisor)) for supervisor in self.supervisors]
        self._start([*faults, *self._population()])
        self._start([self._sample()])
        await asyncio.sleep(self.plan.seconds + self.plan.outage)
        await self._heal()
        liveness = Liveness(
            self.plan,
            self.records,
            api=self._api(),
            operators=self.operators,
            stewards=self.stewards,
            clock=self.clock,
        )
        await liveness.wait_for_people(self._tasks)
        await self.faults.evict()
        await liveness.wait_for_deliveries()
        if self._reader is not None:
            await self._reader.finish()
        await self._stop(nodes)

    async def _heal(self) -> None:
        """Nothing is wrong any more."""
        for receiver in self.receivers:
            receiver.healed = True
        self.key_host.healed = True
        self.faults.heal()
        if self.rifts is not None:
            await self.rifts.heal()
        self.healed_at = self._loop.now

    async def _stop(self, nodes: Iterable[asyncio.Task[None]]) -> None:
        """Stop the nodes, then what they stand on, and everybody around them."""
        for supervisor in self.supervisors:
            supervisor.finish()
        await asyncio.gather(*nodes)
        if self.server is not None:
            await self.server.stop()
        for task in self._tasks:
            task.cancel()
        for outcome in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(outcome, BaseException) and not isinstance(outcome, asyncio.CancelledError):
                raise outcome
        for client in self._clients:
            client.close()

    async def _run_node(self, supervisor: Supervisor) -> None:
        """Keep a node alive; the others begin when the first one has made the key that people use."""
        if supervisor.node:
            await self.supervisors[0].was_ready.wait()
        await supervisor.run()

    # -- who lives in it ------------------------------------------------------------------------

    def _population(self) -> Iterable[Coroutine[Any, Any, None]]:
        plan = self.plan
        yield self._create_endpoints([e.number for e in plan.endpoints if e.born_at == 0])
        for endpoint in plan.endpoints:
            if endpoint.born_at:
                yield self._at(endpoint.born_at, self.operators.create(endpoint.number))
        for act in plan.acts:
            yield self._at(act.at, self.operators.act(act))
        for planned in plan.tenants:
            yield self._at(planned.at, self.operators.rule_tenant(planned))
        for job in plan.jobs:
            yield self._at(job.at, self.operators.run_job(job))
        for publisher in plan.publishers:
            yield self._publisher(publisher).run()
        for source in plan.sources:
            yield self.stewards.create(source)
            yield self._sender(source).run()
        for source_act in plan.source_acts:
            yield self._at(source_act.at, self.stewards.act(source_act))
        if plan.flood:
            yield self._flood()

    async def _create_endpoints(self, numbers: list[int]) -> None:
        for number in numbers:
            await self.operators.create(number)

    async def _flood(self) -> None:
        """Let more work wait for one endpoint than a window holds, then let it go."""
        plan = self.plan
        await asyncio.sleep(plan.seconds / 4)
        endpoint = plan.endpoints[min(1, len(plan.endpoints) - 1)]
        record = next((r for r in self.records.endpoints if r.number == endpoint.number and r.id is not None), None)
        if record is None:
            return
        await self.operators.hold(record)
        publisher = self._publisher(plan.publishers[0])
        await publisher.flood(endpoint.tenant, type_for(endpoint.events), plan.flood, _FLOOD_BATCH)
        self.records.counts["flood"] += 1
        if plan.burst:
            self.offload.pace = SLOW_SYNC
            now = self._loop.now
            self.records.troubles.append(Trouble("disk", now, now + SLOW_SECONDS, "slow in the burst"))
            self._loop.call_later(SLOW_SECONDS, self.faults.hurry)
            await publisher.flood(NOBODY, "order.paid", plan.burst, _BURST_BATCH)
            self.records.counts["burst"] += 1
        await self.operators.resume(record)

    async def _sample(self) -> None:
        for number in count(1):
            quiet = self.began + self.plan.seconds < self._loop.now < self.healed_at
            await asyncio.sleep(_QUIET_SAMPLE_SECONDS if quiet else _SAMPLE_SECONDS)
            if number % _SAMPLES_AN_INSPECTION == 0:
                self.inspector.look()
            for supervisor in self.supervisors:
                self._sample_node(supervisor)

    def _sample_node(self, supervisor: Supervisor) -> None:
        text = supervisor.render_metrics()
        if text is not None:
            values = {}
            for line in text.decode().splitlines():
                if line.startswith("posthouse_") and "{" not in line:
                    name, _, value = line.partition(" ")
                    values[name.removeprefix("posthouse_")] = float(value)
            self.records.samples.append(Sample(self._loop.now, supervisor.number, values))

    # -- helpers --------------------------------------------------------------------------------

    def _make_server(self, place: Path) -> DatabaseServer:
        return DatabaseServer(
            self._loop,
            self.disk,
            self.offload,
            clock=self.clock,
            chance=generator(self.plan.seed, "database server"),
            records=self.records,
            place=place / "failover",
        )

    def _make_supervisors(self, place: Path) -> list[Supervisor]:
        lives = count(1)
        return [
            Supervisor(
                self.plan,
                self._loop,
                node=node,
                numbers=lives,
                home=self._home(node, place),
                network=self.network,
                ports=self._ports,
                clock=self.clock,
                records=self.records,
                inspect=self._inspect,
            )
            for node in range(max(1, self.plan.nodes))
        ]

    def _home(self, node: int, place: Path) -> Home:
        if self.server is None:
            return OwnDisk(self.disk, self.offload)
        directory = place / f"node-{node}"
        directory.mkdir()
        return Apart(self.server, node, directory)

    def _doors(self) -> Doors:
        clients = [HttpClient(api_address(supervisor.node), API_PORT) for supervisor in self.supervisors]
        self._clients += clients
        return Doors(clients, self._door_chance)

    def _api(self) -> ApiClient:
        return ApiClient(self._doors(), self.records, self._key)

    def _key(self) -> str | None:
        """The API key that a node wrote down first."""
        return next((supervisor.key for supervisor in self.supervisors if supervisor.key is not None), None)

    def _publisher(self, plan: PublisherPlan) -> Publisher:
        return Publisher(
            plan,
            self.plan.seed,
            api=self._api(),
            records=self.records,
            nonces=self._nonces,
            ends_at=self.began + self.plan.seconds,
        )

    def _sender(self, planned: SourcePlan) -> Sender:
        return Sender(
            self.records.sources[planned.number],
            self.plan,
            doors=self._doors(),
            records=self.records,
            nonces=self._nonces,
            began=self.began,
        )

    def _start(self, coroutines: Iterable[Coroutine[Any, Any, None]]) -> None:
        self._tasks += [asyncio.create_task(coroutine) for coroutine in coroutines]

    async def _at(self, at: float, coroutine: Coroutine[Any, Any, None]) -> None:
        try:
            await asyncio.sleep(max(0.0, self.began + at - self._loop.now))
            await coroutine
        finally:
            coroutine.close()

    def _inspect(self, how: str) -> None:
        if how == "power":
            self.inspector.forget_owners()
        self.inspector.look()

    def _is_over(self) -> bool:
        return self._loop.now > self.healed_at + 60

    def _note_disk(self, *values: object) -> None:
        self._trace.lines.append(f"{values[1]} {values[2]} {values[3]} {values[4]}")
        self.faults.note_disk(*values)
