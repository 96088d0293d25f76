"""Discord: webhook events of an application."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from posthouse.providers.preset import DAY_SECONDS, Answers, Handshake, Preset, Reading, Reply, SenderRules
from posthouse.providers.reading import Field, Reader, decode, dig, time_ms
from posthouse.providers.received import Received, Unreadable, content
from posthouse.providers.schemes import Ed25519, Unit

_PING: Final = 0
_SCHEME: Final = Ed25519(header="X-Signature-Ed25519", timestamp_header="X-Signature-Timestamp", tolerance_s=300)
_EVENT: Final = Reader(type=(Field(("event", "type")),))


def _handshake(received: Received, secrets: Sequence[str]) -> Handshake | None:
    """The answer to a PING: nothing, but only if Discord signed it, for it also sends some with bad signatures."""
    try:
        if not _is_ping(decode(content(received))):
            return None
    except Unreadable:
        return None
    _SCHEME.verify(received, secrets, now_s=received.at // 1_000)
    return Handshake(Reply(204))


def _read(received: Received, content: bytes) -> Reading:
    whole = decode(content)
    if _is_ping(whole):
        return Reading(is_heartbeat=True)
    reading = _EVENT(received, content)
    at = dig(whole, ("event", "timestamp"))
    if not isinstance(at, str):
        return reading
    # Discord writes its times without an offset, and means UTC.
    occurred_at = time_ms(at, Unit.RFC3339) or time_ms(f"{at}Z", Unit.RFC3339)
    items = tuple(msgspec.structs.replace(item, occurred_at=occurred_at) for item in reading.items)
    return msgspec.structs.replace(reading, items=items)


def _is_ping(body: Any) -> bool:
    kind = dig(body, ("type",))
    return isinstance(kind, int) and not isinstance(kind, bool) and kind == _PING


PRESET: Final = Preset(
    name="discord",
    title="Discord",
    docs="https://docs.discord.com/developers/events/webhook-events",
    secret_help="The public key of the application, on its page General Information: 64 hexadecimal digits.",
    # Discord names no tolerance; five minutes are ours.
    scheme=_SCHEME,
    read=_read,
    answers=Answers(accepted=204),
    sender=SenderRules(
        deadline_ms=3_000,
        drops_s=600,
        known="it retries for up to ten minutes; the steps, and after how many failures it stops, are not published",
    ),
    handshake=_handshake,
    # Discord has no ids, but the body holds the microsecond of the event, and retries go on for ten minutes.
    window_seconds=DAY_SECONDS,
)
