"""HubSpot, against signatures that its own library made (hubspot-api-client 12.0.0, Signature.get_signature)."""

from contextlib import suppress

import pytest

from posthouse.core.errors import SignatureInvalid
from posthouse.providers.received import Received, Unreadable
from posthouse.providers.senders.hubspot import PRESET

SECRET = "6ebb8f0d-hubspot-client-secret"
NOW_S = 1_800_000_000
URL = "https://example.com/in/x?to=a%40b"
FIRST = (
    b'{"eventId": 100, "subscriptionId": 7, "portalId": 62, "appId": 5, "occurredAt": 1799999999123, '
    b'"subscriptionType": "contact.propertyChange", "attemptNumber": 0, "objectId": 123}'
)
SECOND = b'{"eventId":101,"occurredAt":1799999999124,"subscriptionType":"contact.creation","attemptNumber":2}'
BODY = b"[" + FIRST + b", " + SECOND + b"]"
ODD = (b"", b"null", b"7", b"\xff", b"[" * 9_000, b'{"a":' * 9_000, b"[[]]", b'[{"eventId": true}]', b'"x"')


#: By the URL that was signed with SECRET, for BODY at NOW_S.
SIGNATURES = {
    URL: "acijT1u+oPqetk52e9RjLraKzlAHSGWKePAWleaubAg=",
    "https://example.com/in/x?to=a@b": "AkwlkeqjnUwLUtmcTI/P/w9OJIsOHXuw69DjIuPRuRw=",
    "https://example.com/in/y": "Hp7E/xPBBwBWlezQ72OJG0LamiNSpjLtiA52v6RjgWY=",
}


def signed(url: str = URL, body: bytes = BODY) -> Received:
    headers = (("X-HubSpot-Signature-V3", SIGNATURES[url]), ("X-HubSpot-Request-Timestamp", f"{NOW_S}000"))
    return Received.of("POST", URL, headers, body, NOW_S * 1_000)


@pytest.mark.parametrize("url", list(SIGNATURES)[:2])
def test_what_its_library_signs_is_genuine_with_the_url_encoded_or_decoded(url: str) -> None:
    PRESET.scheme.verify(signed(url), ["another", SECRET], now_s=NOW_S + 300)


@pytest.mark.parametrize(
    ("received", "secret", "now_s", "reason"),
    [
        (Received.of("POST", URL, signed().headers, BODY + b" ", 0), SECRET, NOW_S, "no_match"),
        (Received.of("PUT", URL, signed().headers, BODY, 0), SECRET, NOW_S, "no_match"),
        (signed("https://example.com/in/y"), SECRET, NOW_S, "no_match"),
        (signed(), "another", NOW_S, "no_match"),
        (Received.of("POST", URL, signed().headers[:1], BODY, 0), SECRET, NOW_S, "missing_header"),
        (Received.of("POST", URL, signed().headers[1:], BODY, 0), SECRET, NOW_S, "missing_header"),
        (signed(), SECRET, NOW_S + 301, "timestamp_too_old"),
        (signed(), SECRET, NOW_S - 301, "timestamp_too_new"),
    ],
)
def test_what_is_not_hubspots_is_refused(received: Received, secret: str, now_s: int, reason: str) -> None:
    with pytest.raises(SignatureInvalid) as caught:
        PRESET.scheme.verify(received, [secret], now_s=now_s)
    assert caught.value.reason == reason


def test_what_it_holds() -> None:
    first, second = PRESET.read(signed(), BODY).items
    assert (first.type, first.identity) == ("contact.propertyChange", "100/62/7/123/1799999999123")
    assert (first.occurred_at, first.data, first.ordering_key) == (1_799_999_999_123, FIRST, "123")
    assert (second.type, second.data) == ("contact.creation", SECOND)


def test_a_retry_has_the_same_identity_though_its_body_counts_it() -> None:
    again = BODY.replace(b'"attemptNumber": 0', b'"attemptNumber": 1')
    was, now = (PRESET.read(signed(body=body), body).items[0].identity for body in (BODY, again))
    assert was == now


def test_one_event_without_a_list_is_read_too() -> None:
    (item,) = PRESET.read(signed(body=FIRST), FIRST).items
    assert (item.type, item.data) == ("contact.propertyChange", FIRST)
    assert PRESET.read(signed(body=b"[]"), b"[]").items == ()


def test_what_is_answered() -> None:
    assert PRESET.answers.overload == 503
    assert PRESET.sender.retries(503)
    assert PRESET.sender.retries(401)


@pytest.mark.parametrize("body", ODD)
def test_odd_bodies_are_read_or_unreadable(body: bytes) -> None:
    with suppress(Unreadable):
        assert all(item.identity is None for item in PRESET.read(signed(), body).items)
