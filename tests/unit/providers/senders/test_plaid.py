"""Plaid, against tokens that PyJWT makes."""

import hashlib
import json
from contextlib import suppress
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from posthouse.core.errors import SignatureInvalid
from posthouse.providers.received import Received, Unreadable
from posthouse.providers.senders.plaid import PRESET

NOW_S = 1_800_000_000
# Plaid signs the body as it sends it, with its spaces.
BODY = b'{\n  "webhook_type": "TRANSACTIONS",\n  "webhook_code": "SYNC_UPDATES_AVAILABLE",\n  "item_id": "wz666"\n}'
KEY = ec.generate_private_key(ec.SECP256R1())
OTHER = ec.generate_private_key(ec.SECP256R1())


def jwk(key: ec.EllipticCurvePrivateKey = KEY, **more: object) -> dict[str, object]:
    found: dict[str, object] = json.loads(ECAlgorithm.to_jwk(key.public_key()))
    return {**found, "alg": "ES256", "use": "sig", "kid": "k-1", "created_at": 1, "expired_at": None, **more}


SECRET = json.dumps(jwk())


def token(body: bytes = BODY, key: Any = KEY, algorithm: str = "ES256", kid: str = "k-1", **claims: object) -> str:
    said = {"iat": NOW_S, "request_body_sha256": hashlib.sha256(body).hexdigest(), **claims}
    return str(jwt.encode(said, key, algorithm=algorithm, headers={"kid": kid}))


def request(made: str | None, body: bytes = BODY) -> Received:
    return Received.of("POST", "https://a.test/x", () if made is None else (("plaid-verification", made),), body, 0)


def refused(received: Received, *secrets: str, now_s: int = NOW_S) -> str:
    with pytest.raises(SignatureInvalid) as caught:
        PRESET.scheme.verify(received, secrets or [SECRET], now_s=now_s)
    return caught.value.reason


def test_a_token_is_genuine_with_the_key_alone_or_in_its_answer() -> None:
    PRESET.scheme.verify(request(token()), [json.dumps(jwk(OTHER, kid="k-0")), SECRET], now_s=NOW_S + 299)
    PRESET.scheme.verify(request(token()), [json.dumps(jwk(OTHER)), SECRET], now_s=NOW_S)
    PRESET.scheme.verify(request(token()), [json.dumps({"key": jwk(), "request_id": "r"})], now_s=NOW_S)
    assert PRESET.scheme.needs(request(token())) is None


def test_what_is_not_signed_is_refused() -> None:
    assert refused(request(token(), BODY + b" ")) == "no_match"
    assert refused(request(token(key=OTHER))) == "no_match"
    assert refused(request(token(kid="k-2"))) == "no_match"
    assert refused(request(token()), json.dumps(jwk(expired_at=NOW_S))) == "no_match"
    assert refused(request(token()), now_s=NOW_S + 301) == "timestamp_too_old"
    assert refused(request(token()), now_s=NOW_S - 301) == "timestamp_too_new"
    assert refused(request(token(request_body_sha256=None))) == "no_match"
    assert refused(request(token(iat=True))) == "malformed_header"
    assert refused(request(None)) == "missing_header"


def test_a_token_of_another_algorithm_is_refused() -> None:
    assert refused(request(token(key="k" * 32, algorithm="HS256"))) == "malformed_header"
    assert refused(request(token(key=None, algorithm="none"))) == "malformed_header"


@pytest.mark.parametrize(
    "made", ["", "a", "a.b", "a.b.c.d", "..", "ü.ü.ü", "bnVsbA.bnVsbA.AA", "A.A.A", "e30.e30.e30\n"]
)
def test_what_is_no_token_is_refused(made: str) -> None:
    assert refused(request(made)) == "malformed_header"


def test_a_signature_of_another_length_is_refused() -> None:
    head, claims, _ = token().split(".")
    assert refused(request(f"{head}.{claims}.AAAA")) == "no_match"


@pytest.mark.parametrize(
    "secret", ["", "null", "[" * 5_000, '{"key": 1}', json.dumps(jwk(x="AA")), json.dumps(jwk(y="ü"))]
)
def test_a_secret_that_is_no_key_is_named_as_such(secret: str) -> None:
    assert refused(request(token()), secret) == "malformed_secret"


def test_what_it_holds_and_what_it_repeats() -> None:
    (item,) = PRESET.read(request(None), BODY).items
    assert (item.type, item.identity, item.data) == ("TRANSACTIONS.SYNC_UPDATES_AVAILABLE", None, BODY)
    assert item.ordering_key == "wz666"
    assert PRESET.sender.retries(PRESET.answers.overload)
    assert PRESET.window_seconds == 300


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"[" * 5_000, b"\xff", b'{"webhook_type": {}}'])
def test_odd_input_is_read_or_unreadable(body: bytes) -> None:
    with suppress(Unreadable):
        PRESET.read(request(None, body), body)
