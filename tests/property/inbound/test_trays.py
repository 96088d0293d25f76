"""The trays of the inbox against a list: what the store holds is taken once, in its order, within bounds.

The model of the store is what it is: an ordered list of items for each source. Everything that an inbox does to its
trays is a rule, in any order: requests come while the store is asked and while it is not, sources are held and let
go on, what was taken is passed on or left to the store.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import NamedTuple
from unittest import mock

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from posthouse.core.inbound import WHOLE, Verdict
from posthouse.inbox import trays
from posthouse.inbox.trays import Tray, Trays, needs_proof
from posthouse.store.protocol import InboxItem
from posthouse.testing.conformance.values import Values

SOURCES = (1, 2, 3)
ITEMS_MAX, BYTES_MAX, ALL_BYTES_MAX, TURN = 4, 40, 70, 2
SIZES = (0, 1, 10, 25, 60)

source_keys = st.sampled_from(SOURCES)


class Page(NamedTuple):
    """What the store said."""

    items: tuple[InboxItem, ...]
    more: bool


class Store:
    """The inbox as it is on disk: items in the order of their keys, and what is read of its head."""

    def __init__(self) -> None:
        self.items: dict[int, list[InboxItem]] = {key: [] for key in SOURCES}

    def head(self, source_key: int, limit: int) -> Page:
        """The first items within the bounds, but at least one."""
        found: list[InboxItem] = []
        for item in self.items[source_key]:
            size = sum(len(each.request.body) for each in found) + len(item.request.body)
            if len(found) == limit or (found and size > BYTES_MAX):
                return Page(tuple(found), more=True)
            found.append(item)
        return Page(tuple(found), more=False)


class Machine(RuleBasedStateMachine):
    """An inbox without its loop."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        for name, value in (
            ("INBOX_WINDOW_ITEMS_MAX", ITEMS_MAX),
            ("INBOX_WINDOW_BYTES_MAX", BYTES_MAX),
            ("WINDOWS_BYTES_MAX", ALL_BYTES_MAX),
            ("TURN_ITEMS", TURN),
        ):
            self.stack.enter_context(mock.patch.object(trays, name, value))
        self.values = Values()
        self.store = Store()
        self.trays = Trays()
        self.reading: dict[int, tuple[Tray, Page | None]] = {}  #: what the store was asked, and what it has said
        self.in_hand: list[tuple[Tray, InboxItem]] = []
        self.left: set[int] = set()  #: request keys that were left to the store, and may come late
        self.gone: set[int] = set()  #: passed on while a page was on its way that may name them

    def teardown(self) -> None:
        self.stack.close()

    # -- what happens -----------------------------------------------------------------------------

    @rule(source_key=source_keys, size=st.sampled_from(SIZES), pending=st.booleans())
    def arrive(self, source_key: int, size: int, *, pending: bool) -> None:
        """A request is durable, and the inbox hears of it."""
        verdict = Verdict.PENDING if pending else Verdict.GENUINE
        request = self.values.request(source_key, body=b"x" * size, verdict=verdict)
        item = InboxItem(request, WHOLE, None, 0, request.received_at)
        self.store.items[source_key].append(item)
        self.trays.offer(self.trays.of(source_key), item)

    @rule(source_key=source_keys)
    def sweep(self, source_key: int) -> None:
        """The store may hold more, somebody says."""
        tray = self.trays.of(source_key)
        tray.more = True
        tray.is_resting = False

    @rule()
    def ask(self) -> None:
        """The store is asked for every head that is used up."""
        for tray in self.trays.hungry():
            assert not tray.is_reading
            tray.is_reading = True
            self.reading[tray.source_key] = tray, None

    @precondition(lambda self: any(page is None for _, page in self.reading.values()))
    @rule(data=st.data())
    def read(self, data: st.DataObject) -> None:
        """The store has looked; what it says is on its way."""
        unread = sorted(key for key, (_, page) in self.reading.items() if page is None)
        source_key = data.draw(st.sampled_from(unread))
        tray, _ = self.reading[source_key]
        self.reading[source_key] = tray, self.store.head(source_key, ITEMS_MAX + len(tray.in_hand))

    @precondition(lambda self: any(page is not None for _, page in self.reading.values()))
    @rule(data=st.data())
    def fill(self, data: st.DataObject) -> None:
        """What it said is here."""
        source_key = data.draw(st.sampled_from(sorted(key for key, (_, page) in self.reading.items() if page)))
        tray, page = self.reading.pop(source_key)
        assert page is not None
        self.trays.fill(tray, page.items, more=page.more)
        if tray.more and not tray.items:
            tray.is_resting = True

    @rule(provable=st.booleans())
    def take(self, *, provable: bool) -> None:
        """Something is wanted. What is taken is the first that nobody has, of a source that is not held."""
        taken = self.trays.take(provable=provable)
        waiting = [item for tray in self.known() if not tray.is_held for item in list(tray.items)[:1]]
        if taken is None:
            assert not any(provable or not needs_proof(item) for item in waiting), "there was something to take"
            return
        tray, item = taken
        assert tray is self.trays.of(item.request.source_key)
        assert not tray.is_held
        assert provable or not needs_proof(item)
        if item.request.key in self.gone:
            self.trays.let_go(tray, item)  # the store says that it is gone
            return
        kept = self.store.items[tray.source_key]
        assert item in kept, "it is no longer in the inbox"
        in_hand = [each for _, each in self.in_hand]
        assert item not in in_hand, "it is in hand already"
        older = [each for each in kept[: kept.index(item)] if each not in in_hand and each.request.key not in self.left]
        assert not older, "it has overtaken an older one"
        self.in_hand.append(taken)
        self.left.discard(item.request.key)

    @precondition(lambda self: self.in_hand)
    @rule(data=st.data(), passed_on=st.booleans())
    def let_go(self, data: st.DataObject, *, passed_on: bool) -> None:
        """What was taken is out of the inbox, or left to the store."""
        tray, item = self.in_hand.pop(data.draw(st.integers(0, len(self.in_hand) - 1)))
        if passed_on:
            self.store.items[tray.source_key].remove(item)
            if tray.is_reading:
                self.gone.add(item.request.key)
        else:
            tray.more = True
            self.left.add(item.request.key)
        self.trays.let_go(tray, item)

    @rule(source_key=source_keys, held=st.booleans())
    def hold(self, source_key: int, *, held: bool) -> None:
        """An operator holds a source back, or lets it go on."""
        tray = self.trays.of(source_key)
        if tray.is_held != held:
            self.trays.hold(tray, held=held)

    # -- what holds always ------------------------------------------------------------------------

    def known(self) -> Iterator[Tray]:
        yield from self.trays._trays.values()

    @invariant()
    def nothing_is_forgotten(self) -> None:
        """What nobody has in memory is known to be in the store, or will be asked for."""
        for source_key, kept in self.store.items.items():
            tray = self.trays._trays.get(source_key)
            here = set() if tray is None else {item.request.key for item in tray.items}
            here |= {item.request.key for _, item in self.in_hand}
            if all(item.request.key in here for item in kept):
                continue
            assert tray is not None, f"nobody knows of the source {source_key}"
            assert tray.more or tray.is_reading or tray.is_held

    @invariant()
    def counts_are_right(self) -> None:
        every = list(self.known())
        assert self.trays.items == sum(len(tray.items) for tray in every)
        assert self.trays.bytes == sum(tray.bytes for tray in every)
        for tray in every:
            assert tray.bytes == sum(len(item.request.body) for item in tray.items)
            assert len(tray.in_hand) == sum(each is tray for each, _ in self.in_hand)

    @invariant()
    def bounds_hold(self) -> None:
        """A page may have one item that is larger than all of them together."""
        for tray in self.known():
            assert len(tray.items) <= ITEMS_MAX + len(tray.in_hand)
            assert tray.bytes <= max(BYTES_MAX, *(len(item.request.body) for item in tray.items), 0)

    @rule()
    def all_is_taken_in_the_end(self) -> None:
        """Whatever happened before: without anything new, everything is taken, and the trays are empty."""
        while self.in_hand:
            tray, item = self.in_hand.pop()
            self.store.items[tray.source_key].remove(item)
            self.trays.let_go(tray, item)
        for tray in list(self.known()):
            if tray.is_held:
                self.trays.hold(tray, held=False)
        for tray in list(self.known()):
            if tray.is_resting:
                self.sweep(tray.source_key)
        while any(self.store.items.values()):
            before = sum(map(len, self.store.items.values()))
            self._read_and_take_all()
            if sum(map(len, self.store.items.values())) == before:
                assert self.trays.hungry(), "what is left is asked for"

    def _read_and_take_all(self) -> None:
        self.ask()
        for source_key, (tray, page) in tuple(self.reading.items()):
            said = page or self.store.head(source_key, ITEMS_MAX + len(tray.in_hand))
            self.trays.fill(tray, said.items, more=said.more)
        self.reading.clear()
        while (taken := self.trays.take(provable=True)) is not None:
            tray, item = taken
            if item in self.store.items[tray.source_key]:  # if not, it was passed on behind a page that names it
                self.store.items[tray.source_key].remove(item)
            self.trays.let_go(tray, item)


def test_nothing_is_lost_or_taken_twice() -> None:
    run_state_machine_as_test(Machine, settings=settings(stateful_step_count=40))
