"""What endpoints cost a node: memory and CPU of the catalogue's copy, of routing, and of the desks of those with work.

A store is filled with endpoints as the API would make them, and a new process opens it. Memory is what the process
has more of afterwards (resident), CPU is its own time; both are told for one endpoint.

Run: ``python bench/endpoints.py [--endpoints 100000] [--tenants 1000] [--json PATH]``
"""

import argparse
import asyncio
import gc
import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import machine
import msgspec

from posthouse.core.ids import next_key
from posthouse.core.model import Endpoint, Environment, Lane, Secret, Tenant
from posthouse.core.signature import generate_secret
from posthouse.engine.tenants import TenantDesks
from posthouse.engine.windows import Desk
from posthouse.gateway.catalogue import Catalogue
from posthouse.store.open import open_store
from posthouse.system import SystemClock

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results"
PUT_AT_ONCE = 2_000
CAP = 8
TYPES = 16


class Step(msgspec.Struct, frozen=True):
    """What one step costs for one endpoint."""

    bytes: float
    cpu_us: float


class Cost(msgspec.Struct, frozen=True):
    """All that was measured."""

    date: str
    machine: dict[str, object]
    endpoints: int
    tenants: int
    base_mb: float  #: of the process with an open store, before all that
    copying_mb: float  #: the most that it had while the copy was made: rows and objects at the same time
    steps: dict[str, Step]  #: in their order; each comes on top of those before


async def fill(folder: Path, *, endpoints: int, tenants: int) -> None:
    """A store with so many endpoints, the same number for each tenant."""
    clock, chance = SystemClock(), Random(1)  # noqa: S311 - test secrets
    store = await open_store(folder, clock=clock)
    now, key = clock.now_ms(), 0
    for number in range(tenants):
        name = f"tenant-{number}"
        await store.catalogue.put_tenant(Tenant(id=name, environment=Environment.LIVE, name=name, created_at=now))
    made = []
    for number in range(endpoints):
        key = next_key(key, now, 1)
        secret = Secret(generate_secret(chance.randbytes(32)), now)
        made.append(
            Endpoint(
                key=key,
                environment=Environment.LIVE,
                tenant=f"tenant-{number % tenants}",
                url=f"https://hooks-{number}.example.com/webhooks/{number * 7919}",
                events=(f"kind-{number % TYPES}.*", "order.created"),
                secrets=(secret,),
                created_at=now,
                updated_at=now,
            )
        )
    for start in range(0, endpoints, PUT_AT_ONCE):
        await asyncio.gather(*(store.catalogue.put_endpoint(one) for one in made[start : start + PUT_AT_ONCE]))
    await store.close()


async def look(folder: Path, tenants: int) -> tuple[float, float, dict[str, Step]]:
    """Base and peak in MB, the latter of the first step; and each step."""
    clock = SystemClock()
    store = await open_store(folder, clock=clock)
    base, steps = resident(), dict[str, Step]()
    memory, cpu = base, time.process_time()

    catalogue = Catalogue(store.catalogue)
    await catalogue.refresh()
    everybody = catalogue.endpoints(Environment.LIVE)

    def ended(name: str) -> None:
        nonlocal memory, cpu
        spent = time.process_time() - cpu
        gc.collect()
        now = resident()
        steps[name] = Step(round((now - memory) / len(everybody), 1), round(spent / len(everybody) * 1e6, 1))
        memory, cpu = now, time.process_time()

    most = peak()
    ended("catalogue")
    for number in range(tenants):
        catalogue.routes(Environment.LIVE, f"tenant-{number}").match("order.created", None)
    ended("routes")
    desks_of = TenantDesks(catalogue, in_flight_per_tenant=0, monotonic=clock.monotonic)
    desks: dict[int, Desk] = {}
    for endpoint in everybody:
        tenant = desks_of.of(endpoint.environment, endpoint.tenant)
        desk = desks[endpoint.key] = Desk(endpoint, tenant, cap=CAP, now=clock.monotonic())
        desk.window(Lane.LIVE)
    ended("desks")
    await store.close()
    return base / 1e6, most / 1e6, steps


def resident() -> int:
    """Bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text("utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def peak() -> int:
    """The most bytes that it has had."""
    [line] = [line for line in Path("/proc/self/status").read_text("utf-8").splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1_024


def main() -> None:
    """Fill, look in a process of its own, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--endpoints", type=int, default=100_000)
    parser.add_argument("--tenants", type=int, default=1_000)
    parser.add_argument("--json", type=Path, help="where the document goes (default: bench/results/)")
    parser.add_argument("--look", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.look:
        sys.stdout.buffer.write(msgspec.json.encode(asyncio.run(look(options.look, options.tenants))))
        return
    date = datetime.now(UTC)
    with tempfile.TemporaryDirectory(dir=machine.on_disk(ROOT)) as folder:
        facts = machine.facts(Path(folder))
        store = Path(folder) / "store"
        asyncio.run(fill(store, endpoints=options.endpoints, tenants=options.tenants))
        command = [sys.executable, __file__, "--look", str(store), "--tenants", str(options.tenants)]
        told = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    base, most, steps = msgspec.json.decode(told, type=tuple[float, float, dict[str, Step]])
    cost = Cost(
        f"{date:%Y-%m-%dT%H:%M:%SZ}", facts, options.endpoints, options.tenants, round(base, 1), round(most, 1), steps
    )
    document = msgspec.json.format(msgspec.json.encode(cost), indent=2) + b"\n"
    target = options.json or RESULTS / f"{date:%Y-%m-%dT%H%MZ}-endpoints.json"
    target.write_bytes(document)
    print(f"{base:.0f} MB before, {most:.0f} MB at the most while the copy was made")
    for name, step in steps.items():
        print(f"{name:10} {step.bytes:7.0f} bytes and {step.cpu_us:6.1f} us of CPU an endpoint")
    print(f"Written to {target.name}")


if __name__ == "__main__":
    main()
