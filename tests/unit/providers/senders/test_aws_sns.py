"""Amazon SNS, with a certificate of our own, and the signed text written out as its documentation shows it."""

import base64
import json
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding

from posthouse.core.errors import SignatureInvalid
from posthouse.providers.received import Received, Unreadable
from posthouse.providers.senders.aws_sns import PRESET

TOPIC = "arn:aws:sns:us-west-2:123456789012:MyTopic"
CERTIFICATE_URL = "https://sns.us-west-2.amazonaws.com/SimpleNotificationService-f3ecfb7224c7233fe7bb5f59f96de52f.pem"
NOTE = {
    "Type": "Notification",
    "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
    "TopicArn": TOPIC,
    "Subject": "My First Message",
    "Message": "Hello\nwörld!",
    "Timestamp": "2026-11-22T14:00:00.000Z",
    "SignatureVersion": "2",
    "SigningCertURL": CERTIFICATE_URL,
}
SIGNED = (
    "Message\nHello\nwörld!\nMessageId\n22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324\nSubject\nMy First Message\n"
    f"Timestamp\n2026-11-22T14:00:00.000Z\nTopicArn\n{TOPIC}\nType\nNotification\n"
)
NOW_S = 1_795_356_000
KEY = generate_private_key(public_exponent=65_537, key_size=2_048)


def certified(key: Any, year: int = 2027, name: str = "sns.amazonaws.com") -> bytes:
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).serial_number(1)
    builder = builder.not_valid_before(datetime(2020, 1, 1, tzinfo=UTC)).not_valid_after(
        datetime(year, 1, 1, tzinfo=UTC)
    )
    return builder.public_key(key.public_key()).sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


PEM = certified(KEY)


def request(message: dict[str, str], signed: str = SIGNED, digest: hashes.HashAlgorithm | None = None) -> Received:
    made = base64.b64encode(KEY.sign(signed.encode(), PKCS1v15(), digest or hashes.SHA256())).decode()
    return Received.of("POST", "https://a.test/x", (), json.dumps({**message, "Signature": made}).encode(), 0)


def refused(received: Received, *secrets: str, now_s: int = NOW_S, pem: bytes | None = PEM) -> str:
    with pytest.raises(SignatureInvalid) as caught:
        PRESET.scheme.verify(received, secrets or [TOPIC], now_s=now_s, fetched=pem)
    return caught.value.reason


def test_a_notification_is_genuine_with_either_digest_and_without_a_subject() -> None:
    PRESET.scheme.verify(request(NOTE), ["arn:another", TOPIC], now_s=NOW_S + 3_600, fetched=PEM)
    first = request({**NOTE, "SignatureVersion": "1"}, SIGNED, hashes.SHA1())  # noqa: S303 - what version 1 is
    PRESET.scheme.verify(first, [TOPIC], now_s=NOW_S, fetched=PEM)
    plain = {name: text for name, text in NOTE.items() if name != "Subject"}
    PRESET.scheme.verify(
        request(plain, SIGNED.replace("Subject\nMy First Message\n", "")), [TOPIC], now_s=NOW_S, fetched=PEM
    )


def test_a_confirmation_is_genuine_and_an_event() -> None:
    more = {"Type": "SubscriptionConfirmation", "Token": "t0", "SubscribeURL": "https://sns.us-west-2.amazonaws.com/?t"}
    signed = (
        "Message\nHello\nwörld!\nMessageId\n22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324\n"
        "SubscribeURL\nhttps://sns.us-west-2.amazonaws.com/?t\nTimestamp\n2026-11-22T14:00:00.000Z\n"
        f"Token\nt0\nTopicArn\n{TOPIC}\nType\nSubscriptionConfirmation\n"
    )
    received = request({**NOTE, **more}, signed)
    PRESET.scheme.verify(received, [TOPIC], now_s=NOW_S, fetched=PEM)
    assert PRESET.read(received, received.body).items[0].type == "SubscriptionConfirmation"


def test_what_is_not_signed_is_refused() -> None:
    assert refused(request({**NOTE, "Message": "Hello\nworld!"})) == "no_match"
    assert refused(request(NOTE), "arn:of:another:topic") == "no_match"
    assert refused(request({**NOTE, "SignatureVersion": "1"})) == "no_match"
    assert refused(request({**NOTE, "SignatureVersion": "3"})) == "malformed_header"
    assert refused(request(NOTE), now_s=NOW_S + 8_000) == "timestamp_too_old"
    assert refused(request(NOTE), now_s=NOW_S - 8_000) == "timestamp_too_new"
    assert refused(Received.of("POST", "", (), json.dumps(NOTE).encode(), 0)) == "missing_header"


def test_a_certificate_that_proves_nothing_is_refused() -> None:
    stranger = generate_private_key(public_exponent=65_537, key_size=2_048)
    odd = (None, b"", b"\xff", b"-----BEGIN CERTIFICATE-----\n", PEM[:-60], certified(KEY, 2026), certified(stranger))
    for pem in (*odd, certified(ec.generate_private_key(ec.SECP256R1()))):
        assert refused(request(NOTE), pem=pem) == "no_match"


def test_the_certificate_is_fetched_from_sns_only() -> None:
    found = PRESET.scheme.needs(request(NOTE))
    assert found is not None
    assert (found.url, found.hosts) == (CERTIFICATE_URL, ("sns.us-west-2.amazonaws.com",))
    path = "/SimpleNotificationService-1.pem"
    for url in (
        f"http://sns.us-west-2.amazonaws.com{path}",
        f"https://sns.us-west-2.amazonaws.com:444{path}",
        f"https://me@sns.us-west-2.amazonaws.com{path}",
        f"https://sns.us-west-2.amazonaws.com.evil.test{path}",
        f"https://sns.s3.amazonaws.com{path}",
        f"https://sns.s3-us-west-2.amazonaws.com{path}",
        f"https://sns.us-west-2.amazonaws.com{path}?x",
        f"https://sns.us-west-2.amazonaws.com/{path}\n",
        "https://sns.us-west-2.amazonaws.com/?Action=Publish",
        "",
    ):
        with pytest.raises(SignatureInvalid):
            PRESET.scheme.needs(request({**NOTE, "SigningCertURL": url}))


def test_what_it_holds_and_what_it_repeats() -> None:
    received = request(NOTE)
    (item,) = PRESET.read(received, received.body).items
    assert (item.type, item.identity) == ("Notification", NOTE["MessageId"])
    assert (item.occurred_at, item.data) == (NOW_S * 1_000, received.body)
    assert PRESET.sender.retries(PRESET.answers.overload)
    assert not PRESET.sender.retries(PRESET.answers.bad_signature)


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"[" * 5_000, b"\xff", b'{"Type": 1}', b'{"Signature": {}}'])
def test_odd_input_is_refused_and_read_or_unreadable(body: bytes) -> None:
    received = Received.of("POST", "", (), body, 0)
    assert refused(received) in {"malformed_header", "missing_header"}
    with pytest.raises(SignatureInvalid):
        PRESET.scheme.needs(received)
    with suppress(Unreadable):
        PRESET.read(received, body)
