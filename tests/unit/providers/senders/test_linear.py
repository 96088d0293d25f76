"""Linear: what its own library (packages/sdk/src/webhooks/client.ts) computes, step by step."""

import hashlib
import hmac
from contextlib import suppress

import pytest

from posthouse.core.errors import SignatureInvalid
from posthouse.providers.received import Received, Unreadable
from posthouse.providers.senders.linear import PRESET

SECRET = "lin_wh_secret"
NOW_S = 1_800_000_000
BODY = (
    b'{"action": "create", "type": "Issue", "createdAt": "2027-01-15T07:59:59.500Z", "data": {"id": "2174add1"}, '
    b'"webhookTimestamp": 1800000000123}'
)
ODD = (b"", b"[]", b"null", b"7", b"\xff", b"[" * 9_000, b'{"type":' * 9_000, b'{"type": 1.5}')


def signed(body: bytes = BODY, secret: str = SECRET) -> Received:
    headers = (
        ("linear-signature", hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()),
        ("Linear-Delivery", "234d1a4e"),
    )
    return Received.of("POST", "https://example.com/in/x", headers, body, NOW_S * 1_000)


def test_what_linear_signs_is_genuine_with_any_secret_in_use() -> None:
    PRESET.scheme.verify(signed(), ["another", SECRET], now_s=NOW_S + 60)


def test_its_library_does_not_ask_for_the_time_and_so_do_we() -> None:
    PRESET.scheme.verify(signed(b'{"type": "Issue"}'), [SECRET], now_s=NOW_S)
    PRESET.scheme.verify(signed(b"no JSON"), [SECRET], now_s=NOW_S)


@pytest.mark.parametrize(
    ("received", "secret", "now_s", "reason"),
    [
        (Received.of("POST", "/", signed().headers, BODY + b" ", 0), SECRET, NOW_S, "no_match"),
        (signed(), "another", NOW_S, "no_match"),
        (Received.of("POST", "/", signed().headers[1:], BODY, 0), SECRET, NOW_S, "missing_header"),
        (signed(), SECRET, NOW_S + 61, "timestamp_too_old"),
        (signed(), SECRET, NOW_S - 61, "timestamp_too_new"),
        (signed(b'{"webhookTimestamp": "now"}'), SECRET, NOW_S, "malformed_header"),
        (signed(b'{"webhookTimestamp": true}'), SECRET, NOW_S, "malformed_header"),
        (signed(b'{"webhookTimestamp": -1}'), SECRET, NOW_S, "malformed_header"),
    ],
)
def test_what_is_not_linears_is_refused(received: Received, secret: str, now_s: int, reason: str) -> None:
    with pytest.raises(SignatureInvalid) as caught:
        PRESET.scheme.verify(received, [secret], now_s=now_s)
    assert caught.value.reason == reason


def test_what_it_holds() -> None:
    reading = PRESET.read(signed(), BODY)
    (item,) = reading.items
    assert (item.type, item.identity, item.data) == ("Issue.create", "234d1a4e", BODY)
    assert (item.occurred_at, item.ordering_key) == (1_799_999_999_500, "2174add1")


def test_what_is_answered() -> None:
    assert PRESET.answers.overload == 503
    assert PRESET.sender.retries(503)
    assert PRESET.sender.delays_s == (60, 3_600, 21_600)


@pytest.mark.parametrize("body", ODD)
def test_odd_bodies_are_read_or_unreadable(body: bytes) -> None:
    with suppress(Unreadable):
        assert PRESET.read(signed(body), body).items[0].type == "event"
