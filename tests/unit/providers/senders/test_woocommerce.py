"""WooCommerce: what its code does (class-wc-webhook.php), step by step."""

import base64
import hashlib
import hmac

import pytest

from posthouse.providers.received import Received, Unreadable
from posthouse.providers.senders.woocommerce import PRESET
from posthouse.testing.refusals import refusals

SECRET = "wc-secret"
NOW_S = 1_800_000_000
BODY = b'{"id": 727, "status": "processing", "date_modified_gmt": "2017-03-22T19:28:08"}'
PING = Received.of(
    "POST", "https://example.com/in/x", (("User-Agent", "WooCommerce/9 Hookshot"),), b"webhook_id=142", 0
)


def signed(body: bytes = BODY, secret: str = SECRET) -> Received:
    digest = base64.b64encode(hmac.new(secret.encode(), body, hashlib.sha256).digest()).decode()
    headers = (
        ("X-WC-Webhook-Topic", "order.updated"),
        ("X-WC-Webhook-Delivery-ID", "93e2"),
        ("X-WC-Webhook-Signature", digest),
    )
    return Received.of("POST", "https://example.com/in/x", headers, body, NOW_S * 1_000)


reason = refusals(PRESET, secret=SECRET, now_s=NOW_S)


def test_what_woocommerce_signs_is_genuine_with_any_secret_in_use() -> None:
    assert reason(signed(), "another", SECRET) is None


def test_what_was_changed_or_is_missing_is_refused() -> None:
    assert reason(Received.of("POST", "", signed().headers, BODY + b" ", 0)) == "no_match"
    assert reason(signed(), "another") == "no_match"
    assert reason(Received.of("POST", "", signed().headers[:2], BODY, 0)) == "missing_header"


def test_what_it_holds() -> None:
    reading = PRESET.read(signed(), BODY)
    (item,) = reading.items
    assert (item.type, item.occurred_at, item.data) == ("order.updated", 1_490_210_888_000, BODY)
    assert reading.delivery == "93e2"


def test_the_delivery_s_id_is_no_identity() -> None:
    """It is made of the webhook's id and the second, so that two orders of one second share it."""
    assert PRESET.read(signed(), BODY).items[0].identity is None


def test_the_ping_of_a_new_webhook_is_answered_with_200() -> None:
    assert PRESET.handshake is not None
    shaken = PRESET.handshake(PING, [SECRET])
    assert shaken is not None
    assert (shaken.reply.status, shaken.reply.body) == (200, b"")
    assert PRESET.handshake(signed(), [SECRET]) is None
    assert PRESET.handshake(signed(b"webhook_id=142"), [SECRET]) is None
    assert reason(PING) == "missing_header"


def test_it_sends_nothing_again() -> None:
    assert not PRESET.sender.retries(503)
    assert PRESET.sender.gives_up_after == 5


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"7", b"\xff", b"[" * 9_000, b'{"id": ' * 9_000])
def test_odd_content_is_read_or_unreadable(content: bytes) -> None:
    try:
        PRESET.read(signed(content), content)
    except Unreadable:
        return
