"""Postmark: basic authentication, against the example of RFC 7617."""

import pytest

from posthouse.providers.received import Received, Unreadable
from posthouse.providers.senders.postmark import PRESET
from posthouse.testing.refusals import refusals

#: From RFC 7617, section 2.
SECRET = "Aladdin:open sesame"
NOW_S = 1_800_000_000
AT = "2019-11-05T16:33:54.9070259Z"
BODY = f'{{"RecordType": "Delivery", "MessageID": "883953f4", "Recipient": "j@e.com", "DeliveredAt": "{AT}"}}'.encode()
BOUNCE = f'{{"RecordType": "Bounce", "ID": 4323372036854775807, "MessageID": "883953f4", "BouncedAt": "{AT}"}}'.encode()
INBOUND = b'{"FromFull": {"Email": "j@example.com"}, "MessageID": "22c74902", "Date": "Thu, 5 Apr 2012 16:59:01 +0200"}'


def signed(body: bytes = BODY, value: str = "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==") -> Received:
    return Received.of("POST", "https://example.com/in/x", (("Authorization", value),), body, NOW_S * 1_000)


reason = refusals(PRESET, secret=SECRET, now_s=NOW_S)


def test_the_rfc_s_example_is_genuine_with_any_secret_in_use() -> None:
    assert reason(signed(), "another:one", SECRET) is None


def test_what_is_wrong_or_missing_is_refused() -> None:
    assert reason(signed(), "Aladdin:closed sesame") == "no_match"
    assert reason(signed(value="Bearer QWxhZGRpbjpvcGVuIHNlc2FtZQ==")) == "no_match"
    assert reason(signed(value="Basic é")) == "no_match"
    assert reason(Received.of("POST", "", (), BODY, 0)) == "missing_header"


@pytest.mark.parametrize(
    ("body", "kind", "identity", "at"),
    [
        (BODY, "Delivery", f"Delivery:883953f4:j@e.com:{AT}", 1_572_971_634_907),
        (BOUNCE, "Bounce", "Bounce:4323372036854775807", 1_572_971_634_907),
        (INBOUND, "Inbound", "Inbound:22c74902", None),
        (b'{"RecordType": "Open", "MessageID": "883953f4"}', "Open", None, None),
    ],
)
def test_what_it_holds(body: bytes, kind: str, identity: str | None, at: int | None) -> None:
    (item,) = PRESET.read(signed(body), body).items
    assert (item.type, item.identity, item.occurred_at, item.data) == (kind, identity, at, body)


def test_a_wrong_password_is_not_answered_with_what_ends_the_retries() -> None:
    assert not PRESET.sender.retries(403)
    assert PRESET.sender.retries(PRESET.answers.bad_signature)
    assert PRESET.sender.retries(PRESET.answers.overload)
    assert not PRESET.sender.retries(PRESET.answers.accepted)


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"7", b"\xff", b"[" * 9_000, b'{"id": ' * 9_000])
def test_odd_content_is_read_or_unreadable(content: bytes) -> None:
    try:
        PRESET.read(signed(content), content)
    except Unreadable:
        return
