"""Square, with the example of its own library's tests."""

from contextlib import suppress

import pytest

from posthouse.core.errors import SignatureInvalid
from posthouse.providers.received import Received, Unreadable
from posthouse.providers.senders.square import PRESET

# From square-python-sdk, tests/integration/test_webhooks_helper.py.
BODY = (
    b'{"merchant_id":"MLEFBHHSJGVHD","type":"webhooks.test_notification",'
    b'"event_id":"ac3ac95b-f97d-458c-a6e6-18981597e05f","created_at":"2022-07-13T20:30:59.037339943Z",'
    b'"data":{"type":"webhooks","id":"bc368e64-01aa-407e-b46e-3231809b1129"}}'
)
SIGNATURE = "GF4YkrJgGBDZ9NIYbNXBnMzqb2HoL4RW/S6vkZ9/2N4="
KEY = "Ibxx_5AKakO-3qeNVR61Dw"
URL = "https://webhook.site/679a4f3a-dcfa-49ee-bac5-9d0edad886b9"


def request(body: bytes = BODY, signature: str | None = SIGNATURE, url: str = URL) -> Received:
    signed = () if signature is None else (("X-Square-HmacSha256-Signature", signature),)
    return Received.of("POST", url, signed, body, 0)


def refused(received: Received, secret: str = KEY) -> str:
    with pytest.raises(SignatureInvalid) as caught:
        PRESET.scheme.verify(received, [secret], now_s=0)
    return caught.value.reason


def test_its_own_examples_are_genuine() -> None:
    PRESET.scheme.verify(request(), ["another", KEY], now_s=0)
    escaped = request(
        b'{"data":{"type":"webhooks","id":">id<"}}',
        "Cxt7+aTi4rKgcA0bC4g9EHdVtLSDWdqccmL5MvihU4U=",
        "https://webhook.site/webhooks",
    )
    PRESET.scheme.verify(escaped, ["signature-key"], now_s=0)


def test_what_is_not_signed_is_refused() -> None:
    assert refused(request(BODY + b"\n")) == "no_match"
    assert refused(request(url=URL + "/")) == "no_match"
    assert refused(request(), "MCmhFRxGX82xMwg5FsaoQA") == "no_match"
    assert refused(request(signature="ü")) == "no_match"
    assert refused(request(signature=None)) == "missing_header"


def test_what_it_holds_and_what_it_repeats() -> None:
    (item,) = PRESET.read(request(), BODY).items
    assert (item.type, item.identity) == ("webhooks.test_notification", "ac3ac95b-f97d-458c-a6e6-18981597e05f")
    assert (item.occurred_at, item.data) == (1_657_744_259_037, BODY)
    assert PRESET.sender.retries(PRESET.answers.overload)
    assert PRESET.sender.retries(302)


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"[" * 5_000, b"\xff", b'{"data": []}'])
def test_odd_input_is_read_or_unreadable(body: bytes) -> None:
    with suppress(Unreadable):
        PRESET.read(request(body), body)
