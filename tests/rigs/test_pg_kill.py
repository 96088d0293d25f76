"""Law: what got its 202 from a node on a database is there and arrives, however often the node is killed: D15."""

import os

import pytest

from posthouse.drills.index import play
from posthouse.drills.kills import KILLS, Kills
from posthouse.drills.plan import Plan
from posthouse.testing.postgres.durable import durable_server

pytestmark = [pytest.mark.rig, pytest.mark.timeout(600)]

KILLS_HERE = int(os.environ.get("RIG_KILLS", "5"))


def test_a_killed_node_on_a_database_loses_nothing_and_repeats_only_what_was_in_flight() -> None:
    with durable_server() as (cluster, database):
        plan = Plan(scale=KILLS_HERE / KILLS, seed=7, database=cluster.dsn(database))
        report = play(Kills(plan), lambda _look: None)
    assert report.passed, [then for then in report.findings.then if not then.holds]
