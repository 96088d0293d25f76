"""I13: what a bulk job says that it did is what it did, whatever became of the node meanwhile."""

from posthouse.core.ids import JOB, parse_id
from posthouse.core.jobs import JobKind
from posthouse.testing.simulation.evidence import Evidence
from posthouse.testing.simulation.records import JobRecord, Outcome
from posthouse.testing.simulation.rows import JobRow

LAW = "I13 jobs"


def check(evidence: Evidence) -> None:
    """Look at each job, and at all that they changed together."""
    for record in evidence.records.jobs:
        row = evidence.rows.jobs.get(parse_id(JOB, record.id or "") or 0)
        if row is not None:
            _check_job(evidence, record, row)
        elif record.id is not None:
            evidence.records.find(LAW, f"job {record.plan.number} was made and is not in the store")
    _check_made(evidence)
    _check_cancelled(evidence)
    _check_reopened(evidence)


def _check_job(evidence: Evidence, record: JobRecord, row: JobRow) -> None:
    """It has ended, its counts add up, and it did nothing more after its end was told."""
    records = evidence.records
    name = f"job {record.plan.number} ({row.kind})"
    if row.state not in {"completed", "cancelled"}:
        records.find(LAW, f"{name} is {row.state} at the end")
    if row.state == "cancelled" and not any(call.may_have_worked for call in record.cancels):
        records.find(LAW, f"{name} is cancelled, and nobody asked for it")
    if row.state == "completed" and (row.total is None or row.done + row.skipped != row.total):
        records.find(LAW, f"{name} is complete with {row.done} done and {row.skipped} skipped of {row.total}")
    records.counts[f"job {row.state}"] += 1
    for call in record.cancels:
        if call.outcome is Outcome.DONE and (call.answer["done"], call.answer["skipped"]) != (row.done, row.skipped):
            told = f"{call.answer['done']} done and {call.answer['skipped']} skipped"
            message = f"{name} went on after it was cancelled with {told}: now it is {row.done} and {row.skipped}"
            records.find(LAW, message, call.ended_at)


def _check_made(evidence: Evidence) -> None:
    """There are no more jobs of a kind than somebody may have asked for; those of the end let go what was parked."""
    for kind in JobKind:
        asked = sum(
            1 for job in evidence.records.jobs if job.plan.kind is kind and any(c.may_have_worked for c in job.calls)
        )
        there = sum(row.kind == kind for row in evidence.rows.jobs.values())
        if there > asked and kind is not JobKind.DRAIN:
            evidence.records.find(LAW, f"there are {there} jobs of the kind {kind}, and {asked} were asked for")


def _done(evidence: Evidence, *kinds: JobKind) -> int:
    """How many deliveries the jobs of these kinds say that they changed."""
    return sum(row.done for row in evidence.rows.jobs.values() if row.kind in kinds and not row.dry_run)


def _check_cancelled(evidence: Evidence) -> None:
    """Each delivery that was cancelled was so by a job that counts it, or by an operator, once."""
    cancelled = sum(r.reason == "cancelled" for rounds in evidence.rows.history.values() for r in rounds)
    calls = [c.call for c in evidence.records.delivery_calls if c.verb == "cancel"]
    done = _done(evidence, JobKind.CANCEL)
    most = done + sum(call.may_have_worked for call in calls)
    if not done <= cancelled <= most:
        message = f"{cancelled} deliveries were cancelled, {done} of them by jobs, and with operators at most {most}"
        evidence.records.find(LAW, message)


def _check_reopened(evidence: Evidence) -> None:
    """Each round that was opened again was so by a job that counts it, or by an operator; a dry run opens none."""
    reopened = sum(len(rounds) for rounds in evidence.rows.reopened.values())
    least = _done(evidence, JobKind.REPLAY)
    calls = [c.call for c in evidence.records.delivery_calls if c.verb == "retry"]
    most = _done(evidence, JobKind.REPLAY, JobKind.RETRY) + sum(call.may_have_worked for call in calls)
    if not least <= reopened <= most:
        message = f"{reopened} rounds were opened again, {least} of them by replays, and with operators at most {most}"
        evidence.records.find(LAW, message)
