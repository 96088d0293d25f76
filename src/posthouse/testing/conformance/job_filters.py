"""Bulk jobs: which deliveries a filter selects."""

from typing import Any

import pytest

from posthouse.core.delivery import State
from posthouse.core.jobs import JobKind
from posthouse.core.model import EndpointState, Environment
from posthouse.testing.conformance.jobs import SETTLED, begin, counts, finish, one_of_each, settled_delivered
from posthouse.testing.conformance.scene import Stores
from posthouse.testing.conformance.values import NOW


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
        await scene.store.catalogue.set_endpoint_state(endpoint.key, gone, reason=None, now=NOW)
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
