"""Vercel: its documented construction, step by step."""

import hashlib
import hmac

import pytest

from posthouse.providers.received import Received, Unreadable
from posthouse.providers.senders.vercel import PRESET
from posthouse.testing.refusals import refusals

SECRET = "0a1b2c3d4e5f"
NOW_S = 1_800_000_000
BODY = b'{"id": "uev_1", "type": "deployment.created", "createdAt": 1799999999123, "region": null, "payload": {}}'


def signed(body: bytes = BODY, secret: str = SECRET) -> Received:
    digest = hmac.new(secret.encode(), body, hashlib.sha1).hexdigest()
    return Received.of("POST", "https://example.com/in/x", (("X-Vercel-Signature", digest),), body, NOW_S * 1_000)


reason = refusals(PRESET, secret=SECRET, now_s=NOW_S)


def test_what_vercel_signs_is_genuine_with_any_secret_in_use() -> None:
    assert reason(signed(), "another", SECRET) is None


def test_what_was_changed_or_is_missing_is_refused() -> None:
    assert reason(Received.of("POST", "", signed().headers, BODY + b" ", 0)) == "no_match"
    assert reason(signed(), "another") == "no_match"
    assert reason(Received.of("POST", "", (), BODY, 0)) == "missing_header"
    sha256 = hmac.new(SECRET.encode(), BODY, hashlib.sha256).hexdigest()
    assert reason(Received.of("POST", "", (("X-Vercel-Signature", sha256),), BODY, 0)) == "no_match"


def test_what_it_holds() -> None:
    (item,) = PRESET.read(signed(), BODY).items
    assert (item.type, item.identity, item.data) == ("deployment.created", "uev_1", BODY)
    assert item.occurred_at == 1_799_999_999_123


def test_it_retries_all_but_success() -> None:
    assert PRESET.sender.retries(PRESET.answers.overload)


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"7", b"\xff", b"[" * 9_000, b'{"id": ' * 9_000])
def test_odd_content_is_read_or_unreadable(content: bytes) -> None:
    try:
        PRESET.read(signed(content), content)
    except Unreadable:
        return
