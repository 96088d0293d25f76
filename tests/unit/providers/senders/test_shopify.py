"""Shopify: its documented construction, step by step."""

import base64
import hashlib
import hmac

import pytest

from posthouse.providers.received import Received, Unreadable
from posthouse.providers.senders.shopify import PRESET
from posthouse.testing.refusals import refusals

SECRET = "shpss_0123456789abcdef"
NOW_S = 1_800_000_000
BODY = b'{"id": 820982911946154508, "email": "jon@example.com"}'


def signed(body: bytes = BODY, secret: str = SECRET) -> Received:
    digest = base64.b64encode(hmac.new(secret.encode(), body, hashlib.sha256).digest()).decode()
    headers = (
        ("X-Shopify-Topic", "orders/create"),
        ("X-Shopify-Webhook-Id", "b54557e4"),
        ("X-Shopify-Event-Id", "98880550"),
        ("X-Shopify-Triggered-At", "2023-03-29T18:00:27.877041743Z"),
        ("X-Shopify-Hmac-Sha256", digest),
    )
    return Received.of("POST", "https://example.com/in/x", headers, body, NOW_S * 1_000)


reason = refusals(PRESET, secret=SECRET, now_s=NOW_S)


def test_what_shopify_signs_is_genuine_with_any_secret_in_use() -> None:
    assert reason(signed(), "another", SECRET) is None


def test_what_was_changed_or_is_missing_is_refused() -> None:
    assert reason(Received.of("POST", "", signed().headers, BODY + b" ", 0)) == "no_match"
    assert reason(signed(), "another") == "no_match"
    assert reason(Received.of("POST", "", signed().headers[:4], BODY, 0)) == "missing_header"


def test_what_it_holds() -> None:
    reading = PRESET.read(signed(), BODY)
    (item,) = reading.items
    assert (item.type, item.identity, item.data) == ("orders/create", "b54557e4", BODY)
    assert (item.occurred_at, reading.delivery) == (1_680_112_827_877, "b54557e4")


def test_two_webhooks_of_one_action_have_two_identities() -> None:
    topics = ("orders/create", "orders/paid")
    requests = [
        Received.of("POST", "", (("X-Shopify-Topic", topic), ("X-Shopify-Event-Id", "98880550")), BODY, 0)
        for topic in topics
    ]
    assert len({PRESET.read(each, BODY).items[0].identity for each in requests}) == 2


def test_it_retries_all_but_success_and_must_be_answered_in_five_seconds() -> None:
    assert PRESET.sender.retries(PRESET.answers.overload)
    assert PRESET.sender.retries(301)
    assert PRESET.sender.deadline_ms == 5_000


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"7", b"\xff", b"[" * 9_000, b'{"id": ' * 9_000])
def test_odd_content_is_read_or_unreadable(content: bytes) -> None:
    try:
        PRESET.read(signed(content), content)
    except Unreadable:
        return
