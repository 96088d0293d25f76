"""All drills by their numbers, and the way to run one."""

import time
from collections.abc import Mapping
from typing import Final

from posthouse.drills.drill import Drill
from posthouse.drills.flood import Flood
from posthouse.drills.forgery import Forgery
from posthouse.drills.forgetful import Forgetful
from posthouse.drills.ground import Ground
from posthouse.drills.kills import Kills
from posthouse.drills.lost_index import LostIndex
from posthouse.drills.lost_primary import LostPrimary
from posthouse.drills.neighbours import NoisyNeighbours
from posthouse.drills.order import Order
from posthouse.drills.outage import Outage
from posthouse.drills.overload import Overload
from posthouse.drills.plan import Show
from posthouse.drills.poison import PoisonEvents
from posthouse.drills.repeated import Repeated
from posthouse.drills.report import Report
from posthouse.drills.shapes_in import ShapesIn
from posthouse.drills.standstill import Standstill
from posthouse.drills.status import StatusHonesty
from posthouse.drills.stuck import StuckQueues

DRILLS: Final[Mapping[str, type[Drill]]] = {
    drill.number: drill
    for drill in (
        Flood,
        StuckQueues,
        StatusHonesty,
        LostPrimary,
        LostIndex,
        Outage,
        Repeated,
        Order,
        NoisyNeighbours,
        Overload,
        Kills,
        Standstill,
        PoisonEvents,
        Forgery,
        ShapesIn,
        Forgetful,
    )
}


def play(drill: Drill, show: Show) -> Report:
    """Run a drill on ground of its own, of which nothing stays behind. Raises DrillFailed or NodeFailed."""
    started = time.monotonic()
    with (
        drill.surroundings() as options,
        Ground(drill.plan, show, program=drill.program, options=options) as ground,
    ):
        findings = drill.run(ground)
    plan = drill.plan
    return Report(
        number=drill.number,
        title=drill.title,
        scale=plan.scale,
        seed=plan.seed,
        seconds=time.monotonic() - started,
        given=drill.given(),
        when=drill.when(),
        findings=findings,
        left_out=drill.left_out(),
        recording=ground.recording,
    )
