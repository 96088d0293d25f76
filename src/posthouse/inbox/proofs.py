"""Checking requests whose proof stands elsewhere: the key is fetched behind the answer, from allowed hosts only."""

import asyncio
from collections.abc import Callable
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from posthouse.core.errors import SignatureInvalid
from posthouse.core.inbound import Objection, Source
from posthouse.core.limits import FETCH_BYTES_MAX, FETCH_TIMEOUT_MS, FETCHES_AT_ONCE
from posthouse.core.ports import Clock
from posthouse.engine.seldom import SeldomLog
from posthouse.gateway.receive import as_received
from posthouse.providers.preset import Fetch, Preset
from posthouse.providers.schemes import any_host
from posthouse.store.protocol import InboxItem
from posthouse.telemetry import Log, Metrics
from posthouse.transport.protocol import Request, Transport

KEPT_MAX: Final = 256  #: documents in memory: certificates are asked for with every request
KEPT_SECONDS: Final = 3_600.0


class Unavailable(Exception):
    """A document could not be fetched; its text says why."""


class Proof(NamedTuple):
    """What came of checking a request. No objection: it is genuine."""

    objection: Objection | None = None
    detail: str = ""


class Documents:
    """Fetches documents over https, each once for all who ask at the same time, and keeps the latest ones."""

    def __init__(self, transport: Transport, clock: Clock, metrics: Metrics) -> None:
        self._transport = transport
        self._clock = clock
        self._metrics = metrics
        self._failed = SeldomLog(Log.KEY_UNAVAILABLE, clock)
        self._kept: dict[str, tuple[float, bytes]] = {}
        self._fetching: dict[str, asyncio.Task[bytes]] = {}
        self._room = asyncio.Semaphore(FETCHES_AT_ONCE)

    async def get(self, fetch: Fetch) -> bytes:
        """The document. Raises Unavailable; then nothing was asked of a host that is not allowed."""
        kept = self._kept.get(fetch.url)
        if kept is not None and kept[0] > self._clock.monotonic():
            return kept[1]
        check_host(fetch)
        task = self._fetching.get(fetch.url)
        if task is None:
            task = self._fetching[fetch.url] = asyncio.create_task(self._ask(fetch.url))
        try:
            return await asyncio.shield(task)
        finally:
            if task.done():
                self._fetching.pop(fetch.url, None)

    async def close(self) -> None:
        """Ask for nothing more."""
        tasks = tuple(self._fetching.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask(self, url: str) -> bytes:
        request = Request(
            url, {"Accept": "*/*"}, b"", FETCH_TIMEOUT_MS, FETCH_TIMEOUT_MS, FETCH_BYTES_MAX, method="GET"
        )
        async with self._room:
            exchange = await self._transport.send(request)
        outcome = "success" if exchange.failure is None else exchange.failure.value
        self._metrics.keys_fetched[outcome] += 1
        if exchange.failure is not None:
            self._failed(host=urlsplit(url).netloc, detail=exchange.error)
            raise Unavailable(exchange.error or "The key could not be fetched.")
        if len(self._kept) >= KEPT_MAX:
            del self._kept[next(iter(self._kept))]
        self._kept[url] = self._clock.monotonic() + KEPT_SECONDS, exchange.body
        return exchange.body


def check_host(fetch: Fetch) -> None:
    """Raise Unavailable unless the URL is https, and leads to a host that the preset names.

    The preset has checked the same; this is the last line before a request of somebody else's choice leaves.
    """
    url = urlsplit(fetch.url)
    if url.scheme != "https" or any_host(fetch.hosts).fullmatch(url.netloc.lower()) is None:
        raise Unavailable("The key stands at a host that is not allowed.")


class Proofs:
    """Checks requests one by one, several at a time; each result comes by ``done``."""

    def __init__(self, documents: Documents, done: Callable[[InboxItem, Proof], None]) -> None:
        self._documents = documents
        self._done = done
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def start(self, item: InboxItem, source: Source, preset: Preset) -> None:
        """Check ``item``; ``done`` is called once, unless the proofs are closed before."""
        task = asyncio.create_task(self._check(item, source, preset))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Check nothing more."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._documents.close()

    async def _check(self, item: InboxItem, source: Source, preset: Preset) -> None:
        try:
            proof = await self._prove(item, source, preset)
        except Unavailable as error:
            proof = Proof(Objection.KEY_UNAVAILABLE, str(error))
        except Exception as fault:  # noqa: BLE001 - a bug in a preset concerns this request and no other
            proof = Proof(Objection.UNREADABLE, f"The preset failed at it: {type(fault).__name__}.")
        self._done(item, proof)

    async def _prove(self, item: InboxItem, source: Source, preset: Preset) -> Proof:
        """By the secrets that counted when the request came: it is as genuine later as it was then."""
        received = as_received(item.request)
        secrets = source.secrets_at(received.at)
        if not secrets:
            return Proof(Objection.NO_SECRET, "The source has no secret to check the request with.")
        try:
            fetch = preset.scheme.needs(received)
            document = None if fetch is None else await self._documents.get(fetch)
            preset.scheme.verify(received, secrets, now_s=received.at // 1_000, fetched=document)
        except SignatureInvalid as error:
            return Proof(Objection.BAD_SIGNATURE, f"{error.message} ({error.reason})")
        return Proof()
