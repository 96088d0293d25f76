"""PayPal, with a certificate of our own, and the signed text as its documentation puts it together."""

import base64
import binascii
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding

from posthouse.core.errors import SignatureInvalid
from posthouse.providers.received import Received, Unreadable
from posthouse.providers.senders.paypal import PRESET

WEBHOOK = "1JE4291016473214C"
ID, TIME, NOW_S = "69cd13f0-d67a-11e5-baa3-778b53f4ae55", "2026-11-22T14:00:00Z", 1_795_356_000
CERTIFICATE_URL = "https://api.paypal.com/v1/notifications/certs/CERT-360caa42-fca2a594-5edc0ebc"
BODY = (
    b'{"id": "WH-2WR32451HC0233532-67976317FL4543714", "event_type": "PAYMENT.CAPTURE.COMPLETED", '
    b'"create_time": "2026-11-22T13:59:58.500Z", "resource": {"id": "42311647XV020574X"}}'
)
KEY = generate_private_key(public_exponent=65_537, key_size=2_048)


def certified(name: str = "messageverificationcerts.paypal.com", year: int = 2027) -> bytes:
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).serial_number(1)
    builder = builder.not_valid_before(datetime(2020, 1, 1, tzinfo=UTC)).not_valid_after(
        datetime(year, 1, 1, tzinfo=UTC)
    )
    return builder.public_key(KEY.public_key()).sign(KEY, hashes.SHA256()).public_bytes(Encoding.PEM)


PEM = certified()
SIGNED = f"{ID}|{TIME}|{WEBHOOK}|{binascii.crc32(BODY)}".encode()
HEADERS = {
    "PAYPAL-TRANSMISSION-ID": ID,
    "PAYPAL-TRANSMISSION-TIME": TIME,
    "PAYPAL-TRANSMISSION-SIG": base64.b64encode(KEY.sign(SIGNED, PKCS1v15(), hashes.SHA256())).decode(),
    "PAYPAL-CERT-URL": CERTIFICATE_URL,
    "PAYPAL-AUTH-ALGO": "SHA256withRSA",
}


def request(body: bytes = BODY, **changes: str | None) -> Received:
    headers = {**HEADERS, **{f"PAYPAL-{name}".replace("_", "-"): value for name, value in changes.items()}}
    return Received.of("POST", "https://a.test/x", tuple((k, v) for k, v in headers.items() if v is not None), body, 0)


def refused(received: Received, *secrets: str, now_s: int = NOW_S, pem: bytes | None = PEM) -> str:
    with pytest.raises(SignatureInvalid) as caught:
        PRESET.scheme.verify(received, secrets or [WEBHOOK], now_s=now_s, fetched=pem)
    return caught.value.reason


def test_what_it_signs_is_genuine_for_three_days() -> None:
    PRESET.scheme.verify(request(), ["another", WEBHOOK], now_s=NOW_S + 3 * 86_400, fetched=PEM)
    sandbox = certified("messageverificationcerts.sandbox.paypal.com")
    PRESET.scheme.verify(request(), [WEBHOOK], now_s=NOW_S, fetched=sandbox + PEM)


def test_what_is_not_signed_is_refused() -> None:
    assert refused(request(BODY + b" ")) == "no_match"
    assert refused(request(), "8PT597110X687430LKGECATA") == "no_match"
    assert refused(request(TRANSMISSION_ID="another")) == "no_match"
    assert refused(request(TRANSMISSION_SIG="ü")) == "no_match"
    assert refused(request(AUTH_ALGO="SHA1withRSA")) == "malformed_header"
    assert refused(request(TRANSMISSION_TIME="now")) == "malformed_header"
    assert refused(request(), now_s=NOW_S + 300_000) == "timestamp_too_old"
    assert refused(request(), now_s=NOW_S - 300_000) == "timestamp_too_new"
    for name in ("-ID", "-TIME", "-SIG", "-ALGO"):
        assert (
            refused(
                Received.of("POST", "", tuple(pair for pair in HEADERS.items() if not pair[0].endswith(name)), BODY, 0)
            )
            == "missing_header"
        )


def test_a_certificate_that_proves_nothing_is_refused() -> None:
    for pem in (
        None,
        b"",
        b"\xff",
        certified("paypal.com.evil.test"),
        certified("evilpaypal.com"),
        certified(year=2026),
    ):
        assert refused(request(), pem=pem) == "no_match"


def test_the_certificate_is_fetched_from_paypal_only() -> None:
    for host in ("api.paypal.com", "api-m.paypal.com", "api.sandbox.paypal.com"):
        found = PRESET.scheme.needs(request(CERT_URL=f"https://{host}/v1/notifications/certs/CERT-1a"))
        assert found is not None
        assert host in found.hosts
    for url in (
        CERTIFICATE_URL.replace("https", "http"),
        CERTIFICATE_URL.replace(".com", ".com:8443"),
        CERTIFICATE_URL.replace("api.", "me@api."),
        CERTIFICATE_URL.replace("api.", "www."),
        CERTIFICATE_URL.replace(".com", ".com.evil.test"),
        CERTIFICATE_URL.replace("certs", "certs/.."),
        CERTIFICATE_URL + "?x=1",
        CERTIFICATE_URL + "\nx",
        None,
    ):
        with pytest.raises(SignatureInvalid):
            PRESET.scheme.needs(request(CERT_URL=url))


def test_what_it_holds_and_what_it_repeats() -> None:
    (item,) = PRESET.read(request(), BODY).items
    assert (item.type, item.data) == ("PAYMENT.CAPTURE.COMPLETED", BODY)
    assert (item.identity, item.ordering_key) == ("WH-2WR32451HC0233532-67976317FL4543714", "42311647XV020574X")
    assert item.occurred_at == 1_795_355_998_500
    assert PRESET.sender.retries(PRESET.answers.overload)


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"[" * 5_000, b"\xff", b'{"resource": [1]}'])
def test_odd_input_is_read_or_unreadable(body: bytes) -> None:
    with suppress(Unreadable):
        PRESET.read(request(body), body)
