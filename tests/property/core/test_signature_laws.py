import base64
import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from posthouse.core.errors import SignatureInvalid
from posthouse.core.signature import Signer, generate_secret, generate_signing_key, public_key, verify

HMAC_SECRETS = st.binary(min_size=24, max_size=64).map(generate_secret)
SIGNING_KEYS = st.binary(min_size=32, max_size=32).map(generate_signing_key)
SECRETS = HMAC_SECRETS | SIGNING_KEYS
IDS = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="."), min_size=1, max_size=40)
TIMES = st.integers(0, 999_999_999_999)
NAMES = st.sampled_from(["webhook-id", "webhook-timestamp", "webhook-signature", "Webhook-Id", "x"])


def key_of(secret: str) -> tuple[str, bytes]:
    prefix, _, text = secret.partition("_")
    return prefix, base64.b64decode(text).rstrip(b"\0")


def is_accepted(secrets: list[str], headers: dict[str, str], body: bytes, now_s: int) -> bool:
    try:
        verify(secrets, headers, body, now_s=now_s)
    except SignatureInvalid:
        return False
    return True


@given(st.lists(SECRETS, min_size=1, max_size=4), IDS, TIMES, st.binary(max_size=100))
def test_what_is_signed_verifies_with_each_of_the_secrets(
    secrets: list[str], message_id: str, at: int, body: bytes
) -> None:
    headers = Signer(secrets).headers(message_id, at, body)
    for secret in secrets:
        assert is_accepted([secret], headers, body, at)
        if secret.startswith("whsk_"):
            assert is_accepted([public_key(secret)], headers, body, at)


@given(SECRETS, SECRETS, st.binary(max_size=40))
def test_another_secret_does_not_verify(one: str, other: str, body: bytes) -> None:
    """HMAC itself fills keys up to 64 bytes with zeros, so zeros at the end of a secret do not count."""
    same = key_of(one) == key_of(other)
    assert is_accepted([other], Signer([one]).headers("a", 0, body), body, 0) == same


@given(SECRETS, st.binary(min_size=1, max_size=40), st.data())
def test_a_changed_bit_of_the_body_does_not_verify(secret: str, body: bytes, data: st.DataObject) -> None:
    headers = Signer([secret]).headers("a", 0, body)
    bit = data.draw(st.integers(0, 8 * len(body) - 1))
    changed = bytearray(body)
    changed[bit // 8] ^= 1 << bit % 8
    assert not is_accepted([secret], headers, bytes(changed), 0)


@given(secret=SECRETS, one=IDS, other=IDS, at=TIMES, later=TIMES)
def test_the_id_and_the_timestamp_are_signed_too(*, secret: str, one: str, other: str, at: int, later: int) -> None:
    body = b"{}"
    headers = Signer([secret]).headers(one, at, body)
    moved = headers | {"webhook-id": other, "webhook-timestamp": str(later)}
    assert is_accepted([secret], moved, body, later) == ((one, at) == (other, later))


@given(
    st.lists(SECRETS | st.text(max_size=40), max_size=3),
    st.dictionaries(NAMES | st.text(max_size=5), st.text(st.characters(), max_size=40), max_size=5),
    st.binary(max_size=40),
    st.integers(),
)
def test_verifying_raises_nothing_else_whatever_comes(
    secrets: list[str], headers: dict[str, str], body: bytes, now_s: int
) -> None:
    """Surrogates, control characters and nonsense in headers and secrets included."""
    with pytest.raises(SignatureInvalid):
        verify(secrets, headers, body, now_s=now_s)


@given(
    HMAC_SECRETS,
    st.text(st.characters(), max_size=60),
    st.sampled_from(["v1,", "v1a,", "v2,", ""]),
    st.binary(max_size=10),
)
def test_a_nonsense_signature_never_passes(secret: str, text: str, scheme: str, body: bytes) -> None:
    headers = {"webhook-id": "a", "webhook-timestamp": "0", "webhook-signature": scheme + text}
    assert not is_accepted([secret, generate_signing_key(b"k" * 32)], headers, body, 0)


@given(HMAC_SECRETS, IDS, st.text(st.characters(codec="utf-8"), max_size=60))
def test_the_reference_library_agrees_in_both_directions(secret: str, message_id: str, text: str) -> None:
    """It reads bodies as text and compares with the real time."""
    now_s = int(time.time())
    body = text.encode()
    oracle = Webhook(secret)
    ours = Signer([secret]).headers(message_id, now_s, body)
    oracle.verify(body, ours, json_parse=False)
    theirs = oracle.sign(message_id, datetime.fromtimestamp(now_s, UTC), text)
    assert theirs == ours["webhook-signature"]
    verify([secret], ours | {"webhook-signature": theirs}, body, now_s=now_s)
