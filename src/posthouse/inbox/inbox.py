"""The inbox of a node: what is kept and acknowledged is read and passed on, in one transaction that a crash repeats.

Memory holds the head of each source's part (:mod:`~posthouse.inbox.trays`); the store has all of it. One step takes
items from the trays, reads them, and hands in what they hold; only the commit takes them out of the inbox.
"""

import asyncio
from collections import deque
from collections.abc import Coroutine, Sequence
from typing import Any, Final, NamedTuple

from posthouse.core.errors import PosthouseError, StoreUnavailable
from posthouse.core.failpoints import Failpoint, Reach, pass_by
from posthouse.core.inbound import WHOLE, Objection, Source, SourceState, WhilePaused
from posthouse.core.limits import (
    FETCH_ATTEMPTS_MAX,
    FETCHES_AT_ONCE,
    INBOX_POSTPONED_MS_MAX,
    INBOX_STEP_EVENTS_MAX,
    INBOX_STEP_REQUESTS_MAX,
    INBOX_WINDOW_BYTES_MAX,
    INBOX_WINDOW_ITEMS_MAX,
)
from posthouse.core.ports import Clock
from posthouse.engine.seldom import SeldomLog
from posthouse.gateway.catalogue import Catalogue
from posthouse.gateway.hints import Hints
from posthouse.gateway.key_source import KeySource
from posthouse.gateway.presets import preset_of
from posthouse.gateway.routes import EventRouter, owed_by
from posthouse.inbox.keeper import Keeper
from posthouse.inbox.proofs import Documents, Proof, Proofs
from posthouse.inbox.reader import RequestReader
from posthouse.inbox.trays import Tray, Trays, needs_proof
from posthouse.store.protocol import (
    InboundFacet,
    InboxItem,
    Overtaken,
    PassedOn,
    PassResult,
    ReadRequest,
    StaleCatalogue,
    Work,
)
from posthouse.telemetry import Log, Metrics, log
from posthouse.transport.protocol import Transport

STEP_SECONDS: Final = 0.02  #: of reading, before others have their turn: what is packed may take its time
SWEEP_SECONDS: Final = 5.0  #: what nobody told of is found after this
AGAIN_SECONDS: Final = 1.0  #: after the store was not available
FETCH_AGAIN_MS: Final = 2_000  #: after the first failed fetch of a key; then twice as long each time
READS_AT_ONCE: Final = 4  #: heads of trays that the store is asked for
PROOFS_MAX: Final = 4 * FETCHES_AT_ONCE  #: requests that wait for a key in memory


class _Checked(NamedTuple):
    """An item whose sender is known, or known to be somebody else."""

    tray: Tray
    item: InboxItem
    proof: Proof


class _Read(NamedTuple):
    """An item that was read."""

    checked: _Checked
    reading: ReadRequest


class Inbox:
    """Implements :class:`posthouse.gateway.hints.InboxHints`. All of it runs on one event loop."""

    def __init__(
        self,
        store: InboundFacet,
        catalogue: Catalogue,
        router: EventRouter,
        hints: Hints,
        keeper: Keeper,
        *,
        transport: Transport,
        clock: Clock,
        new_key: KeySource,
        metrics: Metrics,
        reach: Reach = pass_by,
    ) -> None:
        self._store = store
        self._catalogue = catalogue
        self._hints = hints
        self._keeper = keeper
        self._clock = clock
        self._metrics = metrics
        self._reach = reach
        self._new_key = new_key
        self._reader = RequestReader(catalogue, router, clock, new_key)
        self._proofs = Proofs(Documents(transport, clock, metrics), self._proven)
        self._trays = Trays()
        self._checked: deque[_Checked] = deque()  # whose proof is known, to be read next
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._reads: set[asyncio.Task[None]] = set()
        self._asking = 0  # reads under way
        self._stopping = False
        self._failed = SeldomLog(Log.INBOX_FAILED, clock)
        metrics.gauge("inbox_items", lambda: self._trays.items)
        metrics.gauge("inbox_bytes", lambda: self._trays.bytes)

    # -- life -----------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin with what an earlier life left in the inbox."""
        self._tasks = [asyncio.create_task(self._run()), asyncio.create_task(self._sweep())]
        for task in self._tasks:
            task.add_done_callback(_ended)

    async def stop(self) -> None:
        """Finish the step that is under way; the rest stays in the store. Idempotent."""
        self._stopping = True
        self._wake.set()
        if not self._tasks:
            return
        run, sweep = self._tasks
        sweep.cancel()
        await asyncio.wait([run, sweep])
        for task in tuple(self._reads):
            task.cancel()
        await asyncio.gather(*self._reads, return_exceptions=True)
        await self._proofs.close()

    # -- hints ----------------------------------------------------------------------------------

    def arrived(self, items: Sequence[InboxItem]) -> None:
        """These requests are durable now, and wait to be passed on."""
        tray = None
        for item in items:
            if tray is None or tray.source_key != item.request.source_key:
                tray = self._tray(item.request.source_key)
            self._trays.offer(tray, item)
        self._keeper.arrived(items)
        self._wake.set()

    def source_changed(self, source: Source) -> None:
        """This is the source as it is now."""
        tray = self._trays.of(source.key)
        held = _is_held(source)
        if tray.is_held != held:
            self._trays.hold(tray, held=held)
        else:
            tray.more = True
        self._wake.set()

    def returned(self, source_key: int) -> None:
        """The store may hold due items of this source that nobody here knows."""
        tray = self._tray(source_key)
        tray.more = True
        tray.is_resting = False
        self._wake.set()

    def _tray(self, source_key: int) -> Tray:
        tray = self._trays.of(source_key)
        source = self._catalogue.source(source_key)
        tray.is_held = source is not None and _is_held(source)
        return tray

    # -- from the store to the trays --------------------------------------------------------------

    async def _sweep(self) -> None:
        while True:
            try:
                now = self._clock.now_ms()
                for source_key, due_at in (await self._store.waiting()).items():
                    if not now < due_at <= now + INBOX_POSTPONED_MS_MAX:
                        self.returned(source_key)
            except PosthouseError as error:
                self._failed(error)
            await asyncio.sleep(SWEEP_SECONDS)

    def _fill(self) -> None:
        """Read the head of every part that the store may know more of, and that is used up here."""
        for tray in self._trays.hungry()[: READS_AT_ONCE - self._asking]:
            self._trays.ask(tray)
            self._asking += 1
            self._beside(self._read_head(tray))

    def _beside(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._reads.add(task)
        task.add_done_callback(self._reads.discard)

    async def _read_head(self, tray: Tray) -> None:
        try:
            await self._ask_store(tray)
        except PosthouseError as error:
            self._failed(error)
            tray.is_reading = False
            tray.is_resting = True  # until it is asked again
            self._later(AGAIN_SECONDS, tray.source_key)
        finally:
            self._asking -= 1
            self._wake.set()

    async def _ask_store(self, tray: Tray) -> None:
        self._reach(Failpoint.INBOX_LOOKING)
        page = await self._store.fetch(
            tray.source_key,
            now=self._clock.now_ms(),
            limit=INBOX_WINDOW_ITEMS_MAX + len(tray.in_hand),
            bytes_max=INBOX_WINDOW_BYTES_MAX,
        )
        self._reach(Failpoint.INBOX_LOOKED)
        self._trays.fill(tray, page.items, more=page.more)
        if tray.more and not tray.items:
            # All that was read is in hand already. To ask at once would be to ask until that is done.
            tray.is_resting = True
            self._later(AGAIN_SECONDS, tray.source_key)
        if page.next_due_at is not None:
            self._later(max(0, page.next_due_at - self._clock.now_ms()) / 1_000, tray.source_key)

    def _later(self, seconds: float, source_key: int) -> None:
        if not self._stopping:
            asyncio.get_running_loop().call_later(seconds, self.returned, source_key)

    # -- one step after the other -----------------------------------------------------------------

    async def _run(self) -> None:
        while not self._stopping:
            self._wake.clear()
            self._fill()
            readings = self._gather()
            if not readings:
                await self._wake.wait()
                continue
            try:
                await self._pass_on(readings)
            except StoreUnavailable as error:
                self._failed(error)
                self._put_back(readings)
                await asyncio.sleep(AGAIN_SECONDS)
            except Exception as fault:  # noqa: BLE001 - one bad request must not hold up the others
                self._failed(fault)
                await self._one_by_one(readings)

    def _gather(self) -> list[_Read]:
        """Read as many requests as one step takes, one of them however long that is."""
        readings: list[_Read] = []
        events = 0
        until = self._clock.monotonic() + STEP_SECONDS
        while len(readings) < INBOX_STEP_REQUESTS_MAX and events < INBOX_STEP_EVENTS_MAX:
            if readings and self._clock.monotonic() > until:
                break
            checked = self._next()
            if checked is None:
                break
            reading = self._look_at(checked)
            readings.append(_Read(checked, reading))
            events += len(reading.events)
        return readings

    def _look_at(self, checked: _Checked) -> ReadRequest:
        item, proof = checked.item, checked.proof
        source = self._catalogue.source(checked.tray.source_key)
        assert source is not None, "sources are never removed"
        if proof.objection is not None:
            return self._reader.refuse(item, source, proof.objection, proof.detail)
        try:
            return self._reader.read(item, source, preset_of(source))
        except Exception as fault:  # noqa: BLE001 - one bad request must not hold up the others
            log(Log.LOOP_FAILED, exc_info=fault, loop="inbox")
            return self._give_up(checked, fault)

    def _give_up(self, checked: _Checked, fault: Exception) -> ReadRequest:
        """What becomes of a request at which Posthouse itself fails: it is kept, for a person to look at."""
        source = self._catalogue.source(checked.tray.source_key)
        assert source is not None, "sources are never removed"
        detail = f"Posthouse failed at it: {type(fault).__name__}."
        return self._reader.refuse(checked.item, source, Objection.UNREADABLE, detail)

    def _next(self) -> _Checked | None:
        """The next item whose sender is known. Those that need a key are sent to be checked on the way."""
        if self._checked:
            return self._checked.popleft()
        while (taken := self._trays.take(provable=len(self._proofs) < PROOFS_MAX)) is not None:
            tray, item = taken
            source = self._catalogue.source(tray.source_key)
            if source is None:  # made by a node that has told nobody yet: the next sweep finds it
                self._trays.let_go(tray, item)
                continue
            if not needs_proof(item):
                return _Checked(tray, item, Proof())
            self._proofs.start(item, source, preset_of(source))
        return None

    def _proven(self, item: InboxItem, proof: Proof) -> None:
        tray = self._trays.of(item.request.source_key)
        if proof.objection is Objection.KEY_UNAVAILABLE and item.attempts + 1 < FETCH_ATTEMPTS_MAX:
            self._beside(self._postpone(tray, item))
        else:
            self._checked.append(_Checked(tray, item, proof))
        self._wake.set()  # also because there is room for another one to be checked

    async def _postpone(self, tray: Tray, item: InboxItem) -> None:
        attempts = item.attempts + 1
        delay_ms = FETCH_AGAIN_MS << item.attempts
        try:
            await self._store.postpone(
                item.request.key, item.position, attempts=attempts, due_at=self._clock.now_ms() + delay_ms
            )
        except PosthouseError as error:
            self._failed(error)
        self._trays.let_go(tray, item)
        self._later(delay_ms / 1_000, tray.source_key)

    async def _pass_on(self, readings: Sequence[_Read]) -> None:
        self._reach(Failpoint.INBOX_READ)
        results = await self._store.pass_on([read.reading for read in readings], now=self._clock.now_ms())
        self._reach(Failpoint.INBOX_DURABLE)
        work: list[Work] = []
        is_stale = False
        for (checked, reading), result in zip(readings, results, strict=True):
            if isinstance(result, StaleCatalogue):
                is_stale = True
                self._checked.append(checked)
                continue
            if isinstance(result, Overtaken):
                self._new_key.raise_to(result.floor)
                self._checked.append(checked)  # read anew, its events get keys above that
                continue
            self._trays.let_go(checked.tray, checked.item)
            if isinstance(result, PassedOn):
                self._count(reading, result)
                self._catalogue.named(reading.new_tenants, reading.catalogue_version)
                for event, accepted in zip(reading.events, result.events, strict=True):
                    if not accepted.duplicate:
                        work += owed_by(event.new)
        self._hints.accepted(work)
        self._reach(Failpoint.INBOX_DONE)
        if is_stale:
            await self._catalogue.refresh()

    async def _one_by_one(self, readings: Sequence[_Read]) -> None:
        """One of them spoiled the step: it alone is put in quarantine."""
        for read in readings:
            try:
                await self._pass_on((read,))
            except StoreUnavailable:
                self._put_back((read,))
            except Exception as fault:  # noqa: BLE001 - it concerns this request alone
                await self._set_aside(read.checked, fault)

    async def _set_aside(self, checked: _Checked, fault: Exception) -> None:
        try:
            await self._pass_on((_Read(checked, self._give_up(checked, fault)),))
        except Exception as error:  # noqa: BLE001 - it stays in the inbox, where it can be seen
            log(Log.LOOP_FAILED, exc_info=error, loop="inbox")
            self._trays.let_go(checked.tray, checked.item)

    def _put_back(self, readings: Sequence[_Read]) -> None:
        """Leave them to the store: its inbox has them still, if it did not take them out after all."""
        for checked, _ in readings:
            checked.tray.more = True
            self._trays.let_go(checked.tray, checked.item)

    def _count(self, reading: ReadRequest, result: PassResult) -> None:
        assert isinstance(result, PassedOn)
        metrics = self._metrics
        metrics.requests_read += reading.item.position == WHOLE
        metrics.heartbeats += reading.is_heartbeat
        repeated = sum(accepted.duplicate for accepted in result.events)
        metrics.events_repeated += repeated
        metrics.events_received += len(result.events) - repeated
        metrics.deliveries_owed += sum(accepted.owed for accepted in result.events if not accepted.duplicate)
        for doubt in reading.doubts:
            metrics.quarantined[doubt.objection.value] += 1
        if result.unchecked:
            metrics.events_unchecked += len(result.events)
            self._keeper.dedupe_lost()


def _ended(task: "asyncio.Task[None]") -> None:
    """Nothing is read any more if it ended by a fault, so somebody has to hear of it."""
    if not task.cancelled() and (fault := task.exception()) is not None:
        log(Log.LOOP_FAILED, exc_info=fault, loop="inbox")


def _is_held(source: Source) -> bool:
    return source.state is SourceState.PAUSED and source.rules.while_paused is WhilePaused.HOLD
