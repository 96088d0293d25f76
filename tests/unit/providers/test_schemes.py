"""The declared schemes: whatever comes, a request is genuine or refused for a reason, and nothing else happens."""

import base64
import hashlib
import hmac
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.core import signature
from posthouse.core.errors import SignatureInvalid
from posthouse.providers.received import Received
from posthouse.providers.schemes import Basic, Ed25519, Encoding, Hmac, StandardWebhooks, Token, Unit, Unproven

NOW_S = 1_800_000_000
BODY = '{"ä":1}'.encode()
REASONS = {
    getattr(signature, name)
    for name in (
        "MISSING_HEADER",
        "MALFORMED_HEADER",
        "MALFORMED_SECRET",
        "TIMESTAMP_TOO_OLD",
        "TIMESTAMP_TOO_NEW",
        "NO_MATCH",
    )
}
SCHEMES: list[Any] = [
    Hmac(header="X-Sig", prefix="sha256="),
    Hmac(header="X-Sig", signature_key="v1", timestamp_key="t", signed="{ts}.{body}", tolerance_s=300),
    Hmac(header="X-Sig", signature_key="h1", timestamp_key="ts", separator=";", signed="{ts}:{body}", tolerance_s=5),
    Hmac(
        header="X-Sig",
        prefix="v0=",
        signed="v0:{ts}:{body}",
        timestamp_header="X-Time",
        tolerance_s=300,
        encoding=Encoding.BASE64,
        secret=Encoding.WHSEC,
        unit=Unit.MILLISECONDS,
    ),
    Hmac(header="X-Sig", signed="{method}{url}{body}{id}", id_header="X-Id", algorithm="sha1", secret=Encoding.HEX),
    Hmac(header="X-Sig", signed="{ts}", timestamp_header="X-Time", unit=Unit.RFC3339, tolerance_s=9),
    Token(header="X-Sig", prefix="Bearer "),
    Basic(),
    Ed25519(header="X-Sig", timestamp_header="X-Time", tolerance_s=300),
    StandardWebhooks(),
    StandardWebhooks(prefix="svix"),
]
NAMES = ("X-Sig", "x-time", "X-ID", "Authorization", "webhook-id", "webhook-signature", "svix-timestamp")


def request(*headers: tuple[str, str], body: bytes = BODY, url: str = "https://e.com/in/x") -> Received:
    return Received.of("POST", url, headers, body, NOW_S * 1_000)


def reason(scheme: Any, given_request: Received, *secrets: str) -> str | None:
    try:
        scheme.verify(given_request, secrets, now_s=NOW_S)
    except SignatureInvalid as error:
        return error.reason
    return None


@pytest.mark.parametrize("scheme", SCHEMES)
@given(
    headers=st.lists(st.tuples(st.sampled_from(NAMES), st.text(max_size=60)), max_size=5),
    body=st.binary(max_size=50),
    secrets=st.lists(st.text(max_size=40), max_size=3),
)
def test_nothing_but_a_reason_comes_of_any_request(
    scheme: Any, headers: list[tuple[str, str]], body: bytes, secrets: list[str]
) -> None:
    assert reason(scheme, request(*headers, body=body), *secrets) in REASONS


def digest(key: bytes, message: bytes, algorithm: str = "sha256") -> bytes:
    return hmac.new(key, message, getattr(hashlib, algorithm)).digest()


def test_a_digest_over_the_body() -> None:
    scheme = SCHEMES[0]
    good = request(("x-sig", "sha256=" + digest(b"two", BODY).hex()))
    assert reason(scheme, good, "one", "two") is None
    assert reason(scheme, good, "one") == signature.NO_MATCH
    assert reason(scheme, request(good.headers[0], body=BODY + b" "), "two") == signature.NO_MATCH
    assert reason(scheme, request(("x-sig", digest(b"two", BODY).hex())), "two") == signature.MALFORMED_HEADER
    assert reason(scheme, request(), "two") == signature.MISSING_HEADER
    assert reason(scheme, good) == signature.NO_MATCH, "without a secret nothing is genuine"


def test_a_list_of_pairs_with_several_signatures_and_a_time() -> None:
    scheme = SCHEMES[1]

    def at(time_s: int, *keys: bytes) -> Received:
        signatures = [f"v1={digest(key, f'{time_s}.'.encode() + BODY).hex()}" for key in keys]
        return request(("X-Sig", ",".join([f"t={time_s}", *signatures, "v0=zz"])))

    assert reason(scheme, at(NOW_S, b"old", b"new"), "new") is None
    assert reason(scheme, at(NOW_S - 300, b"new"), "old", "new") is None
    assert reason(scheme, at(NOW_S - 301, b"new"), "new") == signature.TIMESTAMP_TOO_OLD
    assert reason(scheme, at(NOW_S + 301, b"new"), "new") == signature.TIMESTAMP_TOO_NEW
    assert reason(scheme, request(("X-Sig", "v1=00")), "new") == signature.MALFORMED_HEADER, "no time"
    assert reason(scheme, at(NOW_S), "new") == signature.MALFORMED_HEADER, "no signature"
    many = at(NOW_S, *[b"x"] * 100)
    assert reason(scheme, many, "x") == signature.MALFORMED_HEADER, "more than anybody sends"


def test_a_time_in_a_header_and_a_secret_in_base64() -> None:
    scheme, key, time_ms = SCHEMES[3], b"k" * 24, NOW_S * 1_000
    sent = base64.b64encode(digest(key, f"v0:{time_ms}:".encode() + BODY)).decode()
    good = request(("X-Sig", "v0=" + sent), ("X-Time", str(time_ms)))
    secret = base64.b64encode(key).decode()
    assert reason(scheme, good, secret) is None
    assert reason(scheme, good, "whsec_" + secret) is None
    assert reason(scheme, good, "whsec_!") == signature.MALFORMED_SECRET


def test_the_url_the_method_and_an_id_may_be_signed() -> None:
    scheme = SCHEMES[4]
    sent = digest(b"\x01\x02", b"POSThttps://e.com/in/x" + BODY + b"id1", "sha1").hex()
    assert reason(scheme, request(("X-Sig", sent), ("x-id", "id1")), "0102") is None
    assert reason(scheme, request(("X-Sig", sent), ("x-id", "id2")), "0102") == signature.NO_MATCH
    assert reason(scheme, request(("X-Sig", sent)), "0102") == signature.MISSING_HEADER


def test_a_token_and_a_password() -> None:
    assert reason(SCHEMES[6], request(("X-Sig", "Bearer s3")), "s2", "s3") is None
    assert reason(SCHEMES[6], request(("X-Sig", "s3")), "s3") == signature.NO_MATCH
    assert reason(Basic(), request(("authorization", "Basic dTpww6Q=")), "u:pä") is None
    assert reason(Basic(), request(("authorization", "Basic dTpww6Q=")), "u:pa") == signature.NO_MATCH


def test_who_proves_nothing_is_never_refused() -> None:
    assert not Unproven().has_secret
    assert reason(Unproven(), request()) is None
    assert all(scheme.has_secret and scheme.needs(request()) is None for scheme in SCHEMES)
