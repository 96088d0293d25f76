"""HaloPSA: a name and a password, and a payload as a live one has it (the names are those of its guide 838)."""

import base64

import pytest

from posthouse.core.errors import SignatureInvalid
from posthouse.providers.received import Received, Unreadable
from posthouse.providers.senders.halopsa import PRESET

SECRET = "posthouse:pässword"
EVENT = (
    b'{"id":"8e25bc7b-e07e-4102-9398-5d6647e1e79d","webhook_id":"53232637-7724-4a19-b126-3c7267a292aa",'
    b'"notification_id":41, "event":"ticket status changed","object_id":4242,'
    b'"timestamp":"2026-09-25T06:41:08.7895915Z","ticket":{"id":4242}}'
)
CUSTOM = b'{"event":"new ticket logged","id":4242}'


def request(*authorizations: str, body: bytes = EVENT) -> Received:
    headers = tuple(("Authorization", each) for each in authorizations)
    return Received.of("POST", "https://example.com/in/x", headers, body, 0)


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


def test_who_knows_the_password_is_genuine_also_while_it_changes() -> None:
    PRESET.scheme.verify(request(basic(SECRET)), ["posthouse:new", SECRET], now_s=0)
    PRESET.scheme.verify(request("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="), ["Aladdin:open sesame"], now_s=0)  # RFC 7617


@pytest.mark.parametrize(
    ("received", "reason"),
    [
        (request(basic("posthouse:other")), "no_match"),
        (request(basic(":")), "no_match"),
        (request("Basic é"), "no_match"),
        (request("Bearer " + basic(SECRET)[6:]), "no_match"),
        (request(basic(SECRET), basic("a:b")), "malformed_header"),
        (request(), "missing_header"),
    ],
)
def test_anybody_else_is_not(received: Received, reason: str) -> None:
    with pytest.raises(SignatureInvalid) as refused:
        PRESET.scheme.verify(received, [SECRET], now_s=0)
    assert refused.value.reason == reason


def test_what_it_holds() -> None:
    (item,) = PRESET.read(request(), EVENT).items
    assert (item.type, item.identity) == ("ticket_status_changed", "8e25bc7b-e07e-4102-9398-5d6647e1e79d")
    assert (item.occurred_at, item.ordering_key, item.data) == (1_790_318_468_789, "4242", EVENT)


def test_it_may_batch_and_a_number_is_no_identity() -> None:
    body = b" [" + EVENT + b", " + CUSTOM + b"]"
    first, second = PRESET.read(request(body=body), body).items
    assert (first.data, second.data) == (EVENT, CUSTOM)
    assert (second.type, second.identity) == ("new_ticket_logged", None)
    assert PRESET.window_seconds == 300


def test_what_it_understands() -> None:
    assert PRESET.answers.overload == 503
    assert PRESET.sender.delays_s == ()
    assert "assumed" in PRESET.sender.known


@pytest.mark.parametrize("body", [b"", b"\xff", b"[" * 100_000, b"[1,"])
def test_odd_bodies_are_unreadable(body: bytes) -> None:
    with pytest.raises(Unreadable):
        PRESET.read(request(body=body), body)


@pytest.mark.parametrize("body", [b"[null]", b"null", b'{"event":[],"id":true,"object_id":{},"timestamp":1}'])
def test_odd_events_are_read(body: bytes) -> None:
    (item,) = PRESET.read(request(body=body), body).items
    assert (item.type, item.identity, item.ordering_key) == ("event", None, None)


def test_an_empty_list_holds_nothing() -> None:
    reading = PRESET.read(request(body=b"[]"), b"[]")
    assert (reading.items, reading.is_heartbeat) == ((), False)
