"""Histories that a number makes: the laws hold in each, in the ones that once failed too, and none of it is empty."""

import io
import tomllib
from pathlib import Path

import pytest

from posthouse.core.failpoints import Failpoint
from posthouse.core.jobs import JobKind
from posthouse.testing.simulation.database.plans import Rift
from posthouse.testing.simulation.plan import SourceVerb
from posthouse.testing.simulation.profiles import PROFILES
from posthouse.testing.simulation.runner import Report, run_all

pytestmark = pytest.mark.timeout(600)

SEEDS = (*range(23), 92, 333, 277)  # the last ones have what is rare in the others
TWICE = 3

#: What has to happen at all in so few histories; hundreds have far more.
HAPPENS = {
    "crash time",
    "crash failpoint",
    "crash disk",
    "crash start",
    "life kill",
    "life power",
    "life failed",
    "life stopped",
    "freeze",
    "rival",
    "fenced",
    "step forward",
    "step back",
    "disk full",
    "disk EIO sync",
    "network lost",
    "network reset",
    "network refused",
    "network swallowed",
    "network cut",
    "flood",
    "hastened",
    "audits",
    "inspections",
    "isolation checked",
    "duplicates",
    "duplicate after a crash",
    "duplicate after a fault of the network",
    "duplicate after a late answer",
    "duplicate after a rival",
    "duplicate by an operator",
    "resends",
    "unrecorded after a crash",
    "order checked fifo",
    "order checked latest",
    "latest checked",
    "rates checked",
    "openings checked",
    "batches refused",
    "retries pulled forward",
    "job completed",
    *(f"job {kind}" for kind in JobKind),
    "duplicate by a job",
    "odd malformed",
    "odd repeat",
    "odd reuse",
    "letters beat",
    "letters forged",
    "letters repeated",
    "letters unreadable",
    "letters with a contradiction",
    "events of sources",
    "events released",
    "requests that waited",
    "keys asked for",
    "keys not given",
    "bursts",
    "dedupe lost",
    "failovers that forget",
    "ghosts",
    "owners checked",
    "duplicate after a takeover",
    "unrecorded after a takeover",
    "cable request lost",
    "cable answer lost",
    "cable held",
    "cable hint",
    *(f"database {rift}" for rift in Rift),
    *(f"source {verb}" for verb in SourceVerb),
    *(f"profile {profile.name}" for profile in PROFILES),
    *(f"reach {point}" for point in Failpoint),
}


def regressions() -> dict[int, str]:
    text = Path(__file__).with_name("regressions.toml").read_text("utf-8")
    return {seed["seed"]: seed["found"] for seed in tomllib.loads(text)["seeds"]}


@pytest.fixture(scope="module")
def told() -> io.StringIO:
    return io.StringIO()


@pytest.fixture(scope="module")
def report(told: io.StringIO) -> Report:
    """Some histories, each in a process with others of them."""
    report = Report(told, failures_max=5)
    run_all([*SEEDS, *regressions()], jobs=2, each=report.add)
    return report


def test_the_laws_hold_in_every_history(report: Report, told: io.StringIO) -> None:
    assert not report.failed, told.getvalue()
    assert set(report.digests) == {*SEEDS, *regressions()}


def test_everything_happens_that_is_to_be_survived(report: Report) -> None:
    assert sorted(what for what in HAPPENS if not report.counts[what]) == []


def test_a_seed_is_the_same_history_in_another_process(report: Report, told: io.StringIO) -> None:
    assert len(set(report.digests.values())) == len(report.digests)
    run_all(SEEDS[:TWICE], jobs=1, each=report.compare)
    assert not report.failed, told.getvalue()
