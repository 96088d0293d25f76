"""What may be wrong with what comes in, and how sources usually speak."""

import asyncio
from typing import Any

from msgspec.structs import replace

from posthouse.core.inbound import IncidentKind, Rhythm
from posthouse.core.model import Environment
from posthouse.testing.conformance.scene import Stores
from posthouse.testing.conformance.values import NOW, SOURCE

SILENT = IncidentKind.SOURCE_SILENT
FULL = IncidentKind.QUARANTINE_FULL


class TestIncidents:
    """``open_incident``, ``close_incident``, ``incidents``, ``rhythms`` and ``put_rhythms``."""

    async def test_it_comes_back_as_it_was(self, stores: Stores) -> None:
        scene = await stores.open()
        plain = scene.values.incident()
        full = scene.values.incident(
            kind=IncidentKind.SEQUENCE_GAP, closed_at=NOW + 1, stream="s", first=5, last=9, missing=2
        )
        for incident in (plain, full):
            assert await scene.store.inbound.open_incident(incident)
        assert await (await stores.open()).incidents() == [full, plain]

    async def test_one_of_a_kind_is_open_for_a_source(self, stores: Stores) -> None:
        scene = await stores.open()
        inbound = scene.store.inbound
        incidents = [scene.values.incident() for _ in range(3)]
        opened = await asyncio.gather(*(inbound.open_incident(incident) for incident in incidents))
        assert sorted(opened) == [False, False, True]
        assert await inbound.open_incident(scene.values.incident(kind=FULL))
        assert await inbound.open_incident(scene.values.incident(source_key=6))
        assert await inbound.close_incident(SILENT, SOURCE, now=NOW + 7)
        assert not await inbound.close_incident(SILENT, SOURCE, now=NOW + 8)
        assert await inbound.open_incident(scene.values.incident())
        found = await scene.incidents(kind=SILENT, source_key=SOURCE)
        assert [i.closed_at for i in found] == [None, NOW + 7]

    async def test_lists_are_narrowed(self, stores: Stores) -> None:
        scene = await stores.open()
        incidents = [
            scene.values.incident(),
            scene.values.incident(source_key=6, tenant="other"),
            scene.values.incident(source_key=7, environment=Environment.TEST),
            scene.values.incident(kind=FULL),
        ]
        for incident in incidents:
            await scene.store.inbound.open_incident(incident)
        await scene.store.inbound.close_incident(SILENT, SOURCE, now=NOW + 1)
        a, b, c, d = (incident.key for incident in incidents)
        queries: list[tuple[dict[str, Any], list[int]]] = [
            ({}, [d, b, a]),
            ({"environment": Environment.TEST}, [c]),
            ({"tenant": "other"}, [b]),
            ({"source_key": SOURCE}, [d, a]),
            ({"kind": FULL}, [d]),
            ({"is_open": True}, [d, b]),
            ({"is_open": False}, [a]),
            ({"is_open": False, "kind": FULL}, []),
            ({"limit": 1}, [d]),
            ({"after": d}, [b, a]),
            ({"after": a}, []),
        ]
        for query, found in queries:
            assert [i.key for i in await scene.incidents(**query)] == found

    async def test_rhythms_are_kept(self, stores: Stores) -> None:
        """By source; the latest word counts."""
        scene = await stores.open()
        inbound = scene.store.inbound
        assert await inbound.rhythms() == []
        first = Rhythm(source_key=9, seen_at=NOW, seen=4, pauses=(1_000, 0, 70), day=20_000)
        second = Rhythm(source_key=7, seen_at=NOW + 1)
        await inbound.put_rhythms([first, second])
        changed = replace(first, seen=5, pauses=())
        await inbound.put_rhythms([changed])
        await inbound.put_rhythms([])
        assert await (await stores.open()).store.inbound.rhythms() == [second, changed]
