"""ElevenLabs: its documented construction, step by step."""

import hashlib
import hmac

import pytest

from posthouse.providers.received import Received, Unreadable
from posthouse.providers.senders.elevenlabs import PRESET
from posthouse.testing.refusals import refusals

SECRET = "wsec_0123456789abcdef"
NOW_S = 1_800_000_000
BODY = b'{"type": "post_call_transcription", "event_timestamp": 1739537297, "data": {"conversation_id": "abc"}}'


def signed(body: bytes = BODY, secret: str = SECRET, at: int = NOW_S) -> Received:
    digest = hmac.new(secret.encode(), str(at).encode() + b"." + body, hashlib.sha256).hexdigest()
    headers = (("ElevenLabs-Signature", f"t={at},v0={digest}"),)
    return Received.of("POST", "https://example.com/in/x", headers, body, at * 1_000)


reason = refusals(PRESET, secret=SECRET, now_s=NOW_S)


def test_what_elevenlabs_signs_is_genuine_with_any_secret_in_use() -> None:
    assert reason(signed(), "another", SECRET, now_s=NOW_S + 1_800) is None


def test_what_was_changed_or_is_missing_or_old_is_refused() -> None:
    assert reason(Received.of("POST", "", signed().headers, BODY + b" ", 0)) == "no_match"
    assert reason(signed(), "another") == "no_match"
    assert reason(Received.of("POST", "", (), BODY, 0)) == "missing_header"
    assert reason(Received.of("POST", "", (("ElevenLabs-Signature", f"t={NOW_S}"),), BODY, 0)) == "malformed_header"
    assert reason(signed(), now_s=NOW_S + 1_801) == "timestamp_too_old"
    assert reason(signed(), now_s=NOW_S - 1_801) == "timestamp_too_new"


def test_what_it_holds() -> None:
    (item,) = PRESET.read(signed(), BODY).items
    assert (item.type, item.occurred_at, item.data) == ("post_call_transcription", 1_739_537_297_000, BODY)


def test_two_events_of_one_call_have_two_identities() -> None:
    audio = BODY.replace(b"transcription", b"audio")
    identities = {PRESET.read(signed(body), body).items[0].identity for body in (BODY, BODY, audio)}
    assert identities == {"post_call_transcription:abc:1739537297000", "post_call_audio:abc:1739537297000"}


def test_an_event_of_no_call_has_no_identity() -> None:
    body = b'{"type": "voice_removed", "event_timestamp": 1739537297, "data": {"voice_id": "v"}}'
    assert PRESET.read(signed(body), body).items[0].identity is None


def test_it_retries_overload_and_no_refusal() -> None:
    assert PRESET.sender.retries(PRESET.answers.overload)
    assert PRESET.sender.retries(429)
    assert not PRESET.sender.retries(PRESET.answers.bad_signature)


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"7", b"\xff", b"[" * 9_000, b'{"id": ' * 9_000])
def test_odd_content_is_read_or_unreadable(content: bytes) -> None:
    try:
        PRESET.read(signed(content), content)
    except Unreadable:
        return
