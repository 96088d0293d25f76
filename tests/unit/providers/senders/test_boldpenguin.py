"""Bold Penguin: its documented scheme step by step (there is no library of its own)."""

import hashlib
import hmac

import pytest

from posthouse.core.errors import SignatureInvalid
from posthouse.providers.received import Received, Unreadable
from posthouse.providers.senders.boldpenguin import PRESET

SECRET = "503bec91ecdf413562f69336b597e5b78550f548"  # the one of its documentation
BODY = b'{"application_form_id":"af-1", "owner":{"id":"o-1","is_guest":false}}'


def request(body: bytes, *signatures: str) -> Received:
    headers = (("X-Emperor-Event", "question_set:complete"), *(("X-Signature", each) for each in signatures))
    return Received.of("POST", "https://example.com/in/x", headers, body, 0)


def digest(name: str, secret: str = SECRET) -> str:
    return hmac.new(secret.encode(), BODY, getattr(hashlib, name)).hexdigest()


@pytest.mark.parametrize(
    "given", [digest("sha256"), "sha256=" + digest("sha256"), digest("sha1"), "sha1=" + digest("sha1")]
)
def test_what_it_signs_is_genuine_also_while_the_secret_changes(given: str) -> None:
    PRESET.scheme.verify(request(BODY, given), ["new", SECRET], now_s=0)


@pytest.mark.parametrize(
    ("received", "secret", "reason"),
    [
        (request(BODY + b" ", digest("sha256")), SECRET, "no_match"),
        (request(BODY, digest("sha256")), "another", "no_match"),
        (request(BODY, digest("sha256")[:40]), SECRET, "no_match"),
        (request(BODY, digest("md5")), SECRET, "malformed_header"),
        (request(BODY, ""), SECRET, "malformed_header"),
        (request(BODY, "é" * 64), SECRET, "malformed_header"),
        (request(BODY, digest("sha256"), digest("sha1")), SECRET, "malformed_header"),
        (request(BODY), SECRET, "missing_header"),
        (request(BODY, digest("sha256")), "", "malformed_secret"),
    ],
)
def test_anything_else_is_not(received: Received, secret: str, reason: str) -> None:
    with pytest.raises(SignatureInvalid) as refused:
        PRESET.scheme.verify(received, [secret], now_s=0)
    assert refused.value.reason == reason


def test_what_it_holds() -> None:
    (item,) = PRESET.read(request(BODY), BODY).items
    assert (item.type, item.identity, item.occurred_at, item.data) == ("question_set:complete", None, None, BODY)
    assert PRESET.window_seconds == 300


def test_what_it_understands() -> None:
    assert PRESET.answers.overload == 503
    assert PRESET.sender.retries(503)
    assert len(PRESET.sender.delays_s) == 25
    assert 20 < sum(PRESET.sender.delays_s) / 86_400 < 21


@pytest.mark.parametrize("body", [b"", b"\xff", b"[" * 100_000])
def test_odd_bodies_are_unreadable(body: bytes) -> None:
    with pytest.raises(Unreadable):
        PRESET.read(request(body), body)


@pytest.mark.parametrize("body", [b"[]", b"null", b"7"])
def test_odd_events_are_read(body: bytes) -> None:
    received = Received.of("POST", "https://example.com", (("x-emperor-event", "é"),), body, 0)
    assert PRESET.read(received, body).items[0].type == "_"
    assert PRESET.read(Received.of("POST", "https://example.com", (), body, 0), body).items[0].type == "event"
