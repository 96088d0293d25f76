"""What a fleet lives through, one thing after the other."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from posthouse.testing.fleet.fleet import Fleet, Outcome
from posthouse.testing.fleet.member import Member

#: Seconds between two nodes of a rolling restart, from the end of one to the end of the next, and until it is back.
RESTART_STEP = 4.0
RESTART_TAKES = 2.0
FLAP_SECONDS = 3.0
FLAPS = 10
LONG = 30.0  #: seconds that somebody stands still, so long that it is buried
SHORT = 5.0  #: … and so short that it is not
AWAY = 20.0  #: seconds that the store is away


def live(fleet: Fleet, nodes: int) -> Iterator[Outcome]:
    """All that a fleet of so many nodes has to live through; each ends with the fleet at rest."""
    third = nodes // 3
    story: Sequence[tuple[str, Callable[[], None]]] = (
        (f"all {nodes} start within 3 s", partial(fleet.join, nodes, within=3.0)),
        ("one more joins", fleet.join),
        ("one ends cleanly", lambda: fleet.leave(fleet.some(1)[0])),
        ("one dies", lambda: fleet.kill(fleet.some(1))),
        ("one takes its place", fleet.join),
        (f"one stands still for {SHORT:.0f} s", lambda: fleet.pause(fleet.some(1), SHORT)),
        (f"one stands still for {LONG:.0f} s and comes back", lambda: fleet.pause(fleet.some(1), LONG)),
        (f"half stand still for {LONG:.0f} s and come back", lambda: fleet.pause(fleet.some(nodes // 2), LONG)),
        (f"one dies and comes back every {FLAP_SECONDS:.0f} s, {FLAPS} times", lambda: flap(fleet)),
        (f"all {nodes} are restarted, one after the other", lambda: restart(fleet)),
        (f"{third} die at once", lambda: fleet.kill(fleet.some(third))),
        (f"{third} join within 3 s", partial(fleet.join, third, within=3.0)),
        (f"the store is away for {AWAY:.0f} s", lambda: fleet.hold_store(AWAY)),
    )
    for name, happen in story:
        yield fleet.phase(name, happen)


def flap(fleet: Fleet) -> None:
    """A node dies, and another one begins; that one dies again."""
    for _ in range(FLAPS):
        fleet.kill(fleet.some(1))
        fleet.world.run(FLAP_SECONDS / 2)
        fleet.join()
        fleet.world.run(FLAP_SECONDS / 2)


def restart(fleet: Fleet) -> None:
    """Each node ends cleanly, and another one takes its place."""
    everybody: Sequence[Member] = list(fleet.watch.living)
    for member in everybody:
        fleet.leave(member)
        fleet.world.run(RESTART_TAKES)
        fleet.join()
        fleet.world.run(RESTART_STEP - RESTART_TAKES)
