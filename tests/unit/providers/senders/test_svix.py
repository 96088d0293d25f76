"""Svix, against the example of its documentation and the library of Standard Webhooks, which signs the same."""

from datetime import UTC, datetime

import pytest
from standardwebhooks.webhooks import Webhook

from posthouse.providers.received import Received, Unreadable
from posthouse.providers.senders.svix import PRESET
from posthouse.testing.refusals import refusals

#: From docs.svix.com, How to Verify Webhooks with the Svix Libraries.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
EXAMPLE = Received.of(
    "POST",
    "https://example.com/in/x",
    (
        ("svix-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
        ("svix-timestamp", "1614265330"),
        ("svix-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
    ),
    b'{"test": 2432232314}',
    0,
)
NOW_S = 1_800_000_000
BODY = b'{"data": {"id": "user_1"}, "object": "event", "timestamp": 1799999999123, "type": "user.created"}'


def signed(body: bytes = BODY, secret: str = SECRET, at: int = NOW_S, prefix: str = "svix") -> Received:
    signature = Webhook(secret).sign("msg_1", datetime.fromtimestamp(at, UTC), body.decode("utf-8", "replace"))
    values = {"id": "msg_1", "timestamp": str(at), "signature": signature}
    headers = tuple((f"{prefix}-{name}", value) for name, value in values.items())
    return Received.of("POST", "https://example.com/in/x", headers, body, at * 1_000)


reason = refusals(PRESET, secret=SECRET, now_s=NOW_S)


def test_the_documentation_s_example_is_genuine() -> None:
    assert reason(EXAMPLE, now_s=1_614_265_330) is None


@pytest.mark.parametrize("prefix", ["svix", "webhook"])
def test_what_is_signed_is_genuine_under_both_names(prefix: str) -> None:
    received = signed(prefix=prefix)
    assert reason(received, "whsec_" + "A" * 32, SECRET, now_s=NOW_S + 300) is None
    assert PRESET.read(received, BODY).items[0].identity == "msg_1"


def test_what_was_changed_or_is_missing_or_old_is_refused() -> None:
    assert reason(Received.of("POST", "", signed().headers, BODY + b" ", 0)) == "no_match"
    assert reason(signed(), "whsec_" + "A" * 32) == "no_match"
    assert reason(Received.of("POST", "", signed().headers[:2], BODY, 0)) == "missing_header"
    assert reason(Received.of("POST", "", (), BODY, 0)) == "missing_header"
    assert reason(signed(), now_s=NOW_S + 301) == "timestamp_too_old"


def test_a_second_set_of_headers_lends_no_other_identity() -> None:
    """Whoever replays a genuine request cannot give it another id by adding headers that are not checked."""
    added = Received.of("POST", "", (*signed(prefix="webhook").headers, ("svix-id", "msg_2")), BODY, 0)
    assert reason(added) == "missing_header"
    added = Received.of("POST", "", (*signed().headers, ("webhook-id", "msg_2")), BODY, 0)
    assert reason(added) is None
    assert PRESET.read(added, BODY).items[0].identity == "msg_1"


@pytest.mark.parametrize(
    ("time", "at"),
    [
        ('"timestamp": 1799999999123', 1_799_999_999_123),
        ('"timestamp": 1799999999', 1_799_999_999_000),
        ('"created_at": "2024-02-22T23:41:12.126Z"', 1_708_645_272_126),
        ('"timestamp": "yesterday"', None),
        ('"timestamp": true', None),
    ],
)
def test_the_time_as_each_customer_of_svix_writes_it(time: str, at: int | None) -> None:
    body = f'{{"type": "email.sent", {time}}}'.encode()
    (item,) = PRESET.read(signed(body), body).items
    assert (item.type, item.occurred_at, item.data) == ("email.sent", at, body)


def test_it_retries_all_but_success_for_a_day() -> None:
    assert PRESET.sender.retries(PRESET.answers.overload)
    assert sum(PRESET.sender.delays_s) == 99_305


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"7", b"\xff", b"[" * 9_000, b'{"id": ' * 9_000])
def test_odd_content_is_read_or_unreadable(content: bytes) -> None:
    try:
        PRESET.read(signed(content), content)
    except Unreadable:
        return
