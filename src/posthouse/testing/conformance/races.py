"""Two nodes on one store: whatever meets in it, each promise holds as if one had come after the other.

An engine that several processes may have open gives these tests the fixture ``pair``: two stores on one place. Each
meeting is played several times, because which of the two is first is chance; what is asserted holds either way.
"""

import asyncio
from typing import NamedTuple

from msgspec.structs import replace

from posthouse.core.delivery import State
from posthouse.core.inbound import WHOLE, Objection, Resolution
from posthouse.core.model import Endpoint, EndpointState
from posthouse.store.protocol import (
    AcceptRequest,
    Gone,
    Outdated,
    Overtaken,
    PassedOn,
    Settled,
    StaleCatalogue,
)
from posthouse.testing.conformance.ordering import ahead, check_order, drain, ordered
from posthouse.testing.conformance.scene import Scene
from posthouse.testing.conformance.values import NOW

ROUNDS = 8


class Pair(NamedTuple):
    """Two stores on one place; the slots belong to the first, and the second knows their epochs."""

    first: Scene
    second: Scene


class TestRaces:
    """What two nodes do at the same time."""

    async def test_what_is_accepted_beside_a_change_was_routed_before_it(self, pair: Pair) -> None:
        """Once the change is known to be durable, nothing is accepted by what was there before."""
        first, second = pair
        for version in range(ROUNDS):
            put, *results = await asyncio.gather(
                second.store.catalogue.put_endpoint(second.values.endpoint()),
                *(first.accept(first.values.new_event(), version=version) for _ in range(4)),
            )
            assert put == version + 1
            assert {type(result) for result in results} <= {tuple, StaleCatalogue}
            assert await first.accept(first.values.new_event(), version=version) == StaleCatalogue(version + 1)

    async def test_nothing_is_left_for_an_endpoint_that_was_deleted(self, pair: Pair) -> None:
        """What is accepted before is discarded, and nothing is accepted by a catalogue that still has it."""
        first, second = pair
        accepted = 0
        for _ in range(ROUNDS):
            endpoint = first.values.endpoint()
            version = await first.store.catalogue.put_endpoint(endpoint)
            before_deletion = asyncio.Event()

            async def accept(key: int, version: int, so_many: asyncio.Event) -> int:
                count = 0
                while isinstance(await first.accept(first.values.new_event(key), version=version), tuple):
                    count += 1
                    if count == 3:
                        so_many.set()
                return count

            async def delete(key: int, version: int, so_many: asyncio.Event) -> None:
                await so_many.wait()
                catalogue, work = second.store.catalogue, second.store.work
                await catalogue.set_endpoint_state(key, EndpointState.DELETED, seen=version, reason=None, now=NOW)
                while await work.discard_endpoint(key, reason="deleted", now=NOW, limit=2):
                    pass

            count, _ = await asyncio.gather(
                accept(endpoint.key, version, before_deletion), delete(endpoint.key, version, before_deletion)
            )
            accepted += count
        assert await first.survey() == []
        assert await first.total() == {"owed": accepted, "discarded:deleted": accepted}

    async def test_of_one_identity_one_event_is_stored(self, pair: Pair) -> None:
        for round_ in range(ROUNDS):
            news = [pair.first.values.named(f"n{round_}") for _ in range(6)]
            results = await asyncio.gather(*(pair[n % 2].accept(new, version=0) for n, new in enumerate(news)))
            accepted = [result[0] for result in results if isinstance(result, tuple)]
            assert len(accepted) == len(news)
            assert len({one.key for one in accepted}) == 1
            assert [one.duplicate for one in accepted].count(False) == 1
        assert len(await pair.second.events()) == ROUNDS

    async def test_what_two_nodes_change_about_one_thing_is_both_in_it(self, pair: Pair) -> None:
        """Who is second is told so, reads it anew and decides again."""
        endpoint = replace(pair.first.values.endpoint(), events=())
        await pair.first.store.catalogue.put_endpoint(endpoint)

        async def add(node: Scene, pattern: str) -> None:
            while True:
                stored = await node.store.catalogue.endpoint(endpoint.key)
                assert stored is not None
                changed = replace(stored, events=(*stored.events, pattern))
                try:
                    await node.store.catalogue.put_endpoint(changed, seen=stored.revision)
                except Outdated:
                    continue
                return

        async def add_all(node: Scene, name: str) -> None:
            for n in range(ROUNDS):
                await add(node, f"{name}{n}")

        await asyncio.gather(*(add_all(node, name) for node, name in zip(pair, "ab", strict=True)))
        stored = await pair.second.store.catalogue.endpoint(endpoint.key)
        assert stored is not None
        assert sorted(stored.events) == sorted(f"{name}{n}" for name in "ab" for n in range(ROUNDS))
        assert stored.revision == 2 * ROUNDS + 1

    async def test_of_writes_over_one_revision_one_is_done(self, pair: Pair) -> None:
        endpoint = pair.first.values.endpoint()
        for revision in range(ROUNDS):
            wanted = [replace(endpoint, description=f"{n}") for n in range(4)]

            async def put(node: Scene, thing: Endpoint, seen: int) -> bool:
                try:
                    await node.store.catalogue.put_endpoint(thing, seen=seen)
                except Outdated:
                    return False
                return True

            done = await asyncio.gather(*(put(pair[n % 2], thing, revision) for n, thing in enumerate(wanted)))
            assert done.count(True) == 1
            stored = await pair.second.store.catalogue.endpoint(endpoint.key)
            assert stored == replace(wanted[done.index(True)], revision=revision + 1)

    async def test_a_round_is_opened_once(self, pair: Pair) -> None:
        for _ in range(ROUNDS):
            owed = await pair.first.owe(7)
            await pair.first.settle(owed, State.EXHAUSTED)
            again = await asyncio.gather(
                *(pair[n % 2].store.work.retry(owed.event_key, 7, now=NOW + 5) for n in range(4))
            )
            assert [None if one is None else one.round for one in again] == [2] * 4
        assert await pair.second.total() == {"owed": ROUNDS, "waiting": ROUNDS}

    async def test_an_entry_leaves_quarantine_once(self, pair: Pair) -> None:
        for _ in range(ROUNDS):
            request = await pair.first.take(objection=Objection.NO_SECRET)
            entry = (request.key, WHOLE)
            resolved = await asyncio.gather(
                pair.first.store.inbound.resolve([entry], Resolution.RELEASED, now=NOW),
                pair.second.store.inbound.resolve([entry], Resolution.DISCARDED, now=NOW),
                pair.second.store.inbound.resolve([entry], Resolution.RELEASED, now=NOW),
            )
            assert sorted(resolved) == [[], [], [entry]]
            waiting = [item.request.key for item in (await pair.first.inbox()).items]
            assert (request.key in waiting) == (resolved[1] == [])
        assert (await pair.second.source_books()).received == ROUNDS

    async def test_an_item_is_passed_on_once(self, pair: Pair) -> None:
        for n in range(ROUNDS):
            request = await pair.first.take()
            results = await asyncio.gather(
                *(node.pass_on(node.reading(request, node.values.read_event(f"e{n}", 7))) for node in (*pair, *pair))
            )
            assert sorted(type(result).__name__ for (result,) in results) == ["Gone"] * 3 + ["PassedOn"]
            assert [result for (result,) in results].count(Gone()) == 3
        assert await pair.second.total() == {"owed": ROUNDS, "waiting": ROUNDS}

    async def test_of_what_is_the_same_one_is_an_event(self, pair: Pair) -> None:
        """The others are noted as its repetitions, whoever passes them on."""
        for n in range(ROUNDS):
            requests = [await pair.first.take() for _ in range(4)]
            results = await asyncio.gather(
                *(
                    node.pass_on(node.reading(request, node.values.read_event(f"e{n}", 7)))
                    for node, request in zip((*pair, *pair), requests, strict=True)
                )
            )
            passed = [result for (result,) in results if isinstance(result, PassedOn)]
            assert len(passed) == 4
            assert len({result.events[0].key for result in passed}) == 1
            assert [result.events[0].duplicate for result in passed].count(False) == 1
        assert len(await pair.second.events()) == ROUNDS

    async def test_what_is_accepted_beside_an_outcome_is_sent_in_its_turn(self, pair: Pair) -> None:
        """One node settles the one ahead while the other accepts the next: nothing stays behind with nobody ahead."""
        first, second = pair
        news = [ordered(second, 7) for _ in range(5 * ROUNDS)]
        sent: list[int] = []

        async def accept() -> None:
            for new in news:
                assert isinstance(await second.accept(new, version=0), tuple)

        async def deliver() -> None:
            while len(sent) < len(news):
                await asyncio.sleep(0)  # an engine that reads in place would let nobody else have a turn
                for work in await ahead(first, 7):
                    assert await first.settle(work.obligation) == Settled()
                    sent.append(work.event.key)

        await asyncio.gather(accept(), deliver())
        assert sent == [new.event.key for new in news]

    async def test_keys_of_two_clocks_keep_the_sequence_of_acceptance(self, pair: Pair) -> None:
        """The clock of one is behind, so it is told above which key it must be. No later event stands ahead."""
        made = [ordered(pair.first, 7) for _ in range(40 * ROUNDS)]
        keys = {0: made[: 20 * ROUNDS], 1: made[20 * ROUNDS :]}
        accepted: list[int] = []
        overtaken = 0

        async def accept(node: int) -> None:
            nonlocal overtaken
            for _ in range(ROUNDS):
                while True:
                    newest = max(accepted)
                    new = keys[node].pop(0)
                    (result,) = await pair[node].store.intake.accept([AcceptRequest((new,), 0)])
                    if not isinstance(result, Overtaken):
                        break
                    overtaken += 1
                    keys[node] = [ordered(pair.first, 7) for _ in range(20 * ROUNDS)]
                    assert result.floor < keys[node][0].event.key
                assert isinstance(result, tuple)
                assert new.event.key > newest
                accepted.append(new.event.key)

        await pair.second.accept(keys[1][0])
        accepted.append(keys[1].pop(0).event.key)
        await asyncio.gather(accept(0), accept(1))
        await check_order(pair.first, 7)
        assert overtaken > 0
        assert await drain(pair.first, 7) == {"a": sorted(accepted)}
