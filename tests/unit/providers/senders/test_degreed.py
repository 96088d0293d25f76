"""Degreed: a token, and no more taken for known than is."""

import pytest

from posthouse.core.errors import SignatureInvalid
from posthouse.providers.received import Received, Unreadable
from posthouse.providers.senders.degreed import PRESET

TOKEN = "a long random text"
BODY = b'{"id": "c-1", "type": "completion created"}'


def request(*authorizations: str, body: bytes = BODY) -> Received:
    headers = tuple(("Authorization", each) for each in authorizations)
    return Received.of("POST", "https://example.com/in/x", headers, body, 0)


def test_who_knows_the_token_is_genuine_also_while_it_changes() -> None:
    PRESET.scheme.verify(request(f"Bearer {TOKEN}"), ["new", TOKEN], now_s=0)


@pytest.mark.parametrize(
    ("received", "reason"),
    [(request("Bearer another"), "no_match"), (request(TOKEN), "no_match"), (request(), "missing_header")],
)
def test_anybody_else_is_not(received: Received, reason: str) -> None:
    with pytest.raises(SignatureInvalid) as refused:
        PRESET.scheme.verify(received, [TOKEN], now_s=0)
    assert refused.value.reason == reason


def test_its_content_stands_for_the_identity() -> None:
    """Nobody says whether its id is one of the event or of what it is about."""
    (item,) = PRESET.read(request(), BODY).items
    assert (item.type, item.identity, item.data) == ("completion_created", None, BODY)
    assert PRESET.window_seconds == 300


def test_it_says_that_nothing_is_known() -> None:
    assert "assumed" in PRESET.sender.known
    assert PRESET.sender.delays_s == ()
    assert PRESET.answers.overload == 503


@pytest.mark.parametrize("body", [b"", b"\xff", b"[" * 100_000])
def test_odd_bodies_are_unreadable(body: bytes) -> None:
    with pytest.raises(Unreadable):
        PRESET.read(request(body=body), body)


@pytest.mark.parametrize("body", [b"[]", b"null", b'{"type":{}}'])
def test_odd_events_are_read(body: bytes) -> None:
    assert PRESET.read(request(body=body), body).items[0].type == "event"
