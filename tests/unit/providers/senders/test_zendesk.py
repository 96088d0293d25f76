"""Zendesk: its documented construction, step by step, with the secret by which it signs its own test requests."""

import base64
import hashlib
import hmac
from contextlib import suppress

import pytest

from posthouse.core.errors import SignatureInvalid
from posthouse.core.time_format import parse_rfc3339
from posthouse.providers.received import Received, Unreadable
from posthouse.providers.senders.zendesk import PRESET

SECRET = "dGhpc19zZWNyZXRfaXNfZm9yX3Rlc3Rpbmdfb25seQ=="  # of developer.zendesk.com/documentation/webhooks/verifying
AT = "2021-03-25T05:09:27Z"
NOW_S = parse_rfc3339(AT) // 1_000
BODY = (
    b'{"type": "zen:event-type:user.created", "id": "2b24ef10", "time": "2021-03-25T05:09:26.123456789Z", '
    b'"subject": "zen:user:6596848315901", "event": {}}'
)
TRIGGER = b'{"ticket": 7, "type": "question", "id": 1}'
ODD = (b"", b"[]", b"null", b"7", b"\xff", b"[" * 9_000, b'{"type":' * 9_000, b'{"type": 1}')


def signed(body: bytes = BODY, secret: str = SECRET) -> Received:
    digest = base64.b64encode(hmac.new(secret.encode(), AT.encode() + body, hashlib.sha256).digest()).decode()
    headers = (
        ("X-Zendesk-Webhook-Signature", digest),
        ("X-Zendesk-Webhook-Signature-Timestamp", AT),
        ("X-Zendesk-Webhook-Invocation-Id", "01F1KRFQ6BG29CNWFR60NK5FNY"),
    )
    return Received.of("POST", "https://example.com/in/x", headers, body, NOW_S * 1_000)


def test_what_zendesk_signs_is_genuine_with_any_secret_in_use() -> None:
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
def test_what_is_not_zendesks_is_refused(received: Received, secret: str, now_s: int, reason: str) -> None:
    with pytest.raises(SignatureInvalid) as caught:
        PRESET.scheme.verify(received, [secret], now_s=now_s)
    assert caught.value.reason == reason


def test_what_it_holds() -> None:
    (item,) = PRESET.read(signed(), BODY).items
    assert (item.type, item.identity, item.data) == ("zen:event-type:user.created", "2b24ef10", BODY)
    assert (item.occurred_at, item.ordering_key) == (1_616_648_966_123, "zen:user:6596848315901")


def test_of_what_a_trigger_sends_only_the_invocation_counts() -> None:
    (item,) = PRESET.read(signed(TRIGGER), TRIGGER).items
    assert (item.type, item.identity, item.data) == ("trigger", "01F1KRFQ6BG29CNWFR60NK5FNY", TRIGGER)


def test_what_is_answered() -> None:
    assert PRESET.answers.overload == 503
    assert PRESET.answers.retry_after_s is not None
    assert PRESET.answers.retry_after_s < 60
    assert PRESET.sender.retries(503)
    assert not PRESET.sender.retries(500)


@pytest.mark.parametrize("body", ODD)
def test_odd_bodies_are_read_or_unreadable(body: bytes) -> None:
    with suppress(Unreadable):
        assert PRESET.read(signed(body), body).items[0].type == "trigger"
