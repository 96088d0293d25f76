"""Discord, against the library of its documentation (PyNaCl)."""

from contextlib import suppress

import pytest
from nacl.signing import SigningKey

from posthouse.core.errors import SignatureInvalid
from posthouse.providers.received import Received, Unreadable
from posthouse.providers.senders.discord import PRESET

KEY = SigningKey(bytes(range(32)))
PUBLIC = KEY.verify_key.encode().hex()
OTHER = SigningKey(bytes(32)).verify_key.encode().hex()
NOW_S = 1_800_000_000
BODY = (
    b'{"version": 1, "application_id": "1234560123453231555", "type": 1, "event": {"type": "APPLICATION_AUTHORIZED", '
    b'"timestamp": "2024-10-18T14:42:53.064834", "data": {"scopes": ["applications.commands"]}}}'
)
PING = b'{"version": 1, "application_id": "1234560123453231555", "type": 0}'
ODD = (b"", b"[]", b"null", b"7", b"\xff", b"[" * 9_000, b'{"event":' * 9_000, b'{"type": false}', b'{"type": 0.0}')


def signed(body: bytes = BODY, key: SigningKey = KEY, at: str = str(NOW_S)) -> Received:
    signature = key.sign(at.encode() + body).signature.hex()
    headers = (("X-Signature-Ed25519", signature), ("X-Signature-Timestamp", at))
    return Received.of("POST", "https://example.com/in/x", headers, body, NOW_S * 1_000)


def test_what_discord_signs_is_genuine_with_any_key_in_use() -> None:
    PRESET.scheme.verify(signed(), [OTHER, PUBLIC], now_s=NOW_S + 300)


@pytest.mark.parametrize(
    ("received", "secret", "now_s", "reason"),
    [
        (Received.of("POST", "/", signed().headers, BODY + b" ", 0), PUBLIC, NOW_S, "no_match"),
        (signed(), OTHER, NOW_S, "no_match"),
        (signed(), "00", NOW_S, "no_match"),
        (signed(), "no hex", NOW_S, "malformed_secret"),
        (Received.of("POST", "/", signed().headers[:1], BODY, 0), PUBLIC, NOW_S, "missing_header"),
        (Received.of("POST", "/", signed().headers[1:], BODY, 0), PUBLIC, NOW_S, "missing_header"),
        (signed(), PUBLIC, NOW_S + 301, "timestamp_too_old"),
        (signed(at="yesterday"), PUBLIC, NOW_S, "malformed_header"),
    ],
)
def test_what_is_not_discords_is_refused(received: Received, secret: str, now_s: int, reason: str) -> None:
    with pytest.raises(SignatureInvalid) as caught:
        PRESET.scheme.verify(received, [secret], now_s=now_s)
    assert caught.value.reason == reason


def test_what_it_holds() -> None:
    (item,) = PRESET.read(signed(), BODY).items
    assert (item.type, item.identity, item.data) == ("APPLICATION_AUTHORIZED", None, BODY)
    assert item.occurred_at == 1_729_262_573_064  # 2024-10-18T14:42:53.064Z


def test_a_time_with_an_offset_is_taken_as_it_is() -> None:
    body = b'{"type": 1, "event": {"type": "X", "timestamp": "2024-10-18T14:42:53+02:00"}}'
    assert PRESET.read(signed(), body).items[0].occurred_at == 1_729_255_373_000


def test_a_ping_is_answered_only_if_it_is_signed() -> None:
    assert PRESET.handshake is not None
    found = PRESET.handshake(signed(PING), [PUBLIC])
    assert found is not None
    assert (found.reply.status, found.reply.body) == (204, b"")
    assert PRESET.handshake(signed(), [PUBLIC]) is None
    with pytest.raises(SignatureInvalid):
        PRESET.handshake(signed(PING), [OTHER])
    assert PRESET.read(signed(PING), PING).is_heartbeat


def test_what_is_answered() -> None:
    assert (PRESET.answers.accepted, PRESET.answers.bad_signature, PRESET.answers.overload) == (204, 401, 503)
    assert PRESET.sender.retries(503)


@pytest.mark.parametrize("body", ODD)
def test_odd_bodies_are_read_or_unreadable(body: bytes) -> None:
    assert PRESET.handshake is not None
    assert PRESET.handshake(signed(body), [PUBLIC]) is None
    with suppress(Unreadable):
        assert PRESET.read(signed(body), body).items[0].type == "event"
