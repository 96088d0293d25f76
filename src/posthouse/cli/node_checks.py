"""Looks at a node from outside: does it answer, can it write, do its clock and its books agree with the world?"""

import re
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

from posthouse.cli import session
from posthouse.cli.findings import Finding, Verdict, judge_books, judge_clock_offset
from posthouse.cli.wording import byte_count, milliseconds
from posthouse.sdk.client import Problem, Unreachable

if TYPE_CHECKING:
    from posthouse.sdk.client import Client

TIMEOUT_SECONDS: Final = 60.0
READY_SLOW_MS: Final = 1_000.0

_SAMPLE: Final = re.compile(r"^(posthouse_[a-z_]+)(?:\{[^}]*version=\"([^\"]+)\"[^}]*\})? ([0-9.e+]+)$", re.MULTILINE)


def check_node(url: str, api_key: str | None) -> list[Finding]:
    """Everything that the node at ``url`` tells; what needs a key is skipped without one."""
    with session.open_client(url, api_key, tries=1, timeout_s=TIMEOUT_SECONDS) as client:
        try:
            answer = client.fetch("/healthz")
        except (Problem, Unreachable) as error:
            advice = "Start it with 'posthouse serve', or name its address with --url."
            return [Finding("node", Verdict.WRONG, str(error), advice)]
        found = [Finding("node", Verdict.OK, f"{url} answers")]
        date = answer.headers.get("date")
        if date is not None:
            # The header is cut to whole seconds, so on average it lies half a second back.
            found.append(judge_clock_offset(parsedate_to_datetime(date).timestamp() + 0.5 - time.time()))
        found.append(_ready(client))
        found += _numbers(client)
        found.append(_books(client, api_key))
        return found


def _ready(client: "Client") -> Finding:
    started = time.perf_counter()
    try:
        client.fetch("/readyz")
    except (Problem, Unreachable) as error:
        advice = "Look at the node's log; it takes no events until a write succeeds."
        return Finding("node ready", Verdict.WRONG, str(error), advice)
    took_ms = (time.perf_counter() - started) * 1_000
    message = f"a durable write took {milliseconds(took_ms)}"
    if took_ms > READY_SLOW_MS:
        return Finding("node ready", Verdict.WARNING, message, "The disk or the node is busy; see fsync above.")
    return Finding("node ready", Verdict.OK, message)


def _numbers(client: "Client") -> Iterator[Finding]:
    try:
        text = client.fetch("/metrics").text
    except (Problem, Unreachable) as error:
        yield Finding("node metrics", Verdict.WARNING, str(error), "Look at the node's log.")
        return
    version, numbers = read_metrics(text)
    if version is not None:
        yield Finding("node version", Verdict.OK, version)
    if "posthouse_store_bytes" in numbers:
        wal = byte_count(int(numbers.get("posthouse_store_wal_bytes", 0)))
        message = f"{byte_count(int(numbers['posthouse_store_bytes']))}, write-ahead log {wal}"
        yield Finding("store", Verdict.OK, message)
    if numbers.get("posthouse_store_findings"):
        said = f"the node has {int(numbers['posthouse_store_findings'])} to say of it"
        yield Finding("store settings", Verdict.WARNING, said, "Look for store_finding in the node's log.")


def read_metrics(text: str) -> tuple[str | None, dict[str, float]]:
    """The node's version and its numbers without labels, from the text format of Prometheus."""
    version = None
    numbers = {}
    for name, labelled, value in _SAMPLE.findall(text):
        if name == "posthouse_build_info":
            version = labelled
        else:
            numbers[name] = float(value)
    return version, numbers


def _books(client: "Client", api_key: str | None) -> Finding:
    if api_key is None:
        advice = "Give a key with --api-key, POSTHOUSE_API_KEY or --data."
        return Finding("books", Verdict.SKIPPED, "needs an API key", advice)
    try:
        return judge_books(client.get("/v1/audit"))
    except Problem as problem:
        return Finding("books", Verdict.WRONG, problem.detail, problem.hint)
    except Unreachable as error:
        return Finding("books", Verdict.WRONG, str(error), "Look at the node's log.")
