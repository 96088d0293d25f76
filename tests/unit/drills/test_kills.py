"""How D15 tells a duplicate that a kill explains from one that it does not."""

import pytest

from posthouse.drills.index import DRILLS
from posthouse.drills.kills import interruptions, unexplained
from posthouse.drills.plan import Plan


@pytest.mark.parametrize(
    ("answered", "wanted"), [([], 0), ([9.6], 0), ([10.4], 0), ([9.4], 1), ([5.0, 9.9], 1), ([15.0, 19.9, 20.2], 1)]
)
def test_a_delivery_may_come_again_only_if_a_kill_was_near(answered: list[float], wanted: int) -> None:
    assert unexplained([answered], [10.0, 20.0]) == wanted
    assert unexplained([answered], []) == len(answered)


def test_requests_that_were_cut_off_together_are_one_interruption() -> None:
    assert interruptions([]) == []
    assert interruptions([5.0, 5.01, 5.3, 6.2, 9.0, 9.9]) == [5.0, 9.0]


@pytest.mark.parametrize("number", DRILLS)
@pytest.mark.parametrize("against", [None, "http://127.0.0.1:1"])
@pytest.mark.parametrize("scale", [0.01, 1.0])
def test_every_drill_can_be_described_at_every_scale(number: str, against: str | None, scale: float) -> None:
    drill = DRILLS[number](Plan(scale=scale, against=against))
    assert all(drill.given())
    assert all(drill.when())
    assert drill.number == number
    if against is None:
        assert drill.left_out() == []
