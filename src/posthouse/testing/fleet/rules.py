"""The times and bounds that the nodes of a fleet keep to, and how their network is."""

from enum import StrEnum

import msgspec

from posthouse.core.limits import LEASE_MS, LEASE_RENEW_MS


class Fault(StrEnum):
    """A rule that nodes break."""

    VALID_FROM_THE_ANSWER = "leases count from the answer on"
    BLIND_TIME_COUNTS = "time in which nobody could look counts against the others"
    BEAT_NOT_COMPARED = "a node is buried whether or not its beat changed meanwhile"
    RELEASE_FORGOTTEN = "an older answer brings back what was given up since it was asked for"


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """How nodes behave. Times are seconds.

    Attributes:
        renew: between two beats of a node, unless something hurries it.
        lease: a node is dead for another one that has seen its beat not change for so long.
        valid: a node works for so long after it asked for the beat that was answered last.
        look_most: of the time between two looks so much counts as silence of the others at most.
        heed: between two beats at least, however many hints there are.
        give_up_most: slots that a node gives up at a time.
        drain: what is on its way when a slot is given up, or a node ends, takes at most so long.
        gaining: until a node works for slots that it got: it reads which endpoints were not well.
        latency: of a call to the store, there and back, at least; most calls take less than twice as long.
        slow: the chance that a way there or back takes up to ``slow_for`` longer.
        slow_for: seconds.
        hint_lost: the chance that a hint does not arrive.
        drift: how much clocks run faster or slower than time at most, as a part.
        knows_owners: nodes assign by what everybody owns now; else only by who is there.
        faults: rules that are broken, for tests.
    """

    renew: float = LEASE_RENEW_MS / 1000
    lease: float = LEASE_MS / 1000
    valid: float = (LEASE_MS - LEASE_RENEW_MS) / 1000
    look_most: float = 2 * LEASE_RENEW_MS / 1000
    heed: float = 0.1
    give_up_most: int = 16
    drain: float = 0.5
    gaining: float = 0.05
    latency: float = 0.003
    slow: float = 0.002
    slow_for: float = 3.0
    hint_lost: float = 0.01
    drift: float = 0.005
    knows_owners: bool = True
    faults: frozenset[Fault] = frozenset()
