"""Zoom: meetings, phone and chat."""

import hmac
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from posthouse.core.errors import SignatureInvalid
from posthouse.providers.preset import DAY_SECONDS, Handshake, Preset, Reply, SenderRules
from posthouse.providers.reading import Field, Reader, decode, dig
from posthouse.providers.received import Received, Unreadable, content
from posthouse.providers.schemes import Hmac, Unit, as_bytes, no_match

_VALIDATION: Final = "endpoint.url_validation"
_SCHEME: Final = Hmac(
    header="x-zm-signature",
    prefix="v0=",
    signed="v0:{ts}:{body}",
    timestamp_header="x-zm-request-timestamp",
    tolerance_s=300,
)


def _handshake(received: Received, secrets: Sequence[str]) -> Handshake | None:
    """The answer to Zoom's question for the secret; the question itself must be signed.

    Else anybody could have texts of his choice signed here, and so make requests that pass for Zoom's.
    """
    token = _plain_token(received)
    if token is None:
        return None
    secret = _signer(received, secrets)
    encrypted = hmac.digest(as_bytes(secret), as_bytes(token), "sha256").hex()
    body = msgspec.json.encode({"plainToken": token, "encryptedToken": encrypted})
    return Handshake(Reply(200, (("Content-Type", "application/json"),), body))


def _plain_token(received: Received) -> str | None:
    try:
        body: Any = decode(content(received))
    except Unreadable:
        return None
    token = dig(body, ("payload", "plainToken"))
    return token if dig(body, ("event",)) == _VALIDATION and isinstance(token, str) else None


def _signer(received: Received, secrets: Sequence[str]) -> str:
    """The secret by which a request is signed: Zoom expects the answer by the same. Raises SignatureInvalid."""
    why = no_match()
    for secret in secrets:
        try:
            _SCHEME.verify(received, [secret], now_s=received.at // 1_000)
        except SignatureInvalid as error:
            why = error
        else:
            return secret
    raise why


PRESET: Final = Preset(
    name="zoom",
    title="Zoom",
    docs="https://developers.zoom.us/docs/api/webhooks/",
    secret_help="The secret token of the app, on the page Features > Access of the Zoom App Marketplace.",
    # Zoom names no tolerance; five minutes are ours.
    scheme=_SCHEME,
    read=Reader(
        type=(Field(("event",)),),
        occurred_at=Field(("event_ts",)),
        unit=Unit.MILLISECONDS,
        ordering_key=Field(("payload", "object", "id")),
    ),
    sender=SenderRules(
        deadline_ms=3_000,
        delays_s=(300, 1_200, 3_600),
        known="documented; that a retry has the same body is assumed, and answers below 500 may not be retried",
    ),
    handshake=_handshake,
    heartbeat_seconds=3 * DAY_SECONDS,
    # Zoom has no ids, but the body holds the millisecond of the event; its last retry comes 85 minutes after the first.
    window_seconds=DAY_SECONDS,
)
