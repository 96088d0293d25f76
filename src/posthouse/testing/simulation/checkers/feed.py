"""I18: who reads the feed sees every event once, in an order that agrees with what was acknowledged when."""

from collections import Counter

from posthouse.testing.simulation.evidence import Evidence

LAW = "I18 feed"

_Name = tuple[str, str]  # tenant, id


def check(evidence: Evidence) -> None:
    """Look at what a reader saw, if there was one."""
    records = evidence.records
    if not records.feed:
        return
    seen = [name for page in records.feed for name in page.events]
    for name, times in Counter(seen).items():
        if times > 1:
            records.find(LAW, f"{name} came {times} times")
        if name not in evidence.event_of:
            records.find(LAW, f"{name} is on the feed, and not in the store")
    position = {name: n for n, name in enumerate(seen)}
    known = _known(evidence)
    _check_order(evidence, position, known)
    _check_whole(evidence, position, known)


def _known(evidence: Evidence) -> list[tuple[float, float, _Name]]:
    """When each event was first sent, when it was first acknowledged, and which it is."""
    known: dict[_Name, tuple[float, float]] = {}
    for publication in evidence.records.publications:
        for call, answer in publication.answers():
            name = (publication.tenant, answer["id"])
            sent = min(c.sent_at for c in publication.calls)
            ended = call.ended_at or 0.0
            before = known.get(name, (sent, ended))
            known[name] = min(before[0], sent), min(before[1], ended)
    return sorted((sent, ended, name) for name, (sent, ended) in known.items())


def _check_order(evidence: Evidence, position: dict[_Name, int], known: list[tuple[float, float, _Name]]) -> None:
    """What was acknowledged before another was sent stands before it."""
    acknowledged = sorted((ended, position[name], name) for _, ended, name in known if name in position)
    done = 0
    last: tuple[int, _Name] | None = None
    for sent, _, name in known:
        while done < len(acknowledged) and acknowledged[done][0] < sent:
            entry = acknowledged[done][1:]
            last = entry if last is None else max(last, entry)
            done += 1
        if name in position and last is not None and last[0] > position[name]:
            evidence.records.find(LAW, f"{last[1]} was acknowledged before {name} was sent, and comes behind it", sent)


def _check_whole(evidence: Evidence, position: dict[_Name, int], known: list[tuple[float, float, _Name]]) -> None:
    """A page behind which nothing was had everything behind it that was acknowledged before it was asked for."""
    upto = 0
    seen = 0
    waiting = sorted((ended, name) for _, ended, name in known)
    for page in evidence.records.feed:
        seen += len(page.events)
        if page.more:
            continue
        while upto < len(waiting) and waiting[upto][0] < page.sent_at:
            name = waiting[upto][1]
            if position.get(name, seen) >= seen:
                evidence.records.find(LAW, f"{name} was acknowledged, and the feed went on without it", page.sent_at)
            upto += 1
