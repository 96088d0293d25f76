"""Autotask: its documented scheme step by step (there is no library of its own)."""

import base64
import hashlib
import hmac

import pytest

from posthouse.core.errors import SignatureInvalid
from posthouse.providers.received import Received, Unreadable
from posthouse.providers.senders.autotask import PRESET

SECRET = "at-test-secret"
BODY = (
    b'{"Action":"Create","Guid":"a1da62a4-2c49-40a8-8183-69994ce5b3eb","EntityType":"Ticket","Id":351181,'
    b'"Fields":{"TicketNumber":"T20250915.0001"},"EventTime":"2025-09-15T14:57:50Z","SequenceNumber":1,'
    b'"PersonId":30691780}'
)
SIGNATURE = "sha1=FPz0dtGNuBErhGuj0Zuhovjq5mU="


def request(body: bytes, *signatures: str) -> Received:
    headers = tuple(("x-hook-signature", each) for each in signatures)
    return Received.of("POST", "https://example.com/in/x", headers, body, 0)


def signature_of(text: bytes, secret: str = SECRET) -> str:
    return "sha1=" + base64.b64encode(hmac.new(secret.encode(), text, hashlib.sha1).digest()).decode()


def test_what_it_signs_is_genuine_also_while_the_secret_changes() -> None:
    assert signature_of(BODY) == SIGNATURE
    PRESET.scheme.verify(request(BODY, SIGNATURE), ["new", SECRET], now_s=0)


@pytest.mark.parametrize(
    ("sent", "signed"),
    [
        ('{"a":"R&D <b> it\'s `1+1`"}', r'{"a":"R\u0026D \u003Cb\u003E it\u0027s \u00601\u002B1\u0060"}'),
        ('{"é":"Zoë €"}', r'{"\u00E9":"Zo\u00EB \u20AC"}'),
        ('{"a":"\U0001f600"}', r'{"a":"\uD83D\uDE00"}'),
        (r'{"a":"say \"hi\" \\","b":"\n\u0026+"}', r'{"a":"say \u0022hi\u0022 \\","b":"\n\u0026\u002B"}'),
        ('{"a":+1,"b":"+"}', r'{"a":+1,"b":"\u002B"}'),
    ],
)
def test_the_signature_may_be_over_escapes(sent: str, signed: str) -> None:
    PRESET.scheme.verify(request(sent.encode(), signature_of(signed.encode())), [SECRET], now_s=0)
    PRESET.scheme.verify(request(sent.encode(), signature_of(sent.encode())), [SECRET], now_s=0)


@pytest.mark.parametrize(
    ("received", "secret", "reason"),
    [
        (request(BODY + b" ", SIGNATURE), SECRET, "no_match"),
        (request(BODY.replace(b"T2025", b"T&025"), SIGNATURE), SECRET, "no_match"),
        (request(b"\xff", SIGNATURE), SECRET, "no_match"),
        (request(b'"' + b'\\"' * 500_000, SIGNATURE), SECRET, "no_match"),
        (request(BODY, SIGNATURE), "another", "no_match"),
        (request(BODY, SIGNATURE[5:]), SECRET, "malformed_header"),
        (request(BODY), SECRET, "missing_header"),
        (request(BODY, SIGNATURE), "", "malformed_secret"),
    ],
)
def test_anything_else_is_not(received: Received, secret: str, reason: str) -> None:
    with pytest.raises(SignatureInvalid) as refused:
        PRESET.scheme.verify(received, [secret], now_s=0)
    assert refused.value.reason == reason


def test_what_it_holds() -> None:
    (item,) = PRESET.read(request(BODY), BODY).items
    assert (item.type, item.occurred_at, item.data) == ("Ticket.Create", 1_757_948_270_000, BODY)
    assert (item.sequence, item.stream) == (1, "a1da62a4-2c49-40a8-8183-69994ce5b3eb")
    assert item.ordering_key == "Ticket/351181"


def test_the_same_number_of_another_ticket_is_another_event() -> None:
    others = [BODY.replace(b"351181", b"999999"), BODY.replace(b"14:57:50", b"14:57:51"), BODY.replace(b":1,", b":2,")]
    found = {PRESET.read(request(body), body).items[0].identity for body in [BODY, *others]}
    assert len(found) == 4
    assert None not in found


def test_what_it_understands() -> None:
    assert PRESET.answers.overload == 503
    assert PRESET.sender.retries(503)
    assert (PRESET.sender.gives_up_after, len(PRESET.sender.delays_s)) == (25, 4)


@pytest.mark.parametrize("body", [b"", b"\xff", b"[" * 100_000, b'"\xff"'])
def test_odd_bodies_are_unreadable(body: bytes) -> None:
    with pytest.raises(Unreadable):
        PRESET.read(request(body), body)


@pytest.mark.parametrize("body", [b"[]", b"null", b'{"Guid":{},"EntityType":[]}'])
def test_odd_events_are_read(body: bytes) -> None:
    (item,) = PRESET.read(request(body), body).items
    assert (item.type, item.identity) == ("event", None)
