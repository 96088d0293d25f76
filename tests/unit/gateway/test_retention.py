"""A node drops what is older than it is told to keep, and nothing if it is told nothing."""

from typing import cast

import pytest

from posthouse.core.errors import StoreUnavailable
from posthouse.gateway.retention import LOOK_SECONDS, STEP_COMMITS, STEP_ROWS, Retention
from posthouse.store.protocol import AdminFacet, FeedFacet
from posthouse.testing.manual_clock import ManualClock
from posthouse.testing.simulation.loop import SimLoop, pass_time
from posthouse.testing.simulation.trace import Trace

DAY_MS = 86_400_000
NOW = 100 * DAY_MS


class Admin:
    """Has so many steps to do, and a feed with so many commits; the first call may fail."""

    def __init__(self, steps: int, *, fails: Exception | None = None, commits: int = 0) -> None:
        self.asked: list[tuple[int, int, int]] = []
        self.forgotten: list[tuple[int, int]] = []
        self._commits = commits
        self._steps = steps
        self._fails = fails

    async def forget(self, *, before: int, limit: int) -> int:
        assert not self.asked, "the feed lets go first"
        self.forgotten.append((before, limit))
        count = min(self._commits, limit)
        self._commits -= count
        return count

    async def retain(self, *, now: int, keep_ms: int, limit: int) -> bool:
        self.asked.append((now, keep_ms, limit))
        if self._fails is not None:
            error, self._fails = self._fails, None
            raise error
        self._steps -= 1
        return self._steps > 0


def asked(admin: Admin, days: int, seconds: float) -> list[tuple[int, int, int]]:
    """What a node asks in so many seconds, which pass at once."""

    async def main() -> None:
        feed = cast("FeedFacet", admin)
        retention = Retention(cast("AdminFacet", admin), feed, days=days, clock=ManualClock(NOW + DAY_MS // 2))
        retention.start()
        await pass_time(seconds)
        await retention.stop()
        await retention.stop()
        await pass_time(LOOK_SECONDS * 2)

    loop = SimLoop(1, shuffle=0, trace=Trace())
    loop.simulate(main())
    loop.close()
    return admin.asked


def test_it_goes_on_until_nothing_is_left_to_do_and_looks_again_later() -> None:
    assert asked(Admin(3), 30, LOOK_SECONDS / 2) == [(NOW + DAY_MS // 2, 30 * DAY_MS, STEP_ROWS)] * 3
    assert len(asked(Admin(3), 30, LOOK_SECONDS * 1.5)) == 4


@pytest.mark.parametrize("error", [StoreUnavailable("Somebody reads."), ValueError("a fault of the program")])
def test_what_cannot_be_done_now_is_done_later(error: Exception) -> None:
    assert len(asked(Admin(2, fails=error), 1, LOOK_SECONDS / 2)) == 1
    assert len(asked(Admin(2, fails=error), 1, LOOK_SECONDS * 1.5)) == 3


def test_nothing_is_dropped_by_default() -> None:
    assert asked(Admin(3), 0, LOOK_SECONDS * 5) == []


def test_the_feed_lets_go_of_all_that_may_be_dropped_before_anything_is() -> None:
    admin = Admin(3, commits=2 * STEP_COMMITS)
    assert asked(admin, 30, LOOK_SECONDS * 1.5)
    assert admin.forgotten == [(NOW - 30 * DAY_MS, STEP_COMMITS)] * 3
