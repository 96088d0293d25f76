"""Asana: the scheme of its sample server (Asana/devrel-examples, python/webhooks_v5/server.py), step by step."""

import hashlib
import hmac

import pytest

from posthouse.core.errors import SignatureInvalid
from posthouse.providers.received import Received, Unreadable
from posthouse.providers.senders.asana import PRESET

SECRET = "b537207f20cbfa02357cf448134da559e8bd39d61597dcd5631b8012eae53e81"
HEARTBEAT = b'{"events":[]}'
FIRST = (
    b'{"user":{"gid":"1","resource_type":"user"}, "resource":{"gid":"42","resource_type":"task"},'
    b'"action":"changed","parent":null,"created_at":"2012-02-22T02:06:58.147Z",'
    b'"change":{"field":"assignee","action":"changed"}}'
)
OLD = b'{"resource":7,"type":"project","action":"added","created_at":"2012-02-22T02:06:58.147Z"}'
CROSSED = b'{"resource":{"gid":"42","resource_type":"task"},"type":"story","action":"added"}'
BODY = b'{"events":[' + FIRST + b"," + OLD + b"," + CROSSED + b"]}"


def request(body: bytes = BODY, **headers: str) -> Received:
    named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return Received.of("POST", "https://example.com/in/x", named, body, 0)


def signed(body: bytes = BODY, secret: str = SECRET) -> Received:
    return request(body, X_Hook_Signature=hmac.new(secret.encode(), body, hashlib.sha256).hexdigest())


def test_what_it_signs_is_genuine_also_while_the_secret_changes() -> None:
    PRESET.scheme.verify(signed(), ["new", SECRET], now_s=0)
    known = "10468027b67df18c739cc4794c6fc2d2806dcaaf2259fc3e1ed9d26433659853"
    PRESET.scheme.verify(request(HEARTBEAT, X_Hook_Signature=known), [SECRET], now_s=0)


@pytest.mark.parametrize(
    ("received", "reason"),
    [
        (signed(secret="another"), "no_match"),
        (request(BODY + b" ", X_Hook_Signature=hmac.new(SECRET.encode(), BODY, "sha256").hexdigest()), "no_match"),
        (request(), "missing_header"),
    ],
)
def test_anything_else_is_not(received: Received, reason: str) -> None:
    with pytest.raises(SignatureInvalid) as refused:
        PRESET.scheme.verify(received, [SECRET], now_s=0)
    assert refused.value.reason == reason


def test_the_first_handshake_brings_the_secret() -> None:
    assert PRESET.handshake is not None
    answered = PRESET.handshake(request(b"", X_Hook_Secret=SECRET), [])
    assert answered is not None
    assert (answered.reply.status, answered.reply.headers) == (200, (("X-Hook-Secret", SECRET),))
    assert answered.secret == SECRET
    assert PRESET.handshake(request(b"", X_Hook_Secret=SECRET), ["new", SECRET]) == answered
    assert PRESET.handshake(signed(), [SECRET]) is None
    assert PRESET.handshake(request(X_Hook_Secret=SECRET, X_Hook_Signature="signed, so no handshake"), []) is None


@pytest.mark.parametrize(
    ("secret", "known", "reason"),
    [
        ("f" * 64, [SECRET], "no_match"),
        ("a\r\nSet-Cookie: everything=1", [], "malformed_header"),
        ("é" * 32, [], "malformed_header"),
        ("", [], "malformed_header"),
    ],
)
def test_a_stranger_cannot_bring_another(secret: str, known: list[str], reason: str) -> None:
    assert PRESET.handshake is not None
    with pytest.raises(SignatureInvalid) as refused:
        PRESET.handshake(request(b"", X_Hook_Secret=secret), known)
    assert refused.value.reason == reason


def test_a_request_holds_several_events() -> None:
    first, old, crossed = PRESET.read(signed(), BODY).items
    assert (first.type, first.identity, first.occurred_at) == ("task.changed", None, 1_329_876_418_147)
    assert (first.ordering_key, first.data, first.contradiction) == ("42", FIRST, None)
    assert (old.type, old.ordering_key, old.data) == ("project.added", None, OLD)
    assert crossed.type == "task.added"
    assert crossed.contradiction is not None


def test_no_event_is_the_heartbeat() -> None:
    reading = PRESET.read(signed(HEARTBEAT), HEARTBEAT)
    assert (reading.items, reading.is_heartbeat) == ((), True)
    assert PRESET.heartbeat_seconds == 28_800


def test_what_it_understands() -> None:
    assert PRESET.answers.overload == 503
    assert PRESET.sender.retries(503)
    assert PRESET.sender.gives_up_after_s == 86_400


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"{}", b"[" * 100_000, b'{"events":"\xff"}'])
def test_odd_bodies_are_unreadable(body: bytes) -> None:
    with pytest.raises(Unreadable):
        PRESET.read(request(body), body)


def test_odd_events_are_read() -> None:
    body = b'{"events":[null,[],7,{"resource":[],"type":{},"action":[]}]}'
    assert [item.type for item in PRESET.read(request(body), body).items] == ["event"] * 4
