"""GitLab: its signatures against the library of Standard Webhooks, and its tokens."""

from datetime import UTC, datetime

import pytest
from standardwebhooks.webhooks import Webhook

from posthouse.providers.received import Received, Unreadable
from posthouse.providers.senders.gitlab import PRESET
from posthouse.testing.refusals import refusals

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
TOKEN = "a-secret-token"
NOW_S = 1_800_000_000
BODY = (
    b'{"object_kind": "merge_request", "object_attributes": {"action": "open", "updated_at": "2026-01-02T03:04:05Z"}}'
)


def signed(body: bytes = BODY, secret: str = SECRET, at: int = NOW_S) -> Received:
    signature = Webhook(secret).sign("f5e5f430", datetime.fromtimestamp(at, UTC), body.decode("utf-8", "replace"))
    headers = (
        ("X-Gitlab-Event", "Merge Request Hook"),
        ("Idempotency-Key", "of whoever sent it again"),
        ("webhook-id", "f5e5f430"),
        ("webhook-timestamp", str(at)),
        ("webhook-signature", signature),
    )
    return Received.of("POST", "https://example.com/in/x", headers, body, at * 1_000)


def with_token(token: str = TOKEN) -> Received:
    headers = (("X-Gitlab-Event", "Push Hook"), ("webhook-timestamp", "1"), ("X-Gitlab-Token", token))
    return Received.of("POST", "https://example.com/in/x", headers, BODY, NOW_S * 1_000)


reason = refusals(PRESET, secret=SECRET, now_s=NOW_S)


def test_a_signature_and_a_token_are_genuine() -> None:
    assert reason(signed(), "another", "whsec_" + "A" * 32, SECRET, now_s=NOW_S + 300) is None
    assert reason(with_token(), "another", TOKEN, SECRET) is None


def test_what_was_changed_or_is_missing_or_old_is_refused() -> None:
    assert reason(Received.of("POST", "", signed().headers, BODY + b" ", 0)) == "no_match"
    assert reason(signed(), "whsec_" + "A" * 32) == "no_match"
    assert reason(Received.of("POST", "", signed().headers[:2], BODY, 0)) == "missing_header"
    assert reason(signed(), now_s=NOW_S + 301) == "timestamp_too_old"
    assert reason(with_token("another"), TOKEN) == "no_match"
    assert reason(Received.of("POST", "", (), BODY, 0), TOKEN) == "missing_header"


def test_neither_stands_in_for_the_other() -> None:
    """A wrong signature is not mended by a token, and a signing token that is sent as a token proves nothing."""
    both = Received.of("POST", "", (*signed(secret="whsec_" + "A" * 32).headers, ("X-Gitlab-Token", TOKEN)), BODY, 0)
    assert reason(both, SECRET, TOKEN) == "no_match"
    assert reason(with_token(SECRET), SECRET) == "missing_header"
    assert reason(with_token(SECRET), SECRET, TOKEN) == "no_match"


def test_what_it_holds() -> None:
    (item,) = PRESET.read(signed(), BODY).items
    assert (item.type, item.identity, item.data) == ("merge_request.open", "f5e5f430", BODY)
    assert item.occurred_at == 1_767_323_045_000
    unsigned = Received.of("POST", "", (("Idempotency-Key", "13792a34"),), BODY, 0)
    assert PRESET.read(unsigned, BODY).items[0].identity == "13792a34"


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"object_kind": "push", "event_name": "push"}', "push"),
        (b'{"event_name": "project_create"}', "project_create"),
        (b'{"of": "a template"}', "Push_Hook"),
    ],
)
def test_other_kinds_of_hooks(body: bytes, kind: str) -> None:
    (item,) = PRESET.read(with_token(), body).items
    assert (item.type, item.identity) == (kind, None)


def test_when_it_is_too_much_the_answer_is_none_that_disables_the_hook_for_good() -> None:
    assert PRESET.answers.overload >= 500
    assert not PRESET.sender.retries(503)


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"7", b"\xff", b"[" * 9_000, b'{"id": ' * 9_000])
def test_odd_content_is_read_or_unreadable(content: bytes) -> None:
    try:
        PRESET.read(signed(content), content)
    except Unreadable:
        return
