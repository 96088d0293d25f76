"""Law: a crash of the database ends nothing but itself: full rate within 10 s, nothing acknowledged is missing."""

import os

import pg_restart_rig
import pytest

pytestmark = pytest.mark.rig

RESTARTS = int(os.environ.get("RIG_PG_RESTARTS", "3"))


def test_a_node_goes_on_by_itself_after_each_crash_of_its_database() -> None:
    report = pg_restart_rig.run(restarts=RESTARTS, seed=7)
    assert report.passed, [then for then in report.findings.then if not then.holds]
