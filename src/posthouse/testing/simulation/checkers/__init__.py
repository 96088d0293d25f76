"""The laws, one module each: what must hold in every history, whatever went wrong."""

from posthouse.testing.simulation.checkers import (
    bounds,
    breaker,
    conservation,
    density,
    duplicates,
    endings,
    feed,
    invention,
    isolation,
    jobs,
    keys,
    lasting,
    loss,
    order,
    origins,
    ownership,
    rates,
    received,
    source_books,
    stopping,
    unrecorded,
)
from posthouse.testing.simulation.evidence import Evidence


def check(evidence: Evidence) -> None:
    """Hold every law against the evidence; what is broken is in its records."""
    for law in (
        conservation,
        source_books,
        loss,
        received,
        origins,
        endings,
        invention,
        order,
        keys,
        ownership,
        duplicates,
        isolation,
        density,
        unrecorded,
        bounds,
        rates,
        breaker,
        jobs,
        feed,
        stopping,
        lasting,
    ):
        law.check(evidence)
