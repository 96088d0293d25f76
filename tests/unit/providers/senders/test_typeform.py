"""Typeform: its documented construction, step by step."""

import base64
import hashlib
import hmac
from contextlib import suppress

import pytest

from posthouse.core.errors import SignatureInvalid
from posthouse.providers.received import Received, Unreadable
from posthouse.providers.senders.typeform import PRESET

SECRET = "typeform secret"
NOW_S = 1_800_000_000
BODY = (
    b'{"event_id": "LtWXD3crgy", "event_type": "form_response", '
    b'"form_response": {"form_id": "lT4Z3j", "token": "a3a12ec67a", "submitted_at": "2018-01-18T18:17:02Z"}}'
)
ODD = (b"", b"[]", b"null", b"7", b"\xff", b"[" * 9_000, b'{"event_type":' * 9_000, b'{"event_type": {}}')


def signed(body: bytes = BODY, secret: str = SECRET) -> Received:
    digest = base64.b64encode(hmac.new(secret.encode(), body, hashlib.sha256).digest()).decode()
    headers = (("Typeform-Signature", f"sha256={digest}"),)
    return Received.of("POST", "https://example.com/in/x", headers, body, NOW_S * 1_000)


def test_what_typeform_signs_is_genuine_with_any_secret_in_use() -> None:
    PRESET.scheme.verify(signed(), ["another", SECRET], now_s=NOW_S)


@pytest.mark.parametrize(
    ("received", "secret", "reason"),
    [
        (Received.of("POST", "/", signed().headers, BODY + b" ", 0), SECRET, "no_match"),
        (signed(), "another", "no_match"),
        (Received.of("POST", "/", (), BODY, 0), SECRET, "missing_header"),
        (Received.of("POST", "/", (("Typeform-Signature", "AAAA"),), BODY, 0), SECRET, "malformed_header"),
        (Received.of("POST", "/", (("Typeform-Signature", "sha256=?"),), BODY, 0), SECRET, "no_match"),
    ],
)
def test_what_is_not_typeforms_is_refused(received: Received, secret: str, reason: str) -> None:
    with pytest.raises(SignatureInvalid) as caught:
        PRESET.scheme.verify(received, [secret], now_s=NOW_S)
    assert caught.value.reason == reason


def test_what_it_holds() -> None:
    (item,) = PRESET.read(signed(), BODY).items
    assert (item.type, item.identity, item.data) == ("form_response", "LtWXD3crgy", BODY)
    assert (item.occurred_at, item.ordering_key) == (1_516_299_422_000, "a3a12ec67a")


def test_no_answer_of_ours_disables_the_webhook() -> None:
    answers = PRESET.answers
    assert PRESET.sender.retries(answers.overload)
    assert not {404, 410} & {answers.accepted, answers.bad_signature, answers.overload}
    assert not PRESET.sender.retries(410)


@pytest.mark.parametrize("body", ODD)
def test_odd_bodies_are_read_or_unreadable(body: bytes) -> None:
    with suppress(Unreadable):
        assert PRESET.read(signed(body), body).items[0].type == "event"
