"""One seed from the plan to the findings."""

import asyncio
import logging
import os
import random
import sys
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import apsw
import structlog

from posthouse.core.errors import PosthouseError
from posthouse.testing.disk import memory_folder
from posthouse.testing.simulation.checkers import check
from posthouse.testing.simulation.evidence import Evidence
from posthouse.testing.simulation.lives import Crash
from posthouse.testing.simulation.loop import SimLoop
from posthouse.testing.simulation.plan import Plan
from posthouse.testing.simulation.profiles import draw
from posthouse.testing.simulation.records import Records
from posthouse.testing.simulation.rows import Rows
from posthouse.testing.simulation.tasks import LIFE
from posthouse.testing.simulation.trace import Trace
from posthouse.testing.simulation.world import World

_SHUFFLE: Final = 0.15  #: how likely a task lets others go first


@dataclass(slots=True)
class Result:
    """What one seed gave."""

    seed: int
    profile: str
    findings: list[str]
    digest: str
    counts: dict[str, int]  #: a Counter, but for what came from another process
    virtual_seconds: float
    timeline: list[str] = field(default_factory=list)
    tail: tuple[str, ...] = ()
    plan: str = ""


def simulate(seed: int, *, plan: Plan | None = None, tail: int = 0) -> Result:
    """Live the history of a seed, and hold every law against it.

    Args:
        seed: its number.
        plan: in place of the one that the seed stands for.
        tail: how many of the last lines of the trace to keep.
    """
    plan = plan or draw(seed)
    trace = Trace(tail)
    evidence = live(plan, trace)
    check(evidence)
    records = evidence.records
    return Result(
        seed=seed,
        profile=plan.profile,
        findings=[str(finding) for finding in records.findings],
        digest=trace.digest,
        counts=records.counts,
        virtual_seconds=evidence.ended_at - evidence.began,
        timeline=[f"{at:10.3f}  {text}" for at, text in sorted(records.timeline)],
        tail=trace.tail,
        plan=plan.describe(),
    )


def live(plan: Plan, trace: Trace) -> Evidence:
    """Live the history of a plan; what was seen of it. Every line of the trace is the same each time."""
    with memory_folder() as folder, _no_authorities():
        loop = SimLoop(plan.seed, shuffle=_SHUFFLE, trace=trace)
        asyncio.set_event_loop(loop)
        chance = random.getstate()
        random.seed(plan.seed)  # what needs no secret, such as the pauses before a connection, draws from here
        try:
            world = World(plan, loop, trace, folder)
            with _node_log(loop, world.records), world.disk:
                loop.simulate(world.live())
                rows = Rows(world.disk.directory, folder / "copy")
        finally:
            random.setstate(chance)
            asyncio.set_event_loop(None)
            loop.close()
    records = world.records
    for complaint in loop.complaints:
        records.find("fault of the program", complaint)
    records.counts.update({f"network {name}": number for name, number in world.network.happened.items()})
    records.counts["deliveries owed"] = len(rows.pairs)
    records.counts["events acknowledged"] = sum(bool(p.answers()) for p in records.publications)
    return Evidence(plan, records, rows, world.clock, began=world.began, healed_at=world.healed_at, ended_at=loop.now)


@contextmanager
def _node_log(loop: SimLoop, records: Records) -> Iterator[None]:
    """Take what the node logs into the records, and keep it off the screen."""

    def take(_logger: object, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        name = str(line.pop("event"))
        error = line.get("exc_info")
        records.log.append((loop.now, LIFE.get(), name, f"{line} {error!r}"))
        records.counts[f"log {name}"] += 1
        if name == "request_failed" or (name == "loop_failed" and not _is_expected(error)):
            records.find("fault of the program", f"{name}: {line}", loop.now)
        raise structlog.DropEvent

    def take_unraisable(fault: Any) -> None:
        if not isinstance(fault.exc_value, apsw.Error | Crash):  # a connection that a fault left to the collector
            records.find("fault of the program", f"{fault.err_msg}: {fault.exc_value!r}", loop.now)

    before, hook_before = structlog.get_config(), sys.unraisablehook
    structlog.configure(processors=[take], wrapper_class=structlog.make_filtering_bound_logger(0))
    logging.disable(logging.CRITICAL)
    sys.unraisablehook = take_unraisable
    try:
        yield
    finally:
        sys.unraisablehook = hook_before
        logging.disable(logging.NOTSET)
        structlog.configure(**before)


def _is_expected(error: object) -> bool:
    """Whether the node foresees it: the store refused, and the process is about to end."""
    return isinstance(error, PosthouseError)


@contextmanager
def _no_authorities() -> Iterator[None]:
    """Nothing here speaks TLS; reading the system's certificates would take longer than all the rest of a start."""
    before = {name: os.environ.get(name) for name in ("SSL_CERT_FILE", "SSL_CERT_DIR")}
    os.environ.update({"SSL_CERT_FILE": os.devnull, "SSL_CERT_DIR": os.devnull})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
