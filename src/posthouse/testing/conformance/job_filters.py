"""Bulk jobs: which deliveries a filter selects."""

from typing import Any

import pytest

from posthouse.core.delivery import State
from posthouse.core.jobs import JobKind
from posthouse.core.model import EndpointState, Environment, Lane, Obligation
from posthouse.testing.conformance.jobs import SETTLED, begin, counts, finish, one_of_each, settled_delivered
from posthouse.testing.conformance.scene import Scene, Stores
from posthouse.testing.conformance.values import NOW, SOURCE

OTHER_SOURCE = SOURCE + 1


async def arrive(scene: Scene, *owed: int, source_key: int = SOURCE, **event: Any) -> list[Obligation]:
    """An event with these fields came in through a source; what it owes."""
    read = scene.values.read_event(f"{scene.values.key():x}", *owed, **event)
    await scene.bring_in(read, source_key=source_key)
    at = read.new.event.accepted_at
    return [Obligation(read.new.event.key, endpoint_key, Lane.LIVE, at, at) for endpoint_key in owed]


async def bring_to(scene: Scene, owed: Obligation, state: State) -> None:
    """Let a delivery that waits stand so."""
    if state is State.DISCARDED:
        await scene.store.work.discard(owed.event_key, owed.endpoint_key, reason="cancelled", now=NOW)
    elif state is not State.WAITING:
        await scene.settle(owed, state)


class TestJobFilters:
    """Which deliveries a job selects."""

    @pytest.mark.parametrize("kind", [JobKind.RETRY, JobKind.REPLAY, JobKind.CANCEL])
    async def test_conditions_hold_together(self, stores: Stores, kind: JobKind) -> None:
        """Each one alone leaves out what it should."""
        scene = await stores.open()
        state = {JobKind.RETRY: State.EXHAUSTED, JobKind.REPLAY: State.DELIVERED}.get(kind, State.WAITING)
        right: dict[str, Any] = {
            "type": "a.b",
            "tenant": "t",
            "ordering_key": "k",
            "accepted_at": NOW + 5,
            "occurred_at": NOW - 900,
        }
        wrong: list[dict[str, Any]] = [
            {"type": "ab"},
            {"tenant": "u"},
            {"ordering_key": "l"},
            {"ordering_key": None},
            {"accepted_at": NOW - 5},
            {"accepted_at": NOW + 9},
            {"occurred_at": NOW},
            {"occurred_at": None},
            {"environment": Environment.TEST},
        ]
        for fields in [right, *({**right, **other} for other in wrong)]:
            owed = await scene.owe(7, **fields)
            if state is not State.WAITING:
                await scene.settle(owed, state)
        await scene.settle(await scene.owe(8, **right), state if state is not State.WAITING else State.RETRYING)
        conditions: dict[str, Any] = {
            "types": ("a.*", "z"),
            "tenant": "t",
            "ordering_key": "k",
            "since": NOW,
            "until": NOW + 9,
            "older_than": NOW - 1,
            "endpoint_key": 7,
            "states": (state,),
        }
        assert await counts(scene, kind, dry_run=True, **conditions) == (1, 1, 0)
        without = {"types": 2, "tenant": 2, "since": 2, "until": 2, "older_than": 3, "ordering_key": 3}
        without["endpoint_key"] = 1 if kind is JobKind.CANCEL else 2
        for name, total in without.items():
            others = {other: value for other, value in conditions.items() if other != name}
            assert await counts(scene, kind, dry_run=True, **others) == (total, total, 0)
        assert await counts(scene, kind, dry_run=True, environment=Environment.TEST) == (1, 1, 0)

    @pytest.mark.parametrize("of_endpoint", [None, 7])
    @pytest.mark.parametrize("tenant", [None, "acme"])
    async def test_states_and_reasons(self, stores: Stores, of_endpoint: int | None, tenant: str | None) -> None:
        """Of what is settled now, not of what was settled once."""
        scene = await stores.open()
        await one_of_each(scene)
        again = await one_of_each(scene)
        for state in SETTLED:
            reopened = await scene.store.work.retry(again[state].event_key, 7, now=NOW)
            assert reopened is not None
            await scene.settle(reopened, State.EXHAUSTED, reason="span_spent")
        where: dict[str, Any] = {"endpoint_key": of_endpoint, "tenant": tenant, "dry_run": True}
        for states, total in (
            ((State.DELIVERED,), 1),
            ((State.EXHAUSTED,), 4),
            ((State.DISCARDED,), 1),
            ((State.DELIVERED, State.EXHAUSTED), 5),
            ((), 6),
        ):
            assert await counts(scene, JobKind.REPLAY, states=states, **where) == (total, total, 0)
        for reasons, total in ((("span_spent",), 3), (("cancelled", "attempts_spent"), 2), (("none",), 0)):
            assert await counts(scene, JobKind.RETRY, reasons=reasons, **where) == (total, total, 0)
            assert await counts(scene, JobKind.REPLAY, reasons=reasons, **where) == (total, total, 0)
        assert (await counts(scene, JobKind.RETRY, states=(State.WAITING,), **where))[0] == 2
        assert (await counts(scene, JobKind.RETRY, states=(State.RETRYING, State.EXHAUSTED), **where))[0] == 6

    async def test_what_came_later_is_left_alone(self, stores: Stores) -> None:
        scene = await stores.open()
        await scene.owe(7)
        job = await begin(scene, JobKind.CANCEL)
        await scene.owe(7)
        assert (await finish(scene, job))[-1].job.done == 1
        assert await scene.total() == {"owed": 2, "waiting": 1, "discarded:cancelled": 1}

    async def test_deleted_endpoints_are_skipped(self, stores: Stores) -> None:
        """Nothing is opened that nobody could send."""
        scene = await stores.open()
        endpoint = scene.values.endpoint()
        await scene.store.catalogue.put_endpoint(endpoint)
        await settled_delivered(scene, endpoint.key)
        await settled_delivered(scene, 7)
        gone = EndpointState.DELETED
        await scene.store.catalogue.set_endpoint_state(endpoint.key, gone, seen=1, reason=None, now=NOW)
        assert await counts(scene, JobKind.REPLAY, dry_run=True) == (2, 1, 1)
        assert await counts(scene, JobKind.REPLAY) == (2, 1, 1)

    async def test_one_event_to_many_endpoints(self, stores: Stores) -> None:
        """The cursor stands between two deliveries of one event too."""
        scene = await stores.open()
        await scene.accept(scene.values.new_event(*range(1, 60)), scene.values.new_event(*range(30, 70)))
        for limit in (1, 7):
            assert await counts(scene, JobKind.CANCEL, dry_run=True, limit=limit) == (99, 99, 0)
        assert await counts(scene, JobKind.CANCEL, limit=8, endpoint_key=59) == (2, 2, 0)
        assert await counts(scene, JobKind.CANCEL, limit=8) == (97, 97, 0)
        for limit in (1, 7):
            assert await counts(scene, JobKind.REPLAY, dry_run=True, limit=limit) == (99, 99, 0)
            assert await counts(scene, JobKind.RETRY, dry_run=True, limit=limit, endpoint_key=59) == (2, 2, 0)

    @pytest.mark.parametrize("kind", JobKind)
    async def test_a_source_keeps_to_its_events(self, stores: Stores, kind: JobKind) -> None:
        """Those that came in through it, to any endpoint; others and published ones stay as they are."""
        scene = await stores.open()
        mine, others = [], []
        for _ in range(2):
            others += await arrive(scene, 7, 9, source_key=OTHER_SOURCE)
            mine += await arrive(scene, 7, 8)
            others += [await scene.owe(7)]
        state = {JobKind.RETRY: State.EXHAUSTED, JobKind.REPLAY: State.DELIVERED}.get(kind, State.WAITING)
        for owed in mine + others:
            await bring_to(scene, owed, State.RETRYING if kind is JobKind.PROMOTE else state)
        if kind is JobKind.DRAIN:
            await counts(scene, JobKind.PARK)
        before = [await scene.record(owed) for owed in mine + others]
        for limit in (1, 3, 100):
            assert await counts(scene, kind, dry_run=True, limit=limit, source_key=SOURCE) == (4, 4, 0)
        assert await counts(scene, kind, source_key=9) == (0, 0, 0)
        assert [await scene.record(owed) for owed in mine + others] == before
        assert await counts(scene, kind, limit=3, source_key=SOURCE) == (4, 4, 0)
        changed = [await scene.record(owed) for owed in mine + others]
        assert [now != then for now, then in zip(changed, before, strict=True)] == [True] * 4 + [False] * 6

    @pytest.mark.parametrize("state", [State.WAITING, State.DELIVERED, State.EXHAUSTED])
    async def test_other_conditions_hold_beside_a_source(self, stores: Stores, state: State) -> None:
        """Each of them leaves out what it does without one."""
        scene = await stores.open()
        right: dict[str, Any] = {"type": "a.b", "tenant": "t", "ordering_key": "k", "accepted_at": NOW + 5}
        wrong: list[dict[str, Any]] = [
            {"type": "ab"},
            {"tenant": "u"},
            {"ordering_key": None},
            {"accepted_at": NOW - 5},
            {"accepted_at": NOW + 9},
            {"environment": Environment.TEST},
        ]
        (first, _) = owed = await arrive(scene, 7, 8, **right)
        for fields in wrong:
            owed += await arrive(scene, 7, **{**right, **fields})
        (foreign,) = await arrive(scene, 7, source_key=OTHER_SOURCE, **right)
        for obligation in (*owed, foreign):
            await bring_to(scene, obligation, state)
        kind = {State.WAITING: JobKind.CANCEL, State.DELIVERED: JobKind.REPLAY}.get(state, JobKind.RETRY)
        conditions: dict[str, Any] = {
            "endpoint_key": 7,
            "types": ("a.*",),
            "tenant": "t",
            "ordering_key": "k",
            "since": NOW,
            "until": NOW + 9,
        }
        of_source: dict[str, Any] = {"source_key": SOURCE, "states": (state,), "dry_run": True}
        assert await counts(scene, kind, **conditions, **of_source) == (1, 1, 0)
        for left_out in conditions:
            others = {name: value for name, value in conditions.items() if name != left_out}
            assert await counts(scene, kind, **others, **of_source) == (2, 2, 0)
        assert await counts(scene, kind, event_key=first.event_key, **of_source) == (2, 2, 0)
        assert await counts(scene, kind, event_key=foreign.event_key, **of_source) == (0, 0, 0)
        assert await counts(scene, kind, older_than=NOW, **of_source) == (1, 1, 0)
        assert await counts(scene, kind, environment=Environment.TEST, **of_source) == (1, 1, 0)

    async def test_states_and_reasons_of_a_source(self, stores: Stores) -> None:
        """What was opened again counts by the state that it has now, once."""
        scene = await stores.open()
        for source_key in (SOURCE, OTHER_SOURCE):
            for again in (False, True):
                for state in State:
                    (owed,) = await arrive(scene, 7, source_key=source_key)
                    await bring_to(scene, owed, state)
                    if again and state in SETTLED:
                        reopened = await scene.store.work.retry(owed.event_key, 7, now=NOW)
                        assert reopened is not None
                        await scene.settle(reopened, State.EXHAUSTED, reason="span_spent")
        where: dict[str, Any] = {"source_key": SOURCE, "dry_run": True}
        for states, total in (
            ((State.DELIVERED,), 1),
            ((State.EXHAUSTED,), 4),
            ((State.DISCARDED,), 1),
            ((State.DELIVERED, State.EXHAUSTED), 5),
            ((), 6),
        ):
            assert await counts(scene, JobKind.REPLAY, states=states, **where) == (total, total, 0)
        for reasons, total in ((("span_spent",), 3), (("cancelled", "attempts_spent"), 2), (("none",), 0)):
            assert await counts(scene, JobKind.RETRY, reasons=reasons, **where) == (total, total, 0)
            assert await counts(scene, JobKind.REPLAY, reasons=reasons, **where) == (total, total, 0)
        assert await counts(scene, JobKind.RETRY, **where) == (9, 9, 0)
        assert await counts(scene, JobKind.RETRY, states=(State.RETRYING, State.EXHAUSTED), **where) == (6, 6, 0)

    async def test_one_event_of_a_source_to_many_endpoints(self, stores: Stores) -> None:
        """The cursor stands between two deliveries of one event too, and more of them than one look takes are found."""
        scene = await stores.open()
        await arrive(scene, *range(1, 60), source_key=OTHER_SOURCE)
        await arrive(scene, *range(1, 701))
        await arrive(scene, 7, source_key=OTHER_SOURCE)
        await arrive(scene, *range(30, 70))
        where: dict[str, Any] = {"source_key": SOURCE}
        for limit in (7, 1_000):
            assert await counts(scene, JobKind.CANCEL, dry_run=True, limit=limit, **where) == (740, 740, 0)
        assert await counts(scene, JobKind.CANCEL, limit=8, endpoint_key=59, **where) == (2, 2, 0)
        assert await counts(scene, JobKind.CANCEL, limit=99, **where) == (738, 738, 0)
        for kind in (JobKind.REPLAY, JobKind.RETRY):
            assert await counts(scene, kind, dry_run=True, limit=99, **where) == (740, 740, 0)
            assert await counts(scene, kind, dry_run=True, limit=8, endpoint_key=59, **where) == (2, 2, 0)
        assert await counts(scene, JobKind.CANCEL) == (60, 60, 0)

    async def test_more_rows_than_a_step_looks_at(self, stores: Stores) -> None:
        """Few among many are found, by steps that may find none."""
        scene = await stores.open()
        for _ in range(13):
            await scene.accept(*(scene.values.new_event(7, type="b" if n == 999 else "a") for n in range(1_000)))
        assert await counts(scene, JobKind.CANCEL, types=("b",)) == (13, 13, 0)
        steps = await finish(scene, await begin(scene, JobKind.CANCEL), limit=5_000)
        assert [step.job.done for step in steps] == [5_000, 10_000, 12_987]
        assert await counts(scene, JobKind.RETRY, types=("b",)) == (13, 13, 0)
        assert await counts(scene, JobKind.REPLAY, types=("b",)) == (0, 0, 0)
