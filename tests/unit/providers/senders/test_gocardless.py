"""GoCardless, against its own library and the vector of that library's tests."""

from importlib import import_module

import pytest

from posthouse.core.errors import SignatureInvalid
from posthouse.providers.received import Received, Unreadable
from posthouse.providers.senders.gocardless import PRESET

webhooks = import_module("gocardless_pro.webhooks")  # it has no types

# Secret, body and signature are those of gocardless-pro-python, tests/webhooks_test.py.
SECRET = "ED7D658C-D8EB-4941-948B-3973214F2D49"
FIRST = (
    b'{"id":"EV00BD05S5VM2T","created_at":"2018-07-05T09:13:51.404Z","resource_type":"subscriptions",'
    b'"action":"created","links":{"subscription":"SB0003JJQ2MR06"},"details":{"origin":"api",'
    b'"cause":"subscription_created","description":"Subscription created via the API."},"metadata":{}}'
)
SECOND = (
    b'{"id":"EV00BD05TB8K63","created_at":"2018-07-05T09:13:56.893Z","resource_type":"mandates",'
    b'"action":"created","links":{"mandate":"MD000AMA19XGEC"},"details":{"origin":"api",'
    b'"cause":"mandate_created","description":"Mandate created via the API."},"metadata":{}}'
)
BODY = b'{"events":[' + FIRST + b"," + SECOND + b"]}"
SIGNATURE = "2693754819d3e32d7e8fcb13c729631f316c6de8dc1cf634d6527f1c07276e7e"


def request(body: bytes = BODY, signature: str | None = SIGNATURE) -> Received:
    headers = () if signature is None else (("webhook-signature", signature),)
    return Received.of("POST", "https://example.com/in/x", headers, body, 0)


def test_what_it_signs_is_genuine_also_while_the_secret_changes() -> None:
    assert len(webhooks.parse(BODY, SECRET, SIGNATURE)) == 2
    PRESET.scheme.verify(request(), ["new", SECRET], now_s=0)


@pytest.mark.parametrize(
    ("received", "secret", "reason"),
    [
        (request(BODY + b" "), SECRET, "no_match"),
        (request(), "another", "no_match"),
        (request(signature="é"), SECRET, "no_match"),
        (request(signature=None), SECRET, "missing_header"),
    ],
)
def test_anything_else_is_not(received: Received, secret: str, reason: str) -> None:
    with pytest.raises(SignatureInvalid) as refused:
        PRESET.scheme.verify(received, [secret], now_s=0)
    assert refused.value.reason == reason


def test_a_request_holds_several_events() -> None:
    reading = PRESET.read(request(), BODY)
    assert [(item.type, item.identity, item.ordering_key, item.data) for item in reading.items] == [
        ("subscriptions.created", "EV00BD05S5VM2T", "SB0003JJQ2MR06", FIRST),
        ("mandates.created", "EV00BD05TB8K63", "MD000AMA19XGEC", SECOND),
    ]
    assert reading.items[0].occurred_at == 1_530_782_031_404
    assert reading.delivery is None


def test_a_request_of_today_has_an_id() -> None:
    body = BODY[:-1] + b',"meta":{"webhook_id":"WB002KK5HPCPWD"}}'
    assert PRESET.read(request(body), body).delivery == "WB002KK5HPCPWD"


def test_what_it_understands() -> None:
    assert (PRESET.answers.accepted, PRESET.answers.bad_signature, PRESET.answers.overload) == (204, 498, 503)
    assert PRESET.sender.retries(498)
    assert PRESET.sender.retries(503)
    assert len(PRESET.sender.delays_s) == 8


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b'{"events":{}}', b"[" * 100_000, b'{"events":"\xff"}'])
def test_odd_bodies_are_unreadable(body: bytes) -> None:
    with pytest.raises(Unreadable):
        PRESET.read(request(body), body)


def test_odd_events_are_read() -> None:
    body = b'{"events":[null,[],7,{"id":[],"resource_type":{},"links":[]}]}'
    assert [(item.type, item.identity) for item in PRESET.read(request(body), body).items] == [("event", None)] * 4
