"""A node of the fleet: it beats, watches the others, takes slots and gives them up."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Protocol

from posthouse.core.assignment import assigned, reassigned, to_give_up
from posthouse.testing.fleet.register import Roll
from posthouse.testing.fleet.rules import Fault
from posthouse.testing.fleet.world import World


class Watcher(Protocol):
    """Hears what nodes do; it holds the laws against that."""

    def holds(self, member: "Member") -> None:
        """It knows anew what it has, and until when."""
        ...

    def serves(self, member: "Member", slots: Sequence[int]) -> None:
        """It works for these from now on."""
        ...

    def rests(self, member: "Member", slots: Sequence[int], why: str, *, since: float) -> None:
        """It does not work for these since then."""
        ...

    def freed(self, member: "Member") -> None:
        """It has given slots up."""
        ...


class Member:
    """One node. It lives from :meth:`begin` to :meth:`leave` or :meth:`kill`.

    Attributes:
        life: its name for people: the same when it had to begin anew under another ``name``.
        epochs: slot → epoch of what it has.
        valid_until: its leases surely hold before that instant, if its clock is as good as its rules say.
        working: the slots that it works for while its leases hold.
        ended: it was killed, or has left.
        resumes_at: it stands still before that.
    """

    def __init__(self, world: World, watcher: Watcher, name: str) -> None:
        self._world = world
        self._watcher = watcher
        self.life = name
        self._lives = 0
        self.name = name
        self._rate = 1 + world.rules.drift * (2 * world.chance.random() - 1)
        self.epochs: dict[int, int] = {}
        self.valid_until = 0.0
        self.working: set[int] = set()
        self.ended = False
        self.leaving = False
        self.resumes_at = 0.0
        self._giving: set[int] = set()
        self._let_go: set[int] = set()  # since the latest renewal was asked for
        self._seen: dict[str, tuple[int, float]] = {}  # beat, and for how long it was seen not to change
        self._looked_at = self._asked_at = 0.0
        self._asking = True  # until it has joined
        self._again = self._hurried = False
        self._turn = 0

    @property
    def is_valid(self) -> bool:
        """Whether its leases hold."""
        return self._world.now < self.valid_until

    @property
    def owned(self) -> list[int]:
        """What it has and does not give up."""
        return [slot for slot in self.epochs if slot not in self._giving]

    def may_send(self, slot: int) -> bool:
        """Whether it believes at this moment that it may send for the endpoints of a slot."""
        is_its = slot in self.epochs and slot not in self._giving
        return is_its and self.is_valid and not self.ended and not self.leaving

    # -- from outside ---------------------------------------------------------------------

    def begin(self) -> None:
        """Join, and beat from then on."""
        name = self.name
        self._asking = True

        def join() -> Callable[[], None]:
            self._world.register.join(name)
            return lambda: self._soon(self._beat)

        self._world.ask(join)

    def kill(self) -> None:
        """End without a word."""
        self.ended = True
        self._rest(set(self.working), "death")
        self.epochs = {}

    def pause(self, seconds: float) -> None:
        """Stand still for so long."""
        self.resumes_at = max(self.resumes_at, self._world.now + seconds)
        self._watcher.rests(self, sorted(self.working), "standstill", since=self._world.now)
        self._world.after(seconds, lambda: self._soon(self._resume))

    def leave(self) -> None:
        """End cleanly: what is on its way is waited for, everything is given up, and others are told."""
        self.leaving = True
        self._rest(set(self.working), "hand-over")
        name = self.name

        def go() -> Callable[[], None]:
            self._world.register.leave(name)
            return gone

        def gone() -> None:
            self.ended = True
            self.epochs = {}
            self._watcher.freed(self)

        self._world.after(self._drained(), lambda: self._soon(lambda: self._world.ask(go)))

    def hurry(self) -> None:
        """Somebody gave slots up: renew soon."""
        if self._asking or self._hurried:
            self._again = self._asking
            return
        self._hurried = True
        turn, early = self._turn, self._asked_at + self._world.rules.heed - self._world.now
        self._world.after(max(0.0, early), lambda: self._soon(self._next(turn)))

    def hear(self) -> None:
        """A hint has arrived."""
        self._soon(self.hurry)

    # -- beats ----------------------------------------------------------------------------

    def _beat(self) -> None:
        if self.leaving:
            return
        self._turn += 1
        self._asking, self._again, self._hurried = True, False, False
        self._asked_at = asked = self._world.now
        self._let_go = set(self._giving)
        name = self.name

        def beat() -> Callable[[], None]:
            roll = self._world.register.beat(name)
            return lambda: self._soon(lambda: self._called(roll, asked))

        self._world.ask(beat)

    def _called(self, roll: Roll, asked: float) -> None:
        if self.leaving:
            return
        if self.name not in roll.beats:
            self._begin_anew()
            return
        rules = self._world.rules
        dead = self._observe(roll, asked)
        living = tuple(sorted(name for name in roll.beats if name not in dead))
        to_own = place(living, roll.owners if rules.knows_owners else None)
        wanted = [slot for slot, name in enumerate(to_own) if name == self.name and slot not in self._giving]
        name = self.name

        def bury() -> Callable[[], None]:
            self._world.register.bury(dead, compares=Fault.BEAT_NOT_COMPARED not in rules.faults)
            return lambda: self._soon(lambda: self._world.ask(take))

        def take() -> Callable[[], None]:
            epochs = self._world.register.acquire(name, wanted)
            return lambda: self._soon(lambda: self._granted(epochs, wanted, asked))

        self._world.ask(bury if dead else take)

    def _observe(self, roll: Roll, asked: float) -> dict[str, int]:
        """Who is dead, with the beat that it was last seen with."""
        rules = self._world.rules
        passed = (asked - self._looked_at) * self._rate
        if Fault.BLIND_TIME_COUNTS not in rules.faults:
            passed = min(passed, rules.look_most)
        self._looked_at = asked if Fault.BLIND_TIME_COUNTS in rules.faults else self._world.now
        seen = {}
        for name, beat in roll.beats.items():
            before = self._seen.get(name)
            seen[name] = (beat, before[1] + max(0.0, passed)) if before and before[0] == beat else (beat, 0.0)
        self._seen = seen
        return {name: beat for name, (beat, silent) in seen.items() if silent >= rules.lease and name != self.name}

    def _granted(self, epochs: dict[int, int], wanted: Sequence[int], asked: float) -> None:
        if self.leaving:
            return
        now, rules = self._world.now, self._world.rules
        if Fault.RELEASE_FORGOTTEN not in rules.faults:
            gone = self._let_go - self._giving
            epochs = {slot: epoch for slot, epoch in epochs.items() if slot not in gone}
        if not self.is_valid:  # nothing was sent since then
            self._watcher.rests(self, sorted(self.working), "lapse", since=self.valid_until)
        self._rest({slot for slot in self.working if self.epochs.get(slot) != epochs.get(slot)}, "lapse")
        gained = {slot for slot in epochs if slot not in self.working and slot not in self._giving}
        self.epochs = epochs
        self.valid_until = (now if Fault.VALID_FROM_THE_ANSWER in rules.faults else asked) + rules.valid / self._rate
        self._watcher.holds(self)
        if self.is_valid:
            self._watcher.serves(self, sorted(self.working))
        if gained:
            self._world.after(rules.gaining, lambda: self._soon(lambda: self._work_for(gained)))
        surplus = to_give_up(self.owned, wanted, most=rules.give_up_most)
        if surplus and not self._giving:
            self._give_up(set(surplus))
        self._asking = False
        if self._again:
            self.hurry()
        turn = self._turn
        wait = min(rules.renew, *(max(0.01, rules.lease - silent) for _, silent in self._seen.values())) / self._rate
        self._world.after(max(0.0, asked + wait - now), lambda: self._soon(self._next(turn)))

    def _next(self, turn: int) -> Callable[[], None]:
        return lambda: self._beat() if self._turn == turn and not self._asking else None

    def _work_for(self, gained: set[int]) -> None:
        ready = {slot for slot in gained if slot in self.epochs and slot not in self._giving} - self.working
        self.working |= ready
        if self.is_valid and not self.leaving:
            self._watcher.serves(self, sorted(ready))

    def _give_up(self, slots: set[int]) -> None:
        self._giving = slots
        self._let_go |= slots
        self._rest(slots & self.working, "hand-over")
        name = self.name

        def release() -> Callable[[], None]:
            self._world.register.release(name, slots)
            return lambda: self._soon(done)

        def done() -> None:
            if self.name == name:
                self._giving = set()
                self.epochs = {slot: epoch for slot, epoch in self.epochs.items() if slot not in slots}
            self._watcher.freed(self)

        self._world.after(self._drained(), lambda: self._soon(lambda: self._world.ask(release)))

    # -- the rest -------------------------------------------------------------------------

    def _begin_anew(self) -> None:
        """Somebody buried it: it has nothing, and is somebody else from now on."""
        self._rest(set(self.working), "lapse")
        self.epochs, self.valid_until, self._giving = {}, 0.0, set()
        self._seen, self._let_go = {}, set()
        self._lives += 1
        self.name = f"{self.life}.{self._lives}"
        self.begin()

    def _resume(self) -> None:
        if self.is_valid and not self.leaving:
            self._watcher.serves(self, sorted(self.working))

    def _rest(self, slots: set[int], why: str) -> None:
        self.working -= slots
        self._watcher.rests(self, sorted(slots), why, since=self._world.now)

    def _drained(self) -> float:
        return self._world.rules.drain * self._world.chance.random()

    def _soon(self, call: Callable[[], None]) -> None:
        """Now, or when it no longer stands still; never once it has ended."""
        if self.ended:
            return
        if self._world.now < self.resumes_at:
            self._world.after(self.resumes_at - self._world.now, lambda: self._soon(call))
        else:
            call()


@lru_cache(maxsize=64)
def place(living: tuple[str, ...], owners: tuple[str | None, ...] | None) -> tuple[str, ...]:
    """Who is to own what; most of the fleet asks about the same."""
    return assigned(living) if owners is None else reassigned(living, owners)
