"""Paddle, against its own library."""

from contextlib import suppress
from typing import Any

import pytest
from paddle_billing.Notifications.PaddleSignature import PaddleSignature
from paddle_billing.Notifications.Secret import Secret

from posthouse.core.errors import SignatureInvalid
from posthouse.providers.received import Received, Unreadable
from posthouse.providers.senders.paddle import PRESET

SECRET, NOW_S = "pdl_ntfset_01hv8x2a_test", 1_795_356_000
BODY = (
    b'{"event_id":"evt_01hv8x2acma2gz7he8kg2s0hna","event_type":"subscription.created",'
    b'"occurred_at":"2026-11-22T13:59:58.123456Z","notification_id":"ntf_01hv8x2af22vrrz0k95y2gc9m7",'
    b'"data":{"id":"sub_01hv8x29kz0t586xy6zn1a62ny"}}'
)
oracle: Any = PaddleSignature


def made(secret: str = SECRET, at: int = NOW_S) -> str:
    digest: str = oracle.calculate_hmac(secret, f"{at}:".encode() + BODY).hexdigest()
    return digest


def request(header: str | None, body: bytes = BODY) -> Received:
    return Received.of("POST", "https://a.test/x", () if header is None else (("paddle-signature", header),), body, 0)


def refused(received: Received, secret: str = SECRET, now_s: int = NOW_S) -> str:
    with pytest.raises(SignatureInvalid) as caught:
        PRESET.scheme.verify(received, [secret], now_s=now_s)
    return caught.value.reason


def test_what_its_library_takes_is_genuine_also_while_a_secret_is_replaced() -> None:
    header = f"ts={NOW_S};h1={made('the old one')};h1={made()}"
    assert oracle().verify(header, BODY.decode(), Secret(SECRET))
    PRESET.scheme.verify(request(header), ["another", SECRET], now_s=NOW_S + 59)
    PRESET.scheme.verify(request(header), ["the old one"], now_s=NOW_S - 59)


def test_what_is_not_signed_is_refused() -> None:
    header = f"ts={NOW_S};h1={made()}"
    assert refused(request(header, BODY + b" ")) == "no_match"
    assert refused(request(header), "another") == "no_match"
    assert refused(request(header), now_s=NOW_S + 61) == "timestamp_too_old"
    assert refused(request(header), now_s=NOW_S - 61) == "timestamp_too_new"
    assert refused(request(f"h1={made()}")) == "malformed_header"
    assert refused(request(f"ts={NOW_S}")) == "malformed_header"
    assert refused(request(f"ts={NOW_S};h1=ü")) == "no_match"
    assert refused(request(None)) == "missing_header"


def test_what_it_holds_and_what_it_repeats() -> None:
    reading = PRESET.read(request(None), BODY)
    (item,) = reading.items
    assert (item.type, item.identity, item.data) == ("subscription.created", "evt_01hv8x2acma2gz7he8kg2s0hna", BODY)
    assert (item.occurred_at, item.ordering_key) == (1_795_355_998_123, "sub_01hv8x29kz0t586xy6zn1a62ny")
    assert reading.delivery == "ntf_01hv8x2af22vrrz0k95y2gc9m7"
    assert PRESET.sender.retries(PRESET.answers.overload)
    assert not PRESET.sender.retries(PRESET.answers.accepted)


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"[" * 5_000, b"\xff", b'{"data": 1}'])
def test_odd_input_is_read_or_unreadable(body: bytes) -> None:
    with suppress(Unreadable):
        PRESET.read(request(None, body), body)
