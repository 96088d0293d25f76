"""Adyen, against its own library and its documented example."""

import json
from contextlib import suppress
from typing import Any

import pytest
from Adyen.util import generate_notification_sig, generate_payload_sig

from posthouse.core.errors import SignatureInvalid
from posthouse.providers.received import Received, Unreadable
from posthouse.providers.senders.adyen import PRESET

# From Adyen's page on HMAC signatures and the tests of its libraries.
KEY = "44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056"
ITEM = (
    b'{"additionalData":{"hmacSignature":"coqCmt/IZ4E3CzPvMY8zTjQVL5hYJUiBRg8UU+iCWo0="},'
    b'"amount":{"value":1130,"currency":"EUR"},"pspReference":"7914073381342284","eventCode":"AUTHORISATION",'
    b'"eventDate":"2019-05-06T17:15:34.121+02:00","merchantAccountCode":"TestMerchant",'
    b'"merchantReference":"TestPayment-1407325143704","paymentMethod":"visa","success":"true"}'
)
OTHER_KEY = "00" * 32
payload_signature: Any = generate_payload_sig
notification_signature: Any = generate_notification_sig


def body(*items: bytes) -> bytes:
    listed = b", ".join(b'{"NotificationRequestItem": ' + item + b"}" for item in items)
    return b'{"live": "false", "notificationItems": [' + listed + b"]}"


def request(content: bytes, *headers: tuple[str, str]) -> Received:
    return Received.of("POST", "https://a.test/x", headers, content, 0)


def refused(received: Received, secret: str = KEY) -> str:
    with pytest.raises(SignatureInvalid) as caught:
        PRESET.scheme.verify(received, [secret], now_s=0)
    return caught.value.reason


def signed(**changes: object) -> bytes:
    event = {**json.loads(ITEM), **changes}
    event["additionalData"] = {"hmacSignature": notification_signature(event, KEY).decode()}
    return json.dumps(event).encode()


def test_its_documented_example_is_genuine() -> None:
    PRESET.scheme.verify(request(body(ITEM)), [OTHER_KEY, KEY], now_s=0)


def test_colons_backslashes_and_letters_are_signed_as_its_library_signs_them() -> None:
    received = request(body(ITEM, signed(merchantReference="a:b\\c ü", originalReference="8313", success="false")))
    PRESET.scheme.verify(received, [KEY], now_s=0)


def test_every_event_must_be_signed() -> None:
    assert refused(request(body(ITEM, ITEM.replace(b"1130", b"1131")))) == "no_match"
    assert refused(request(body(ITEM, b'{"eventCode": "CAPTURE"}'))) == "missing_header"
    assert refused(request(body())) == "missing_header"
    assert refused(request(body(ITEM)), OTHER_KEY) == "no_match"
    assert refused(request(body(ITEM)), "not hexadecimal") == "malformed_secret"
    assert refused(request(body(ITEM.replace(b"coqCmt", "ü".encode())))) == "no_match"


def test_a_platform_event_is_signed_in_a_header() -> None:
    event = (
        b'{"type": "balancePlatform.transfer.created", "timestamp": "2026-11-22T15:00:00+01:00", "data": {"id": "1"}}'
    )
    header = ("HmacSignature", payload_signature(event, KEY).decode())
    PRESET.scheme.verify(request(event, header), [OTHER_KEY, KEY], now_s=0)
    assert refused(request(event + b" ", header)) == "no_match"
    assert refused(request(event)) == "missing_header"
    (item,) = PRESET.read(request(event), event).items
    assert (item.type, item.data, item.occurred_at) == ("balancePlatform.transfer.created", event, 1_795_356_000_000)
    # A signature of the header proves nothing of a list of events.
    listed = body(b'{"eventCode": "CAPTURE"}')
    assert refused(request(listed, ("HmacSignature", payload_signature(listed, KEY).decode()))) == "missing_header"


def test_what_it_holds() -> None:
    first, second = PRESET.read(request(b""), body(ITEM, ITEM.replace(b'"true"', b'"false"'))).items
    assert (first.type, first.data) == ("AUTHORISATION", ITEM)
    assert (first.identity, first.ordering_key) == ("7914073381342284:AUTHORISATION:true", "7914073381342284")
    assert second.identity == "7914073381342284:AUTHORISATION:false"
    assert first.occurred_at == 1_557_155_734_121


def test_it_is_told_accepted_and_repeats_the_rest() -> None:
    assert (PRESET.answers.accepted, PRESET.answers.body) == (200, b"[accepted]")
    assert PRESET.sender.retries(PRESET.answers.overload)


ODD = [b"", b"null", b"[]", b"[" * 5_000, b"\xff", b'{"notificationItems": 1}', b'{"notificationItems": [1, {}]}']


@pytest.mark.parametrize("content", [*ODD, b'{"notificationItems": [{"NotificationRequestItem": [1]}]}'])
def test_odd_input_is_refused_and_read_or_unreadable(content: bytes) -> None:
    assert refused(request(content)) in {"malformed_header", "missing_header"}
    with suppress(Unreadable):
        PRESET.read(request(content), content)
