"""Slots, leases and epochs."""

from msgspec.structs import replace

from posthouse.core.model import SLOTS
from posthouse.core.nodes import Role
from posthouse.store.protocol import Grant
from posthouse.testing.conformance.scene import Stores
from posthouse.testing.conformance.values import LEASE_MS, NOW
from posthouse.testing.seizing import joining, seize

ALL = frozenset(range(SLOTS))


class TestOwnership:
    """Who owns which slots. The scene's node holds all of them when a test starts."""

    async def test_the_first_node_gets_everything(self, stores: Stores) -> None:
        scene = await stores.open()
        assert set(scene.epochs) == ALL
        owners = await scene.store.ownership.owners()
        assert owners == {slot: (scene.node, epoch, NOW + LEASE_MS) for slot, epoch in scene.epochs.items()}

    async def test_a_living_node_keeps_its_slots(self, stores: Stores) -> None:
        """However long ago it was heard of by anybody's wall clock."""
        scene = await stores.open()
        ownership = scene.store.ownership
        await ownership.join(joining("other", joined_at=NOW + 9 * LEASE_MS))
        assert await ownership.acquire("other") == Grant({})
        assert (await ownership.acquire(scene.node)).epochs == scene.epochs

    async def test_slots_of_a_dead_node_are_taken_at_once_and_are_unquiet(self, stores: Stores) -> None:
        scene = await stores.open()
        ownership = scene.store.ownership
        await ownership.join(joining("other"))
        assert await ownership.bury({"x": 7, scene.node: 0}) == [scene.node]
        grant = await ownership.acquire("other")
        assert grant == Grant({slot: epoch + 1 for slot, epoch in scene.epochs.items()}, ALL)
        assert await ownership.acquire(scene.node) == Grant({})

    async def test_whose_beat_changed_is_not_dead(self, stores: Stores) -> None:
        scene = await stores.open()
        ownership = scene.store.ownership
        await ownership.join(joining("other"))
        await ownership.beat(scene.node, now=NOW)
        for beat in (0, 2):
            assert await ownership.bury({scene.node: beat}) == []
            assert await ownership.acquire("other") == Grant({})
        assert (await ownership.acquire(scene.node)).epochs == scene.epochs

    async def test_who_is_not_registered_gets_nothing(self, stores: Stores) -> None:
        scene = await stores.open()
        ownership = scene.store.ownership
        owners = await ownership.owners()
        assert await ownership.acquire("other") == Grant({})
        assert await ownership.owners() == owners
        await ownership.leave(scene.node)
        assert await ownership.acquire(scene.node) == Grant({})

    async def test_only_wanted_slots_are_taken(self, stores: Stores) -> None:
        """What it owns it keeps, wanted or not."""
        scene = await stores.open()
        ownership = scene.store.ownership
        await ownership.release(scene.node, range(100))
        await ownership.join(joining("other"))
        grant = await ownership.acquire("other", wanted=range(40, 140))
        assert set(grant.epochs) == set(range(40, 100))
        grant = await ownership.acquire("other", wanted=(3, 250))
        assert set(grant.epochs) == {3, *range(40, 100)}
        grant = await ownership.acquire("other", wanted=())
        assert set(grant.epochs) == {3, *range(40, 100)}

    async def test_what_it_owns_stays_at_the_same_epoch(self, stores: Stores) -> None:
        """Nothing that is on its way may be fenced by it."""
        scene = await stores.open()
        await scene.store.ownership.beat(scene.node, now=NOW + 1)
        assert (await scene.store.ownership.acquire(scene.node)).epochs == scene.epochs

    async def test_released_slots_are_free_at_once_and_quiet(self, stores: Stores) -> None:
        scene = await stores.open()
        ownership = scene.store.ownership
        await ownership.release(scene.node)
        await ownership.release(scene.node)
        assert {(owner, until) for owner, _epoch, until in (await ownership.owners()).values()} == {
            (None, NOW + LEASE_MS)
        }
        await ownership.join(joining("other"))
        taken = await ownership.acquire("other")
        assert taken == Grant({slot: epoch + 1 for slot, epoch in scene.epochs.items()})

    async def test_some_slots_are_released(self, stores: Stores) -> None:
        scene = await stores.open()
        ownership = scene.store.ownership
        await ownership.release(scene.node, (3, 255))
        owners = await ownership.owners()
        assert {slot for slot, (owner, _, _) in owners.items() if owner is None} == {3, 255}
        await ownership.release(scene.node, ())
        assert await ownership.owners() == owners

    async def test_a_node_that_gave_up_and_comes_back_gets_the_next_epoch(self, stores: Stores) -> None:
        """Between the two nobody owned the slot."""
        scene = await stores.open()
        await scene.store.ownership.release(scene.node)
        again = await scene.store.ownership.acquire(scene.node)
        assert again.epochs == {slot: epoch + 1 for slot, epoch in scene.epochs.items()}

    async def test_a_release_touches_no_other_node(self, stores: Stores) -> None:
        scene = await stores.open()
        ownership = scene.store.ownership
        await ownership.join(joining("other"))
        await ownership.release("other")
        await ownership.leave("other")
        assert (await ownership.acquire(scene.node)).epochs == scene.epochs


class TestUnquiet:
    """Slots whose former owner may have something on its way."""

    async def test_it_stays_until_it_is_called_calm(self, stores: Stores) -> None:
        """Through any number of owners that release it, leave, or die."""
        scene = await stores.open()
        ownership = scene.store.ownership
        await seize(ownership, "a", now=NOW)
        await ownership.release("a")
        await ownership.join(joining("b"))
        assert (await ownership.acquire("b")).unquiet == ALL
        await ownership.leave("b")
        await ownership.join(joining("c"))
        grant = await ownership.acquire("c")
        assert grant.unquiet == ALL
        await ownership.calm("c", grant.epochs)
        assert await ownership.acquire("c") == Grant(grant.epochs)
        await ownership.release("c")
        assert (await ownership.acquire("c")).unquiet == frozenset()

    async def test_only_the_owner_calls_it_calm_at_its_epoch(self, stores: Stores) -> None:
        scene = await stores.open()
        ownership = scene.store.ownership
        grant = await seize(ownership, "a", now=NOW)
        await ownership.calm(scene.node, grant.epochs)
        await ownership.calm("a", scene.epochs)
        await ownership.calm("a", {})
        assert (await ownership.acquire("a")).unquiet == ALL
        await ownership.calm("a", {5: grant.epochs[5], 6: grant.epochs[6] - 1})
        assert (await ownership.acquire("a")).unquiet == ALL - {5}


class TestNodes:
    """The register, and its beats."""

    async def test_who_joins_is_told_to_all(self, stores: Stores) -> None:
        scene = await stores.open()
        ownership = scene.store.ownership
        me = joining("other", joined_at=NOW)
        number = await ownership.join(me)
        first, second = await ownership.nodes()
        assert (first.name, first.slots, second.name, second.slots) == (scene.node, SLOTS, "other", 0)
        assert (second.number, second.beat, second.beat_at) == (number, 0, NOW)
        fields = ("role", "version", "host", "process_id", "url", "joined_at")
        assert [getattr(second, field) for field in fields] == [getattr(me, field) for field in fields]

    async def test_no_two_have_the_same_number(self, stores: Stores) -> None:
        """And one that was free is not used again soon."""
        scene = await stores.open()
        ownership = scene.store.ownership
        numbers = [await ownership.join(joining(f"n{i}")) for i in range(5)]
        assert await ownership.join(joining("n3")) == numbers[3]
        await ownership.leave("n3")
        numbers.append(await ownership.join(joining("n5")))
        assert len(set(numbers)) == 6
        assert await ownership.join(joining("n3")) not in numbers

    async def test_a_node_says_anew_what_it_is(self, stores: Stores) -> None:
        """Its number, its beat and its slots stay."""
        scene = await stores.open()
        ownership = scene.store.ownership
        await ownership.beat(scene.node, now=NOW)
        (before,) = await ownership.nodes()
        now = replace(joining(scene.node, role=Role.EDGE, joined_at=NOW + 1), url="http://localhost:1", version="2")
        assert await ownership.join(now) == before.number
        (after,) = await ownership.nodes()
        changed = {"role": Role.EDGE, "joined_at": NOW + 1, "url": "http://localhost:1", "version": "2"}
        assert after == replace(before, **changed)

    async def test_a_beat_is_seen_by_all(self, stores: Stores) -> None:
        scene = await stores.open()
        ownership = scene.store.ownership
        await ownership.join(joining("other"))
        await ownership.beat("other", now=NOW + 1)
        await scene.store.catalogue.put_endpoint(scene.values.endpoint())
        roll = await ownership.beat(scene.node, now=NOW + 2)
        assert not roll.me_missing
        assert [(node.name, node.beat, node.beat_at) for node in roll.nodes] == [
            (scene.node, 1, NOW + 2),
            ("other", 1, NOW + 1),
        ]
        assert roll.nodes == tuple(await ownership.nodes())
        assert roll.catalogue_version == (await scene.store.catalogue.load()).version

    async def test_who_left_is_missing(self, stores: Stores) -> None:
        scene = await stores.open()
        ownership = scene.store.ownership
        await ownership.leave(scene.node)
        await ownership.leave(scene.node)
        roll = await ownership.beat(scene.node, now=NOW)
        assert (roll.me_missing, roll.nodes) == (True, ())
        assert {owner for owner, _, _ in (await ownership.owners()).values()} == {None}

    async def test_who_died_is_buried_once(self, stores: Stores) -> None:
        """Its slots have no owner then, and are not quiet."""
        scene = await stores.open()
        ownership = scene.store.ownership
        await ownership.join(joining("other"))
        await ownership.beat("other", now=NOW)
        assert await ownership.bury({"x": 0, "other": 0, scene.node: 0}) == [scene.node]
        assert await ownership.bury({scene.node: 0}) == []
        assert [node.name for node in await ownership.nodes()] == ["other"]
        assert (await ownership.beat(scene.node, now=NOW)).me_missing
        assert {owner for owner, _, _ in (await ownership.owners()).values()} == {None}
        grant = await ownership.acquire("other", wanted=(1, 2))
        assert grant == Grant({slot: scene.epochs[slot] + 1 for slot in (1, 2)}, frozenset((1, 2)))

    async def test_the_register_outlives_the_store(self, stores: Stores) -> None:
        """Who opens it again finds who was there, and decides whether they live."""
        scene = await stores.open()
        await scene.store.ownership.beat(scene.node, now=NOW)
        again = await stores.open()
        (node,) = await again.store.ownership.nodes()
        assert (node.name, node.slots) == (again.node, SLOTS)
