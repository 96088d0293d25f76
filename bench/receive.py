"""Measure what accepting a request costs a node, against a bare ASGI endpoint that does nothing.

Both are processes of their own on one core, in the same minutes and in turns. The node checks the signature and makes
each request durable before it answers. *held*: its source is paused, so that nothing else is done; *passed on*: events
are read, recognised and stored as well, behind the answers. Ends by itself after about two minutes.
"""

import argparse
import hmac
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import debian
import load
import machine
import msgspec
import subjects

from posthouse.sdk.client import Client

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results"
SCRIPT = Path(__file__).with_name("receive.lua")
NOTHING = Path(__file__).with_name("nothing.py")
CONNECTIONS = 256
SECRET = "a secret of the benchmark"  # noqa: S105 - it guards nothing
WAIT_SECONDS_MAX = 120.0  #: until what was taken is passed on, between two rounds

NAMES = ("bare", "held", "passed on")


class Round(msgspec.Struct, frozen=True):
    """One stretch of full load."""

    subject: str
    per_second: float
    cpu_us: float  #: for each request
    p99_us: int
    faults: int


def main(arguments: Sequence[str]) -> int:
    """Measure, print, write; 1 if a request failed."""
    parser = argparse.ArgumentParser(prog="make bench-receive", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=int, default=6, help="length of one round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, metavar="PATH", help="where the document goes (default: bench/results/)")
    options = parser.parse_args(arguments)
    debian.require()
    work, other = machine.two_cores()
    date = datetime.now(UTC)
    rounds: list[Round] = []
    with (
        tempfile.TemporaryDirectory(prefix="posthouse-bench-", dir=machine.on_disk(ROOT)) as name,
        ExitStack() as stack,
    ):
        folder = Path(name)
        facts = machine.facts(folder)
        bare = stack.enter_context(subjects.bare(work, folder, NOTHING))
        node = stack.enter_context(subjects.node(work, folder, {}))
        urls = _urls(bare, node)
        body = folder / "body.json"
        body.write_bytes(_body())
        for number in range(options.rounds + 1):
            for kind in NAMES:
                subject = bare if kind == "bare" else node
                seconds = options.seconds if number else 1
                done = _round(kind, subject, urls[kind], body, other, seconds=seconds, run=number)
                if number:
                    rounds.append(done)
                    print(f"round {number}  {kind:9} {done.per_second:9,.0f}/s {done.cpu_us:6.1f} µs CPU", flush=True)
                _wait(node)
    ratios = {kind: _median(rounds, kind) / _median(rounds, "bare") for kind in NAMES[1:]}
    for kind, ratio in ratios.items():
        print(f"{kind}: {ratio:.2f} of what the bare endpoint takes")
    target = options.json or RESULTS / f"{date:%Y-%m-%dT%H%MZ}-receive.json"
    document = {"date": f"{date:%Y-%m-%dT%H:%M:%SZ}", "machine": facts, "ratios": ratios, "rounds": rounds}
    target.write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n")
    return 1 if any(done.faults for done in rounds) else 0


def _urls(bare: subjects.Subject, node: subjects.Subject) -> Mapping[str, str]:
    with Client(node.url, node.api_key, timeout_s=30.0) as client:
        made = {
            kind: client.post("/v1/sources", {"name": kind, "provider": "github", "secrets": [SECRET]})
            for kind in NAMES[1:]
        }
        client.post(f"/v1/sources/{made['held']['id']}/pause", {"while_paused": "hold"})
    return {"bare": f"{bare.url}/in/0123456789abcdef0123456789abcdef", **{k: str(s["url"]) for k, s in made.items()}}


def _body() -> bytes:
    issue = {"number": 1347, "title": "Found a bug", "state": "open", "user": {"login": "octocat", "id": 1}}
    issue["body"] = "I am having a problem with this. " * 4
    return json.dumps({"action": "opened", "issue": issue, "repository": {"full_name": "octocat/Hello-World"}}).encode()


def _round(kind: str, subject: subjects.Subject, url: str, body: Path, core: int, *, seconds: int, run: int) -> Round:
    signature = "sha256=" + hmac.digest(SECRET.encode(), body.read_bytes(), "sha256").hex()
    command = ["wrk", "--threads", "1", "--connections", str(CONNECTIONS), "--duration", f"{seconds}s"]
    command += ["--timeout", "10s", "--script", str(SCRIPT), url, "--", signature, f"{kind[0]}{run}", str(body)]
    before = subject.cpu_seconds()
    with machine.pinned(core):
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=seconds + 30, check=True)
    cpu = subject.cpu_seconds() - before
    published = msgspec.convert(json.loads(done.stdout.splitlines()[-1]), load.Published)
    return Round(
        subject=kind,
        per_second=published.responses / (published.duration_us / 1e6),
        cpu_us=cpu * 1e6 / max(1, published.responses),
        p99_us=published.p99_us,
        faults=published.faults,
    )


def _wait(node: subjects.Subject) -> None:
    """Until the source that is not paused has nothing left to pass on."""
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    with Client(node.url, node.api_key, timeout_s=60.0) as client:
        while time.monotonic() < deadline:
            sources: list[dict[str, Any]] = client.get("/v1/audit")["sources"]
            if not any(s["waiting"] for s in sources if s["waiting"] != s["received"]):
                return
            time.sleep(0.2)


def _median(rounds: Sequence[Round], kind: str) -> float:
    return statistics.median([done.per_second for done in rounds if done.subject == kind])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
