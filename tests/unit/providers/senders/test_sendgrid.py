"""SendGrid, against its own library and the example in that library's tests."""

import base64
from contextlib import suppress
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sendgrid import EventWebhook

from posthouse.core.errors import SignatureInvalid
from posthouse.providers.received import Received, Unreadable
from posthouse.providers.senders.sendgrid import PRESET

# From sendgrid-python, test/unit/test_eventwebhook.py.
KEY = (
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE83T4O/n84iotIvIW4mdBgQ/7dAfSmpqIM8kF9mN1flpVKS3GRqe62gw+2fNN"
    "RaINXvVpiglSI8eNEc6wEA3F+g=="
)
SIGNATURE = "MEUCIGHQVtGj+Y3LkG9fLcxf3qfI10QysgDWmMOVmxG0u6ZUAiEAyBiXDWzM+uOe5W0JuG+luQAbPIqHh89M15TluLtEZtM="
AT = 1_600_112_502
EVENT = (
    b'{"email":"hello@world.com","event":"dropped","reason":"Bounced Address",'
    b'"sg_event_id":"ZHJvcC0xMDk5NDkxOS1MUnpYbF9OSFN0T0doUTRrb2ZTbV9BLTA",'
    b'"sg_message_id":"LRzXl_NHStOGhQ4kofSm_A.filterdrecv-p3mdw1-756b745b58-kmzbl-18-5F5FC76C-9.0",'
    b'"smtp-id":"<LRzXl_NHStOGhQ4kofSm_A@ismtpd0039p1iad1.sendgrid.net>","timestamp":1600112492}'
)
BODY = b"[" + EVENT + b"]\r\n"
oracle: Any = EventWebhook
OTHER = ec.generate_private_key(ec.SECP256R1())
OTHER_KEY = base64.b64encode(OTHER.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()


def request(body: bytes = BODY, signature: str | None = SIGNATURE, at: object = AT) -> Received:
    name = "X-Twilio-Email-Event-Webhook-"
    signed = () if signature is None else ((f"{name}Signature", signature),)
    return Received.of("POST", "https://a.test/x", ((f"{name}Timestamp", str(at)), *signed), body, 0)


def refused(received: Received, *secrets: str, now_s: int = AT) -> str:
    with pytest.raises(SignatureInvalid) as caught:
        PRESET.scheme.verify(received, secrets or [KEY], now_s=now_s)
    return caught.value.reason


def test_its_own_example_is_genuine() -> None:
    PRESET.scheme.verify(request(), [OTHER_KEY, KEY], now_s=AT + 80_000)
    pem = f"-----BEGIN PUBLIC KEY-----\n{KEY[:64]}\n{KEY[64:]}\n-----END PUBLIC KEY-----\n"
    PRESET.scheme.verify(request(), [pem], now_s=AT)


def test_its_library_takes_what_we_take() -> None:
    made = base64.b64encode(OTHER.sign(str(AT).encode() + BODY, ec.ECDSA(SHA256()))).decode()
    assert oracle(OTHER_KEY).verify_signature(BODY.decode(), made, str(AT))
    PRESET.scheme.verify(request(BODY, made), [OTHER_KEY], now_s=AT)


def test_what_is_not_signed_is_refused() -> None:
    assert refused(request(BODY + b" ")) == "no_match"
    assert refused(request(), OTHER_KEY) == "no_match"
    assert refused(request(at=AT + 1)) == "no_match"
    assert refused(request(signature="ü")) == "no_match"
    assert refused(request(signature=None)) == "missing_header"
    assert refused(request(at="soon")) == "malformed_header"
    assert refused(request(), now_s=AT + 100_000) == "timestamp_too_old"
    assert refused(request(), now_s=AT - 100_000) == "timestamp_too_new"


@pytest.mark.parametrize("secret", ["", "whsec_1", "ü", KEY[:-8], "-----BEGIN PUBLIC KEY-----"])
def test_a_secret_that_is_no_key_is_named_as_such(secret: str) -> None:
    assert refused(request(), secret) == "malformed_secret"


def test_what_it_holds() -> None:
    first, second = PRESET.read(request(), b'[{"event":"open"},' + EVENT + b"]").items
    assert (first.type, first.identity, first.data) == ("open", None, b'{"event":"open"}')
    assert (second.type, second.occurred_at, second.data) == ("dropped", 1_600_112_492_000, EVENT)
    assert second.identity == "ZHJvcC0xMDk5NDkxOS1MUnpYbF9OSFN0T0doUTRrb2ZTbV9BLTA"


def test_it_repeats_what_is_not_accepted() -> None:
    assert PRESET.sender.retries(PRESET.answers.overload)
    assert not PRESET.sender.retries(PRESET.answers.accepted)


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"[null]", b"[" * 5_000, b"\xff", b'[{"event": 1e999}]'])
def test_odd_input_is_read_or_unreadable(body: bytes) -> None:
    with suppress(Unreadable):
        PRESET.read(request(body), body)
