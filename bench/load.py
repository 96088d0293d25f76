"""The load: wrk with a script that publishes unique events, as fast as it gets answers."""

import json
import subprocess
from pathlib import Path

import machine
import msgspec
import sink

_SCRIPT = Path(__file__).with_name("publish.lua")
_GRACE_SECONDS = 30


class Scenario(msgspec.Struct, frozen=True):
    """A way to publish."""

    name: str
    events: int  #: per request
    connections: int  #: that publish at the same time


SCENARIOS = (Scenario("single", 1, 128), Scenario("batch", 100, 16))


class Published(msgspec.Struct, frozen=True):
    """What wrk saw."""

    responses: int
    refused: int  #: answers with a status of 400 or more
    broken: int  #: connections that failed
    timeouts: int
    duration_us: int
    p50_us: int  #: request latency under full load
    p99_us: int

    @property
    def faults(self) -> int:
        """Everything that should not happen."""
        return self.refused + self.broken + self.timeouts


def publish(core: int | None, url: str, api_key: str, scenario: Scenario, *, seconds: int, seed: int) -> Published:
    """Publish for ``seconds`` from ``core`` (None: any). Raises RuntimeError if wrk fails."""
    command = ["wrk", "--threads", "1", "--connections", str(scenario.connections), "--duration", f"{seconds}s"]
    command += ["--timeout", "10s", "--script", str(_SCRIPT), url, "--"]
    command += [str(sink.ENDPOINTS), str(scenario.events), api_key, str(seed)]
    with machine.pinned(core):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        output, _ = process.communicate(timeout=seconds + _GRACE_SECONDS)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    if process.returncode:
        raise RuntimeError(f"wrk ended with {process.returncode}: {output}")
    return msgspec.convert(json.loads(output.splitlines()[-1]), Published)
