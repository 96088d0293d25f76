"""Twitch: EventSub."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from posthouse.providers.preset import Answers, Handshake, Item, Preset, Reading, Reply, SenderRules
from posthouse.providers.reading import Field, Header, Reader, decode, dig, type_of
from posthouse.providers.received import Received, Unreadable, content
from posthouse.providers.schemes import Hmac, Unit

_CHALLENGE: Final = "webhook_callback_verification"
_KIND: Final = "Twitch-Eventsub-Message-Type"
_SCHEME: Final = Hmac(
    header="Twitch-Eventsub-Message-Signature",
    prefix="sha256=",
    signed="{id}{ts}{body}",
    id_header="Twitch-Eventsub-Message-Id",
    timestamp_header="Twitch-Eventsub-Message-Timestamp",
    unit=Unit.RFC3339,
    tolerance_s=600,
)
_EVENT: Final = Reader(
    type=(Field(("subscription", "type")),),
    identity=Header("Twitch-Eventsub-Message-Id"),
    occurred_at=Header("Twitch-Eventsub-Message-Timestamp"),
    ordering_key=Field(("subscription", "id")),
    delivery=Header("Twitch-Eventsub-Message-Id"),
)


def _handshake(received: Received, secrets: Sequence[str]) -> Handshake | None:
    """The challenge, as it came, if Twitch signed it."""
    if received.header(_KIND) != _CHALLENGE:
        return None
    try:
        challenge = dig(decode(content(received)), ("challenge",))
    except Unreadable:
        return None
    if not isinstance(challenge, str):
        return None
    _SCHEME.verify(received, secrets, now_s=received.at // 1_000)
    return Handshake(Reply(200, (("Content-Type", "text/plain"),), challenge.encode()))


def _read(received: Received, content: bytes) -> Reading:
    """One event, or the end of a subscription, which is told apart by the body: the header is not signed."""
    whole: Any = decode(content)
    reading = _EVENT(received, content)
    (item,) = reading.items
    if isinstance(whole, dict) and "event" not in whole and "events" not in whole and "challenge" not in whole:
        item = msgspec.structs.replace(item, type=type_of("revocation", item.type, fallback="revocation"))
    return msgspec.structs.replace(reading, items=(_contradicted(received, whole, item),))


def _contradicted(received: Received, whole: Any, item: Item) -> Item:
    named = received.header("Twitch-Eventsub-Subscription-Type")
    signed = dig(whole, ("subscription", "type"))
    if named is None or named == signed:
        return item
    why = "The header names another subscription type than the signed body."
    return msgspec.structs.replace(item, contradiction=why)


PRESET: Final = Preset(
    name="twitch",
    title="Twitch",
    docs="https://dev.twitch.tv/docs/eventsub/handling-webhook-events/",
    secret_help="The secret that you gave with transport.secret when you subscribed: 10 to 100 ASCII characters.",
    scheme=_SCHEME,
    read=_read,
    answers=Answers(bad_signature=403),
    sender=SenderRules(
        deadline_ms=3_000,
        known="it waits a few seconds, and revokes a subscription that fails too often; the numbers are assumed",
    ),
    handshake=_handshake,
)
