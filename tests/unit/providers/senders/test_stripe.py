"""Stripe, against its own library."""

import pytest
import stripe

from posthouse.providers.received import Received, Unreadable
from posthouse.providers.senders.stripe import PRESET
from posthouse.testing.refusals import refusals

SECRET = "whsec_test_secret"
NOW_S = 1_800_000_000
BODY = b'{"id": "evt_1", "object": "event", "type": "invoice.paid", "created": 1799999990, "data": {"object": {}}}'
THIN = (
    b'{"id": "evt_2", "object": "v2.core.event", "type": "v1.billing.meter.no_meter_found",'
    b' "created": "2026-01-02T03:04:05.678Z"}'
)


def signed(body: bytes = BODY, secret: str = SECRET, at: int = NOW_S) -> Received:
    text = body.decode("utf-8", "replace")
    signature = stripe.WebhookSignature._compute_signature(f"{at}.{text}", secret)
    headers = (("stripe-signature", f"t={at},v1={'0' * 64},v1={signature},v0=old"),)
    return Received.of("POST", "https://example.com/in/x", headers, body, at * 1_000)


reason = refusals(PRESET, secret=SECRET, now_s=NOW_S)


def test_what_its_library_signs_is_genuine() -> None:
    assert reason(signed(), "another", SECRET, now_s=NOW_S + 300) is None


def test_what_was_changed_or_is_missing_or_old_is_refused() -> None:
    assert reason(Received.of("POST", "", signed().headers, BODY + b" ", 0)) == "no_match"
    assert reason(signed(), "another") == "no_match"
    assert reason(Received.of("POST", "", (), BODY, 0)) == "missing_header"
    assert reason(Received.of("POST", "", (("Stripe-Signature", "v1=00"),), BODY, 0)) == "malformed_header"
    assert reason(signed(), now_s=NOW_S + 301) == "timestamp_too_old"
    assert reason(signed(), now_s=NOW_S - 301) == "timestamp_too_new"


def test_what_it_holds() -> None:
    (item,) = PRESET.read(signed(), BODY).items
    assert (item.type, item.identity, item.occurred_at, item.data) == ("invoice.paid", "evt_1", 1_799_999_990_000, BODY)


def test_what_a_thin_event_holds() -> None:
    (item,) = PRESET.read(signed(THIN), THIN).items
    assert (item.type, item.identity, item.data) == ("v1.billing.meter.no_meter_found", "evt_2", THIN)
    assert item.occurred_at == 1_767_323_045_678


def test_it_retries_all_but_success() -> None:
    assert PRESET.sender.retries(PRESET.answers.overload)
    assert PRESET.sender.retries(302)


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"7", b"\xff", b"[" * 9_000, b'{"id": ' * 9_000])
def test_odd_content_is_read_or_unreadable(content: bytes) -> None:
    try:
        PRESET.read(signed(content), content)
    except Unreadable:
        return
