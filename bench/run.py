"""Measure a node against the bare forwarder on this machine, in the same minutes and in turns.

The ratio of the two is the figure to look at: machines differ, and the same machine differs from
hour to hour, but both subjects meet the same conditions. Ends by itself after about four minutes.
"""

import argparse
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

import debian
import load
import machine
import msgspec
import report
import sink
import subjects
from load import Scenario
from paced import Latencies, Plan
from report import Measured, Round

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results"
PACED = Path(__file__).with_name("paced.py")
LOAD_PART = 0.7  #: of the measured capacity, for latencies
DRAIN_SECONDS_MAX = 30.0
DRAIN_STEP_SECONDS = 0.1
SETTLE_SECONDS = 2.0  #: after the load stopped nothing may be open any more


#: Makes the store of a node, or what it stands on, on a core; its address, None for the embedded one.
Store = Callable[[int], AbstractContextManager[str | None]]


class Budget(msgspec.Struct, frozen=True):
    """How long everything takes."""

    round_seconds: int
    rounds: int
    warm_up_seconds: int
    latency_seconds: int


def main(arguments: Sequence[str]) -> int:
    """Measure, print, write; 1 if something happened that makes the figures worthless."""
    options = _parser().parse_args(arguments)
    budget = Budget(2, 2, 1, 3) if options.quick else Budget(8, 3, 2, 10)
    if options.seconds is not None:
        budget = msgspec.structs.replace(budget, round_seconds=options.seconds)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    cores = machine.two_cores()
    debian.require()
    date = datetime.now(UTC)
    with tempfile.TemporaryDirectory(prefix="posthouse-bench-", dir=machine.on_disk(ROOT)) as folder:
        facts = machine.facts(Path(folder))
        _announce(facts, budget)
        store: Store = subjects.database if options.postgres else lambda _core: nullcontext()
        measured = [_measure(scenario, cores, Path(folder), budget, store) for scenario in load.SCENARIOS]
    for one in measured:
        print(report.table(one), flush=True)
    engine, length = "postgres" if options.postgres else "sqlite", "quick" if options.quick else "full"
    target = options.json or RESULTS / f"{date:%Y-%m-%dT%H%MZ}-{engine}-{length}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(report.document(measured, facts, date=f"{date:%Y-%m-%dT%H:%M:%SZ}"))
    print(f"\nWritten to {target.relative_to(ROOT) if target.is_relative_to(ROOT) else target}")
    return 1 if any(one.faults() for one in measured) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=int, metavar="N", help="length of one round (default: 8)")
    parser.add_argument("--quick", action="store_true", help="short rounds: shows that it works, not how fast")
    parser.add_argument("--postgres", action="store_true", help="the store is a PostgreSQL beside the load generator")
    parser.add_argument("--json", type=Path, metavar="PATH", help="where the document goes (default: bench/results/)")
    return parser


def _end(_number: int, _frame: FrameType | None) -> None:
    sys.exit("Stopped.")


def _announce(facts: dict[str, object], budget: Budget) -> None:
    shown = ("cpu", "cores", "kernel", "python", "file_system", "fsync_us", "load_average_before")
    print(", ".join(f"{name} {facts[name]}" for name in shown))
    print(f"{budget.rounds} rounds of {budget.round_seconds} s each, in turns; medians are shown", flush=True)


def _measure(scenario: Scenario, cores: tuple[int, int], folder: Path, budget: Budget, store: Store) -> Measured:
    """All of one scenario, on a fresh store."""
    work, other = cores
    place = folder / scenario.name
    place.mkdir()
    paced_port = sink.free_port(sink.ADDRESSES)
    with ExitStack() as stack:
        receiver = stack.enter_context(sink.running(other, place))
        urls = {f"bench.{n}": url for n, url in enumerate(receiver.urls)}
        urls |= {f"paced.{n}": f"http://{address}:{paced_port}/hook" for n, address in enumerate(sink.ADDRESSES)}
        forwarder = stack.enter_context(subjects.forwarder(work, place, receiver.urls))
        node = stack.enter_context(subjects.node(work, place, urls, stack.enter_context(store(other))))
        turns = (forwarder, node)
        rounds: list[Round] = []
        sink_received = 0
        for number in range(budget.rounds + 1):
            for subject in turns:
                before = receiver.received()
                seconds = budget.round_seconds if number else budget.warm_up_seconds
                done = _round(subject, receiver, scenario, other, seconds=seconds, seed=number)
                if subject is node:
                    sink_received += receiver.received() - before
                if number:
                    rounds.append(done)
                    _tell(scenario, number, done)
        capacity = sorted(r.delivered_per_second for r in rounds if r.subject == "node")[budget.rounds // 2]
        rate = max(1.0, LOAD_PART * capacity)
        latencies = _latencies(node, scenario, other, rate=rate, port=paced_port, seconds=budget.latency_seconds)
        books = _drain(node)
        return Measured(
            scenario=scenario,
            rounds=rounds,
            latencies=latencies,
            latency_events_per_second=rate,
            peak_memory_mb={subject.name: subject.peak_memory_mb() for subject in turns},
            sink_received=sink_received + latencies.delivered + latencies.duplicates,
            audit_delivered=books.delivered,
            audit_imbalance=books.imbalance,
        )


def _round(
    subject: subjects.Subject, receiver: sink.Sink, scenario: Scenario, core: int, *, seconds: int, seed: int
) -> Round:
    """One stretch of full load. The count of the sink and the CPU time are taken while the load runs."""
    cpu, received, started = subject.cpu_seconds(), receiver.received(), time.perf_counter()
    published = load.publish(core, subject.url, subject.api_key, scenario, seconds=seconds, seed=seed)
    received, cpu = receiver.received() - received, subject.cpu_seconds() - cpu
    taken = time.perf_counter() - started
    # Also what the forwarder still has on its way must have arrived before the next round counts.
    time.sleep(SETTLE_SECONDS)
    unsettled = subjects.books(subject).unsettled if subject.name == "node" else None
    if unsettled:
        _drain(subject)
    return Round(
        subject=subject.name,
        seconds=round(taken, 3),
        accepted=(published.responses - published.refused) * scenario.events,
        delivered=received,
        cpu_seconds=round(cpu, 3),
        published=published,
        unsettled_after_2_s=unsettled,
    )


def _drain(node: subjects.Subject) -> subjects.Books:
    """Wait until the node owes nothing, for a bounded time; its books."""
    deadline = time.monotonic() + DRAIN_SECONDS_MAX
    while (found := subjects.books(node)).unsettled and time.monotonic() < deadline:
        time.sleep(DRAIN_STEP_SECONDS)
    return found


def _tell(scenario: Scenario, number: int, done: Round) -> None:
    print(
        f"{scenario.name:7} round {number}  {done.subject:9} {done.delivered_per_second:9,.0f} delivered/s "
        f"{done.cpu_us_per_event:8,.1f} µs CPU per event",
        flush=True,
    )


def _latencies(
    node: subjects.Subject, scenario: Scenario, core: int, *, rate: float, port: int, seconds: int
) -> Latencies:
    """Publish at ``rate`` events a second and see when they come back."""
    host, _, node_port = node.url.removeprefix("http://").rpartition(":")
    plan = Plan(
        host=host,
        port=int(node_port),
        api_key=node.api_key,
        events_per_second=rate,
        events=scenario.events,
        seconds=seconds,
        connections=scenario.connections,
        addresses=sink.ADDRESSES,
        sink_port=port,
        type_prefix="paced",
        seed=1,
    )
    given = msgspec.json.encode(plan)
    with machine.pinned(core):
        command = [sys.executable, str(PACED)]
        done = subprocess.run(command, input=given, stdout=subprocess.PIPE, timeout=seconds + 60, check=True)
    return msgspec.json.decode(done.stdout, type=Latencies)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
