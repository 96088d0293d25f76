"""Any bytes, headers and URLs to a source of any sender: the answer is one that this sender knows, and never an error.

Directly and through ASGI: both ways answer and keep the same. Whatever is kept is then read, or doubted.
"""

import asyncio
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.property.inbound.laws import check, make_reader
from tests.property.inbound.requests import Headers, bodies, headers

from posthouse.core.errors import InvalidInput
from posthouse.core.inbound import InboundRequest, Source
from posthouse.core.model import Environment
from posthouse.gateway.presets import preset_of
from posthouse.gateway.source_input import SourceSpec
from posthouse.ingest.edge import METHODS
from posthouse.providers.index import PRESETS
from posthouse.providers.preset import Preset
from posthouse.serving.server import ApiServer
from posthouse.store.open import open_store
from posthouse.store.protocol import Store
from posthouse.testing.histories.still_loop import StillLoop
from posthouse.testing.histories.wire import Answer, Wire, read_answers
from posthouse.testing.manual_clock import ManualClock
from posthouse.testing.quiet_house import QuietHouse

SECRET = "hush-hush-hush-hush"
#: Forms in which providers show their secrets; a source takes those that are of the right one.
SECRETS = (SECRET, "ab" * 32, f"whsec_{b64encode(SECRET.encode()).decode()}", b64encode(SECRET.encode()).decode())
SENT_METHODS = (*METHODS, "POST", "POST", "GET", "HEAD", "DELETE", "OPTIONS", "BREW")
OK, BAD_REQUEST, NOT_ALLOWED = 200, 400, 405

few = settings(max_examples=settings().max_examples // 4)  # of each sender; there are many

methods = st.sampled_from(SENT_METHODS[:-1])
targets = st.sampled_from(
    [
        b"",
        b"",
        b"?",
        b"?hub.mode=subscribe&hub.challenge=1&hub.verify_token=x",
        b"?a=%00%ff",
        b"?%",
        b"/behind/it",
        b"/%2e%2e/%00?b",
        b"?a=1#b",
        b"//",
        b"?\xff\xc3\xa9",
        b"/\xe9",
    ]
)
signed = st.sampled_from(
    [
        ("x-api-key", SECRET),
        ("authorization", f"Bearer {SECRET}"),
        ("x-gitlab-token", SECRET),
        ("x-hook-secret", SECRET),
    ]
)


def is_clear(value: str) -> bool:
    """Whether HTTP lets it stand in a header."""
    return all(character == "\t" or " " <= character != "\x7f" for character in value)


clear_headers = st.tuples(headers, st.lists(signed, max_size=1)).map(
    lambda both: tuple((name, value) for name, value in (*both[0], *both[1]) if is_clear(value))
)


class Kept(NamedTuple):
    """What is kept of a request, and how it was answered."""

    status: int
    request: InboundRequest | None


def said(kept: Kept) -> object:
    """All that must be the same, whichever way it took."""
    one = kept.request
    return kept.status, one and (one.method, one.url, one.headers, one.body, one.verdict)


class House:
    """A node without engine and inbox behind a real server, on a loop in which time stands still."""

    def __init__(self, directory: Path) -> None:
        self.clock = ManualClock()
        self.loop = StillLoop(self.clock)
        self.quiet = self.loop.run(self._open(directory))
        self.sources = {name: self.loop.run(self._source(name)) for name in sorted(PRESETS)}
        direct, through = (self._listen(direct=direct) for direct in (True, False))
        #: Directly, recognised at a glance or by the parser, as it comes in pieces; and through ASGI.
        self.ways = [(direct, 1), (direct, 2), (through, 1)]

    async def _open(self, directory: Path) -> QuietHouse:
        self.store: Store = await open_store(directory, clock=self.clock, commit_interval_ms=0, offload=_elsewhere)
        house = QuietHouse(self.store, self.clock, key_floor=0)
        await house.gateway.catalogue.refresh()
        return house

    async def _source(self, name: str) -> Source:
        """With as many secrets as its sender may have."""
        good = []
        for secret in SECRETS:
            try:
                await self._create(name, secret)
            except InvalidInput:
                continue
            good.append(secret)
        return await self._create(name, *good)

    async def _create(self, name: str, *secrets: str) -> Source:
        spec = SourceSpec(name=name, provider=name, secrets=secrets)
        return await self.quiet.gateway.sources.create(Environment.LIVE, spec)

    def _listen(self, *, direct: bool) -> Any:
        server = ApiServer(self.quiet.app, self.clock, direct=self.quiet.direct if direct else None)
        self.loop.run(server.start("", 0))
        return self.loop.accept

    def say(self, accept: Any, raw: bytes, *, pieces: int) -> list[Answer]:
        """Say it on a connection of its own, the last bytes each for itself; the answers."""

        async def connect() -> Wire:
            return Wire(self.loop, cast("asyncio.Protocol", accept()))

        wire = self.loop.run(connect())
        cut = len(raw) - pieces + 1
        for piece in (raw[:cut], *(raw[i : i + 1] for i in range(cut, len(raw)))):
            self.loop.call_soon(wire.feed, piece)
        self.loop.settle()
        answers, rest = read_answers(bytes(wire.written))
        assert rest == b""
        wire.close()
        self.loop.settle()
        return answers

    def close(self) -> None:
        self.loop.run(self.quiet.gateway.receiver.close())
        self.loop.run(self.quiet.gateway.intake.close())
        self.loop.run(self.store.close())
        self.loop.close()


async def _elsewhere(call: Any) -> Any:
    """Run a blocking call of the store where it is."""
    await asyncio.sleep(0)
    return call()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    made = House(tmp_path_factory.mktemp("house") / "data")
    yield made
    made.close()


def written(method: str, token: str, target: bytes, fields: Headers, body: bytes) -> bytes:
    lines = [f"{method} /in/{token}".encode() + target + b" HTTP/1.1", b"Host: node.test"]
    lines += [f"{name}: {value}".encode("latin-1") for name, value in fields]
    lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join([*lines, b"", b""]) + body


def expected(preset: Preset, method: str) -> set[int]:
    """What this sender may be answered when nothing is wrong here."""
    codes = {preset.answers.accepted, preset.answers.bad_signature}
    if preset.handshake is not None:
        codes.add(OK)
    if method == "HEAD":
        return {OK}
    if method in METHODS or (method == "GET" and preset.handshake is not None):
        return codes
    return {NOT_ALLOWED}


@pytest.mark.parametrize("name", sorted(PRESETS))
@few
@given(method=methods, target=targets, fields=clear_headers, body=bodies)
def test_whoever_sends_whatever_gets_an_answer_that_it_knows(
    house: House, *, name: str, method: str, target: bytes, fields: Headers, body: bytes
) -> None:
    source = house.sources[name]
    preset, faults = preset_of(source), dict(house.quiet.gateway.receiver._metrics.requests_turned_away)
    raw = written(method, source.token, target, fields, body)
    found = []
    for accept, pieces in house.ways:
        house.quiet.inbox.items.clear()
        (answer,) = house.say(accept, raw, pieces=pieces)
        kept = [item.request for item in house.quiet.inbox.items]
        found.append(Kept(answer.status, kept[0] if kept else None))
        if answer.status == BAD_REQUEST and not target.isascii():
            continue  # it is no HTTP
        assert answer.status in expected(preset, method)
        assert answer.status == NOT_ALLOWED or not answer.body.startswith(b'{"type":"https')
    assert len({said(kept) for kept in found}) == 1
    request = found[0].request
    if request is not None:
        assert request.body == body
        check(make_reader().read(house.quiet.inbox.items[0], source, preset))
    turned_away = house.quiet.gateway.receiver._metrics.requests_turned_away
    wrong = {code: count for code, count in turned_away.items() if count != faults.get(code, 0)}
    assert set(wrong) <= {"method_not_allowed"}
