"""Chargebee: basic authentication, against the example of RFC 7617."""

import pytest

from posthouse.providers.received import Received, Unreadable
from posthouse.providers.senders.chargebee import PRESET
from posthouse.testing.refusals import refusals

#: From RFC 7617, section 2.
SECRET = "Aladdin:open sesame"
NOW_S = 1_800_000_000
BODY = b'{"id": "ev_16BHbhF4s42tO2lK", "occurred_at": 1702645601, "event_type": "subscription_created", "content": {}}'


def signed(body: bytes = BODY, value: str = "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==") -> Received:
    return Received.of("POST", "https://example.com/in/x", (("Authorization", value),), body, NOW_S * 1_000)


reason = refusals(PRESET, secret=SECRET, now_s=NOW_S)


def test_the_rfc_s_example_is_genuine_with_any_secret_in_use() -> None:
    assert reason(signed(), "another:one", SECRET) is None


def test_what_is_wrong_or_missing_is_refused() -> None:
    assert reason(signed(), "Aladdin:closed sesame") == "no_match"
    assert reason(signed(value="Basic")) == "no_match"
    assert reason(Received.of("POST", "", (), BODY, 0)) == "missing_header"


def test_what_it_holds() -> None:
    (item,) = PRESET.read(signed(), BODY).items
    assert (item.type, item.identity, item.data) == ("subscription_created", "ev_16BHbhF4s42tO2lK", BODY)
    assert item.occurred_at == 1_702_645_601_000


def test_it_retries_all_but_success_for_more_than_three_days() -> None:
    assert PRESET.sender.retries(PRESET.answers.overload)
    assert sum(PRESET.sender.delays_s) > 3 * 86_400


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"7", b"\xff", b"[" * 9_000, b'{"id": ' * 9_000])
def test_odd_content_is_read_or_unreadable(content: bytes) -> None:
    try:
        PRESET.read(signed(content), content)
    except Unreadable:
        return
