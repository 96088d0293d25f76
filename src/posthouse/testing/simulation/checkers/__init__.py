"""The laws, one module each: what must hold in every history, whatever went wrong."""

from posthouse.testing.simulation.checkers import (
    bounds,
    conservation,
    density,
    duplicates,
    endings,
    invention,
    isolation,
    lasting,
    loss,
    order,
    ownership,
    stopping,
    unrecorded,
)
from posthouse.testing.simulation.evidence import Evidence


def check(evidence: Evidence) -> None:
    """Hold every law against the evidence; what is broken is in its records."""
    for law in (
        conservation,
        loss,
        endings,
        invention,
        order,
        ownership,
        duplicates,
        isolation,
        density,
        unrecorded,
        bounds,
        stopping,
        lasting,
    ):
        law.check(evidence)
