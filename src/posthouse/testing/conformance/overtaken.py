"""Nothing is owed ahead of what was accepted before it, whatever clock its key was made by."""

from typing import Any

import pytest
from msgspec.structs import replace

from posthouse.core.rules import Order
from posthouse.store.protocol import AcceptRequest, Overtaken, PassedOn
from posthouse.testing.conformance.ordering import ahead, check_order, ordered
from posthouse.testing.conformance.scene import Stores


class TestOvertaken:
    """Events whose keys are not above those of what is open at their place."""

    @pytest.mark.parametrize("order", [Order.FIFO, Order.LATEST])
    async def test_what_another_node_accepted_is_not_overtaken(self, stores: Stores, order: Order) -> None:
        """Keys follow clocks, and those of two nodes differ: so who comes second is told above which key it must be."""
        scene = await stores.open()
        early, between, late = (ordered(scene, 7, order) for _ in range(3))
        elsewhere = [ordered(scene, 7, order, key="b"), ordered(scene, 8, order), scene.values.new_event(7)]
        first, second = (ordered(scene, 7, order) for _ in range(2))
        for new in (first, second):  # one ahead, one behind it
            assert isinstance(await scene.accept(new), tuple)
        open_before = await scene.total()
        expected = Overtaken(second.event.key)
        assert await scene.accept(early) == expected
        assert await scene.accept(between, *elsewhere) == expected
        assert await scene.total() == open_before
        assert len(await scene.events()) == 2
        assert isinstance(await scene.accept(*elsewhere), tuple)
        for sent in (first, second):
            assert await scene.accept(late) == expected
            (work,) = (w for w in await ahead(scene, 7) if w.event.key == sent.event.key)
            await scene.settle(work.obligation)
        assert isinstance(await scene.accept(late), tuple)  # nothing that it could overtake is open
        await check_order(scene, 7)

    async def test_a_refused_request_makes_others_of_its_place_wait(self, stores: Stores) -> None:
        """Otherwise it would come behind what was handed in after it. An identity of it is free."""
        scene = await stores.open()
        early = replace(ordered(scene, 7), identities=(("id", "a"),), fingerprint=b"f")
        first, later = ordered(scene, 7), ordered(scene, 7)
        aside = ordered(scene, 7, key="b")
        await scene.accept(first)
        beside, behind = ordered(scene, 8), ordered(scene, 8)
        requests = [AcceptRequest(news, 0) for news in ((early, beside), (later,), (aside,), (behind,))]
        results = await scene.store.intake.accept(requests)
        assert results[:2] == [Overtaken(first.event.key)] * 2
        assert isinstance(results[2], tuple)
        assert isinstance(results[3], Overtaken)  # the first one holds an event of its place as well
        again = replace(ordered(scene, 7), identities=early.identities, fingerprint=b"f")
        (accepted,) = await scene.accept(again)  # type: ignore[misc]  # it is accepted
        assert accepted.duplicate is False
        assert await scene.accept(early) == (replace(accepted, duplicate=True),)  # a repeat overtakes nothing

    async def test_of_one_call_none_overtakes_another(self, stores: Stores) -> None:
        scene = await stores.open()
        early, late = ordered(scene, 7), ordered(scene, 7)
        requests = [AcceptRequest((new,), 0) for new in (late, early)]
        results = await scene.store.intake.accept(requests)
        assert isinstance(results[0], tuple)
        assert results[1] == Overtaken(late.event.key)

    async def test_what_a_request_holds_overtakes_nothing(self, stores: Stores) -> None:
        """Its item stays in the inbox, to be read again."""
        scene = await stores.open()
        fields: dict[str, Any] = {"ordering_key": "a", "orders": (Order.FIFO,)}
        early, aside = scene.values.read_event("a", 7, **fields), scene.values.read_event("b", 8, **fields)
        first = ordered(scene, 7)
        await scene.accept(first)
        items = [await scene.take(), await scene.take()]
        readings = [scene.reading(items[0], early), scene.reading(items[1], aside)]
        results = await scene.pass_on(*readings)
        assert results[0] == Overtaken(first.event.key)
        assert isinstance(results[1], PassedOn)
        assert [item.request.key for item in (await scene.inbox()).items] == [items[0].key]
        assert len(await scene.events()) == 2
        later = scene.values.read_event("a", 7, **fields)
        (passed,) = await scene.pass_on(scene.reading(items[0], later))
        assert isinstance(passed, PassedOn)
        assert (await scene.inbox()).items == ()
        await check_order(scene, 7)
