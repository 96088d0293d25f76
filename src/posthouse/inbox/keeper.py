"""What is looked after beside the requests themselves: how sources usually speak, what is kept too long, what is lost.

Of several nodes each hears what is sent to it, and the one that owns a source's slot judges by what all of them have
written down. Nothing here holds up a request. What could not be done is done at the next turn.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from posthouse.core.errors import PosthouseError
from posthouse.core.ids import SOURCE, make_id
from posthouse.core.inbound import (
    Incident,
    IncidentKind,
    Resolution,
    Rhythm,
    Source,
    SourceState,
)
from posthouse.core.limits import QUARANTINE_MS, QUARANTINE_STEP_MAX
from posthouse.core.model import Environment
from posthouse.core.ports import Clock
from posthouse.core.rhythm import heard, is_silent, latest, usual_pause_ms
from posthouse.engine.seldom import SeldomLog
from posthouse.gateway.catalogue import Catalogue
from posthouse.gateway.presets import preset_of
from posthouse.gateway.refused import RefusedRoom
from posthouse.providers.preset import ID_WINDOW_SECONDS
from posthouse.store.protocol import InboundFacet, InboxItem
from posthouse.telemetry import Log, Metrics, log

LOOK_SECONDS: Final = 2.0  #: between two looks at who is silent
LOOK_SLICE: Final = 500  #: sources, then others have their turn
WRITE_SECONDS: Final = 10.0  #: between two writes of what was heard
CLEAN_SECONDS: Final = 60.0  #: between two looks at what was kept for long enough
_EVERYBODYS: Final = 0  # whoever owns the slot of this key cleans up for all sources
RESTORE_ROWS: Final = 5_000  #: of what recognises repetitions, restored or forgotten in one transaction


class Keeper:
    """Looks after the sources of one node."""

    def __init__(
        self,
        store: InboundFacet,
        catalogue: Catalogue,
        room: RefusedRoom,
        *,
        clock: Clock,
        new_key: Callable[[], int],
        metrics: Metrics,
        is_ours: Callable[[int], bool] = lambda _: True,
        has_others: Callable[[], bool] = lambda: False,
    ) -> None:
        """``is_ours(key)``: whether this node looks after the source of this key, and no other one does.

        ``has_others()``: whether there are other nodes that hear of sources.
        """
        self._is_ours = is_ours
        self._has_others = has_others
        self._store = store
        self._catalogue = catalogue
        self._room = room
        self._clock = clock
        self._new_key = new_key
        self._rhythms: dict[int, Rhythm] = {}
        self._unwritten: set[int] = set()
        self._silent: set[int] = set()
        self._full: set[int] = set()
        self._listening_since = 0
        self._dedupe_doubted = True  # until the store has said that nothing is missing
        self._dedupe_lost = False
        self._written_at = self._cleaned_at = 0.0
        self._failed = SeldomLog(Log.INBOX_FAILED, clock)
        self._task: asyncio.Task[None] | None = None
        metrics.gauge("sources_silent", lambda: len(self._silent))

    async def start(self) -> None:
        """Read how sources spoke before, and begin. Raises StoreUnavailable."""
        self._rhythms = {rhythm.source_key: rhythm for rhythm in await self._store.rhythms()}
        self._listening_since = self._clock.now_ms()
        await self._room.measure()
        self._written_at = self._cleaned_at = self._clock.monotonic()
        self._task = asyncio.create_task(self._keep())

    async def stop(self) -> None:
        """Write what was heard, and end. Idempotent."""
        task, self._task = self._task, None
        if task is None:
            return
        task.cancel()
        await asyncio.wait([task])
        try:
            await self._write()
        except PosthouseError as error:
            self._failed(error)

    # -- what is heard --------------------------------------------------------------------------

    def arrived(self, items: Sequence[InboxItem]) -> None:
        """These requests came, of senders that were not refused."""
        latest: dict[int, tuple[int, int]] = {}
        for item in items:
            request = item.request
            latest[request.source_key] = (latest.get(request.source_key, (0, 0))[0] + 1, request.received_at)
        for source_key, (count, at) in latest.items():
            self._rhythms[source_key] = heard(self._rhythms.get(source_key), source_key, at, count=count)
            self._unwritten.add(source_key)

    def dedupe_lost(self) -> None:
        """Repetitions are not recognised: it is restored."""
        self._dedupe_doubted = True
        if not self._dedupe_lost:
            self._dedupe_lost = True
            log(Log.DEDUPE_LOST)

    # -- the rounds -----------------------------------------------------------------------------

    async def _keep(self) -> None:
        while True:
            try:
                await self.look()
            except PosthouseError as error:
                self._failed(error)
            except Exception as fault:  # noqa: BLE001 - a bug in one round must not end all others
                log(Log.LOOP_FAILED, exc_info=fault, loop="keeper")
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """One round. Raises StoreUnavailable."""
        await self._look_for_silence()
        await self._restore_dedupe()
        now = self._clock.monotonic()
        if now - self._written_at >= WRITE_SECONDS:
            self._written_at = now
            if self._has_others():
                await self._hear_others()
            await self._write()
        if now - self._cleaned_at >= CLEAN_SECONDS:
            self._cleaned_at = now
            await self._clean()

    async def _restore_dedupe(self) -> None:
        while self._dedupe_doubted:
            self._dedupe_doubted = not await self._store.restore_dedupe(now=self._clock.now_ms(), limit=RESTORE_ROWS)
        if self._dedupe_lost:
            self._dedupe_lost = False
            log(Log.DEDUPE_RESTORED)

    async def _write(self) -> None:
        keys, self._unwritten = self._unwritten, set()
        if keys:
            try:
                if self._has_others():
                    await self._hear_others()
                await self._store.put_rhythms([self._rhythms[key] for key in keys])
            except PosthouseError:
                self._unwritten |= keys
                raise

    async def _hear_others(self) -> None:
        """Take in what other nodes have heard, and when they found a source silent."""
        for rhythm in await self._store.rhythms():
            mine = self._rhythms.get(rhythm.source_key)
            self._rhythms[rhythm.source_key] = rhythm if mine is None else latest(mine, rhythm)

    async def _look_for_silence(self) -> None:
        now = self._clock.now_ms()
        for environment in Environment:
            for number, source in enumerate(self._catalogue.sources(environment)):
                if number % LOOK_SLICE == LOOK_SLICE - 1:
                    await asyncio.sleep(0)  # ten thousand of them take 15 ms; nobody shall wait for that
                if not self._is_ours(source.key):
                    self._silent.discard(source.key)
                    continue
                silent = source.state is SourceState.ACTIVE and self._is_silent(source, now)
                if silent and source.key not in self._silent and self._has_others():
                    await self._hear_others()
                    silent = self._is_silent(source, now)
                if silent != (source.key in self._silent):
                    await self._tell(source, now, silent=silent)

    def _is_silent(self, source: Source, now: int) -> bool:
        rule = source.rules.heartbeat_seconds
        rhythm = self._rhythms.get(source.key)
        if rhythm is None and not rule:
            return False  # it has never said anything, and nobody has promised that it would
        heartbeat = preset_of(source).heartbeat_seconds if rule is None else rule
        usual_ms = usual_pause_ms(rhythm, heartbeat)
        seen_at = source.created_at if rhythm is None else rhythm.seen_at
        return usual_ms is not None and is_silent(
            usual_ms, seen_at=seen_at, listening_since=self._listening_since, now=now
        )

    async def _tell(self, source: Source, now: int, *, silent: bool) -> None:
        name = make_id(SOURCE, source.key)
        if silent:
            incident = self._incident(source, IncidentKind.SOURCE_SILENT, "Nothing came for twice as long as usual.")
            await self._store.open_incident(incident)
            self._silent.add(source.key)
            log(Log.SOURCE_SILENT, source=name)
        else:
            await self._store.close_incident(IncidentKind.SOURCE_SILENT, source.key, now=now)
            self._silent.discard(source.key)
            log(Log.SOURCE_SPEAKS, source=name)

    async def _clean(self) -> None:
        """Let go of what was refused long ago, and of what nobody can repeat any more."""
        now = self._clock.now_ms()
        await self._room.measure()
        await self._note_full_quarantines(now)
        if not self._is_ours(_EVERYBODYS):
            return
        while True:
            entries = await self._store.expired(before=now - QUARANTINE_MS, limit=QUARANTINE_STEP_MAX)
            if entries:
                await self._store.resolve(entries, Resolution.EXPIRED, now=now)
            if len(entries) < QUARANTINE_STEP_MAX:
                break
        await self._store.prune_dedupe(before=now - self._longest_window_ms(), limit=RESTORE_ROWS)

    async def _note_full_quarantines(self, now: int) -> None:
        for environment in Environment:
            for source in self._catalogue.sources(environment):
                if not self._is_ours(source.key):
                    continue
                if source.key in self._room.full:
                    detail = "Refused requests of the source are not kept: those that are take all the room."
                    await self._store.open_incident(self._incident(source, IncidentKind.QUARANTINE_FULL, detail))
                    self._full.add(source.key)
                elif source.key in self._full:
                    await self._store.close_incident(IncidentKind.QUARANTINE_FULL, source.key, now=now)
                    self._full.discard(source.key)

    def _longest_window_ms(self) -> int:
        seconds = ID_WINDOW_SECONDS
        for environment in Environment:
            for source in self._catalogue.sources(environment):
                seconds = max(seconds, preset_of(source).window_seconds)
        return seconds * 1_000

    def _incident(self, source: Source, kind: IncidentKind, detail: str) -> Incident:
        return Incident(
            key=self._new_key(),
            environment=source.environment,
            tenant=source.tenant,
            kind=kind,
            source_key=source.key,
            opened_at=self._clock.now_ms(),
            detail=detail,
        )
