"""Twitch: its documented construction, step by step."""

import hashlib
import hmac
from contextlib import suppress

import pytest

from posthouse.core.errors import SignatureInvalid
from posthouse.core.time_format import parse_rfc3339
from posthouse.providers.received import Received, Unreadable
from posthouse.providers.senders.twitch import PRESET

SECRET = "s3cre77890ab"
AT = "2027-01-15T08:00:00.634234626Z"
NOW_S = parse_rfc3339(AT) // 1_000
BODY = b'{"subscription": {"id": "f1c2a387", "type": "channel.follow", "status": "enabled"}, "event": {"user_id": "1"}}'
REVOKED = b'{"subscription": {"id": "f1c2a387", "type": "channel.follow", "status": "authorization_revoked"}}'
CHALLENGE = b'{"challenge": "pogchamp-kappa-360noscope-vohiyo", "subscription": {"type": "channel.follow"}}'
ODD = (b"", b"[]", b"null", b"7", b"\xff", b"[" * 9_000, b'{"event":' * 9_000, b'{"challenge": 1}')


def signed(
    body: bytes = BODY, kind: str = "notification", secret: str = SECRET, named: str = "channel.follow"
) -> Received:
    digest = hmac.new(secret.encode(), b"msg-1" + AT.encode() + body, hashlib.sha256).hexdigest()
    headers = (
        ("Twitch-Eventsub-Message-Signature", f"sha256={digest}"),
        ("Twitch-Eventsub-Message-Timestamp", AT),
        ("Twitch-Eventsub-Message-Id", "msg-1"),
        ("Twitch-Eventsub-Message-Type", kind),
        ("Twitch-Eventsub-Subscription-Type", named),
    )
    return Received.of("POST", "https://example.com/in/x", headers, body, NOW_S * 1_000)


def test_what_twitch_signs_is_genuine_with_any_secret_in_use() -> None:
    PRESET.scheme.verify(signed(), ["another", SECRET], now_s=NOW_S + 600)


@pytest.mark.parametrize(
    ("received", "secret", "now_s", "reason"),
    [
        (Received.of("POST", "/", signed().headers, BODY + b" ", 0), SECRET, NOW_S, "no_match"),
        (signed(), "another", NOW_S, "no_match"),
        (Received.of("POST", "/", signed().headers[1:], BODY, 0), SECRET, NOW_S, "missing_header"),
        (Received.of("POST", "/", signed().headers[:1], BODY, 0), SECRET, NOW_S, "missing_header"),
        (Received.of("POST", "/", signed().headers[:2], BODY, 0), SECRET, NOW_S, "missing_header"),
        (signed(), SECRET, NOW_S + 601, "timestamp_too_old"),
        (signed(), SECRET, NOW_S - 601, "timestamp_too_new"),
    ],
)
def test_what_is_not_twitchs_is_refused(received: Received, secret: str, now_s: int, reason: str) -> None:
    with pytest.raises(SignatureInvalid) as caught:
        PRESET.scheme.verify(received, [secret], now_s=now_s)
    assert caught.value.reason == reason


def test_what_it_holds() -> None:
    (item,) = PRESET.read(signed(), BODY).items
    assert (item.type, item.identity, item.data) == ("channel.follow", "msg-1", BODY)
    assert (item.occurred_at, item.ordering_key, item.contradiction) == (parse_rfc3339(AT), "f1c2a387", None)


def test_a_revocation_is_told_apart_by_the_body_alone() -> None:
    assert PRESET.read(signed(REVOKED), REVOKED).items[0].type == "revocation.channel.follow"
    assert PRESET.read(signed(kind="revocation"), BODY).items[0].type == "channel.follow"


def test_a_header_that_names_another_type_is_a_contradiction() -> None:
    (item,) = PRESET.read(signed(named="channel.ban"), BODY).items
    assert item.type == "channel.follow"
    assert item.contradiction is not None


def test_a_challenge_comes_back_as_it_is_if_it_is_signed() -> None:
    assert PRESET.handshake is not None
    asked = signed(CHALLENGE, kind="webhook_callback_verification")
    found = PRESET.handshake(asked, [SECRET])
    assert found is not None
    assert (found.reply.status, found.reply.body) == (200, b"pogchamp-kappa-360noscope-vohiyo")
    assert found.reply.headers == (("Content-Type", "text/plain"),)
    assert PRESET.handshake(signed(), [SECRET]) is None
    with pytest.raises(SignatureInvalid):
        PRESET.handshake(asked, ["another"])


def test_what_is_answered() -> None:
    assert (PRESET.answers.bad_signature, PRESET.answers.overload) == (403, 503)
    assert PRESET.sender.retries(503)


@pytest.mark.parametrize("body", ODD)
def test_odd_bodies_are_read_or_unreadable(body: bytes) -> None:
    assert PRESET.handshake is not None
    assert PRESET.handshake(signed(body, kind="webhook_callback_verification"), [SECRET]) is None
    with suppress(Unreadable):
        assert len(PRESET.read(signed(body), body).items) == 1
