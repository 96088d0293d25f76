"""Twilio, against its own library and its documented examples."""

import hashlib
import json
from contextlib import suppress
from typing import Any
from urllib.parse import urlencode

import pytest
from twilio.request_validator import RequestValidator

from posthouse.core.errors import SignatureInvalid
from posthouse.providers.received import Received, Unreadable
from posthouse.providers.senders.twilio import PRESET

# From twilio-python, tests/unit/test_request_validator.py.
TOKEN = "12345"
URL = "https://mycompany.com/myapp.php?foo=1&bar=2"
FIELDS = {
    "CallSid": "CA1234567890ABCDE",
    "Digits": "1234",
    "From": "+14158675309",
    "To": "+18005551212",
    "Caller": "+14158675309",
}
SIGNATURE = "RSOYDt4T1cUTdK1PDd93/VVr8B8="
oracle: Any = RequestValidator
FORM = ("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")


def form(fields: Any = FIELDS, signature: str | None = SIGNATURE, url: str = URL, *more: tuple[str, str]) -> Received:
    signed = () if signature is None else (("X-Twilio-Signature", signature),)
    return Received.of("POST", url, (FORM, *signed, *more), urlencode(fields, doseq=True).encode(), 0)


def refused(received: Received, *secrets: str) -> str:
    with pytest.raises(SignatureInvalid) as caught:
        PRESET.scheme.verify(received, secrets or [TOKEN], now_s=0)
    return caught.value.reason


def test_its_own_examples_are_genuine() -> None:
    PRESET.scheme.verify(form(), ["another", TOKEN], now_s=0)
    twice = {"Sid": "CA123", "SidAccount": "AC123", "Digits": ["5678", "1234"]}
    PRESET.scheme.verify(form(twice, "IK+Dwps556ElfBT0I3Rgjkr1wJU="), [TOKEN], now_s=0)
    PRESET.scheme.verify(form(FIELDS, "kvajT1Ptam85bY51eRf/AJRuM3w="), [TOKEN], now_s=0)
    url = f"{URL}&bodySHA256=0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620"
    headers = (("Content-Type", "application/json"), ("X-Twilio-Signature", "a9nBmqA0ju/hNViExpshrM61xv4="))
    received = Received.of("POST", url, headers, b'{"property": "value", "boolean": true}', 0)
    PRESET.scheme.verify(received, [TOKEN], now_s=0)


@pytest.mark.parametrize(
    ("configured", "signed"),
    [("https://a.test/x", "https://a.test:443/x"), ("https://a.test:8443/x", "https://a.test/x")],
)
def test_the_url_counts_with_and_without_its_port(configured: str, signed: str) -> None:
    signature = oracle(TOKEN).compute_signature(signed, FIELDS)
    PRESET.scheme.verify(form(signature=signature, url=configured), [TOKEN], now_s=0)
    assert refused(form(signature=signature, url="https://a.test/y")) == "no_match"


def test_repeated_empty_and_foreign_fields_are_signed_as_its_library_signs_them() -> None:
    fields = {"B": ["2", "1", "2"], "a": [""], "Body": ["Grüße & 100%"]}

    class Many(dict[str, list[str]]):
        def getall(self, name: str) -> list[str]:
            return self[name]

    signature = oracle(TOKEN).compute_signature(URL, Many(fields))
    received = form(fields, signature)
    PRESET.scheme.verify(received, [TOKEN], now_s=0)
    assert json.loads(PRESET.read(received, received.body).items[0].data) == {
        "B": ["2", "1", "2"],
        "a": "",
        "Body": "Grüße & 100%",
    }


def test_a_shared_key_signs_with_sha256() -> None:
    signature = oracle("shared").compute_signature(URL, FIELDS, "HMAC_SHA256")
    name = "X-Twilio-Webhooks-Signature-Settings"
    PRESET.scheme.verify(form(FIELDS, signature, URL, (name, "key=k,algorithm=HMAC_SHA256")), ["shared"], now_s=0)
    assert refused(form(FIELDS, signature), "shared") == "no_match"
    assert refused(form(FIELDS, signature, URL, (name, "algorithm=NONE")), "shared") == "malformed_header"


def test_a_json_body_is_proved_by_its_digest_in_the_url() -> None:
    body = b'[{"type": "com.twilio.messaging.message.sent", "id": "EZ1", "time": "2026-11-22T14:00:00Z"}]'
    url = f"https://a.test/x?bodySHA256={hashlib.sha256(body).hexdigest()}"
    signature = oracle(TOKEN).compute_signature(url, {})
    headers = (("Content-Type", "application/json"), ("X-Twilio-Signature", signature))
    received = Received.of("POST", url, headers, body, 0)
    PRESET.scheme.verify(received, [TOKEN], now_s=0)
    (item,) = PRESET.read(received, body).items
    assert (item.type, item.identity, item.data) == ("com.twilio.messaging.message.sent", "EZ1", body[1:-1])
    assert item.occurred_at == 1_795_356_000_000
    assert refused(Received.of("POST", url, headers, body + b" ", 0)) == "no_match"
    plain = oracle(TOKEN).compute_signature("https://a.test/x", {})
    headers = (("Content-Type", "application/json"), ("X-Twilio-Signature", plain))
    assert refused(Received.of("POST", "https://a.test/x", headers, body, 0)) == "missing_header"


def test_what_is_not_signed_is_refused() -> None:
    assert refused(form({**FIELDS, "Digits": "1"})) == "no_match"
    assert refused(form(), "54321") == "no_match"
    assert refused(form(signature="ü")) == "no_match"
    assert refused(form(signature=None)) == "missing_header"
    assert refused(Received.of("POST", "https://[", (FORM, ("X-Twilio-Signature", "")), b"\xff", 0)) == "no_match"


def test_what_a_message_and_a_call_hold() -> None:
    token = ("I-Twilio-Idempotency-Token", "t-1")
    message = form({"MessageSid": "SM1", "MessageStatus": "delivered", "SmsStatus": "sent"}, "", URL, token)
    (item,) = PRESET.read(message, message.body).items
    assert (item.type, item.identity, item.ordering_key) == ("message.delivered", "t-1", "SM1")
    assert item.data == b'{"MessageSid":"SM1","MessageStatus":"delivered","SmsStatus":"sent"}'
    said = {"CallSid": "CA1", "CallStatus": "in-progress", "SequenceNumber": "2"}
    call = form({**said, "Timestamp": "Sun, 22 Nov 2026 14:00:00 +0000"})
    (item,) = PRESET.read(call, call.body).items
    assert (item.type, item.identity, item.sequence, item.stream) == ("call.in-progress", None, 2, "CA1")
    assert item.occurred_at == 1_795_356_000_000
    moment = form({"EventType": "onMessageAdded", "MessageSid": "IM1", "DateCreated": "2026-11-22T14:00:00.000Z"})
    (item,) = PRESET.read(moment, moment.body).items
    assert (item.type, item.occurred_at) == ("onMessageAdded", 1_795_356_000_000)


def test_a_get_carries_its_fields_in_the_query() -> None:
    (item,) = PRESET.read(Received.of("GET", "https://a.test/x?SmsSid=S&SmsStatus=received", (), b"", 0), b"").items
    assert (item.type, item.data) == ("message.received", b'{"SmsSid":"S","SmsStatus":"received"}')


def test_it_repeats_no_answer_and_is_answered_without_a_body() -> None:
    assert not PRESET.sender.retries(PRESET.answers.overload)
    assert not PRESET.sender.retries_timeouts
    assert PRESET.answers.body == b""


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"[" * 5_000, b"\xff\xfe", b"a=%ff", b"&" * 2_000])
def test_odd_input_is_read_or_unreadable(body: bytes) -> None:
    for headers in ((FORM,), ()):
        received = Received.of("POST", URL, headers, body, 0)
        with suppress(Unreadable):
            PRESET.read(received, body)
