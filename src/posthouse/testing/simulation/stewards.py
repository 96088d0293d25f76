"""Operators of sources: they make them, hold and refuse what comes, change secrets, and empty the quarantine."""

import asyncio
import json
from collections import defaultdict
from collections.abc import Callable
from random import Random
from typing import Any, Final
from urllib.parse import urlsplit

from posthouse.core.ids import SOURCE, parse_id, parse_quarantined_id
from posthouse.core.ports import Clock
from posthouse.providers.index import PRESETS
from posthouse.testing.simulation.api_client import ApiClient
from posthouse.testing.simulation.letters import SECRETS
from posthouse.testing.simulation.plan import Plan, SourceAct, SourcePlan, SourceVerb, generator
from posthouse.testing.simulation.records import Call, Outcome, Records, SecretRecord, SourceCall, SourceRecord

_AT_ONCE: Final = 20  #: entries of the quarantine that an operator looks at
_OVERLAPS_MS: Final = (0, 2_000, 20_000, 3_600_000)
_BODILESS: Final = (SourceVerb.RESUME, SourceVerb.REVERIFY)


class Stewards:
    """All who look after sources.

    Args:
        plan: what they do.
        api: sends and writes down.
        records: get everything.
        clock: the node's.
        over: whether the history is over, so that nobody tries again.
    """

    def __init__(
        self, plan: Plan, api: Callable[[], ApiClient], records: Records, clock: Clock, over: Callable[[], bool]
    ) -> None:
        self._api = api()
        self._records = records
        self._clock = clock
        self._over = over
        self._loop = asyncio.get_running_loop()
        self._chance: Random = generator(plan.seed, "stewards")
        self._locks: dict[int, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._acts = 0
        for planned in plan.sources:
            record = SourceRecord(planned, PRESETS[planned.provider].answers.accepted)
            record.secrets.append(SecretRecord(SECRETS[planned.provider], self._loop.time()))
            records.sources.append(record)

    async def create(self, planned: SourcePlan) -> None:
        """Create a source of the plan; returns when it is there."""
        record = self._records.sources[planned.number]
        document = {
            "name": f"source {planned.number}",
            "provider": planned.provider,
            "tenant": planned.tenant,
            "secrets": [record.secret],
            "while_paused": "refuse" if planned.refuses else "hold",
        }
        call = await self._insist([], None, "/v1/sources", document, key=f"create source {planned.number}")
        if call.outcome is Outcome.DONE:
            record.id = call.answer["id"]
            record.key = parse_id(SOURCE, call.answer["id"])
            record.path = urlsplit(call.answer["url"]).path
            record.secrets[0].sure_at = call.ended_at

    async def act(self, act: SourceAct) -> None:
        """Do one thing of the plan."""
        record = self._records.sources[act.source]
        self._acts += 1
        self._records.counts[f"source {act.verb}"] += 1
        if record.id is None:
            return
        async with self._locks[act.source]:
            await self._act(record, act)

    async def finish(self) -> None:
        """Let every source go on, and look once more at what was refused by a secret that came too early."""
        for record in self._records.sources:
            if record.id is not None:
                for verb in _BODILESS:
                    call = self._begin(record.calls, verb, f"/v1/sources/{record.id}/{verb}")
                    await self._api.finish(call, patience=10.0)

    # -- inside ---------------------------------------------------------------------------------

    async def _act(self, record: SourceRecord, act: SourceAct) -> None:
        if act.verb in {SourceVerb.RELEASE, SourceVerb.DISCARD}:
            await self._resolve(record, act.verb)
        elif act.verb is SourceVerb.ROTATE:
            await self._rotate(record)
        else:
            await self._insist(record.calls, act.verb, f"/v1/sources/{record.id}/{act.verb}")

    async def _rotate(self, record: SourceRecord) -> None:
        """The sender signs by the new secret from the beginning, or only when the node is sure to know it."""
        if record.plan.provider == "connectwise":
            return  # what stands for a secret there is whose it is
        secret = self._chance.randbytes(16).hex()
        overlap_ms = self._chance.choice(_OVERLAPS_MS)
        new = SecretRecord(secret, self._loop.time())
        if self._chance.random() < 0.5:
            record.secrets.append(new)
        began_ms = self._clock.now_ms()
        document = {"secret": secret, "overlap_ms": overlap_ms}
        path = f"/v1/sources/{record.id}/rotate-secret"
        call = await self._insist(record.calls, SourceVerb.ROTATE, path, document, key=f"rotate source {self._acts}")
        if new not in record.secrets:
            new.since = self._loop.time()
            record.secrets.append(new)
        if call.outcome is Outcome.DONE:
            new.sure_at = call.ended_at
            ends_ms = max(began_ms, self._clock.now_ms()) + overlap_ms
            for old in record.secrets:
                if old is not new:
                    old.until_ms = ends_ms if old.until_ms is None else min(old.until_ms, ends_ms)
                    old.until_asked_at = call.ended_at or 0.0

    async def _resolve(self, record: SourceRecord, verb: SourceVerb) -> None:
        """Release or give up some of the latest entries."""
        found = await self._api.ask("GET", f"/v1/quarantine?source={record.id}&limit={_AT_ONCE}")
        if found.outcome is not Outcome.DONE or not found.answer["data"]:
            return
        ids = [shown["id"] for shown in found.answer["data"] if self._chance.random() < 0.5]
        entries = frozenset(place for place in map(parse_quarantined_id, ids) if place is not None)
        if entries:
            await self._insist(record.calls, verb, f"/v1/quarantine/{verb}", {"ids": ids}, entries=entries)

    async def _insist(
        self,
        calls: list[SourceCall],
        verb: SourceVerb | None,
        path: str,
        document: Any = None,
        *,
        key: str | None = None,
        entries: frozenset[tuple[int, int]] = frozenset(),
    ) -> Call:
        """Ask until there is a clear answer. Each request is a possible change of its own, if it has a verb."""
        while True:
            call = self._begin(calls, verb, path, document, key=key, entries=entries)
            await self._api.finish(call, patience=5.0)
            if call.outcome is Outcome.DONE or self._over():
                return call
            if call.outcome is Outcome.REFUSED and call.status not in {401, 429, 503}:
                return call
            await asyncio.sleep(0.5)

    def _begin(
        self,
        calls: list[SourceCall],
        verb: SourceVerb | None,
        path: str,
        document: Any = None,
        *,
        key: str | None = None,
        entries: frozenset[tuple[int, int]] = frozenset(),
    ) -> Call:
        call = self._api.begin("POST", path, b"" if document is None else json.dumps(document).encode(), key=key)
        if verb is not None:
            calls.append(SourceCall(verb, call, entries))
        return call
