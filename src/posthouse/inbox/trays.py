"""What is in memory of the inbox: the head of each source's part, a window over the store."""

from collections import deque
from collections.abc import Iterable
from typing import Final

from posthouse.core.inbound import Verdict
from posthouse.core.limits import INBOX_WINDOW_BYTES_MAX, INBOX_WINDOW_ITEMS_MAX, WINDOWS_BYTES_MAX
from posthouse.store.protocol import InboxItem

TURN_ITEMS: Final = 16  #: that one source hands out before the next one has its turn

Key = tuple[int, int]  #: request key and position


def key_of(item: InboxItem) -> Key:
    """What names an item."""
    return item.request.key, item.position


def needs_proof(item: InboxItem) -> bool:
    """Whether who sent it is not known yet, and nobody has set that aside."""
    return item.waived is None and item.request.verdict is Verdict.PENDING


class Tray:
    """The head of one source's inbox."""

    __slots__ = ("bytes", "in_hand", "is_held", "is_reading", "is_resting", "items", "missed", "more", "source_key")

    def __init__(self, source_key: int) -> None:
        self.source_key = source_key
        self.items: deque[InboxItem] = deque()
        self.bytes = 0  #: of the bodies of ``items``
        self.in_hand: set[Key] = set()  #: taken out, and still in the store's inbox
        self.more = False  #: the store may hold due ones that are not here
        self.is_reading = False  #: the store is being asked
        self.missed = False  #: something came while it was asked, and is not here
        self.is_resting = False  #: the store is not asked for now, although it may hold more
        self.is_held = False  #: an operator holds the source back

    @property
    def is_idle(self) -> bool:
        """Whether nothing is known of it."""
        return not (self.items or self.in_hand or self.more or self.is_reading or self.is_held)


class Trays:
    """All trays, and whose turn it is."""

    def __init__(self) -> None:
        self._trays: dict[int, Tray] = {}
        self._turns: deque[Tray] = deque()  #: those with items that are not held, each once
        self._queued: set[int] = set()
        self.items = 0
        self.bytes = 0

    def hungry(self) -> list[Tray]:
        """Those of which the store may know more, and that are used up here; those first that wait longest.

        None while all trays together hold as much as they may.
        """
        if self.bytes >= WINDOWS_BYTES_MAX:
            return []
        trays = self._trays.values()
        return [t for t in trays if t.more and not (t.items or t.is_reading or t.is_resting or t.is_held)]

    def ask(self, tray: Tray) -> None:
        """The store is asked for the head of a tray; :meth:`fill` ends that."""
        tray.is_reading = True
        self._trays[tray.source_key] = self._trays.pop(tray.source_key)  # behind all others, so that each has its turn

    def of(self, source_key: int) -> Tray:
        """The tray of a source."""
        tray = self._trays.get(source_key)
        if tray is None:
            tray = self._trays[source_key] = Tray(source_key)
        return tray

    def offer(self, tray: Tray, item: InboxItem) -> None:
        """Put in what just became durable. If older ones wait in the store, or there is no room, it waits there too."""
        size = len(item.request.body)
        if tray.is_reading:
            tray.missed = True
        elif tray.more or tray.is_held or not self._fits(tray, size):
            tray.more = True
        else:
            self._put(tray, item, size)

    def fill(self, tray: Tray, items: Iterable[InboxItem], *, more: bool) -> None:
        """Put in what the store said is the head; ``more`` stands behind it. If it is held by now, nothing is."""
        tray.more = more or tray.missed or tray.is_held
        tray.is_reading = tray.missed = False
        for item in () if tray.is_held else items:
            if key_of(item) not in tray.in_hand:
                self._put(tray, item, len(item.request.body))

    def take(self, *, provable: bool) -> tuple[Tray, InboxItem] | None:
        """The next item, by turns of the sources; it is in hand until :meth:`let_go`.

        ``provable``: whether one that is to be checked yet may be it; if not, its source is passed over.
        """
        passed_over = 0
        while passed_over < len(self._turns):
            tray = self._turns[0]
            if tray.is_held or not tray.items:
                self._turns.popleft()
                self._queued.discard(tray.source_key)
                self._forget(tray)
                continue
            if not provable and needs_proof(tray.items[0]):
                self._turns.rotate(-1)
                passed_over += 1
                continue
            item = tray.items.popleft()
            size = len(item.request.body)
            tray.bytes -= size
            self.bytes -= size
            self.items -= 1
            tray.in_hand.add(key_of(item))
            if len(tray.in_hand) % TURN_ITEMS == 0:
                self._turns.rotate(-1)
            return tray, item
        return None

    def let_go(self, tray: Tray, item: InboxItem) -> None:
        """It is out of the inbox, or left to the store."""
        tray.in_hand.discard(key_of(item))
        self._forget(tray)

    def hold(self, tray: Tray, *, held: bool) -> None:
        """An operator holds the source back, or lets it go on."""
        tray.is_held = held
        if held:
            self._empty(tray)
        else:
            tray.more = True

    def _forget(self, tray: Tray) -> None:
        """Keep no tray of which nothing is known. One that has a turn yet is kept: another one would never get it."""
        if tray.is_idle and tray.source_key not in self._queued:
            self._trays.pop(tray.source_key, None)

    def _empty(self, tray: Tray) -> None:
        self.items -= len(tray.items)
        self.bytes -= tray.bytes
        tray.items.clear()
        tray.bytes = 0
        tray.more = True

    def _fits(self, tray: Tray, size: int) -> bool:
        return (
            len(tray.items) + len(tray.in_hand) < INBOX_WINDOW_ITEMS_MAX
            and tray.bytes + size <= INBOX_WINDOW_BYTES_MAX
            and self.bytes + size <= WINDOWS_BYTES_MAX
        )

    def _put(self, tray: Tray, item: InboxItem, size: int) -> None:
        tray.items.append(item)
        tray.bytes += size
        self.bytes += size
        self.items += 1
        if tray.source_key not in self._queued:
            self._queued.add(tray.source_key)
            self._turns.append(tray)
