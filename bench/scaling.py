"""How much more two nodes on one database deliver than one, each with an equal part of the machine.

A load generator, a receiver, a database and two nodes at full speed do not fit on two cores. So each node may use a
quarter of a core's time (the kernel sees to it), and everything else has what is left, which is more than it needs:
what is measured is what the second node adds, not what the machine lacks. Each node takes half of the events and owns
half of the endpoints, so half of what a node accepts is delivered by the other one. Needs root, for the quotas.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Final

import debian
import load
import machine
import msgspec
import sink
import subjects

from posthouse.core.model import SLOTS
from posthouse.sdk.client import Client

ROOT: Final = Path(__file__).resolve().parent.parent
RESULTS: Final = ROOT / "bench" / "results"
SHARE: Final = 0.25  #: of one core, for each node
PERIOD_US: Final = 20_000
WARM_UP_SECONDS: Final = 3
SPREAD_SECONDS_MAX: Final = 60.0
LOOK_SECONDS: Final = 0.25
GROUPS: Final = (Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup"))


class Figures(msgspec.Struct, frozen=True):
    """One round with so many nodes."""

    nodes: int
    delivered_per_second: float
    accepted_per_second: float
    cpu_us_per_event: float  #: of the nodes together
    refused: int
    idle: float  #: part of the machine's time that nobody used


@contextmanager
def limited(process: int, name: str, share: float) -> Iterator[None]:
    """Let a process have so much of one core's time at most. Ends the program if that cannot be had."""
    for place in GROUPS:
        folder = place / f"posthouse-{os.getpid()}-{name}"
        old = (place / "cpu.cfs_quota_us").exists()
        try:
            folder.mkdir()
            quota = round(share * PERIOD_US)
            if old:
                (folder / "cpu.cfs_period_us").write_text(str(PERIOD_US))
                (folder / "cpu.cfs_quota_us").write_text(str(quota))
            else:
                (folder / "cpu.max").write_text(f"{quota} {PERIOD_US}")
            (folder / "cgroup.procs").write_text(str(process))
        except OSError:
            continue
        try:
            yield
        finally:
            (place / "cgroup.procs").write_text(str(process))
            folder.rmdir()
        return
    sys.exit("The benchmark needs root and the kernel's CPU quotas (cgroups), to give each node its part.")


def measure(folder: Path, nodes: int, *, seconds: int) -> Figures:
    """One round on a fresh database."""
    with ExitStack() as stack:
        receiver = stack.enter_context(sink.running(None, folder))
        urls = {f"bench.{number}": url for number, url in enumerate(receiver.urls)}
        address = stack.enter_context(subjects.database(None))
        first = stack.enter_context(subjects.node(None, _made(folder / "n1"), urls, address))
        running = [first]
        for number in range(2, nodes + 1):
            place = _made(folder / f"n{number}")
            running.append(stack.enter_context(subjects.another_node(place, address, first.api_key)))
        _wait_for_shares(first, nodes)
        for number, node in enumerate(running):
            stack.enter_context(limited(node.process_id, str(number), SHARE))
        _publish(running, seconds=WARM_UP_SECONDS, seed=1)
        cpu, received, used, began = _cpu(running), receiver.received(), _machine_idle(), time.perf_counter()
        published = _publish(running, seconds=seconds, seed=2)
        received, taken = receiver.received() - received, time.perf_counter() - began
        return Figures(
            nodes=nodes,
            delivered_per_second=round(received / taken, 1),
            accepted_per_second=round(sum(each.responses - each.refused for each in published) / taken, 1),
            cpu_us_per_event=round((_cpu(running) - cpu) / max(received, 1) * 1e6, 1),
            refused=sum(each.faults for each in published),
            idle=round((_machine_idle() - used) / (taken * (os.cpu_count() or 1)), 3),
        )


def _publish(nodes: Sequence[subjects.Subject], *, seconds: int, seed: int) -> list[load.Published]:
    """Publish at all nodes at once."""
    scenario = load.Scenario("single", 1, 64)

    def at(number: int) -> load.Published:
        node = nodes[number]
        return load.publish(None, node.url, node.api_key, scenario, seconds=seconds, seed=100 * seed + number)

    with ThreadPoolExecutor(len(nodes)) as threads:
        return list(threads.map(at, range(len(nodes))))


def _wait_for_shares(node: subjects.Subject, nodes: int) -> None:
    deadline = time.monotonic() + SPREAD_SECONDS_MAX
    with Client(node.url, node.api_key) as client:
        while True:
            shown: Sequence[Mapping[str, int]] = client.get("/v1/nodes")["data"]
            slots = [each["slots"] for each in shown]
            if len(slots) == nodes and sum(slots) == SLOTS and max(slots) - min(slots) <= nodes:
                return
            if time.monotonic() > deadline:
                sys.exit(f"The nodes do not share the work: {slots}.")
            time.sleep(LOOK_SECONDS)


def _cpu(nodes: Sequence[subjects.Subject]) -> float:
    return sum(node.cpu_seconds() for node in nodes)


def _machine_idle() -> float:
    """Seconds that the processors had nothing to do, all together."""
    fields = Path("/proc/stat").read_text("utf-8").split("\n", 1)[0].split()
    return (int(fields[4]) + int(fields[5])) / os.sysconf("SC_CLK_TCK")


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def main(arguments: Sequence[str]) -> int:
    """Measure in turns, print, write; 1 if something was refused."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=int, default=10, help="length of one round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="PATH", help="where the document goes (default: bench/results/)")
    options = parser.parse_args(arguments)
    debian.require()
    date = datetime.now(UTC)
    found: list[Figures] = []
    with tempfile.TemporaryDirectory(prefix="posthouse-bench-", dir=machine.on_disk(ROOT)) as place:
        facts = machine.facts(Path(place))
        for number in range(options.rounds):
            for nodes in (1, 2):
                figures = measure(_made(Path(place) / f"{number}-{nodes}"), nodes, seconds=options.seconds)
                print(msgspec.json.encode(figures).decode(), flush=True)
                found.append(figures)
    one, two = (median(each.delivered_per_second for each in found if each.nodes == nodes) for nodes in (1, 2))
    print(f"Two nodes deliver {two / one:.2f} times as much as one.")
    document = {"date": f"{date:%Y-%m-%dT%H:%M:%SZ}", "machine": facts, "share_of_a_core": SHARE}
    document |= {"two_nodes_to_one": round(two / one, 3), "rounds": found}
    target = options.json or RESULTS / f"{date:%Y-%m-%dT%H%MZ}-postgres-scaling.json"
    target.write_bytes(msgspec.json.format(msgspec.json.encode(document)) + b"\n")
    return 1 if any(each.refused for each in found) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
