"""The publishing application of the demonstration: a steady rate, and every event repeated until it has a 202."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from posthouse.demo.payloads import Payload
from posthouse.demo.receivers import digest
from posthouse.sdk.client import Client, NewEvent, Problem, Unreachable

THREADS: Final = 4
PAUSE_SECONDS: Final = 0.1  #: before an event without an answer is published again
_AGAIN: Final = frozenset({429, 503})


class Publisher:
    """Publishes in threads of its own. ``promised`` grows only when a 202 has come.

    Args:
        open_client: makes a client with one try a call.
        payloads: what to publish, in this order.
        rounds: how many times over.
        rate: events a second, at most.
    """

    def __init__(
        self, open_client: Callable[[], Client], payloads: Sequence[Payload], *, rounds: int, rate: float
    ) -> None:
        self.total = rounds * len(payloads)
        self.promised: dict[str, str] = {}  #: event id → hash of its data
        self.unanswered = 0
        self.repeated = 0
        self.failure: Exception | None = None
        self._open_client = open_client
        self._payloads = payloads
        self._rate = rate
        self._next = 0
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._run, name=f"publisher-{n}", daemon=True) for n in range(THREADS)]

    def start(self) -> None:
        """Begin."""
        self._started = time.monotonic()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Give up what is not promised yet, and wait for the threads. Idempotent."""
        self._stopped.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()

    @property
    def is_done(self) -> bool:
        """Whether every event has its 202."""
        return len(self.promised) == self.total

    def _run(self) -> None:
        try:
            with self._open_client() as client:
                while (number := self._turn()) is not None:
                    self._publish(client, number)
        except Exception as error:  # noqa: BLE001 - whatever it is, the story must hear of it
            self.failure = error

    def _turn(self) -> int | None:
        """The number of the next event, at its time; None when there is none left."""
        with self._lock:
            number = self._next
            self._next += 1
        due = self._started + number / self._rate
        if number >= self.total or self._stopped.wait(max(0.0, due - time.monotonic())):
            return None
        return number

    def _publish(self, client: Client, number: int) -> None:
        payload = self._payloads[number % len(self._payloads)]
        event = NewEvent(type=payload.type, data=payload.data, id=f"demo-{number:06d}")
        tried = False
        while not self._stopped.is_set():
            try:
                published = client.publish(event)
            except Unreachable:
                pass
            except Problem as problem:
                if problem.status not in _AGAIN:
                    raise
            else:
                with self._lock:
                    self.promised[event.id or ""] = digest(payload.data)
                    self.repeated += published.duplicate
                return
            if not tried:
                with self._lock:
                    self.unanswered += 1
            tried = True
            self._stopped.wait(PAUSE_SECONDS)
