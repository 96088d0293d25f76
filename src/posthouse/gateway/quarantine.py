"""The quarantine: what is kept and not passed on is listed, looked at again, released or given up."""

from collections.abc import Sequence
from itertools import groupby
from typing import Final

import msgspec

from posthouse.core import limits
from posthouse.core.errors import InvalidInput, NotFound
from posthouse.core.ids import API_KEY, SOURCE, make_id, parse_quarantined_id
from posthouse.core.inbound import DOUBTS, Objection, Quarantined, Resolution, Source, Verdict
from posthouse.core.model import Environment
from posthouse.core.ports import Clock
from posthouse.gateway.catalogue import Catalogue
from posthouse.gateway.hints import InboxHints
from posthouse.gateway.presets import preset_of
from posthouse.gateway.principal import Principal
from posthouse.gateway.receive import as_received, judge
from posthouse.gateway.sources import source_of
from posthouse.store.protocol import InboundFacet, QuarantineQuery
from posthouse.telemetry import Log, log

Place = tuple[int, int]  #: of an entry: key of its request, and position in it

_DOUBTS: Final = tuple(sorted(DOUBTS))
#: What was found out about a sender that makes a doubt void.
_SETTLED: Final = frozenset({Verdict.GENUINE, Verdict.UNPROVEN})


class QuarantineFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which entries are meant. None: any."""

    source_id: str | None = None
    tenant: str | None = None
    objections: tuple[Objection, ...] = ()  #: empty: any


class Step(msgspec.Struct, frozen=True):
    """What one call did; the caller goes on behind :attr:`after` until there is none."""

    examined: int  #: entries that were looked at
    changed: int  #: of these: those that left quarantine, or would without ``dry_run``
    after: Place | None = None  #: of the last entry, if more may stand behind it


class Quarantine:
    """Everything that people do with what is in quarantine."""

    def __init__(self, inbound: InboundFacet, catalogue: Catalogue, inbox: InboxHints, clock: Clock) -> None:
        self._inbound = inbound
        self._catalogue = catalogue
        self._inbox = inbox
        self._clock = clock

    # -- reading ------------------------------------------------------------------------------

    async def page(
        self,
        environment: Environment,
        wanted: QuarantineFilter,
        *,
        resolved: bool = False,
        after: Place | None,
        limit: int,
    ) -> list[Quarantined]:
        """Up to ``limit`` entries, newest first; ``resolved``: those that left it. Raises NotFound for the source."""
        query = self._query(environment, wanted, after=after, limit=limit)
        return await self._inbound.quarantine(msgspec.structs.replace(query, resolved=resolved, oldest_first=False))

    async def get(self, environment: Environment, entry_id: str) -> Quarantined:
        """The entry with this id, also if it has left quarantine. Raises NotFound."""
        place = parse_quarantined_id(entry_id)
        if place is not None:
            for resolved in (False, True):
                found = await self._find(environment, place, resolved=resolved)
                if found is not None:
                    return found
        raise NotFound("There is no entry of the quarantine with this id.")

    # -- one by one ---------------------------------------------------------------------------

    async def release(self, principal: Principal, ids: Sequence[str], *, dry_run: bool = False) -> Step:
        """Pass these entries on although something is said against them. Raises InvalidInput for what is no id.

        An entry that is not in quarantine (any more) is not changed.
        """
        return await self._resolve_each(principal, ids, Resolution.RELEASED, dry_run=dry_run)

    async def discard(self, principal: Principal, ids: Sequence[str], *, dry_run: bool = False) -> Step:
        """Give these entries up; they stay listed as resolved. As :meth:`release`."""
        return await self._resolve_each(principal, ids, Resolution.DISCARDED, dry_run=dry_run)

    # -- by what they have in common ----------------------------------------------------------

    async def release_matching(
        self, principal: Principal, wanted: QuarantineFilter, *, after: Place | None, limit: int, dry_run: bool
    ) -> Step:
        """Pass on the first ``limit`` entries, oldest first, that stand behind ``after``. Raises NotFound."""
        return await self._resolve_matching(
            principal, wanted, Resolution.RELEASED, after=after, limit=limit, dry_run=dry_run
        )

    async def discard_matching(
        self, principal: Principal, wanted: QuarantineFilter, *, after: Place | None, limit: int, dry_run: bool
    ) -> Step:
        """Give up the first ``limit`` entries, oldest first, that stand behind ``after``. Raises NotFound."""
        return await self._resolve_matching(
            principal, wanted, Resolution.DISCARDED, after=after, limit=limit, dry_run=dry_run
        )

    async def reverify(
        self, principal: Principal, source_id: str, *, after: Place | None, limit: int, dry_run: bool
    ) -> Step:
        """Look again at who sent the first ``limit`` refused requests of a source behind ``after``, oldest first.

        They are checked with the secrets that count now, as of the time at which they came. What is genuine goes to
        the inbox. Where a key must be fetched nothing can be known here: such a request goes back to the inbox, where
        the key is fetched anew and the request checked once more. Raises NotFound.
        """
        wanted = QuarantineFilter(source_id=source_id, objections=_DOUBTS)
        source = source_of(self._catalogue, principal.environment, source_id)
        found, more = await self._first(principal.environment, wanted, after=after, limit=limit)
        again: dict[Resolution, list[Quarantined]] = {Resolution.REVERIFIED: [], Resolution.RECHECKED: []}
        for entry in found:
            resolution = await self._second_look(source, entry)
            if resolution is not None:
                again[resolution].append(entry)
        changed = 0
        for resolution, entries in again.items():
            step = await self._resolve(principal, entries, resolution, examined=0, after=None, dry_run=dry_run)
            changed += step.changed
        return Step(len(found), changed, more)

    # -- inside -------------------------------------------------------------------------------

    async def _second_look(self, source: Source, entry: Quarantined) -> Resolution | None:
        """Why the entry may leave quarantine; None: it may not."""
        record = await self._inbound.request(entry.request_key)
        if record is None:
            return None
        request = record.request
        secrets = source.secrets_at(self._clock.now_ms())
        verdict = judge(preset_of(source).scheme, as_received(request), secrets).verdict
        if verdict is Verdict.PENDING:
            return Resolution.RECHECKED
        return Resolution.REVERIFIED if verdict in _SETTLED else None

    async def _resolve_each(
        self, principal: Principal, ids: Sequence[str], resolution: Resolution, *, dry_run: bool
    ) -> Step:
        found = []
        places = _places(ids)
        for place in places:
            entry = await self._find(principal.environment, place, resolved=False)
            if entry is not None:
                found.append(entry)
        return await self._resolve(principal, found, resolution, examined=len(places), after=None, dry_run=dry_run)

    async def _resolve_matching(
        self,
        principal: Principal,
        wanted: QuarantineFilter,
        resolution: Resolution,
        *,
        after: Place | None,
        limit: int,
        dry_run: bool,
    ) -> Step:
        found, more = await self._first(principal.environment, wanted, after=after, limit=limit)
        return await self._resolve(principal, found, resolution, examined=len(found), after=more, dry_run=dry_run)

    async def _resolve(
        self,
        principal: Principal,
        entries: Sequence[Quarantined],
        resolution: Resolution,
        *,
        examined: int,
        after: Place | None,
        dry_run: bool,
    ) -> Step:
        if dry_run or not entries:
            return Step(examined, len(entries), after)
        places = [(entry.request_key, entry.position) for entry in entries]
        left = set(await self._inbound.resolve(places, resolution, now=self._clock.now_ms()))
        changed = [entry for entry in entries if (entry.request_key, entry.position) in left]
        for source_key, group in groupby(sorted(entry.source_key for entry in changed)):
            if resolution is not Resolution.DISCARDED:
                self._inbox.returned(source_key)
            log(
                Log.QUARANTINE_RESOLVED,
                source=make_id(SOURCE, source_key),
                resolution=resolution.value,
                count=len(list(group)),
                by=make_id(API_KEY, principal.key),
            )
        return Step(examined, len(changed), after)

    async def _first(
        self, environment: Environment, wanted: QuarantineFilter, *, after: Place | None, limit: int
    ) -> tuple[list[Quarantined], Place | None]:
        """The first entries that are meant, and the place of the last one if there are more."""
        limit = min(limit, limits.QUARANTINE_STEP_MAX)
        found = await self._inbound.quarantine(self._query(environment, wanted, after=after, limit=limit + 1))
        shown = found[:limit]
        return shown, (shown[-1].request_key, shown[-1].position) if len(found) > limit else None

    async def _find(self, environment: Environment, place: Place, *, resolved: bool) -> Quarantined | None:
        """The entry at ``place``: the first one behind the place before it."""
        request_key, position = place
        query = QuarantineQuery(
            environment=environment,
            resolved=resolved,
            oldest_first=True,
            after=(request_key, position - 1),
            limit=1,
        )
        found = await self._inbound.quarantine(query)
        return next((entry for entry in found if (entry.request_key, entry.position) == place), None)

    def _query(
        self, environment: Environment, wanted: QuarantineFilter, *, after: Place | None, limit: int
    ) -> QuarantineQuery:
        source = None if wanted.source_id is None else source_of(self._catalogue, environment, wanted.source_id)
        return QuarantineQuery(
            environment=environment,
            tenant=wanted.tenant,
            source_key=None if source is None else source.key,
            objections=wanted.objections,
            oldest_first=True,
            after=after,
            limit=limit,
        )


def _places(ids: Sequence[str]) -> list[Place]:
    """Where the entries with these ids are, each once. Raises InvalidInput."""
    if not 1 <= len(ids) <= limits.QUARANTINE_STEP_MAX:
        raise InvalidInput.at(
            "ids",
            "count",
            f"One request names 1 to {limits.QUARANTINE_STEP_MAX:,} entries.",
            hint="Name fewer of them, or what they have in common.",
        )
    places: dict[Place, None] = {}
    for position, text in enumerate(ids):
        place = parse_quarantined_id(text)
        if place is None:
            raise InvalidInput.at(
                f"ids[{position}]",
                "id",
                "It is no id of an entry of the quarantine.",
                hint="Use ids such as qua_…, as the list of the quarantine shows them.",
            )
        places[place] = None
    return list(places)
