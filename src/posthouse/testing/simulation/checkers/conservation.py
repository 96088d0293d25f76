"""I1: every delivery that is owed is open or settled, once; nothing else is."""

from collections import Counter

from posthouse.testing.simulation.evidence import Evidence
from posthouse.testing.simulation.records import Records
from posthouse.testing.simulation.rows import Pair, Rows

LAW = "I1 conservation"


def check(evidence: Evidence) -> None:
    """Recount the books of the end."""
    recount(evidence.rows, evidence.records, evidence.ended_at)


def recount(rows: Rows, records: Records, at: float) -> None:
    """Recount the books row by row, as they are at one instant."""
    if rows.integrity != "ok":
        records.find(LAW, f"the store is not sound: {rows.integrity}", at)
    owed = rows.pairs
    for name, pairs in (("is settled", rows.history), ("is open", rows.obligations), ("was re-opened", rows.reopened)):
        for pair in sorted(set(pairs) - owed):
            records.find(LAW, f"delivery {pair} {name}, and no event owes it", at)
    for pair in sorted(owed):
        fault = _fault(rows, pair)
        if fault is not None:
            records.find(LAW, f"delivery {pair} {fault}", at)
    _recount_ahead(rows, records, at)


def _recount_ahead(rows: Rows, records: Records, at: float) -> None:
    """Of those that an endpoint is owed of one ordering key exactly one does not stand behind."""
    ahead: Counter[tuple[int, str]] = Counter()
    for pair, obligation in sorted(rows.obligations.items()):
        key = obligation.ordering_key
        if key is None:
            if obligation.behind:
                records.find(LAW, f"delivery {pair} stands behind, and keeps no ordering key", at)
            continue
        if pair[0] in rows.events and key != rows.events[pair[0]].ordering_key:
            records.find(LAW, f"delivery {pair} keeps {key!r}, which is not its event's ordering key", at)
        ahead[pair[1], key] += not obligation.behind
    for (endpoint_key, key), count in sorted(ahead.items()):
        if count != 1:
            records.find(LAW, f"{count} deliveries of {key!r} to endpoint {endpoint_key} do not stand behind", at)


def _fault(rows: Rows, pair: Pair) -> str | None:
    """What is wrong with the rounds of a delivery: all but the last are settled and re-opened, the last is either."""
    rounds = [row.round for row in rows.history.get(pair, ())]
    reopened = rows.reopened.get(pair, set())
    obligation = rows.obligations.get(pair)
    if rounds != list(range(1, len(rounds) + 1)):
        return f"has settled rounds {rounds}"
    if not reopened <= set(rounds):
        return f"was re-opened in rounds {sorted(reopened)}, and settled in {rounds}"
    settled = set(rounds) - reopened
    if obligation is None:
        return None if settled == {len(rounds)} else f"is not open, and settled in {sorted(settled)} of {rounds}"
    if settled or obligation.round != len(rounds) + 1:
        return f"is open in round {obligation.round}, and settled in {sorted(settled)} of {rounds}"
    return None
