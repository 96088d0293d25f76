"""Everything that a node lets people read, searched for what nobody may read."""

import subprocess
from collections.abc import Collection, Iterator, Mapping
from typing import Final

import msgspec

from posthouse.demo.node_process import PYTHON
from posthouse.drills.ground import Ground
from posthouse.drills.plan import DrillFailed
from posthouse.drills.receiving import Entrance
from posthouse.sdk.client import segment

SHOWN: Final = 20  #: requests of each source that are shown one by one
CLI_SECONDS_MAX: Final = 60.0
_LISTS: Final = ("/v1/sources", "/v1/endpoints", "/v1/events", "/v1/requests", "/v1/quarantine", "/v1/incidents")


class Searched(msgspec.Struct, frozen=True):
    """What came of a search."""

    texts: int
    chars: int
    found: Mapping[str, int]  #: where a secret was → how many secrets were there


def search(ground: Ground, secrets: Collection[str]) -> Searched:
    """Look for each of these in the log, in what the API answers and in what the command line prints."""
    texts = chars = 0
    found: dict[str, int] = {}
    for where, text in _texts(ground):
        texts += 1
        chars += len(text)
        there = sum(secret in text for secret in secrets)
        if there:
            found[where] = there
    return Searched(texts, chars, found)


def _texts(ground: Ground) -> Iterator[tuple[str, str]]:
    yield "the log", ground.node.log.read_text("utf-8", errors="replace")
    for path in _LISTS:
        for page in ground.pages(path):
            yield f"GET {path}", _written(page)
    for entrance in ground.entrances:
        yield from _of(ground, entrance)
    with ground.client() as client:
        yield "GET /metrics", client.fetch("/metrics").text
        yield "GET /v1/audit", _written(client.get("/v1/audit", {"tenant": ground.tenant}))
    yield from _printed(ground, "audit")
    for listed in ("sources", "requests", "quarantine", "incidents"):
        yield from _printed(ground, listed, *([] if listed == "incidents" else ["list"]))


def _of(ground: Ground, entrance: Entrance) -> Iterator[tuple[str, str]]:
    """One source, and requests to it."""
    with ground.client() as client:
        yield "GET /v1/sources/ID", _written(client.get(f"/v1/sources/{segment(entrance.source)}"))
        listed = client.get("/v1/requests", {"source": entrance.source, "limit": SHOWN})["data"]
        for each in listed:
            yield "GET /v1/requests/ID", _written(client.get(f"/v1/requests/{segment(each['id'])}"))
    yield from _printed(ground, "sources", "show", entrance.source)
    for each in listed[:1]:
        yield from _printed(ground, "requests", "show", each["id"])


def _printed(ground: Ground, *arguments: str) -> Iterator[tuple[str, str]]:
    """What a command prints, for people and for programs."""
    for form in ((), ("--json",)):
        command = [*PYTHON, "posthouse", *arguments, *form, "--data", str(ground.node.data)]
        done = subprocess.run(  # noqa: S603 - this program itself
            command, capture_output=True, text=True, timeout=CLI_SECONDS_MAX, check=False
        )
        if done.returncode:
            raise DrillFailed(f"posthouse {' '.join(arguments)} ended with {done.returncode}: {done.stderr}")
        yield f"posthouse {' '.join(arguments[:2])}", done.stdout + done.stderr


def _written(document: object) -> str:
    return msgspec.json.encode(document).decode()
