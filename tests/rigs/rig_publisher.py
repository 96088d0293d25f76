"""A publisher that does as publishers should: an event that got no answer is sent again with the same id."""

import asyncio
import json
import random
from collections.abc import Sequence
from contextlib import suppress
from hashlib import blake2b

import aiohttp
import msgspec

_CONNECTIONS = 64
_ANSWER_SECONDS_MAX = 10.0
_REFUSED_PAUSE_SECONDS = 0.1
_WORDS = (
    "",
    "plain",
    "zażółć gęślą jaźń",
    "日本語",
    "🦊 emoji",
    "a\\b/c",
    'quote " inside',
    "tab\tand\nline",
    "\u007f\u2028",
)
_BLANKS = ("", "", "", " ", "\n", "\t  ")
_NUMBERS = ("0", "-0.0", "1.0", "1e5", "1E-7", "9007199254740993", "123456789012345678901234567890", "3.140000")


class Outgoing(msgspec.Struct, frozen=True):
    """An event to publish."""

    id: str
    type: str
    data: bytes
    digest: bytes  #: of the data


class Publisher:
    """Publishes events at a fixed rate until it is told to stop, and each of them until it is accepted.

    Args:
        rate: events per second.
        types: event types to choose from.
        seed: of everything random.
    """

    def __init__(self, *, rate: float, types: Sequence[str], seed: int) -> None:
        self._rate = rate
        self._types = types
        self._seed = seed
        self._chance = random.Random(seed)
        self._stopping = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._url = ""
        self._headers: dict[str, str] = {}
        #: Set while a node is there to talk to.
        self.up = asyncio.Event()
        #: Every event that the publisher made, by id.
        self.events: dict[str, Outgoing] = {}
        #: Ids of those that got a 202.
        self.accepted: set[str] = set()
        #: Answers that said: it was there before.
        self.repeats = 0
        #: Requests without an answer.
        self.unanswered = 0
        #: Refusals that a publisher repeats (429, 503).
        self.refused = 0

    def use(self, url: str, api_key: str) -> None:
        """Talk to the node at ``url`` from now on."""
        self._url = f"{url}/v1/events"
        self._headers = {"Authorization": f"Bearer {api_key}", "Content-Type": "application/json"}
        self.up.set()

    def stop(self) -> None:
        """Make no more events; :meth:`run` ends when all that were made are accepted."""
        self._stopping.set()

    async def run(self) -> None:
        """Publish."""
        connector = aiohttp.TCPConnector(limit=_CONNECTIONS)
        timeout = aiohttp.ClientTimeout(total=_ANSWER_SECONDS_MAX)
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
            asyncio.TaskGroup() as group,
        ):
            loop = asyncio.get_running_loop()
            due = loop.time()
            while not self._stopping.is_set():
                due += 1 / self._rate
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), max(0.0, due - loop.time()))
                group.create_task(self._publish(session, self._next()))

    def _next(self) -> Outgoing:
        number = len(self.events)
        data = random_json(self._chance, depth=3).encode()
        made = Outgoing(f"rig-{self._seed}-{number}", self._chance.choice(self._types), data, digest_of(data))
        self.events[made.id] = made
        return made

    async def _publish(self, session: aiohttp.ClientSession, event: Outgoing) -> None:
        head = json.dumps({"type": event.type, "id": event.id}).encode()
        body = head[:-1] + b',"data":' + event.data + b"}"
        while True:
            await self.up.wait()
            try:
                async with session.post(self._url, data=body, headers=self._headers) as response:
                    answer = await response.read()
            except (aiohttp.ClientError, OSError, TimeoutError):
                self.unanswered += 1
                continue
            if response.status == 202:
                self.repeats += json.loads(answer)["duplicate"]
                self.accepted.add(event.id)
                return
            if response.status not in {429, 503}:
                raise AssertionError(f"{event.id} was answered with {response.status}: {answer!r}")
            self.refused += 1
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.Event().wait(), _REFUSED_PAUSE_SECONDS)


def digest_of(data: bytes) -> bytes:
    """What two equal bodies have in common."""
    return blake2b(data, digest_size=16).digest()


def random_json(chance: random.Random, *, depth: int) -> str:
    """A JSON value as nobody's library would write it: odd blanks, escapes, numbers and names."""
    kind = chance.randrange(6 if depth else 4)
    if kind == 0:
        return chance.choice(_NUMBERS)
    if kind == 1:
        return chance.choice(("true", "false", "null"))
    if kind in {2, 3}:
        return json.dumps(chance.choice(_WORDS) + str(chance.random()), ensure_ascii=chance.random() < 0.5)
    parts = [random_json(chance, depth=depth - 1) for _ in range(chance.randrange(5))]
    comma = f"{chance.choice(_BLANKS)},{chance.choice(_BLANKS)}"
    if kind == 4:
        return f"[{comma.join(parts)}{chance.choice(_BLANKS)}]"
    names = [json.dumps(chance.choice(_WORDS), ensure_ascii=chance.random() < 0.5) for _ in parts]
    return f"{{{comma.join(f'{n}{chance.choice(_BLANKS)}:{p}' for n, p in zip(names, parts, strict=True))}}}"
