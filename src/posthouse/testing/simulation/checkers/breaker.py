"""I12: an endpoint that is down gets one request at a time, with pauses, also from the next life of the node."""

from itertools import pairwise
from typing import Final

from posthouse.core.health import PROBE_SECONDS_MIN
from posthouse.testing.simulation.checkers.downs import SURE_SECONDS, Downs
from posthouse.testing.simulation.evidence import Evidence

LAW = "I12 breaker"

_NOTICED_SECONDS: Final = 0.02  #: from an answer until nothing more is chosen


def check(evidence: Evidence) -> None:
    """Look at what was sent to each endpoint while it was surely down."""
    for key, number in sorted(evidence.number_of.items()):
        downs = Downs(evidence, key)
        if not downs.is_whole:
            continue  # an answer may be missing that made it well again
        for begin, end in downs.openings():
            probes = [s for s in downs.sendings if begin + _NOTICED_SECONDS < s.began < end - SURE_SECONDS]
            evidence.records.counts["openings checked"] += 1
            evidence.records.counts["probes seen"] += len(probes)
            for one, other in pairwise(probes):
                pause = other.began - one.ended
                if one.life == other.life and pause < PROBE_SECONDS_MIN - SURE_SECONDS:
                    message = f"endpoint {number}, down since {begin:.3f}, got a request {pause:.3f} s after another"
                    evidence.records.find(LAW, message, other.began)
