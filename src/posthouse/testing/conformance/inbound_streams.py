"""Numbers that are missing in the streams of senders."""

from collections.abc import Iterable
from typing import Any

from posthouse.core.gaps import STEPS_MIN
from posthouse.core.inbound import Incident, IncidentKind
from posthouse.core.limits import GAPS_OPEN_MAX
from posthouse.testing.conformance.scene import Scene, Stores
from posthouse.testing.conformance.values import NOW, SOURCE

TRUSTED = STEPS_MIN + 1  #: the numbers 1 to this one make a stream that counts without gaps


async def count(scene: Scene, numbers: Iterable[int], *, stream: str = "s", **fields: Any) -> None:
    """Bring in one request that holds an event for each number."""
    events = [
        scene.values.read_event(f"{stream}{number}", position=i, stream=stream, sequence=number)
        for i, number in enumerate(numbers)
    ]
    await scene.bring_in(*events, **fields)


async def gaps(scene: Scene, **query: Any) -> list[Incident]:
    """All gaps, newest first."""
    return await scene.incidents(kind=IncidentKind.SEQUENCE_GAP, **query)


class TestInboundStreams:
    """What ``pass_on`` makes of numbers; the rule itself is core.gaps."""

    async def test_a_gap_opens_an_incident(self, stores: Stores) -> None:
        scene = await stores.open()
        await count(scene, range(1, TRUSTED + 1))
        await count(scene, [TRUSTED + 3], now=NOW + 9)
        (gap,) = await gaps(scene)
        assert (gap.source_key, gap.tenant, gap.stream, gap.opened_at) == (SOURCE, "acme", "s", NOW + 9)
        assert (gap.first, gap.last, gap.missing, gap.closed_at) == (TRUSTED + 1, TRUSTED + 2, 2, None)
        assert gap.detail

    async def test_streams_go_on_after_opening_again(self, stores: Stores) -> None:
        """Each by itself, of each source."""
        scene = await stores.open()
        for stream, source_key in (("s", 5), ("t", 5), ("s", 6)):
            await count(scene, range(1, TRUSTED + 1), stream=stream, source_key=source_key)
        scene = await stores.open()
        await count(scene, [TRUSTED + 2], stream="t")
        await count(scene, [TRUSTED + 1], stream="s")
        await count(scene, [TRUSTED + 5], stream="s", source_key=6)
        assert [(g.source_key, g.stream, g.first) for g in await gaps(scene)] == [
            (6, "s", TRUSTED + 1),
            (5, "t", TRUSTED + 1),
        ]

    async def test_a_stream_that_never_counted_without_gaps_has_none(self, stores: Stores) -> None:
        scene = await stores.open()
        await count(scene, [1, 5, 9, 2, 70])
        assert await gaps(scene) == []

    async def test_numbers_that_come_late_shrink_a_gap(self, stores: Stores) -> None:
        """The last one closes it."""
        scene = await stores.open()
        await count(scene, range(1, TRUSTED + 1))
        await count(scene, [TRUSTED + 3, TRUSTED + 6])
        later, earlier = await gaps(scene)
        assert (later.missing, earlier.missing) == (2, 2)
        await count(scene, [TRUSTED + 1], now=NOW + 1)
        assert [(g.missing, g.closed_at) for g in await gaps(scene)] == [(2, None), (1, None)]
        await count(scene, [TRUSTED + 2], now=NOW + 2)
        assert [(g.missing, g.closed_at) for g in await gaps(scene)] == [(2, None), (0, NOW + 2)]
        await count(scene, [3], source_key=6)
        await count(scene, [TRUSTED + 4], stream="other")
        assert [g.missing for g in await gaps(scene, is_open=True)] == [2]

    async def test_a_gap_of_one_call_is_filled_in_it(self, stores: Stores) -> None:
        scene = await stores.open()
        await count(scene, range(1, TRUSTED + 1))
        requests = [await scene.take() for _ in range(2)]
        numbers = (TRUSTED + 2, TRUSTED + 1)
        await scene.pass_on(
            *(
                scene.reading(request, scene.values.read_event(f"late{n}", stream="s", sequence=n))
                for request, n in zip(requests, numbers, strict=True)
            )
        )
        assert [(g.missing, g.closed_at) for g in await gaps(scene)] == [(0, NOW)]

    async def test_repetitions_count_nothing(self, stores: Stores) -> None:
        scene = await stores.open()
        await count(scene, range(1, TRUSTED + 1))
        await count(scene, [TRUSTED + 3])
        await scene.bring_in(scene.values.read_event("s3", stream="s", sequence=TRUSTED + 1))
        await scene.bring_in(scene.values.read_event("s3", stream="s", sequence=TRUSTED + 9))
        assert [g.missing for g in await gaps(scene)] == [2]

    async def test_open_gaps_have_a_bound(self, stores: Stores) -> None:
        """Further ones are not recorded until some are closed."""
        scene = await stores.open()
        await count(scene, range(1, TRUSTED + 1))
        for start in range(0, GAPS_OPEN_MAX + 50, 350):
            await count(scene, range(TRUSTED + 2 * (start + 1), TRUSTED + 2 * (start + 350) + 1, 2))
        assert len(await gaps(scene, is_open=True, limit=2_000)) == GAPS_OPEN_MAX
        await count(scene, [TRUSTED + 1])
        await count(scene, [10_000])
        assert len(await gaps(scene, is_open=True, limit=2_000)) == GAPS_OPEN_MAX

    async def test_numbers_that_are_none(self, stores: Stores) -> None:
        """They come from outside: no number spoils a reading."""
        scene = await stores.open()
        await count(scene, [*range(TRUSTED + 1), -1, -(1 << 70), 1 << 63, 1 << 70, (1 << 63) - 2])
        (gap,) = await gaps(scene)
        assert (gap.first, gap.last) == (TRUSTED + 1, (1 << 63) - 3)
