"""Calendly: its documented construction, step by step."""

import hashlib
import hmac
from contextlib import suppress

import pytest

from posthouse.core.errors import SignatureInvalid
from posthouse.providers.received import Received, Unreadable
from posthouse.providers.senders.calendly import PRESET

SECRET = "5mEzn9C-I28UtwOjZJtFoob0sAAFZ95GbZkqj4y3i0I"
NOW_S = 1_800_000_000
BODY = (
    b'{"event": "invitee.created", "created_at": "2020-11-23T17:51:19.000000Z", '
    b'"payload": {"uri": "https://api.calendly.com/scheduled_events/A/invitees/B"}}'
)
ODD = (b"", b"[]", b"null", b"7", b"\xff", b"[" * 9_000, b'{"event":' * 9_000, b'{"event": [1]}')


def signed(body: bytes = BODY, secret: str = SECRET, at: int = NOW_S) -> Received:
    digest = hmac.new(secret.encode(), str(at).encode() + b"." + body, hashlib.sha256).hexdigest()
    headers = (("Calendly-Webhook-Signature", f"t={at},v1={digest}"),)
    return Received.of("POST", "https://example.com/in/x", headers, body, NOW_S * 1_000)


def test_what_calendly_signs_is_genuine_with_any_secret_in_use() -> None:
    PRESET.scheme.verify(signed(), ["another", SECRET], now_s=NOW_S + 180)


@pytest.mark.parametrize(
    ("received", "secret", "now_s", "reason"),
    [
        (Received.of("POST", "/", signed().headers, BODY + b" ", 0), SECRET, NOW_S, "no_match"),
        (signed(), "another", NOW_S, "no_match"),
        (Received.of("POST", "/", (), BODY, 0), SECRET, NOW_S, "missing_header"),
        (
            Received.of("POST", "/", (("Calendly-Webhook-Signature", "v1=00"),), BODY, 0),
            SECRET,
            NOW_S,
            "malformed_header",
        ),
        (signed(), SECRET, NOW_S + 181, "timestamp_too_old"),
        (signed(), SECRET, NOW_S - 181, "timestamp_too_new"),
    ],
)
def test_what_is_not_calendlys_is_refused(received: Received, secret: str, now_s: int, reason: str) -> None:
    with pytest.raises(SignatureInvalid) as caught:
        PRESET.scheme.verify(received, [secret], now_s=now_s)
    assert caught.value.reason == reason


def test_what_it_holds() -> None:
    (item,) = PRESET.read(signed(), BODY).items
    assert (item.type, item.identity, item.data) == ("invitee.created", None, BODY)
    assert item.occurred_at == 1_606_153_879_000
    assert item.ordering_key == "https://api.calendly.com/scheduled_events/A/invitees/B"


def test_what_is_answered() -> None:
    assert PRESET.answers.overload == 503
    assert PRESET.sender.retries(503)
    assert PRESET.sender.drops_s is not None
    assert PRESET.window_seconds > PRESET.sender.drops_s


@pytest.mark.parametrize("body", ODD)
def test_odd_bodies_are_read_or_unreadable(body: bytes) -> None:
    with suppress(Unreadable):
        assert PRESET.read(signed(body), body).items[0].type == "event"
