"""The demo's receivers: they verify, count and misbehave as they should."""

import io
import sys
import threading
from datetime import UTC, datetime

import msgspec
import pytest
from standardwebhooks import Webhook

from posthouse.demo import receivers
from posthouse.demo.board import Behaviour, Tally
from posthouse.demo.receivers import Command, Receiver, ReceiverSpec, answer, digest

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo="


def receiver(behaviour: Behaviour = Behaviour.GOOD, seed: int = 1) -> Receiver:
    return Receiver(ReceiverSpec(behaviour.value, behaviour, SECRET), seed)


def request(event: str, data: bytes = b'{ "a":  1 }') -> tuple[dict[str, str], bytes]:
    body = b'{"type":"a","timestamp":"2026-11-22T08:30:00.000Z","data":' + data + b"}"
    now = datetime.now(UTC)
    headers = {
        "webhook-id": event,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(SECRET).sign(event, now, body.decode()),
    }
    return headers, body


def test_good_one_keeps_the_hash_of_the_publishers_bytes() -> None:
    good = receiver()
    assert good.receive(*request("evt_1")) == 200
    assert good.ledger() == {"evt_1": digest(b'{ "a":  1 }')}
    assert good.tally() == Tally(requests=1, verified=1, accepted=1)


def test_wrong_signature_is_refused_and_counted() -> None:
    good = receiver()
    headers, body = request("evt_1")
    assert good.receive(headers, body.replace(b"1 }", b"2 }")) == 400
    assert good.receive({}, body) == 400
    assert good.tally() == Tally(requests=2, bad_signatures=2)
    assert good.ledger() == {}


def test_duplicates_over_the_kill_are_told_apart() -> None:
    """An event that was answered before the kill and comes again after it is explained; any other repeat is not."""
    good = receiver()
    good.receive(*request("evt_1"))
    good.receive(*request("evt_1"))
    good.killed()
    good.receive(*request("evt_1"))
    good.receive(*request("evt_2", b"1"))
    good.receive(*request("evt_2", b"2"))
    tally = good.tally()
    assert (tally.accepted, tally.duplicates, tally.duplicates_over_kill, tally.changed) == (2, 3, 1, 1)


def test_flaky_one_fails_the_same_way_for_the_same_seed() -> None:
    def statuses(seed: int) -> list[int | None]:
        flaky = receiver(Behaviour.FLAKY, seed)
        return [flaky.receive(*request(f"evt_{n}")) for n in range(300)]

    first = statuses(1)
    assert first == statuses(1) != statuses(2)
    assert 60 <= first.count(503) <= 120


def test_hanging_one_gives_no_answer_to_what_it_held() -> None:
    """What it held counts as never received: it was not answered, so it must come again."""
    hanging = receiver(Behaviour.HANGING)
    held: list[int | None] = []
    thread = threading.Thread(target=lambda: held.append(hanging.receive(*request("evt_1"))))
    thread.start()
    hanging.recover()
    thread.join()
    assert hanging.receive(*request("evt_2")) == 200
    tally = hanging.tally()
    assert held == [None] * tally.held or held == [200]
    assert tally.accepted == 2 - tally.held


def test_commands() -> None:
    group = [receiver()]
    group[0].receive(*request("evt_1"))
    assert answer(group, Command("tallies")) == {"good": Tally(requests=1, verified=1, accepted=1)}
    assert answer(group, Command("ledgers")) == {"good": {"evt_1": digest(b'{ "a":  1 }')}}
    assert answer(group, Command("recover")) is None
    assert answer(group, Command("killed")) is None
    with pytest.raises(ValueError, match="open already"):
        answer(group, Command("open"))


def test_process_speaks_json_lines_and_ends_with_its_input(monkeypatch: pytest.MonkeyPatch) -> None:
    commands = [Command("open", [ReceiverSpec("good", Behaviour.GOOD, SECRET)], 1), Command("tallies")]
    typed = b"".join(msgspec.json.encode(command) + b"\n" for command in commands)
    printed = io.BytesIO()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(typed)))
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(printed))
    receivers.main()
    ports, tallies = printed.getvalue().splitlines()
    assert 0 < msgspec.json.decode(ports)["good"] < 65_536
    assert msgspec.json.decode(tallies, type=dict[str, Tally]) == {"good": Tally()}
