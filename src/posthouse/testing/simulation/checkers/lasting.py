"""Liveness: once everything is well again, everything that is owed arrives, but for what is held or cannot arrive."""

from posthouse.testing.simulation.evidence import Evidence

LAW = "liveness"


def check(evidence: Evidence) -> None:
    """Nothing is open at the end that an endpoint in good health could have had."""
    for pair, obligation in sorted(evidence.rows.obligations.items()):
        number = evidence.number_of.get(pair[1])
        row = evidence.rows.endpoints.get(pair[1])
        if number in evidence.records.held:
            continue
        state = "unknown" if row is None else row.state
        message = (
            f"the {evidence.name_of(pair)} is still open after {obligation.attempts} attempts, due at"
            f" {obligation.due_at}, {obligation.due_at - evidence.clock.now_ms()} ms after the end; it is {state}"
        )
        evidence.records.find(LAW, message, evidence.ended_at)
