"""Procore: a token in a header, and the payloads of its documentation."""

import pytest

from posthouse.core.errors import SignatureInvalid
from posthouse.providers.received import Received, Unreadable
from posthouse.providers.senders.procore import PRESET

TOKEN = "eyJ0eXAiOiJKV1QiLCJhbGciOiJFUzUxMiJ9"
V2 = (
    b'{"id":123456789,"ulid":"0A1B2C3D4F5G6H7I8J9K0LMN","timestamp":"2025-02-06T23:34:12.246562Z",'
    b'"metadata":{"source_user_id":987654321}, "api_version":"v2.0","event_type":"update",'
    b'"resource_name":"Change Events","resource_id":54321}'
)
LEGACY = b'{"id":7,"timestamp":"2025-02-06T23:34:12Z","event_type":"create","resource_name":"RFIs","resource_id":1}'
V4 = (
    b'{"id":"0A1B2C3D4F5G6H7I8J9K0LMN","timestamp":"2025-02-06T23:34:12.246562Z","payload_version":"v4.0",'
    b'"reason":"update","resource_type":"RFIs","resource_id":"54321"}'
)


def request(*authorizations: str, body: bytes = V2) -> Received:
    headers = tuple(("authorization", each) for each in authorizations)
    return Received.of("POST", "https://example.com/in/x", headers, body, 0)


def test_who_knows_the_token_is_genuine_also_while_it_changes() -> None:
    PRESET.scheme.verify(request(f"Bearer {TOKEN}"), ["new", TOKEN], now_s=0)


@pytest.mark.parametrize(
    ("received", "reason"),
    [
        (request("Bearer another"), "no_match"),
        (request(TOKEN), "no_match"),
        (request("Bearer é"), "no_match"),
        (request(f"Bearer {TOKEN}", "Bearer another"), "malformed_header"),
        (request(), "missing_header"),
    ],
)
def test_anybody_else_is_not(received: Received, reason: str) -> None:
    with pytest.raises(SignatureInvalid) as refused:
        PRESET.scheme.verify(received, [TOKEN], now_s=0)
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    ("body", "kind", "identity", "key"),
    [
        (V2, "Change_Events.update", "0A1B2C3D4F5G6H7I8J9K0LMN", "Change Events:54321"),
        (LEGACY, "RFIs.create", "7", "RFIs:1"),
        (V4, "RFIs.update", "0A1B2C3D4F5G6H7I8J9K0LMN", "RFIs:54321"),
    ],
)
def test_what_it_holds_in_each_version(body: bytes, kind: str, identity: str, key: str) -> None:
    (item,) = PRESET.read(request(body=body), body).items
    assert (item.type, item.identity, item.ordering_key, item.data) == (kind, identity, key, body)
    assert item.occurred_at is not None
    assert item.occurred_at // 1_000 == 1_738_884_852


def test_what_it_understands() -> None:
    assert PRESET.answers.overload == 503
    assert PRESET.sender.retries(503)
    assert PRESET.sender.drops_s == 43_200
    assert sum(PRESET.sender.delays_s) <= 43_200 < sum(PRESET.sender.delays_s) + 3_600


@pytest.mark.parametrize("body", [b"", b"\xff", b"[" * 100_000])
def test_odd_bodies_are_unreadable(body: bytes) -> None:
    with pytest.raises(Unreadable):
        PRESET.read(request(body=body), body)


@pytest.mark.parametrize("body", [b"[]", b"null", b'{"id":{},"ulid":[],"resource_name":true,"timestamp":7}'])
def test_odd_events_are_read(body: bytes) -> None:
    (item,) = PRESET.read(request(body=body), body).items
    assert (item.type, item.identity, item.ordering_key) == ("event", None, None)
