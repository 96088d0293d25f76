"""Webflow: its documented construction, step by step."""

import hashlib
import hmac

import pytest

from posthouse.providers.received import Received, Unreadable
from posthouse.providers.senders.webflow import PRESET
from posthouse.testing.refusals import refusals

SECRET = "a2d9f2e1"
NOW_S = 1_800_000_000
BODY = (
    b'{"triggerType": "form_submission",'
    b' "payload": {"name": "Contact Us", "submittedAt": "2022-09-14T12:35:16.117Z", "id": "6321ca84"}}'
)


def signed(body: bytes = BODY, secret: str = SECRET, at: int = NOW_S) -> Received:
    timestamp = str(at * 1_000 + 7)
    digest = hmac.new(secret.encode(), timestamp.encode() + b":" + body, hashlib.sha256).hexdigest()
    headers = (("x-webflow-timestamp", timestamp), ("x-webflow-signature", digest))
    return Received.of("POST", "https://example.com/in/x", headers, body, at * 1_000)


reason = refusals(PRESET, secret=SECRET, now_s=NOW_S)


def test_what_webflow_signs_is_genuine_with_any_secret_in_use() -> None:
    assert reason(signed(), "another", SECRET, now_s=NOW_S + 300) is None


def test_what_was_changed_or_is_missing_or_old_is_refused() -> None:
    assert reason(Received.of("POST", "", signed().headers, BODY + b" ", 0)) == "no_match"
    assert reason(signed(), "another") == "no_match"
    assert reason(Received.of("POST", "", signed().headers[1:], BODY, 0)) == "missing_header"
    assert reason(Received.of("POST", "", signed().headers[:1], BODY, 0)) == "missing_header"
    assert reason(signed(), now_s=NOW_S + 301) == "timestamp_too_old"
    assert reason(signed(), now_s=NOW_S - 301) == "timestamp_too_new"


def test_what_a_submission_holds() -> None:
    (item,) = PRESET.read(signed(), BODY).items
    assert (item.type, item.identity, item.data) == ("form_submission", "form_submission:6321ca84", BODY)
    assert item.occurred_at == 1_663_158_916_117


def test_the_id_of_an_item_is_not_that_of_an_event() -> None:
    body = b'{"triggerType": "collection_item_changed", "payload": {"id": "63", "lastUpdated": "2022-09-14T12:35:16Z"}}'
    (item,) = PRESET.read(signed(body), body).items
    assert (item.type, item.identity, item.occurred_at) == ("collection_item_changed", None, 1_663_158_916_000)


def test_it_retries_all_but_success_every_ten_minutes() -> None:
    assert PRESET.sender.retries(PRESET.answers.overload)
    assert PRESET.sender.retries(301)
    assert PRESET.sender.delays_s == (600, 600, 600)


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"7", b"\xff", b"[" * 9_000, b'{"id": ' * 9_000])
def test_odd_content_is_read_or_unreadable(content: bytes) -> None:
    try:
        PRESET.read(signed(content), content)
    except Unreadable:
        return
