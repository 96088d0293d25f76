"""Accepting events."""

import asyncio

from posthouse.core.model import Environment, Lane
from posthouse.store.protocol import Accepted, AcceptRequest, EventQuery, IdentityReused, StaleCatalogue
from posthouse.testing.conformance.scene import Stores
from posthouse.testing.conformance.values import NOW, tenant


class TestIntake:
    """Every promise of the intake facet."""

    async def test_what_is_accepted_is_answered_in_order(self, stores: Stores) -> None:
        scene = await stores.open()
        first, second = scene.values.new_event(7, 8), scene.values.new_event()
        result = await scene.accept(first, second)
        assert result == (
            Accepted(first.event.key, first.event.id, 2, duplicate=False),
            Accepted(second.event.key, second.event.id, 0, duplicate=False),
        )

    async def test_an_event_stays_as_it_came(self, stores: Stores) -> None:
        """Bytes, times and names are those of the publisher."""
        scene = await stores.open()
        data = '{ "a" :1.0,\n"ü":"\\u00e9 \\ud83d"}'.encode()
        new = scene.values.new_event(7, data=data, occurred_at=5, ordering_key="k", id="mine", tenant="ünï")
        await scene.accept(new)
        (work,) = (await scene.queue(7)).work
        assert work.event == new.event
        (record,) = await scene.store.ledger.events(EventQuery(environment=Environment.LIVE))
        assert (record.event, record.owed) == (new.event, 1)

    async def test_what_is_owed_is_due_at_once(self, stores: Stores) -> None:
        scene = await stores.open()
        new = scene.values.new_event(7, 8, lane=Lane.BACKLOG, accepted_at=NOW - 5)
        await scene.accept(new)
        for endpoint_key in (7, 8):
            (work,) = (await scene.queue(endpoint_key, Lane.BACKLOG)).work
            owed = work.obligation
            assert (owed.event_key, owed.endpoint_key, owed.lane) == (new.event.key, endpoint_key, Lane.BACKLOG)
            assert (owed.due_at, owed.opened_at) == (NOW - 5, NOW - 5)
            assert (owed.attempts, owed.round, owed.last_number) == (0, 1, 0)

    async def test_an_event_that_nobody_wants_is_kept(self, stores: Stores) -> None:
        scene = await stores.open()
        new = scene.values.new_event()
        await scene.accept(new)
        assert await scene.events() == [new.event.key]
        assert await scene.survey() == []

    async def test_requests_without_events_are_accepted(self, stores: Stores) -> None:
        scene = await stores.open()
        assert await scene.accept() == ()
        assert await scene.store.intake.accept([]) == []

    async def test_many_events_and_a_wide_fan_out(self, stores: Stores) -> None:
        """More rows than an engine writes at once."""
        scene = await stores.open()
        wide = scene.values.new_event(*range(1, 2_501))
        many = [scene.values.new_event(7, 8) for _ in range(1_100)]
        assert isinstance(await scene.accept(wide, *many), tuple)
        assert (await scene.total())["owed"] == 2_500 + 2_200
        assert len(await scene.events(limit=5_000)) == 1_101

    # -- repeats ----------------------------------------------------------------------------------

    async def test_a_repeat_gets_the_first_one_back(self, stores: Stores) -> None:
        """No second event, no second delivery, whatever key and routes the repeat came with."""
        scene = await stores.open()
        first = scene.values.new_event(7, 8, identities=(("id", "a"), ("key", "k")), fingerprint=b"f", id="a")
        again = scene.values.new_event(9, identities=(("id", "a"), ("key", "k")), fingerprint=b"f", id="a")
        await scene.accept(first)
        assert await scene.accept(again) == (Accepted(first.event.key, "a", 2, duplicate=True),)
        assert await scene.events() == [first.event.key]
        assert (await scene.total()) == {"owed": 2, "waiting": 2}

    async def test_one_of_several_identities_makes_a_repeat(self, stores: Stores) -> None:
        """What was new about the repeat is not kept: nothing was stored for it."""
        scene = await stores.open()
        first = scene.values.new_event(identities=(("id", "a"),), fingerprint=b"f", id="a")
        await scene.accept(first)
        both = scene.values.new_event(identities=(("key", "k"), ("id", "a")), fingerprint=b"f", id="a")
        assert await scene.accept(both) == (Accepted(first.event.key, "a", 0, duplicate=True),)
        other = scene.values.new_event(identities=(("key", "k"),), fingerprint=b"g")
        assert await scene.accept(other) == (Accepted(other.event.key, other.event.id, 0, duplicate=False),)

    async def test_a_repeat_in_the_same_request(self, stores: Stores) -> None:
        scene = await stores.open()
        first, again, new = scene.values.named("a"), scene.values.named("a"), scene.values.named("b")
        assert await scene.accept(first, again, new) == (
            Accepted(first.event.key, "a", 0, duplicate=False),
            Accepted(first.event.key, "a", 0, duplicate=True),
            Accepted(new.event.key, "b", 0, duplicate=False),
        )

    async def test_a_repeat_in_the_same_call(self, stores: Stores) -> None:
        scene = await stores.open()
        first, again = scene.values.named("a"), scene.values.named("a")
        requests = [AcceptRequest(events=(new,), catalogue_version=0) for new in (first, again)]
        assert await scene.store.intake.accept(requests) == [
            (Accepted(first.event.key, "a", 0, duplicate=False),),
            (Accepted(first.event.key, "a", 0, duplicate=True),),
        ]

    async def test_of_repeats_at_the_same_time_one_is_stored(self, stores: Stores) -> None:
        scene = await stores.open()
        news = [scene.values.named("a") for _ in range(20)]
        results = await asyncio.gather(*(scene.accept(new, version=0) for new in news))
        accepted = [result[0] for result in results if isinstance(result, tuple)]
        assert len(accepted) == 20
        assert len({a.key for a in accepted}) == 1
        assert [a.duplicate for a in accepted].count(False) == 1

    async def test_identities_of_others_are_no_repeats(self, stores: Stores) -> None:
        """They are unique per environment, tenant and kind."""
        scene = await stores.open()
        news = [
            scene.values.named("a"),
            scene.values.named("a", tenant="other"),
            scene.values.named("a", environment=Environment.TEST),
            scene.values.new_event(identities=(("key", "a"),), fingerprint=b"same"),
            scene.values.named("b"),
        ]
        result = await scene.accept(*news)
        assert isinstance(result, tuple)
        assert [a.key for a in result] == [new.event.key for new in news]

    # -- refusals ---------------------------------------------------------------------------------

    async def test_an_identity_for_something_else_refuses_the_whole_request(self, stores: Stores) -> None:
        scene = await stores.open()
        first = scene.values.named("a")
        await scene.accept(first)
        result = await scene.accept(
            scene.values.named("b"), scene.values.named("a", b"other"), scene.values.named("a", b"third")
        )
        assert result == IdentityReused((1, 2))
        assert await scene.events() == [first.event.key]

    async def test_an_identity_used_twice_in_one_request_refuses_it(self, stores: Stores) -> None:
        scene = await stores.open()
        assert await scene.accept(scene.values.named("a"), scene.values.named("a", b"other")) == IdentityReused((1,))
        assert await scene.events() == []

    async def test_identities_of_different_events_refuse(self, stores: Stores) -> None:
        """One item cannot repeat two events, however equal they are."""
        scene = await stores.open()
        first = scene.values.new_event(identities=(("id", "a"),), fingerprint=b"f")
        second = scene.values.new_event(identities=(("key", "k"),), fingerprint=b"f")
        await scene.accept(first, second)
        both = scene.values.new_event(identities=(("id", "a"), ("key", "k")), fingerprint=b"f")
        assert await scene.accept(both) == IdentityReused((0,))

    async def test_a_refused_request_leaves_the_others_alone_and_its_identities_free(self, stores: Stores) -> None:
        scene = await stores.open()
        await scene.accept(scene.values.named("taken"))
        bad = AcceptRequest(events=(scene.values.named("b"), scene.values.named("taken", b"x")), catalogue_version=0)
        good = scene.values.named("b", b"other")
        result = await scene.store.intake.accept([bad, AcceptRequest(events=(good,), catalogue_version=0)])
        assert result == [IdentityReused((1,)), (Accepted(good.event.key, "b", 0, duplicate=False),)]

    async def test_a_stale_catalogue_stores_nothing(self, stores: Stores) -> None:
        scene = await stores.open()
        version = await scene.store.catalogue.put_endpoint(scene.values.endpoint())
        stale = AcceptRequest(events=(scene.values.named("a"),), catalogue_version=version - 1)
        fresh = AcceptRequest(events=(scene.values.named("a", b"other"),), catalogue_version=version)
        result = await scene.store.intake.accept([stale, fresh])
        assert result[0] == StaleCatalogue(version)
        assert isinstance(result[1], tuple)
        assert len(await scene.events()) == 1

    # -- tenants ----------------------------------------------------------------------------------

    async def test_new_tenants_come_with_their_first_event(self, stores: Stores) -> None:
        """Existing ones stay as they are; a refused request brings none."""
        scene = await stores.open()
        version = await scene.store.catalogue.put_tenant(tenant("old", name="Old"))
        new = AcceptRequest(
            events=(scene.values.new_event(),),
            catalogue_version=version,
            new_tenants=(tenant("old", name="Changed"), tenant("new", name="New")),
        )
        stale = AcceptRequest(
            events=(scene.values.new_event(),), catalogue_version=version - 1, new_tenants=(tenant("none"),)
        )
        await scene.store.intake.accept([new, stale])
        tenants = (await scene.store.catalogue.load()).tenants
        assert {(t.id, t.name) for t in tenants} == {("old", "Old"), ("new", "New")}
