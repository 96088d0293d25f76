"""The demonstration's course: start, publish, kill, start again, recover, and wait until the books balance."""

import secrets
import time
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Final, Self

import msgspec

from posthouse.demo.board import Behaviour, Board, Reckoning, Row, reckon
from posthouse.demo.node_process import Node
from posthouse.demo.payloads import payloads
from posthouse.demo.processes import DemoFailed, Receivers
from posthouse.demo.publisher import Publisher
from posthouse.demo.receivers import ReceiverSpec
from posthouse.sdk.client import Client, Problem, Unreachable

#: Short delays, so that nobody has to wait for three weeks.
RETRY: Final = "custom:" + ",".join(["1s", "1s", "2s", "2s", "3s", "3s", *["5s"] * 30])
HANGING_TIMEOUT_MS: Final = 2_000
KILL_AT: Final = 0.45  #: of all events
DOWN_SECONDS: Final = 1.0
RECOVER_AT: Final = 0.75
SETTLE_SECONDS_MAX: Final = 180.0
TICK_SECONDS: Final = 0.1
BOOKS_SECONDS: Final = 0.4  #: between two looks at the books


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a demonstration does."""

    data: Path
    port: int = 0
    rounds: int = 4
    rate: float = 40.0  #: events a second
    seed: int = 1


class Story:
    """One demonstration. A context manager: leaving it ends every process that it started.

    Args:
        plan: what to do.
        show: called with the board whenever something may have changed.
    """

    def __init__(self, plan: Plan, show: Callable[[Board], None]) -> None:
        self._plan = plan
        self._show = show
        self._started = time.monotonic()
        self._books_read = 0.0
        self.node = Node(plan.data, plan.port)
        specs = [ReceiverSpec(b.value, b, _secret()) for b in Behaviour]
        self._specs = specs
        self.board = Board(events_total=plan.rounds * len(payloads()))
        self.receivers = Receivers(specs, plan.seed)
        self._publisher: Publisher | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if self._publisher is not None:
                self._publisher.stop()
        finally:
            try:
                self.node.stop()
            finally:
                self.receivers.stop()

    def play(self) -> Reckoning:
        """Everything from the start to the reckoning. Raises DemoFailed or NodeFailed if it cannot be finished."""
        board = self.board
        self._start_node("node started on {url} (process {pid})")
        self._create_endpoints()
        publisher = self._publisher = Publisher(
            lambda: Client(self.node.url, self.node.api_key, tries=1, timeout_s=10.0),
            payloads(),
            rounds=self._plan.rounds,
            rate=self._plan.rate,
        )
        publisher.start()
        board.say(
            f"publishing {board.events_total:,} real GitHub events to three endpoints, {self._plan.rate:g} a second"
        )
        self._until(lambda: len(publisher.promised) >= KILL_AT * publisher.total)
        self._kill_and_restart(publisher)
        self._until(lambda: len(publisher.promised) >= RECOVER_AT * publisher.total)
        self.receivers.recover()
        board.say("the hanging receiver answers again")
        self._until(lambda: publisher.is_done)
        board.say(
            f"all {publisher.total:,} events have their 202 ({publisher.unanswered} had no answer at first, "
            f"{publisher.repeated} of them had been stored all the same)"
        )
        self._until(self._settled, seconds_max=SETTLE_SECONDS_MAX)
        return self._reckon(publisher)

    def _start_node(self, text: str) -> None:
        self.node.start()
        self.board.node_up = True
        self._clock()
        self.board.say(text.format(url=self.node.url, pid=self.node.pid))

    def _create_endpoints(self) -> None:
        with self._client() as client:
            for spec in self._specs:
                body: dict[str, object] = {
                    "url": self.receivers.urls[spec.name],
                    "events": ["*"],
                    "active": True,
                    "secret": spec.secret,
                    "retry": RETRY,
                    "description": f"receiver {spec.name} of the demo",
                }
                if spec.behaviour is Behaviour.HANGING:
                    body["timeout_ms"] = HANGING_TIMEOUT_MS
                endpoint = client.post("/v1/endpoints", body)["id"]
                self.board.rows.append(Row(name=spec.name, behaviour=spec.behaviour, endpoint=endpoint))

    def _kill_and_restart(self, publisher: Publisher) -> None:
        board = self.board
        pid = self.node.pid
        self.node.kill()
        board.node_up = False
        promised = len(publisher.promised)
        self._clock()
        board.say(f"SIGKILL to the node (process {pid}) after {promised:,} acknowledged events")
        self._pass(DOWN_SECONDS)
        # Only now: what the dead node had sent still reached the receivers, and belongs to its life.
        self.receivers.killed()
        began = time.monotonic()
        self._start_node("node is back on the same directory (process {pid})")
        board.say(f"ready {time.monotonic() - began:.1f} s after its start; unanswered events are published again")

    def _settled(self) -> bool:
        """Whether the node owes nothing and knows that every receiver has everything."""
        return self._read_books() and self.board.open == 0 and self._all_settled()

    def _all_settled(self) -> bool:
        return all(row.books.get("owed", 0) == self.board.acknowledged for row in self.board.rows)

    def _reckon(self, publisher: Publisher) -> Reckoning:
        with self._client() as client:
            audit = client.get("/v1/audit")
        self.board.balance(audit)
        tallies, ledgers = self.receivers.tallies(), self.receivers.ledgers()
        self._look()
        return reckon(publisher.promised, list(ledgers.values()), list(tallies.values()), imbalance=audit["imbalance"])

    # -- time passing -------------------------------------------------------------------------

    def _pass(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        self._until(lambda: time.monotonic() >= end)

    def _until(self, reached: Callable[[], bool], *, seconds_max: float | None = None) -> None:
        """Look and show until ``reached``. Raises DemoFailed when that takes too long, and what else broke it."""
        began = time.monotonic()
        while not reached():
            if seconds_max is not None and time.monotonic() - began > seconds_max:
                raise DemoFailed(f"After {seconds_max:.0f} s the node still owes {self.board.open:,} deliveries.")
            publisher = self._publisher
            if publisher is not None and publisher.failure is not None:
                raise DemoFailed(f"Publishing failed: {publisher.failure}") from publisher.failure
            self.node.check()
            if self._clock() - self._books_read >= BOOKS_SECONDS:
                self._read_books()
            self._look()
            time.sleep(TICK_SECONDS)

    def _read_books(self) -> bool:
        """Take over the node's books; False if it does not answer now."""
        self._books_read = self._clock()
        try:
            with self._client() as client:
                self.board.balance(client.get("/v1/audit"))
        except (Problem, Unreachable):
            return False
        return True

    def _look(self) -> None:
        """Bring the board up to date with the publisher and the receivers, and show it."""
        board, publisher = self.board, self._publisher
        self._clock()
        if publisher is not None:
            board.acknowledged = len(publisher.promised)
            board.unanswered, board.repeated = publisher.unanswered, publisher.repeated
        tallies = self.receivers.tallies()
        for row in board.rows:
            row.tally = tallies[row.name]
        self._show(board)

    def _clock(self) -> float:
        self.board.now_s = time.monotonic() - self._started
        return self.board.now_s

    def _client(self) -> Client:
        return Client(self.node.url, self.node.api_key, tries=1, timeout_s=10.0)


def _secret() -> str:
    return "whsec_" + b64encode(secrets.token_bytes(32)).decode()
