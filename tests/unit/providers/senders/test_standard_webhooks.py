"""Standard Webhooks, against its own library and the vector of the specification."""

from datetime import UTC, datetime

import pytest
from standardwebhooks.webhooks import Webhook

from posthouse.providers.received import Received, Unreadable
from posthouse.providers.senders.standard_webhooks import PRESET
from posthouse.testing.refusals import refusals

#: From standard-webhooks/standard-webhooks, libraries/python/tests/test_webhooks.py.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
NOW_S = 1_614_265_330
VECTOR = Received.of(
    "POST",
    "https://example.com/in/x",
    (
        ("Webhook-Id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
        ("Webhook-Timestamp", "1614265330"),
        ("Webhook-Signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
    ),
    b'{"test": 2432232314}',
    0,
)
BODY = b'{"type": "user.created", "timestamp": "2021-02-25T15:02:10.5Z", "data": {"id": 1}}'


def signed(body: bytes = BODY, secret: str = SECRET, at: int = NOW_S) -> Received:
    text = body.decode("utf-8", "replace")
    signature = Webhook(secret).sign("msg_1", datetime.fromtimestamp(at, UTC), text)
    headers = (("webhook-id", "msg_1"), ("webhook-timestamp", str(at)), ("webhook-signature", f"v1a,AAAA {signature}"))
    return Received.of("POST", "https://example.com/in/x", headers, body, at * 1_000)


reason = refusals(PRESET, secret=SECRET, now_s=NOW_S)


def test_the_specification_s_vector_and_its_library_s_signatures_are_genuine() -> None:
    assert reason(VECTOR) is None
    assert reason(signed(), "whsec_" + "A" * 32, SECRET, now_s=NOW_S + 300) is None


def test_what_was_changed_or_is_missing_or_old_is_refused() -> None:
    assert reason(Received.of("POST", "", signed().headers, BODY + b" ", 0)) == "no_match"
    assert reason(signed(), "whsec_" + "A" * 32) == "no_match"
    assert reason(Received.of("POST", "", signed().headers[:2], BODY, 0)) == "missing_header"
    assert reason(signed(), now_s=NOW_S + 301) == "timestamp_too_old"
    assert reason(signed(), now_s=NOW_S - 301) == "timestamp_too_new"
    assert reason(signed(), "short") == "malformed_secret"


def test_what_it_holds() -> None:
    reading = PRESET.read(signed(), BODY)
    (item,) = reading.items
    assert (item.type, item.identity, item.occurred_at) == ("user.created", "msg_1", 1_614_265_330_500)
    assert (item.data, reading.delivery) == (BODY, "msg_1")


def test_it_retries_all_but_success() -> None:
    assert PRESET.answers.overload == 503
    assert PRESET.sender.retries(503)
    assert not PRESET.sender.retries(204)


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"7", b"\xff", b"[" * 9_000, b'{"id": ' * 9_000])
def test_odd_content_is_read_or_unreadable(content: bytes) -> None:
    try:
        PRESET.read(signed(content), content)
    except Unreadable:
        return
