"""What a failover forgot: rows that were visible, and of which nobody was told that they are durable."""

from posthouse.testing.simulation.rows import AttemptRow, EventRow, Pair, Rows


class Failover:
    """A standby took over.

    Args:
        at: when the server was lost.

    Attributes:
        events: those that are gone, by their key.
        attempts: those that are gone of each delivery.
        endpoints: number and key of those that are gone.
        slots: whose owner or epoch is another one again.
    """

    def __init__(self, at: float) -> None:
        self.at = at
        self.events: dict[int, EventRow] = {}
        self.attempts: dict[Pair, list[AttemptRow]] = {}
        self.endpoints: set[tuple[int, int]] = set()
        self.slots: frozenset[int] = frozenset()

    def note(self, before: Rows, after: Rows) -> None:
        """Compare what was visible with what the new server has."""
        self.events = {key: row for key, row in before.events.items() if key not in after.events}
        for pair, attempts in sorted(before.attempts.items()):
            there = {attempt.number for attempt in after.attempts.get(pair, ())}
            gone = [attempt for attempt in attempts if attempt.number not in there]
            if gone:
                self.attempts[pair] = gone
        self.endpoints = {
            (int(row.url.rpartition("/")[2]), key)
            for key, row in before.endpoints.items()
            if key not in after.endpoints
        }
        owned = {slot: rest for slot, *rest in after.slots}
        self.slots = frozenset(slot for slot, *rest in before.slots if owned.get(slot) != rest)

    def __str__(self) -> str:
        attempts = sum(map(len, self.attempts.values()))
        return f"{len(self.events)} events and {attempts} attempts"
