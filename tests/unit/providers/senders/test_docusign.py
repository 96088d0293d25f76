"""DocuSign: its documented construction, step by step."""

import base64
import hashlib
import hmac
from contextlib import suppress

import pytest

from posthouse.core.errors import SignatureInvalid
from posthouse.providers.received import Received, Unreadable
from posthouse.providers.senders.docusign import PRESET

SECRET = "connect key 1"
NOW_S = 1_800_000_000
BODY = (
    b'{"event": "envelope-completed", "apiVersion": "v2.1", "retryCount": 0, "configurationId": 10493428, '
    b'"generatedDateTime": "2022-12-07T15:22:55.1234567Z", "data": {"accountId": "a", "envelopeId": "e1"}}'
)
ODD = (b"", b"[]", b"null", b"<xml/>", b"\xff", b"[" * 9_000, b'{"event":' * 9_000, b'{"event": 0}')


def digest_of(body: bytes, secret: str) -> str:
    return base64.b64encode(hmac.new(secret.encode(), body, hashlib.sha256).digest()).decode()


def signed(body: bytes = BODY, *secrets: str) -> Received:
    headers = tuple(
        (f"X-DocuSign-Signature-{number}", digest_of(body, secret))
        for number, secret in enumerate(secrets or ("a retired key", SECRET), start=1)
    )
    return Received.of("POST", "https://example.com/in/x", headers, body, NOW_S * 1_000)


def test_one_of_the_numbered_signatures_is_enough_with_any_secret_in_use() -> None:
    PRESET.scheme.verify(signed(), ["another", SECRET], now_s=NOW_S)


@pytest.mark.parametrize(
    ("received", "secret", "reason"),
    [
        (Received.of("POST", "/", signed().headers, BODY + b" ", 0), SECRET, "no_match"),
        (signed(), "another", "no_match"),
        (Received.of("POST", "/", (), BODY, 0), SECRET, "missing_header"),
        (Received.of("POST", "/", (("X-DocuSign-Signature", "AA=="),), BODY, 0), SECRET, "missing_header"),
        (signed(BODY, *(["another"] * 101)), SECRET, "malformed_header"),
    ],
)
def test_what_is_not_docusigns_is_refused(received: Received, secret: str, reason: str) -> None:
    with pytest.raises(SignatureInvalid) as caught:
        PRESET.scheme.verify(received, [secret], now_s=NOW_S)
    assert caught.value.reason == reason


def test_what_it_holds() -> None:
    (item,) = PRESET.read(signed(), BODY).items
    assert (item.type, item.data, item.ordering_key) == ("envelope-completed", BODY, "e1")
    assert item.identity == "envelope-completed/10493428/e1//2022-12-07T15:22:55.1234567Z"
    assert item.occurred_at == 1_670_426_575_123


def test_a_retry_has_the_same_identity_though_its_body_counts_it() -> None:
    again = BODY.replace(b'"retryCount": 0', b'"retryCount": 3')
    was, now = (PRESET.read(signed(body), body).items[0].identity for body in (BODY, again))
    assert was == now


def test_without_a_time_there_is_no_identity() -> None:
    body = b'{"event": "envelope-sent"}'
    assert PRESET.read(signed(body), body).items[0].identity is None


def test_what_is_answered() -> None:
    assert PRESET.answers.overload == 503
    assert PRESET.sender.retries(503)


@pytest.mark.parametrize("body", ODD)
def test_odd_bodies_are_read_or_unreadable(body: bytes) -> None:
    with suppress(Unreadable):
        assert PRESET.read(signed(body), body).items[0].identity is None
