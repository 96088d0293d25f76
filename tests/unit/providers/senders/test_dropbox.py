"""Dropbox: its documented construction, step by step."""

import hashlib
import hmac

import pytest

from posthouse.providers.received import Received, Unreadable
from posthouse.providers.senders.dropbox import PRESET
from posthouse.testing.refusals import refusals

SECRET = "0123456789abcde"
NOW_S = 1_800_000_000
BODY = b'{"list_folder": {"accounts": ["dbid:AAH4f99T0taONIb-OurWxbNQ6ywGRopQngc"]}, "delta": {"users": [12345678]}}'


def signed(body: bytes = BODY, secret: str = SECRET) -> Received:
    digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return Received.of("POST", "https://example.com/in/x", (("X-Dropbox-Signature", digest),), body, NOW_S * 1_000)


reason = refusals(PRESET, secret=SECRET, now_s=NOW_S)


def test_what_dropbox_signs_is_genuine_with_any_secret_in_use() -> None:
    assert reason(signed(), "another", SECRET) is None


def test_what_was_changed_or_is_missing_is_refused() -> None:
    assert reason(Received.of("POST", "", signed().headers, BODY + b" ", 0)) == "no_match"
    assert reason(signed(), "another") == "no_match"
    assert reason(Received.of("POST", "", (), BODY, 0)) == "missing_header"


def test_what_it_holds() -> None:
    (item,) = PRESET.read(signed(), BODY).items
    assert (item.type, item.identity, item.occurred_at, item.data) == ("list_folder", None, None, BODY)


def test_a_second_change_of_an_account_is_no_repetition_of_the_first() -> None:
    """Both have the same content, so equal content must stand for one event at no time."""
    assert PRESET.window_seconds == 0


def test_the_challenge_is_echoed_as_plain_text() -> None:
    assert PRESET.handshake is not None
    asked = Received.of("GET", "https://example.com/in/x?challenge=abc%3Cb%3E", (), b"", 0)
    shaken = PRESET.handshake(asked, [])
    assert shaken is not None
    assert shaken.reply.body == b"abc<b>"
    assert dict(shaken.reply.headers) == {
        "content-type": "text/plain; charset=utf-8",
        "x-content-type-options": "nosniff",
    }
    assert PRESET.handshake(signed(), [SECRET]) is None
    assert PRESET.handshake(Received.of("GET", "https://example.com/in/x", (), b"", 0), []) is None


def test_it_retries_all_but_success() -> None:
    assert PRESET.sender.retries(PRESET.answers.overload)


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"7", b"\xff", b"[" * 9_000, b'{"id": ' * 9_000])
def test_odd_content_is_read_or_unreadable(content: bytes) -> None:
    try:
        PRESET.read(signed(content), content)
    except Unreadable:
        return
