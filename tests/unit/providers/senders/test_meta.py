"""Meta: its documented construction, step by step."""

import hashlib
import hmac

import pytest

from posthouse.core.errors import SignatureInvalid
from posthouse.providers.received import Received, Unreadable
from posthouse.providers.senders.meta import PRESET
from posthouse.testing.refusals import refusals

SECRET = "0123456789abcdef0123456789abcdef"
TOKEN = "verify:meaty hamburger"
NOW_S = 1_800_000_000
USER = b'{"time": 1520383571, "changes": [{"field": "photos", "value": {"verb": "update"}}], "id": "1021"}'
PAGE = b'{"id": "682", "time": 1674233715123, "messaging": [{"message": {"mid": "m_1"}}]}'
WHATSAPP = b'{"id": "1022", "changes": [{"field": "messages", "value": {"messages": [{"timestamp": "1749416383"}]}}]}'
MIXED = b'{"id": "0", "time": true, "changes": [{"field": "feed"}, {"field": "likes"}]}'


def body(about: str, *entries: bytes) -> bytes:
    return b'{"object": "' + about.encode() + b'", "entry": [' + b" , ".join(entries) + b"]}"


def signed(content: bytes, secret: str = SECRET) -> Received:
    digest = hmac.new(secret.encode(), content, hashlib.sha256).hexdigest()
    headers = (("X-Hub-Signature-256", f"sha256={digest}"), ("X-Hub-Signature", "sha1=00"))
    return Received.of("POST", "https://example.com/in/x", headers, content, NOW_S * 1_000)


def asked(query: str, method: str = "GET") -> Received:
    return Received.of(method, f"https://example.com/in/x?{query}", (), b"", NOW_S * 1_000)


reason = refusals(PRESET, secret=SECRET, now_s=NOW_S)


def test_what_meta_signs_is_genuine_with_any_secret_in_use() -> None:
    assert reason(signed(body("user", USER)), "another", TOKEN, SECRET) is None


def test_what_was_changed_or_is_missing_is_refused() -> None:
    content = body("user", USER)
    assert reason(Received.of("POST", "", signed(content).headers, content + b" ", 0)) == "no_match"
    assert reason(signed(content), "another") == "no_match"
    assert reason(Received.of("POST", "", signed(content).headers[1:], content, 0)) == "missing_header"


@pytest.mark.parametrize("key", ["meaty hamburger", TOKEN])
def test_the_verify_token_signs_nothing(key: str) -> None:
    """It stands in the query of a request, and so in logs."""
    assert reason(signed(body("user", USER), key), TOKEN, SECRET) == "no_match"


@pytest.mark.parametrize(
    ("about", "entry", "kind", "at"),
    [
        ("user", USER, "user.photos", 1_520_383_571_000),
        ("page", PAGE, "page.messaging", 1_674_233_715_123),
        ("whatsapp_business_account", WHATSAPP, "whatsapp_business_account.messages", 1_749_416_383_000),
        ("page", MIXED, "page", None),
    ],
)
def test_what_an_entry_holds(about: str, entry: bytes, kind: str, at: int | None) -> None:
    content = body(about, entry)
    (item,) = PRESET.read(signed(content), content).items
    assert (item.type, item.occurred_at, item.data, item.identity) == (kind, at, entry, None)


def test_a_batch_is_split_into_its_entries() -> None:
    content = body("page", PAGE, MIXED, b"7")
    assert [item.data for item in PRESET.read(signed(content), content).items] == [PAGE, MIXED, b"7"]


def test_what_has_no_entries_is_one_event() -> None:
    content = b'{"object": "page", "sample": {"field": "feed"}}'
    (item,) = PRESET.read(signed(content), content).items
    assert (item.type, item.data) == ("page", content)


def test_the_challenge_is_echoed_to_who_knows_the_verify_token() -> None:
    assert PRESET.handshake is not None
    query = "hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=meaty+hamburger"
    shaken = PRESET.handshake(asked(query), [SECRET, "verify:older", TOKEN])
    assert shaken is not None
    assert (shaken.reply.status, shaken.reply.body) == (200, b"1158201444")
    assert PRESET.handshake(asked(query, "POST"), [TOKEN]) is None
    assert PRESET.handshake(asked("hub.mode=subscribe"), [TOKEN]) is None
    for secrets in ([SECRET], ["verify:another"], ["meaty hamburger"], []):
        with pytest.raises(SignatureInvalid):
            PRESET.handshake(asked(query), secrets)


def test_it_retries_all_but_success() -> None:
    assert PRESET.sender.retries(PRESET.answers.overload)
    assert not PRESET.sender.retries(200)


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"7", b"\xff", b"[" * 9_000, b'{"id": ' * 9_000])
def test_odd_content_is_read_or_unreadable(content: bytes) -> None:
    try:
        PRESET.read(signed(content), content)
    except Unreadable:
        return


@pytest.mark.parametrize("entry", [b'{"changes": {}}', b'{"changes": [7, {"field": {}}], "time": []}', b"[]", b"null"])
def test_odd_entries_are_read(entry: bytes) -> None:
    content = body("page", entry)
    assert PRESET.read(signed(content), content).items[0].data == entry
