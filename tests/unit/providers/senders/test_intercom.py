"""Intercom: its documented construction, step by step."""

import hashlib
import hmac
from contextlib import suppress

import pytest

from posthouse.core.errors import SignatureInvalid
from posthouse.providers.received import Received, Unreadable
from posthouse.providers.senders.intercom import PRESET

SECRET = "intercom-client-secret"
NOW_S = 1_800_000_000
BODY = (
    b'{"type": "notification_event", "id": "notif_ccd8a4d0", "topic": "conversation.user.created", '
    b'"created_at": 1799999990, "delivery_attempts": 1, "data": {"item": {"type": "conversation", "id": "147"}}}'
)
PING = b'{"type": "notification_event", "id": null, "topic": "ping", "data": {"item": {"type": "ping"}}}'
ODD = (b"", b"[]", b"null", b"7", b"\xff", b"[" * 9_000, b'{"topic":' * 9_000, b'{"topic": null, "created_at": -1}')


def signed(body: bytes = BODY, secret: str = SECRET) -> Received:
    digest = hmac.new(secret.encode(), body, hashlib.sha1).hexdigest()
    return Received.of(
        "POST", "https://example.com/in/x", (("X-Hub-Signature", f"sha1={digest}"),), body, NOW_S * 1_000
    )


def test_what_intercom_signs_is_genuine_with_any_secret_in_use() -> None:
    PRESET.scheme.verify(signed(), ["another", SECRET], now_s=NOW_S)


@pytest.mark.parametrize(
    ("received", "secret", "reason"),
    [
        (Received.of("POST", "/", signed().headers, BODY + b" ", 0), SECRET, "no_match"),
        (signed(), "another", "no_match"),
        (Received.of("POST", "/", (), BODY, 0), SECRET, "missing_header"),
        (Received.of("POST", "/", (("X-Hub-Signature", "sha256=00"),), BODY, 0), SECRET, "malformed_header"),
    ],
)
def test_what_is_not_intercoms_is_refused(received: Received, secret: str, reason: str) -> None:
    with pytest.raises(SignatureInvalid) as caught:
        PRESET.scheme.verify(received, [secret], now_s=NOW_S)
    assert caught.value.reason == reason


def test_what_it_holds() -> None:
    (item,) = PRESET.read(signed(), BODY).items
    assert (item.type, item.identity, item.data) == ("conversation.user.created", "notif_ccd8a4d0", BODY)
    assert (item.occurred_at, item.ordering_key) == (1_799_999_990_000, "147")


def test_a_ping_is_a_heartbeat() -> None:
    assert PRESET.read(signed(PING), PING).is_heartbeat


def test_a_head_is_answered_and_nothing_else_is_a_handshake() -> None:
    assert PRESET.handshake is not None
    found = PRESET.handshake(Received.of("HEAD", "/", (), b"", 0), [SECRET])
    assert found is not None
    assert (found.reply.status, found.reply.body) == (200, b"")
    assert PRESET.handshake(signed(), [SECRET]) is None


def test_what_is_answered() -> None:
    assert PRESET.answers.overload == 429
    assert PRESET.sender.retries(429)


@pytest.mark.parametrize("body", ODD)
def test_odd_bodies_are_read_or_unreadable(body: bytes) -> None:
    with suppress(Unreadable):
        assert PRESET.read(signed(body), body).items[0].type == "event"
