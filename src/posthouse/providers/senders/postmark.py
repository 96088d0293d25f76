"""Postmark: what became of mail, and mail that came in."""

from collections.abc import Mapping
from typing import Any, Final

from posthouse.providers.preset import Again, Item, Preset, Reading, SenderRules
from posthouse.providers.reading import decode, dig, time_ms, type_of
from posthouse.providers.received import Received
from posthouse.providers.schemes import Basic, Unit

_STOPS: Final = 403  #: the one failure that it takes for a refusal
_TIMES: Final = ("DeliveredAt", "BouncedAt", "ReceivedAt", "ChangedAt")


def _kind(event: Any) -> str | None:
    """What it is; of mail that came in, Postmark does not say so."""
    kind = dig(event, ("RecordType",))
    if isinstance(kind, str):
        return kind
    return "Inbound" if isinstance(event, Mapping) and "FromFull" in event else None


def _identity(kind: str | None, event: Any, at: str | None) -> str | None:
    """The id of a bounce; else the message, its recipient and the time: one message has many events."""
    number, message = dig(event, ("ID",)), dig(event, ("MessageID",))
    if isinstance(number, int) and not isinstance(number, bool):
        return f"{kind}:{number}"
    if not isinstance(message, str) or (at is None and kind != "Inbound"):
        return None
    recipient = dig(event, ("Recipient",))
    return ":".join(part for part in (kind, message, recipient, at) if isinstance(part, str))


def _read(_: Received, content: bytes) -> Reading:
    event = decode(content)
    kind = _kind(event)
    times = (dig(event, (key,)) for key in _TIMES)
    at = next((found for found in times if isinstance(found, str)), None)
    item = Item(
        type=type_of(kind, fallback="event"),
        data=content,
        identity=_identity(kind, event, at),
        occurred_at=None if at is None else time_ms(at, Unit.RFC3339),
    )
    return Reading((item,))


PRESET: Final = Preset(
    name="postmark",
    title="Postmark",
    docs="https://postmarkapp.com/developer/webhooks/webhooks-overview",
    secret_help=(
        "The name and the password that you enter for HTTP authentication with the webhook, as name:password."
    ),
    scheme=Basic(),
    read=_read,
    sender=SenderRules(
        again=Again.UNLESS_LISTED,
        listed=frozenset({200, _STOPS}),
        delays_s=(60, 300, 600, 600, 600, 900, 1_800, 3_600, 7_200, 21_600),
        known="documented for mail that comes in; other kinds are retried fewer times, and its deadline is assumed",
    ),
)
