"""Laws: order and rates hold while nodes come, go gently, and die."""

import os

import pytest
import takeover_rig

pytestmark = [pytest.mark.rig, pytest.mark.timeout(900)]

TAKEOVERS = int(os.environ.get("RIG_TAKEOVERS", "3"))
SECONDS = float(os.environ.get("RIG_RATE_SECONDS", "30"))


def test_no_takeover_turns_the_order_of_a_key_around() -> None:
    figures = takeover_rig.keep_order(takeovers=TAKEOVERS, seed=3)
    assert not figures.faults(), figures


def test_a_rate_is_kept_by_all_nodes_together() -> None:
    figures = takeover_rig.keep_rates(seconds=SECONDS, seed=4)
    assert not figures.faults(), figures
