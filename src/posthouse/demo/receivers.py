"""Receivers in a process of their own: HTTP servers that verify, count and misbehave.

Run as ``python -m posthouse.demo.receivers``. The process is told what to do by lines of JSON on stdin and
answers each with one line on stdout. It ends when stdin does, so it never outlives its owner.
"""

import random
import sys
import threading
from collections import Counter
from hashlib import blake2b
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Literal, NamedTuple

import msgspec
from standardwebhooks import Webhook, WebhookVerificationError

from posthouse.demo.board import Behaviour, Tally

FAILING_SHARE: Final = 0.3
POLL_SECONDS: Final = 0.05  #: after which a server notices that it is to end
BODY_BYTES_MAX: Final = 2 << 20


class ReceiverSpec(msgspec.Struct, frozen=True):
    """One receiver to run."""

    name: str
    behaviour: Behaviour
    secret: str


class Command(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of stdin. ``open`` comes first and names the receivers; its answer is their ports."""

    do: Literal["open", "recover", "killed", "tallies", "ledgers"]
    receivers: list[ReceiverSpec] = []
    seed: int = 0


class _Envelope(msgspec.Struct, frozen=True):
    """The part of a request's body that the publisher wrote."""

    data: msgspec.Raw


class _Receipt(NamedTuple):
    """How an event was first answered with 200."""

    life: int  #: how often the node had been killed by then
    body: str
    data: str


class Receiver:
    """What one receiver remembers and decides. Used by many threads."""

    def __init__(self, spec: ReceiverSpec, seed: int) -> None:
        self.name = spec.name
        self._behaviour = spec.behaviour
        self._chance = random.Random(f"{seed}/{spec.name}")  # noqa: S311 - the same failures for the same seed
        self._webhook = Webhook(spec.secret)
        self._recovered = threading.Event()
        self._lock = threading.Lock()
        self._life = 0
        self._counts: Counter[str] = Counter()
        self._receipts: dict[str, _Receipt] = {}

    def tally(self) -> Tally:
        """The counts so far."""
        with self._lock:
            return msgspec.convert(dict(self._counts), Tally)

    def ledger(self) -> dict[str, str]:
        """Event id → hash of its data, for every event that was answered with 200."""
        with self._lock:
            return {event: receipt.data for event, receipt in self._receipts.items()}

    def recover(self) -> None:
        """Stop hanging. What is held gets no answer: its connection is closed."""
        self._recovered.set()

    def killed(self) -> None:
        """Whatever comes from now on is sent by another process of the node."""
        with self._lock:
            self._life += 1

    def receive(self, headers: dict[str, str], body: bytes) -> int | None:
        """The status to answer a request with; None to close its connection without an answer."""
        try:
            self._webhook.verify(body, headers)
            data = digest(msgspec.json.decode(body, type=_Envelope).data)
        except (WebhookVerificationError, ValueError):
            self._count("requests", "bad_signatures")
            return 400
        self._count("requests", "verified")
        if self._behaviour is Behaviour.HANGING and not self._recovered.is_set():
            self._count("held")
            self._recovered.wait()
            return None
        with self._lock:
            if self._behaviour is Behaviour.FLAKY and self._chance.random() < FAILING_SHARE:
                self._counts["refused"] += 1
                return 503
            self._accept(headers["webhook-id"], _Receipt(self._life, digest(body), data))
            return 200

    def _accept(self, event: str, receipt: _Receipt) -> None:
        """Note a 200; the lock is held."""
        first = self._receipts.setdefault(event, receipt)
        if first is receipt:
            self._counts["accepted"] += 1
            return
        self._counts["duplicates"] += 1
        self._counts["duplicates_over_kill"] += first.life < receipt.life
        self._counts["changed"] += first.body != receipt.body

    def _count(self, *names: str) -> None:
        with self._lock:
            self._counts.update(names)


class _Server(ThreadingHTTPServer):
    """A receiver on a free port of the loopback interface."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, receiver: Receiver) -> None:
        self.receiver = receiver
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that breaks is the node's business: it was killed, or had waited long enough."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_POST(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        if not 0 < length <= BODY_BYTES_MAX:
            self._answer(413, b"")
            self.close_connection = True
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        status = self.server.receiver.receive(headers, self.rfile.read(length))
        if status is None:
            self.close_connection = True
        else:
            self._answer(status, b"")

    def do_GET(self) -> None:
        """The counts, for people who look."""
        receiver = self.server.receiver
        self._answer(200, msgspec.json.encode({"receiver": receiver.name, **msgspec.to_builtins(receiver.tally())}))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class calls it so
        """Nothing is logged: what counts is counted."""

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def digest(raw: bytes | msgspec.Raw) -> str:
    """What is kept of bytes to recognise them by."""
    return blake2b(raw, digest_size=8).hexdigest()


def answer(receivers: list[Receiver], command: Command) -> object:
    """Do what ``command`` says; what to answer."""
    match command.do:
        case "recover":
            for receiver in receivers:
                receiver.recover()
            return None
        case "killed":
            for receiver in receivers:
                receiver.killed()
            return None
        case "tallies":
            return {receiver.name: receiver.tally() for receiver in receivers}
        case "ledgers":
            return {receiver.name: receiver.ledger() for receiver in receivers}
        case "open":
            raise ValueError("The receivers are open already.")


def main() -> None:
    """Serve until stdin ends."""
    decode = msgspec.json.Decoder(Command).decode
    first = decode(sys.stdin.buffer.readline())
    receivers = [Receiver(spec, first.seed) for spec in first.receivers]
    servers = [_Server(receiver) for receiver in receivers]
    for server in servers:
        threading.Thread(
            target=server.serve_forever, args=(POLL_SECONDS,), name=server.receiver.name, daemon=True
        ).start()
    _write({server.receiver.name: server.server_port for server in servers})
    for line in sys.stdin.buffer:
        _write(answer(receivers, decode(line)))
    for server in servers:
        server.shutdown()
        server.server_close()


def _write(value: object) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(value) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
