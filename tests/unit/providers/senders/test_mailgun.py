"""Mailgun, with the HMAC that its documentation describes, computed here."""

import hashlib
import hmac
import json
from contextlib import suppress

import pytest

from posthouse.core.errors import SignatureInvalid
from posthouse.providers.received import Received, Unreadable
from posthouse.providers.senders.mailgun import PRESET

KEY, TOKEN, AT = "key-of-the-webhooks", "e0b5477167110d68991efc6b9f89f0a11066af27834600e123", 1_770_920_772
EVENT = (
    b'{"event": "failed", "severity": "temporary", "id": "G9Bn5sl1TC6nu79C8C0bwg", "timestamp": 1521233195.375624, '
    b'"message": {"headers": {"message-id": "20130503192659@samples.test"}}}'
)


def made(key: str = KEY) -> str:
    return hmac.new(key.encode(), f"{AT}{TOKEN}".encode(), hashlib.sha256).hexdigest()


def request(event: bytes = EVENT, **changes: object) -> Received:
    said = {"token": TOKEN, "timestamp": str(AT), "signature": made(), **changes}
    body = b'{"signature": ' + json.dumps(said).encode() + b', "event-data": ' + event + b"}"
    return Received.of("POST", "https://a.test/x", (), body, 0)


def refused(received: Received, secret: str = KEY, now_s: int = AT) -> str:
    with pytest.raises(SignatureInvalid) as caught:
        PRESET.scheme.verify(received, [secret], now_s=now_s)
    return caught.value.reason


def test_the_signature_of_the_account_or_of_the_one_above_is_genuine() -> None:
    PRESET.scheme.verify(request(), ["another", KEY], now_s=AT + 8 * 3_600)
    PRESET.scheme.verify(request(timestamp=AT), [KEY], now_s=AT)
    above = {"signature": made("of the subaccount"), "parent-signature": made()}
    PRESET.scheme.verify(request(EVENT, **above), [KEY], now_s=AT)


def test_what_is_not_signed_is_refused() -> None:
    assert refused(request(token="another")) == "no_match"
    assert refused(request(), "another") == "no_match"
    assert refused(request(signature="ü")) == "no_match"
    assert refused(request(timestamp="soon")) == "malformed_header"
    assert refused(request(), now_s=AT + 10 * 3_600) == "timestamp_too_old"
    assert refused(request(), now_s=AT - 10 * 3_600) == "timestamp_too_new"
    for name in ("timestamp", "token", "signature"):
        assert refused(request(EVENT, **{name: None})) == "missing_header"


def test_what_it_holds() -> None:
    reading = PRESET.read(request(), request().body)
    (item,) = reading.items
    assert (item.type, item.data, reading.delivery) == ("failed.temporary", EVENT, TOKEN)
    assert item.identity == "G9Bn5sl1TC6nu79C8C0bwg:1521233195.375624"
    assert (item.occurred_at, item.ordering_key) == (1_521_233_195_376, "20130503192659@samples.test")


def test_it_repeats_all_but_200_and_406() -> None:
    again = PRESET.sender.retries
    assert [status for status in (200, 202, 302, 401, 406, 503) if again(status)] == [202, 302, 401, 503]
    assert again(PRESET.answers.overload)
    assert not again(PRESET.answers.too_large)


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"[" * 5_000, b"\xff", b'{"signature": []}'])
def test_odd_input_is_refused_and_unreadable(body: bytes) -> None:
    received = Received.of("POST", "", (), body, 0)
    assert refused(received) in {"malformed_header", "missing_header"}
    with pytest.raises(Unreadable):
        PRESET.read(received, body)


@pytest.mark.parametrize("event", [b"{}", b'{"timestamp": 1e300, "id": "a"}', b'{"timestamp": -1, "id": 3}', b"[]"])
def test_an_odd_event_is_read_or_unreadable(event: bytes) -> None:
    with suppress(Unreadable):
        assert PRESET.read(request(), request(event).body).items[0].identity is None
