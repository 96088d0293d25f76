"""Zoom: its documented construction, step by step."""

import hashlib
import hmac
import json
from contextlib import suppress

import pytest

from posthouse.core.errors import SignatureInvalid
from posthouse.providers.received import Received, Unreadable
from posthouse.providers.senders.zoom import PRESET

SECRET = "z00m-secret-token"
NOW_S = 1_800_000_000
BODY = b'{"event": "meeting.started", "event_ts": 1799999999123, "payload": {"object": {"id": "85746065"}}}'
VALIDATION = (
    b'{"event":"endpoint.url_validation","payload":{"plainToken":"qgg8vlvZRS6UYooatFL8Aw"},"event_ts":1654503849680}'
)
ODD = (b"", b"[]", b"null", b"7", b"\xff", b"[" * 9_000, b'{"event":' * 9_000, b'{"event": {}, "event_ts": "9"}')


def signed(body: bytes = BODY, secret: str = SECRET, at: int = NOW_S) -> Received:
    digest = hmac.new(secret.encode(), b"v0:" + str(at).encode() + b":" + body, hashlib.sha256).hexdigest()
    headers = (("X-Zm-Signature", f"v0={digest}"), ("X-Zm-Request-Timestamp", str(at)))
    return Received.of("POST", "https://example.com/in/x", headers, body, NOW_S * 1_000)


def test_what_zoom_signs_is_genuine_with_any_secret_in_use() -> None:
    PRESET.scheme.verify(signed(), ["another", SECRET], now_s=NOW_S + 300)


@pytest.mark.parametrize(
    ("received", "secret", "now_s", "reason"),
    [
        (Received.of("POST", "/", signed().headers, BODY + b" ", 0), SECRET, NOW_S, "no_match"),
        (signed(), "another", NOW_S, "no_match"),
        (Received.of("POST", "/", signed().headers[:1], BODY, 0), SECRET, NOW_S, "missing_header"),
        (Received.of("POST", "/", signed().headers[1:], BODY, 0), SECRET, NOW_S, "missing_header"),
        (signed(), SECRET, NOW_S + 301, "timestamp_too_old"),
        (signed(), SECRET, NOW_S - 301, "timestamp_too_new"),
    ],
)
def test_what_is_not_zooms_is_refused(received: Received, secret: str, now_s: int, reason: str) -> None:
    with pytest.raises(SignatureInvalid) as caught:
        PRESET.scheme.verify(received, [secret], now_s=now_s)
    assert caught.value.reason == reason


def test_what_it_holds() -> None:
    (item,) = PRESET.read(signed(), BODY).items
    assert (item.type, item.identity, item.occurred_at) == ("meeting.started", None, 1_799_999_999_123)
    assert (item.data, item.ordering_key) == (BODY, "85746065")
    assert PRESET.window_seconds > sum(PRESET.sender.delays_s)


def test_the_question_for_the_secret_is_answered_by_the_secret_it_is_signed_with() -> None:
    assert PRESET.handshake is not None
    found = PRESET.handshake(signed(VALIDATION), ["newer", SECRET])
    assert found is not None
    assert json.loads(found.reply.body) == {
        "plainToken": "qgg8vlvZRS6UYooatFL8Aw",
        "encryptedToken": hmac.new(SECRET.encode(), b"qgg8vlvZRS6UYooatFL8Aw", hashlib.sha256).hexdigest(),
    }
    assert PRESET.handshake(signed(), [SECRET]) is None


@pytest.mark.parametrize("secrets", [[], ["another"]])
def test_an_unsigned_question_gets_no_signature(secrets: list[str]) -> None:
    assert PRESET.handshake is not None
    with pytest.raises(SignatureInvalid):
        PRESET.handshake(signed(VALIDATION), secrets)


def test_what_is_answered() -> None:
    assert PRESET.answers.overload == 503
    assert PRESET.sender.retries(503)
    assert not PRESET.sender.retries(204)


@pytest.mark.parametrize("body", ODD)
def test_odd_bodies_are_read_or_unreadable(body: bytes) -> None:
    assert PRESET.handshake is not None
    assert PRESET.handshake(signed(body), [SECRET]) is None
    with suppress(Unreadable):
        assert PRESET.read(signed(body), body).items[0].type == "event"
