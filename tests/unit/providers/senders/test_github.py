"""GitHub, against the vector of its documentation."""

import hashlib
import hmac
from urllib.parse import quote_plus

import pytest

from posthouse.providers.received import Received, Unreadable
from posthouse.providers.senders.github import PRESET
from posthouse.testing.refusals import refusals

#: From docs.github.com, Validating webhook deliveries, Testing the webhook payload validation.
SECRET = "It's a Secret to Everybody"
VECTOR = (b"Hello, World!", "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17")
NOW_S = 1_800_000_000
BODY = '{"action": "opened", "issue": {"id": 1, "title": "é"}, "repository": {"full_name": "o/r"}}'.encode()


def request(body: bytes, signature: str, kind: str = "issues") -> Received:
    headers = (("X-GitHub-Event", kind), ("X-GitHub-Delivery", "72d3162e"), ("X-Hub-Signature-256", signature))
    return Received.of("POST", "https://example.com/in/x", headers, body, NOW_S * 1_000)


def signed(body: bytes = BODY, secret: str = SECRET, kind: str = "issues") -> Received:
    return request(body, "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest(), kind)


reason = refusals(PRESET, secret=SECRET, now_s=NOW_S)


def test_the_documentation_s_vector_is_genuine() -> None:
    assert reason(request(*VECTOR)) is None
    assert reason(signed(), "another", SECRET) is None


def test_what_was_changed_or_is_missing_is_refused() -> None:
    assert reason(request(b"Hello, World?", VECTOR[1])) == "no_match"
    assert reason(signed(), "another") == "no_match"
    assert reason(Received.of("POST", "", signed().headers[:2], BODY, 0)) == "missing_header"
    assert reason(request(BODY, "sha1=00")) == "malformed_header"


def test_what_it_holds() -> None:
    reading = PRESET.read(signed(), BODY)
    (item,) = reading.items
    assert (item.type, item.identity, item.data) == ("issues.opened", "72d3162e", BODY)
    assert (item.contradiction, reading.delivery) == (None, "72d3162e")


def test_an_event_without_an_action() -> None:
    body = b'{"ref": "refs/heads/main", "commits": []}'
    (item,) = PRESET.read(signed(body, kind="push"), body).items
    assert (item.type, item.contradiction) == ("push", None)


def test_a_form_holds_the_same_event() -> None:
    form = b"payload=" + quote_plus(BODY).encode()
    assert reason(signed(form)) is None
    (item,) = PRESET.read(signed(form), form).items
    assert (item.type, item.data) == ("issues.opened", BODY)


def test_a_header_that_names_another_kind_than_the_body_is_a_contradiction() -> None:
    """Only the body is signed: the header could have been changed on its way."""
    (item,) = PRESET.read(signed(kind="push"), BODY).items
    assert item.contradiction == "Every push event has the field commits, and this one has none."


def test_it_sends_nothing_again() -> None:
    assert not any(PRESET.sender.retries(status) for status in (200, 301, 404, 429, 500, 503))


@pytest.mark.parametrize("form", [b"payload=", b"payload=%ff", b"payload=\xff", b"payload=1" + b"&a=1" * 20])
def test_odd_forms_are_read_or_unreadable(form: bytes) -> None:
    test_odd_content_is_read_or_unreadable(form)


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"7", b"\xff", b"[" * 9_000, b'{"id": ' * 9_000])
def test_odd_content_is_read_or_unreadable(content: bytes) -> None:
    try:
        PRESET.read(signed(content), content)
    except Unreadable:
        return
