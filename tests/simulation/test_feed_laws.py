"""Somebody reads the feed through whatever happens to the node, and misses nothing (I18)."""

from dataclasses import replace

import pytest

from posthouse.testing.simulation.checkers import feed
from posthouse.testing.simulation.profiles import draw
from posthouse.testing.simulation.records import FeedPageRecord
from posthouse.testing.simulation.scenario import live, simulate
from posthouse.testing.simulation.trace import Trace

pytestmark = pytest.mark.timeout(600)

SEEDS = range(1, 13)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_reader_sees_every_event_once_and_in_order(seed: int) -> None:
    drawn = draw(seed)
    freezes = tuple(
        replace(freeze, rival=False) for freeze in drawn.freezes
    )  # whose slots are whose is not in question
    result = simulate(seed, plan=replace(drawn, freezes=freezes, reads_feed=True))
    assert result.findings == []
    assert result.counts["events on the feed"] > 0


def test_what_breaks_the_law_is_found() -> None:
    """An event twice, one left out, two exchanged, one made up."""
    evidence = live(replace(draw(1), reads_feed=True), Trace(0))
    pages = evidence.records.feed
    names = [name for page in pages for name in page.events]
    end = evidence.ended_at

    def findings_with(seen: list[tuple[str, str]]) -> list[str]:
        evidence.records.feed = [FeedPageRecord(end, end, seen, more=False)]
        evidence.records.findings.clear()
        feed.check(evidence)
        return [finding.message for finding in evidence.records.findings]

    assert findings_with(names) == []
    assert any("came 2 times" in message for message in findings_with([*names, names[0]]))
    assert any("went on without it" in message for message in findings_with(names[1:]))
    assert any("comes behind it" in message for message in findings_with(names[::-1]))
    assert any("not in the store" in message for message in findings_with([*names, ("acme", "evt_x")]))
