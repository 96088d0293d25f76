"""Three nodes on one database, of which two are killed and stopped over and over, while order and rates are watched.

Usage: ``python tests/rigs/takeover_rig.py order --takeovers 20`` and ``python tests/rigs/takeover_rig.py rate``.

Half the takeovers are from nodes that were killed, half from nodes that gave their slots up.
"""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import count
from typing import Final

import msgspec

from posthouse.core.model import SLOTS
from posthouse.drills.events import Outgoing, keyed, place_of_keyed
from posthouse.drills.fleet import Database, Fleet
from posthouse.drills.ground import Ground
from posthouse.drills.measures import longest_silence, most_within, sequences
from posthouse.drills.plan import Plan

OTHERS: Final = ("b", "c")

FIFO_ENDPOINTS: Final = 16
FIFO_KEYS: Final = 4
FIFO_EVENTS_PER_SECOND: Final = 200.0
TIMEOUT_MS: Final = 1_000  #: of a request: for so long who takes over from the dead lets an endpoint rest
LIFE_SECONDS: Final = 2.0  #: of load between two takeovers
TAKEOVER_SECONDS_MAX: Final = 15.0
PAUSE_SECONDS_MAX: Final = 1.0  #: of an endpoint, while its owner gives it up
LOOK_SECONDS: Final = 0.25

RATE: Final = 100  #: requests a second that each endpoint allows
RATE_ENDPOINTS: Final = 4
RATE_SECONDS: Final = 60.0
RATE_SURPLUS: Final = 1.25  #: so many times as many events come as may go
RATE_SHARE_MAX: Final = 0.02  #: of what the rule allows, too much or too little


class OrderFigures(msgspec.Struct, frozen=True):
    """What came of the takeovers."""

    takeovers: int  #: from nodes that owned endpoints
    slowest_takeover_s: float  #: from a kill until others owned all slots
    longest_pause_s: float  #: of an endpoint, while a node ended gently
    acknowledged: int
    handled: int
    inversions: int
    overtakings: int
    lost: int
    duplicates: int
    imbalance: int

    def faults(self) -> list[str]:
        """Laws that did not hold."""
        limits = {
            "slowest_takeover_s": TAKEOVER_SECONDS_MAX,
            "inversions": 0,
            "overtakings": 0,
            "lost": 0,
            "imbalance": 0,
        }
        return [f"{name} is {getattr(self, name)}" for name, most in limits.items() if getattr(self, name) > most]


class RateFigures(msgspec.Struct, frozen=True):
    """What got to endpoints with a rate while a node was killed."""

    seconds: float
    allowed: int  #: requests in that time
    undisturbed: tuple[int, ...]  #: that came to each endpoint whose node lived on
    taken_over: tuple[int, ...]  #: that came to each endpoint whose node was killed
    most: int  #: that came to any endpoint in any span of that length

    def faults(self) -> list[str]:
        """Laws that did not hold."""
        least, most = self.allowed * (1 - RATE_SHARE_MAX), self.allowed * (1 + RATE_SHARE_MAX)
        found = [f"an endpoint got {came} requests" for came in self.undisturbed if not least <= came <= most]
        if self.most > most:
            found.append(f"within {self.seconds:g} s an endpoint got {self.most} requests")
        if not self.taken_over:
            found.append("the node that was killed owned none of the endpoints")
        return found


@contextmanager
def three_nodes(seed: int) -> Iterator[tuple[Ground, Fleet]]:
    """They run, and own about as many slots each."""
    with ExitStack() as stack:
        database = stack.enter_context(Database.made())
        plan = Plan(seed=seed)
        ground = stack.enter_context(Ground(plan, lambda _look: None, options=("--database", database.dsn)))
        fleet = stack.enter_context(Fleet(ground, database, Fleet.as_they_are(OTHERS)))
        yield ground, fleet


def keep_order(*, takeovers: int, seed: int) -> OrderFigures:
    """Kill and stop nodes under events with ordering keys."""
    with three_nodes(seed) as (ground, fleet):
        for number in range(FIFO_ENDPOINTS):
            ground.add_endpoint(f"e{number}", [f"drill.{number}"], order="fifo", timeout_ms=TIMEOUT_MS).trace = []
        fleet.until_spread()
        publisher = ground.publish(keyed(FIFO_ENDPOINTS, FIFO_KEYS), rate=FIFO_EVENTS_PER_SECOND)
        slowest, gentle = 0.0, []
        for number in range(takeovers):
            ground.pause(LIFE_SECONDS)
            name = OTHERS[number // 2 % len(OTHERS)]
            assert any(fleet.owner_of(inbox.endpoint) == name for inbox in ground.inboxes), "nothing to take over"
            if number % 2:
                began = time.monotonic()
                fleet.others[name].stop()
                gentle.append((began, time.monotonic()))
            else:
                slowest = max(slowest, _killed(ground, fleet, name))
            fleet.others[name].start()
            fleet.until_spread()
        ground.pause(LIFE_SECONDS)
        publisher.stop()
        ground.until_published()
        books = ground.settle()
        found = ground.reckon()
        order = [sequences(inbox.trace or (), place_of_keyed, gapless=True) for inbox in ground.inboxes]
        pauses = (
            longest_silence(inbox.came_at, since=since, until=until)
            for inbox in ground.inboxes
            for since, until in gentle
        )
        longest = max(pauses, default=0.0)
        return OrderFigures(
            takeovers=takeovers,
            slowest_takeover_s=round(slowest, 2),
            longest_pause_s=round(longest, 2),
            acknowledged=len(publisher.accepted),
            handled=sum(each.handled for each in order),
            inversions=sum(each.inversions for each in order),
            overtakings=sum(each.overtakings for each in order),
            lost=found.lost,
            duplicates=found.duplicates,
            imbalance=abs(books.imbalance) + books.open,
        )


def keep_rates(*, seconds: float, seed: int) -> RateFigures:
    """Kill a node that owns some of the endpoints that have a rate."""
    with three_nodes(seed) as (ground, fleet):
        for number in range(RATE_ENDPOINTS):
            rate = f"{RATE}/s"
            ground.add_endpoint(f"e{number}", [f"drill.{number}"], rate=rate, in_flight_max=64).trace = []
        fleet.until_spread()
        owners = [fleet.owner_of(inbox.endpoint) for inbox in ground.inboxes]
        victim = next(name for name in OTHERS if name in owners)
        publisher = ground.publish(_unordered(), rate=RATE * RATE_ENDPOINTS * RATE_SURPLUS)
        ground.pause(5.0)  # until all are at their rates, and something waits
        began = time.monotonic()
        ground.pause(seconds / 3)
        fleet.others[victim].kill()
        ground.pause(began + seconds - time.monotonic())
        publisher.stop()
        times = [inbox.came_at for inbox in ground.inboxes]
        came = [sum(began <= at < began + seconds for at in each) for each in times]
        return RateFigures(
            seconds=seconds,
            allowed=round(RATE * seconds),
            undisturbed=tuple(count for count, owner in zip(came, owners, strict=True) if owner != victim),
            taken_over=tuple(count for count, owner in zip(came, owners, strict=True) if owner == victim),
            most=max(most_within(each, seconds) for each in times),
        )


def _killed(ground: Ground, fleet: Fleet, name: str) -> float:
    """Kill a node; after how many seconds others owned all that was its."""
    node = fleet.others[name]
    process = node.pid
    node.kill()
    began = time.monotonic()
    ground.until(
        lambda: process not in (owned := fleet.owners()).values() and len(owned) == SLOTS,
        seconds_max=4 * TAKEOVER_SECONDS_MAX,
        what="the takeover",
        every_s=LOOK_SECONDS,
    )
    return time.monotonic() - began


def _unordered() -> Iterator[Outgoing]:
    for number in count():
        yield Outgoing(f"e-{number}", f"drill.{number % RATE_ENDPOINTS}", b"{}")


def main(arguments: Sequence[str]) -> int:
    """Run it from the command line; 1 if a law did not hold."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=("order", "rate"))
    parser.add_argument("--takeovers", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=RATE_SECONDS)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    figures: OrderFigures | RateFigures
    if options.what == "order":
        figures = keep_order(takeovers=options.takeovers, seed=options.seed)
    else:
        figures = keep_rates(seconds=options.seconds, seed=options.seed)
    print(msgspec.json.format(msgspec.json.encode(figures)).decode())
    for fault in figures.faults():
        print(f"FAULT: {fault}")
    return 1 if figures.faults() else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
