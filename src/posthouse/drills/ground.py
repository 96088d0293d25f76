"""The ground on which a drill runs: a node, receivers, a publisher, and the record of what they do."""

import asyncio
import contextlib
import shutil
import tempfile
import time
from collections.abc import Callable, Container, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final, Self, TypeVar

import msgspec

from posthouse.core.limits import PAGE_ITEMS_MAX
from posthouse.demo.node_process import SERVE, Node
from posthouse.drills.background import Background
from posthouse.drills.events import Outgoing
from posthouse.drills.plan import RATE, DrillFailed, Look, Plan, Show
from posthouse.drills.publisher import Publisher
from posthouse.drills.receivers import Inbox, Receivers
from posthouse.drills.receiving import Entrance, SourceBooks
from posthouse.drills.reckoning import Reckoning, reckon
from posthouse.drills.recording import Kind, Recording, Sample
from posthouse.drills.report import Then
from posthouse.sdk.client import Client, Problem, Unreachable, segment

T = TypeVar("T")

TICK_SECONDS: Final = 0.02
BOOKS_SECONDS: Final = 0.3  #: between two looks at the books while something is to settle
SETTLE_SECONDS_MAX: Final = 120.0
PUBLISH_SECONDS_MAX: Final = 300.0
CLIENT_SECONDS_MAX: Final = 120.0
_DRAIN_SECONDS: Final = "2"


class Books(msgspec.Struct, frozen=True):
    """What ``GET /v1/audit`` counts for the drill's own tenant."""

    owed: int
    delivered: int
    waiting: int
    retrying: int
    exhausted: int
    discarded: int
    imbalance: int

    @property
    def open(self) -> int:
        """Deliveries that are not settled."""
        return self.waiting + self.retrying


class Ground:
    """Everything that drills have in common. Entered, it is ready; left, nothing of it stays behind.

    Args:
        plan: how to run.
        show: called with a look whenever something may have changed.
        program: the module that is the drill's own node, as :class:`~posthouse.demo.node_process.Node` takes it.
        options: more options of that node.
    """

    def __init__(self, plan: Plan, show: Show, *, program: Sequence[str] = SERVE, options: Sequence[str] = ()) -> None:
        self.plan = plan
        self.recording = Recording()
        self.background = Background()
        self.receivers = Receivers(plan.listen)
        self.inboxes: list[Inbox] = []
        self.entrances: list[Entrance] = []
        #: All that the drill publishes and creates is this tenant's, so that it meets nobody else's.
        self.tenant = f"drill-{plan.seed}-{time.time_ns() // 1_000_000}"
        self._show = show
        self._program = program
        self._options = options
        self._doing = ""
        self._doing_since = 0.0
        self._share = self._share_max = self._speed = 0.0
        self._node: Node | None = None
        self._publisher: Publisher | None = None
        self._loads: list[Future[None]] = []  # all that is sent or published
        self._owed: list[Callable[[], int]] = []
        self._stack = contextlib.ExitStack()
        self._parked = 0
        self._entered_at = self._began_at = time.monotonic()

    # -- life -----------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.background)
            try:
                self.background.run(self.receivers.open())
            except OSError as error:
                raise DrillFailed(f"The receivers cannot listen on {self.plan.listen}: {error.strerror}.") from error
            stack.callback(lambda: self.background.run(self.receivers.close()))
            if self.plan.against is None:
                self._node = self._own_node(stack)
            else:
                stack.callback(self._delete_all)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _own_node(self, stack: contextlib.ExitStack) -> Node:
        data = self.plan.data
        if data is None:
            parent = tempfile.mkdtemp(prefix="posthouse-drill-")
            stack.callback(shutil.rmtree, parent, ignore_errors=True)
            data = Path(parent) / "data"
        options = ["--drain-seconds", _DRAIN_SECONDS, *self._options]
        if self.plan.database is not None:
            options += ["--database", self.plan.database]
        node = Node(data, program=self._program, options=options)
        stack.callback(node.stop)
        self.do("starting a node", 0.0)
        node.start()
        return node

    def _delete_all(self) -> None:
        """Leave nothing open behind on somebody's node; what cannot be deleted now is named by its tenant."""
        with contextlib.suppress(Problem, Unreachable), self.client(tries=1) as client:
            for entrance in self.entrances:
                client.delete(f"/v1/sources/{segment(entrance.source)}")
            for inbox in self.inboxes:
                client.delete(f"/v1/endpoints/{segment(inbox.endpoint)}")

    # -- the node -------------------------------------------------------------------------------

    @property
    def is_own(self) -> bool:
        """Whether the node is the drill's own, to be broken at will."""
        return self.plan.against is None

    @property
    def node(self) -> Node:
        """The drill's own node."""
        assert self._node is not None, "the drill has a node of its own"
        return self._node

    @property
    def url(self) -> str:
        """Where the node is."""
        return self.plan.against or self.node.url

    def client(self, *, tries: int = 4) -> Client:
        """A client of the node. Close it."""
        return Client(self.url, self.api_key, tries=tries, timeout_s=CLIENT_SECONDS_MAX)

    @property
    def api_key(self) -> str:
        """What opens the node."""
        return self.node.api_key if self.is_own else self.plan.api_key or ""

    def add_endpoint(self, name: str, types: Sequence[str], *, behind_hole: bool = False, **fields: object) -> Inbox:
        """Create an endpoint for these types that leads to a new inbox. ``fields``: as the API takes them."""
        inbox = self.receivers.inbox(name, types, behind_hole=behind_hole)
        body = {"url": inbox.url, "events": list(types), "tenant": self.tenant, "description": "a drill", **fields}
        with self.client() as client:
            created = client.post("/v1/endpoints", body)
        inbox.endpoint, inbox.secret = created["id"], created["secret"]
        self.inboxes.append(inbox)
        return inbox

    def add_source(self, provider: str, secret: str, **fields: object) -> Entrance:
        """Create a source for a sender with this secret; empty: it brings its own. ``fields``: as the API has them."""
        body = {"name": f"a drill: {provider}", "provider": provider, "tenant": self.tenant, **fields}
        with self.client() as client:
            created = client.post("/v1/sources", {**body, "secrets": [secret] if secret else []})
        entrance = Entrance(created["id"], created["url"], secret)
        self.entrances.append(entrance)
        return entrance

    def pages(self, path: str, **query: object) -> Iterator[list[Mapping[str, Any]]]:
        """Every page of a list of the drill's own tenant."""
        cursor = None
        with self.client() as client:
            while True:
                page = client.get(path, {**query, "tenant": self.tenant, "limit": PAGE_ITEMS_MAX, "cursor": cursor})
                yield page["data"]
                cursor = page["next_cursor"]
                if cursor is None:
                    return

    def books(self) -> Books:
        """The books of the drill's own tenant, recounted by the node."""
        with self.client() as client:
            audit = client.get("/v1/audit", {"tenant": self.tenant})
        return msgspec.convert({name: audit[name] for name in Books.__struct_fields__}, Books)

    def source_books(self, entrance: Entrance) -> SourceBooks:
        """The books of one source, recounted by the node."""
        with self.client() as client:
            sources = client.get("/v1/audit", {"tenant": self.tenant})["sources"]
        (found,) = [books for books in sources if books["source"] == entrance.source]
        return msgspec.convert({name: found[name] for name in SourceBooks.__struct_fields__}, SourceBooks)

    def metrics(self) -> dict[str, float]:
        """Every number of ``GET /metrics`` by its name, labels included."""
        with self.client() as client:
            text = client.fetch("/metrics").text
        lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, _, value in lines}

    def missing(self) -> set[str]:
        """Events that got their 202 and are not in the node's list of events."""
        on_disk = {event["id"] for page in self.pages("/v1/events") for event in page}
        return self.publisher.accepted - on_disk

    # -- publishing -----------------------------------------------------------------------------

    def publish(self, events: Iterator[Outgoing], *, rate: float = RATE) -> Publisher:
        """Begin to publish, and to record. Once in a drill."""
        publisher = self._publisher = Publisher(self.url, self.api_key, tenant=self.tenant)
        self.send(publisher.run(events, rate=rate), owed=lambda: publisher.owed)
        return publisher

    def send(self, sending: Coroutine[Any, Any, None], *, owed: Callable[[], int] | None = None) -> None:
        """Let a simulated sender begin, and record.

        ``owed``: deliveries of what it was told that it is taken; None: those are counted already.
        """
        if owed is not None:
            self._owed.append(owed)
        if not self._loads:
            self._began_at = time.monotonic()
            self.background.start(self._record())
        load = self.background.start(sending)
        self._loads.append(load)
        self._stack.callback(load.cancel)

    @property
    def publisher(self) -> Publisher:
        """Who publishes."""
        assert self._publisher is not None, "something is published"
        return self._publisher

    @property
    def is_published(self) -> bool:
        """Whether every event that is to be published has its 202, and every sender has ended."""
        return bool(self._loads) and all(load.done() for load in self._loads)

    @property
    def owed(self) -> int:
        """Deliveries of all that was acknowledged."""
        return sum(owed() for owed in tuple(self._owed))

    async def _record(self) -> None:
        while True:
            look = self._look()
            self.recording.add(Sample(self.now_s, look.accepted, look.delivered, look.waiting))
            await asyncio.sleep(self.recording.step_s)

    # -- time passing ---------------------------------------------------------------------------

    @property
    def now_s(self) -> float:
        """Seconds since the first event was published."""
        return self.seconds_at(time.monotonic())

    def seconds_at(self, monotonic: float) -> float:
        """A monotonic time in seconds since the first event was published."""
        return monotonic - self._began_at

    def mark(self, kind: Kind, text: str, *, at_s: float | None = None, until_s: float | None = None) -> None:
        """Put a mark on the record, now or at another time, in seconds since the first event was published."""
        self.recording.mark(self.now_s if at_s is None else at_s, kind, text, until_s=until_s)

    def do(self, doing: str, share: float, *, to: float | None = None, seconds: float = 1.0) -> None:
        """Say what comes now, how much of the drill lies behind, and how much will in about so many ``seconds``."""
        self._doing, self._doing_since = doing, time.monotonic()
        self._share, self._speed = share, ((share if to is None else to) - share) / seconds
        self._share_max = share if to is None else to
        self._show(self._look())

    def pause(self, seconds: float) -> None:
        """Let time pass."""
        self.holds_within(lambda: False, seconds_max=seconds)

    def until(
        self, reached: Callable[[], bool], *, seconds_max: float, what: str, every_s: float = TICK_SECONDS
    ) -> None:
        """Wait for ``reached``. Raises DrillFailed after ``seconds_max``, and what :meth:`check` raises."""
        if not self.holds_within(reached, seconds_max=seconds_max, every_s=every_s):
            raise DrillFailed(f"After {seconds_max:.0f} s of waiting for {what} the drill gave up.")

    def holds_within(self, reached: Callable[[], bool], *, seconds_max: float, every_s: float = TICK_SECONDS) -> bool:
        """Wait for ``reached`` for so long; whether it came true. Raises what :meth:`check` raises."""
        deadline = time.monotonic() + seconds_max
        while not reached():
            self.check()
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return False
            self._show(self._look())
            time.sleep(min(every_s, remaining))
        self.check()
        return True

    def until_acknowledged(self, events: float) -> None:
        """Wait until so many events have their 202."""
        what = f"{events:,.0f} events with a 202"
        self.until(lambda: self.publisher.acknowledged >= events, seconds_max=PUBLISH_SECONDS_MAX, what=what)

    def until_published(self) -> None:
        """Wait until all events that are to be published have their 202, and every sender has ended."""
        self.until(lambda: self.is_published, seconds_max=PUBLISH_SECONDS_MAX, what="the last 202s")

    def run(self, coroutine: Coroutine[Any, Any, T], *, seconds_max: float, what: str) -> T:
        """Run ``coroutine`` on the background loop and wait for it as :meth:`until` does; what it returns."""
        future = self.background.start(coroutine)
        self.until(future.done, seconds_max=seconds_max, what=what)
        return future.result()

    def check(self) -> None:
        """Raise NodeFailed or DrillFailed if the node, the publisher or a sender has ended by itself."""
        if self._node is not None:
            self._node.check()
        for load in self._loads:
            if load.done() and (error := load.exception()):
                raise _first(error)

    def _look(self) -> Look:
        accepted = self.owed
        delivered = self.receivers.delivered
        now = time.monotonic()
        return Look(
            now_s=now - self._entered_at,
            share=min(self._share + (now - self._doing_since) * self._speed, self._share_max),
            doing=self._doing,
            accepted=accepted,
            delivered=delivered,
            waiting=max(accepted - delivered - self._parked, 0),
        )

    # -- the end --------------------------------------------------------------------------------

    def settle(self, *, parked: int = 0) -> Books:
        """Wait until the node owes nothing; its books then, or those after ``SETTLE_SECONDS_MAX``.

        The receivers must have all but ``parked`` deliveries before the node is asked: recounting costs.
        """
        self._parked = parked
        deadline = time.monotonic() + SETTLE_SECONDS_MAX
        self.holds_within(
            lambda: self.is_published and self.receivers.delivered >= self.owed - parked,
            seconds_max=SETTLE_SECONDS_MAX,
        )
        while (books := self.books()).open and time.monotonic() < deadline:
            self.pause(BOOKS_SECONDS)
        return books

    def reckon(self, *, parked: Container[str] = ()) -> Reckoning:
        """What arrived against what was promised."""
        sent, strays = self.publisher.sent, self.receivers.strays
        return self.background.call(lambda: reckon(sent, self.inboxes, strays=strays, parked=parked))


def common_rules(found: Reckoning, books: Books) -> list[Then]:
    """What every drill demands at its end."""
    return [
        Then("owed deliveries that never arrived", found.lost, "=", 0),
        Then("deliveries that arrived where they do not belong", found.misrouted, "=", 0),
        Then("deliveries with other bytes than were published", found.altered, "=", 0),
        Then("deliveries whose signature is not valid", found.forged, "=", 0),
        Then("deliveries that the node still owes", books.open, "=", 0),
        Then("deliveries promised, less those in the node's books", found.owed - books.owed, "=", 0),
        Then("difference in the node's books", books.imbalance, "=", 0),
    ]


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
