"""Carries the faults of a plan out, each at its time, and takes them back."""

import asyncio
from collections import Counter
from collections.abc import Coroutine, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from posthouse.core.limits import LEASE_MS, LEASE_RENEW_MS
from posthouse.testing.disk import Disk, DiskError
from posthouse.testing.simulation.loop import SimLoop
from posthouse.testing.simulation.machine import SimClock
from posthouse.testing.simulation.network import NetworkFaults, SimNetwork
from posthouse.testing.simulation.offload import DiskPace, SimOffload
from posthouse.testing.simulation.plan import (
    API_PORT,
    HOOK_PORT,
    DedupeLoss,
    DiskFault,
    FreezePlan,
    Plan,
    Plate,
    StepPlan,
    StopPlan,
    Trigger,
    Wire,
    WireFault,
    api_address,
    generator,
)
from posthouse.testing.simulation.records import Records, Reign, Trouble
from posthouse.testing.simulation.rivals import Rival
from posthouse.testing.simulation.supervisor import Supervisor

LEASE_SECONDS: Final = LEASE_MS / 1_000
BELIEF_SECONDS: Final = (LEASE_MS - LEASE_RENEW_MS) / 1_000  #: a node believes in a lease for so long at most
STEP_SECONDS: Final = 15.0  #: until a node has surely noticed a step of its clock
SLOW_SECONDS: Final = 3.0
SLOW_SYNC: Final = DiskPace(usual=(0.1, 1.5))

#: What is wrong with the whole network in each of these faults.
_EVERYWHERE: Final[Mapping[Wire, Mapping[str, object]]] = MappingProxyType(
    {
        Wire.SLOW: {"latency": (0.01, 0.4)},
        Wire.LOSSY: {"loss": 0.2},
        Wire.RESETS: {"reset": 0.05},
        Wire.SLOW_NAME: {"slow_names": 2.5},
        Wire.CRUMBS: {"chunk": (1, 200)},
    }
)
_USUAL_PACE: Final = DiskPace()
_RIVAL_TRIES: Final = 30
_RIVAL_PAUSE: Final = 0.1


class Faults:
    """Everything that goes wrong in one history.

    Args:
        plan: what, and when.
        began: the loop time at which the plan begins.
    """

    def __init__(
        self,
        plan: Plan,
        began: float,
        *,
        loop: SimLoop,
        network: SimNetwork,
        disk: Disk,
        offload: SimOffload,
        clock: SimClock,
        supervisors: Sequence[Supervisor],
        records: Records,
    ) -> None:
        self._plan = plan
        self._began = began
        self._loop = loop
        self._network = network
        self._disk = disk
        self._offload = offload
        self._clock = clock
        self._supervisors = supervisors
        self._supervisor = supervisors[0]  # the only one that may meet a rival
        self._records = records
        self._rival = Rival(disk, generator(plan.seed, "rival"))
        self._wires: Counter[tuple[Wire, int | None]] = Counter()
        self._frozen: int | None = None
        self._healed = False

    def coroutines(self) -> list[Coroutine[Any, Any, None]]:
        """One for each fault, or for each sequence of faults."""
        plan = self._plan
        for crash in plan.crashes:
            if crash.at == 0 and crash.trigger is not Trigger.TIME:
                self._supervisors[crash.node].armed.append(crash)
        return [
            *(self._spoil_wire(fault) for fault in plan.wire_faults),
            *(self._spoil_disk(fault) for fault in plan.disk_faults),
            *(self._step(step) for step in plan.steps),
            self._crash(),
            self._freeze_all(),
            *(self._stop(stop) for stop in plan.stops),
            *(self._lose_dedupe(loss) for loss in plan.dedupe_losses),
        ]

    def heal(self) -> None:
        """Nothing is wrong any more, and nothing will be."""
        self._healed = True
        now = self._loop.now
        self._records.note(now, "everything heals")
        self._wires.clear()
        self._spread_wires()
        self._disk.faults.heal()
        self._offload.pace = _USUAL_PACE
        self._clock.correct()
        for supervisor in self._supervisors:
            supervisor.armed.clear()
        self._thaw()
        for trouble in self._records.troubles:
            trouble.until = min(trouble.until, now)

    async def evict(self) -> None:
        """No rival holds anything any more; a new life takes everything by itself."""
        life = self._supervisor.number
        for _ in range(_RIVAL_TRIES):
            if not self._plan.freezes or not self._is_open(life) or self._rival.vanish():
                return
            await asyncio.sleep(_RIVAL_PAUSE)

    # -- network and disk -----------------------------------------------------------------------

    async def _spoil_wire(self, fault: WireFault) -> None:
        await self._until(fault.at)
        if self._healed:
            return
        host = fault.host if fault.wire in {Wire.REFUSED, Wire.BLACK_HOLE, Wire.NO_NAME} else None
        trouble = self._trouble("wire", fault.seconds, f"{fault.wire} {fault.host}", host)
        if host is None and fault.wire in {Wire.REFUSED, Wire.BLACK_HOLE}:
            trouble.kind = "api wire"
        self._wires[fault.wire, fault.host] += 1
        self._spread_wires()
        self._records.counts[f"wire {fault.wire}"] += 1
        await asyncio.sleep(fault.seconds)
        if not self._healed:
            self._wires[fault.wire, fault.host] -= 1
            self._spread_wires()

    def _spread_wires(self) -> None:
        """Let the network be as bad as all faults that are there now make it."""
        faults = NetworkFaults()
        for wire, host in +self._wires:
            for field, value in _EVERYWHERE.get(wire, {}).items():
                setattr(faults, field, value)
            planned = None if host is None else self._plan.hosts[host]
            address = (api_address(0), API_PORT) if planned is None else (planned.address, HOOK_PORT)
            if wire is Wire.REFUSED:
                faults.refused.add(address)
            elif wire is Wire.BLACK_HOLE:
                faults.black_holes.add(address)
            elif wire is Wire.NO_NAME and planned is not None:
                faults.dead_names.add(planned.name)
        self._network.faults = faults

    async def _spoil_disk(self, fault: DiskFault) -> None:
        await self._until(fault.at)
        if self._healed:
            return
        self._records.counts[f"disk {fault.plate}"] += 1
        faults = self._disk.faults
        if fault.plate is Plate.CALL:
            self._records.note(self._loop.now, f"disk: the {fault.nth}. {fault.call} of {fault.file} will fail")
            faults.fail(fault.call, fault.nth, error=fault.error, file=fault.file)
            return
        self._trouble("disk", fault.seconds, str(fault.plate))
        if fault.plate is Plate.FULL:
            faults.bytes_max = 0
        else:
            self._offload.pace = SLOW_SYNC
        await asyncio.sleep(fault.seconds)
        if fault.plate is Plate.FULL:
            faults.bytes_max = None
        else:
            self._offload.pace = _USUAL_PACE

    async def _lose_dedupe(self, loss: DedupeLoss) -> None:
        await self._until(loss.at)
        for _ in range(_RIVAL_TRIES):
            if self._healed:
                return
            if self._is_open(self._supervisor.number) and self._rival.forget_repetitions(drops=loss.drops):
                self._records.note(self._loop.now, "what recognises repetitions is lost")
                self._records.counts["dedupe lost"] += 1
                return
            await asyncio.sleep(_RIVAL_PAUSE)

    def note_disk(self, *values: object) -> None:
        """The disk tells of a call; the last value is how it failed, or None."""
        error = values[-1]
        if isinstance(error, DiskError):
            self._records.counts[f"disk {error} {values[1]}"] += 1
            self._trouble("disk", 0.0, f"{values[1]} of {values[2]}: {error}")

    # -- the process ----------------------------------------------------------------------------

    async def _crash(self) -> None:
        for crash in self._plan.crashes:
            if crash.at == 0 and crash.trigger is not Trigger.TIME:
                continue
            await self._until(crash.at)
            if self._healed:
                return
            supervisor = self._supervisors[crash.node]
            if crash.trigger is not Trigger.TIME:
                supervisor.armed.append(crash)
            elif supervisor.alive:
                self._records.note(self._loop.now, "power cut" if crash.power else "kill")
                self._records.counts["crash time"] += 1
                supervisor.crash(power=crash.power, pause=crash.pause)

    async def _stop(self, stop: StopPlan) -> None:
        await self._until(stop.at)
        if not self._healed:
            self._records.note(self._loop.now, "SIGTERM")
            self._supervisors[stop.node].stop(stop.pause)

    async def _step(self, step: StepPlan) -> None:
        await self._until(step.at)
        if not self._healed:
            self._trouble("step", STEP_SECONDS, f"the wall clock steps by {step.ms} ms")
            self._records.counts["step forward" if step.ms > 0 else "step back"] += 1
            self._clock.step(step.ms)

    async def _freeze_all(self) -> None:
        for freeze in self._plan.freezes:
            await self._until(freeze.at)
            if self._healed:
                return
            await self._freeze(freeze)

    async def _freeze(self, freeze: FreezePlan) -> None:
        """Stand still for a while, and perhaps lose slots meanwhile."""
        supervisor = self._supervisors[freeze.node]
        if not supervisor.alive:
            return
        life = supervisor.number
        began = self._loop.now
        trouble: Trouble | None = None
        if freeze.seconds:
            trouble = self._trouble("freeze", freeze.seconds, f"life {life} stands still")
            self._records.counts["freeze"] += 1
            self._frozen = life
            self._loop.freeze(life)
        rival = asyncio.create_task(self._rule(freeze, life, began)) if freeze.rival else None
        if freeze.seconds:
            await asyncio.sleep(freeze.seconds)
            if freeze.slow and not self._healed:
                self._offload.pace = SLOW_SYNC
                self._trouble("disk", SLOW_SECONDS, "slow when the process goes on")
                asyncio.get_running_loop().call_later(SLOW_SECONDS, self.hurry)
            self._thaw()
            if trouble is not None:
                trouble.until = min(trouble.until, self._loop.now)
        if rival is not None:
            await rival

    def hurry(self) -> None:
        """The disk is as fast as usual."""
        self._offload.pace = _USUAL_PACE

    def _thaw(self) -> None:
        life, self._frozen = self._frozen, None
        if life is not None and not self._loop.is_dead(life):
            self._records.note(self._loop.now, f"life {life} goes on")
            self._loop.thaw(life)

    async def _rule(self, freeze: FreezePlan, life: int, began: float) -> None:
        """Be the rival: take slots, hold them, let them go."""
        if freeze.patient:
            await asyncio.sleep(LEASE_SECONDS)
        reign: Reign | None = None
        for _ in range(_RIVAL_TRIES):
            if not self._is_open(life) or self._healed:
                return
            lease_until = self._clock.now_ms() + int((freeze.holds + 1) * 1_000)
            reign = self._rival.take(freeze.slots, lease_until=lease_until, at=self._loop.now, life=life)
            if reign is not None:
                break
            await asyncio.sleep(_RIVAL_PAUSE)
        if reign is None:
            return
        over_at = began + LEASE_SECONDS if self._frozen == life else self._loop.now + BELIEF_SECONDS
        reign.lease_over_at = max(over_at, self._loop.now)
        self._records.reigns.append(reign)
        self._records.note(self._loop.now, f"a rival takes {len(reign.slots)} slots")
        self._records.counts["rival"] += 1
        await asyncio.sleep(freeze.holds)
        while reign.until is None and self._is_open(life):
            if self._rival.leave(reign, at=self._loop.now, release=freeze.releases or self._healed):
                self._records.note(self._loop.now, "the rival leaves")
            else:
                await asyncio.sleep(_RIVAL_PAUSE)
        if reign.until is None:  # the node's next life takes everything, and what this one took back is not known
            reign.until = self._loop.now
            reign.slots, reign.before = frozenset(), frozenset()

    def _is_open(self, life: int) -> bool:
        """Whether the store is still that of this life, serves, and the disk is well enough for a rival."""
        faults = self._disk.faults
        supervisor = self._supervisor
        ready = supervisor.alive and supervisor.number == life and supervisor.life.ready_at is not None
        return ready and not faults.planned and faults.bytes_max is None and supervisor.life.stopping_at is None

    # -- time -----------------------------------------------------------------------------------

    async def _until(self, at: float) -> None:
        await asyncio.sleep(max(0.0, self._began + at - self._loop.now))

    def _trouble(self, kind: str, seconds: float, detail: str, host: int | None = None) -> Trouble:
        now = self._loop.now
        trouble = Trouble(kind, now, now + seconds, detail, host)
        self._records.troubles.append(trouble)
        self._records.note(now, f"{kind}: {detail}")
        return trouble
