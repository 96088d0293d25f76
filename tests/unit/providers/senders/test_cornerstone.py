"""Cornerstone: a key in a header, and the sample of csod.dev's event-payload-samples page, shortened."""

import gzip

import pytest

from posthouse.core.errors import SignatureInvalid
from posthouse.providers.received import Received, Unreadable, content
from posthouse.providers.senders.cornerstone import PRESET

KEY = "0f8fad5bd9cb469fa16570867728950e"
RECORD = (
    b'{"lag":76.6271724,"value":{"headers":{"actorId":33417,"messageId":"8761503e-1195-4d56-9730-ec17ee33e5d2"},'
    b'"lmsEventsCase":"TrainingCompleted","trainingCompleted":{"data":{"eventId":"8761503e"}}}, "offset":168,'
    b'"timestamp":"2025-06-05T18:54:47.481Z"}'
)
CROSSED = b'{"value":{"lmsEventsCase":"TrainingAssigned","trainingCompleted":{"data":{"eventId":"e"}}},"offset":-1}'
WITHOUT_HEADERS = b'{"value":{"lmsEventsCase":"TrainingCompleted","trainingCompleted":{"data":{"eventId":"e-2"}}}}'
BODY = b'{"records":[' + RECORD + b"," + CROSSED + b"," + WITHOUT_HEADERS + b'],"subscriptionId":"2f977027"}'
HEARTBEAT = b'{"subscriptionId":"2fc686a1","sessionId":"079d1e3a","attemptNumber":1,"records":[]}'


def request(body: bytes = BODY, *headers: tuple[str, str]) -> Received:
    return Received.of("POST", "https://example.com/in/x", headers, body, 0)


def test_who_knows_the_key_is_genuine_also_while_it_changes() -> None:
    PRESET.scheme.verify(request(BODY, ("X-API-Key", KEY)), ["new", KEY], now_s=0)


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ((("x-api-key", KEY.upper()),), "no_match"),
        ((("x-api-key", ""),), "no_match"),
        ((("x-api-key", "é"),), "no_match"),
        ((("x-api-key", KEY), ("x-api-key", "another")), "malformed_header"),
        ((), "missing_header"),
    ],
)
def test_anybody_else_is_not(headers: tuple[tuple[str, str], ...], reason: str) -> None:
    with pytest.raises(SignatureInvalid) as refused:
        PRESET.scheme.verify(request(BODY, *headers), [KEY], now_s=0)
    assert refused.value.reason == reason


def test_a_request_holds_several_records_and_is_compressed() -> None:
    received = request(gzip.compress(BODY), ("content-encoding", "gzip"))
    first, crossed, without = PRESET.read(received, content(received)).items
    assert (first.type, first.identity) == ("TrainingCompleted", "8761503e-1195-4d56-9730-ec17ee33e5d2")
    assert (first.occurred_at, first.data, first.contradiction) == (1_749_149_687_481, RECORD, None)
    assert (first.sequence, first.stream) == (168, "2f977027")
    assert (crossed.type, crossed.identity, crossed.sequence) == ("TrainingAssigned", None, None)
    assert crossed.contradiction is not None
    assert without.identity == "e-2"


def test_no_record_is_the_heartbeat() -> None:
    reading = PRESET.read(request(HEARTBEAT), HEARTBEAT)
    assert (reading.items, reading.is_heartbeat) == ((), True)
    assert PRESET.heartbeat_seconds == 300


def test_what_it_understands() -> None:
    assert PRESET.sender.retries(PRESET.answers.overload)
    assert not PRESET.sender.retries(429)
    assert not PRESET.sender.retries(PRESET.answers.bad_signature)


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b'{"records":null}', b"[" * 100_000, b'{"records":"\xff"}'])
def test_odd_bodies_are_unreadable(body: bytes) -> None:
    with pytest.raises(Unreadable):
        PRESET.read(request(body), body)


def test_odd_records_are_read() -> None:
    body = (
        b'{"records":[null,[],7,{"value":[]},{"value":{"lmsEventsCase":7,"headers":[]},"offset":true,"timestamp":{}}]}'
    )
    items = PRESET.read(request(body), body).items
    assert [(item.type, item.identity, item.sequence) for item in items] == [("record", None, None)] * 5
