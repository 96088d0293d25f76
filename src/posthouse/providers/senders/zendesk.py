"""Zendesk: tickets, users and help centres."""

from typing import Final

from posthouse.providers.preset import Again, Preset, Reading, SenderRules
from posthouse.providers.reading import Field, Header, Reader, decode, dig
from posthouse.providers.received import Received
from posthouse.providers.schemes import Encoding, Hmac, Unit

_EVENT: Final = Reader(
    type=(Field(("type",)),),
    identity=Field(("id",)),
    occurred_at=Field(("time",)),
    ordering_key=Field(("subject",)),
    delivery=Header("X-Zendesk-Webhook-Invocation-Id"),
)
#: What a trigger or an automation sends is written by its author: of it only the invocation is Zendesk's own.
_TRIGGER: Final = Reader(
    type=(),
    fallback="trigger",
    identity=Header("X-Zendesk-Webhook-Invocation-Id"),
    delivery=Header("X-Zendesk-Webhook-Invocation-Id"),
)


def _read(received: Received, content: bytes) -> Reading:
    kind = dig(decode(content), ("type",))
    is_event = isinstance(kind, str) and kind.startswith("zen:")
    return (_EVENT if is_event else _TRIGGER)(received, content)


PRESET: Final = Preset(
    name="zendesk",
    title="Zendesk",
    docs="https://developer.zendesk.com/documentation/webhooks/verifying/",
    secret_help="The signing secret of the webhook in the Admin Center (Reveal secret), used as it is written.",
    # Zendesk names no tolerance; five minutes are ours.
    scheme=Hmac(
        header="X-Zendesk-Webhook-Signature",
        signed="{ts}{body}",
        encoding=Encoding.BASE64,
        timestamp_header="X-Zendesk-Webhook-Signature-Timestamp",
        unit=Unit.RFC3339,
        tolerance_s=300,
    ),
    read=_read,
    sender=SenderRules(
        deadline_ms=10_000,
        again=Again.LISTED,
        listed=frozenset({409, 429, 503}),
        known="the codes are assumed, and that 429 and 503 need a Retry-After below 60 seconds",
    ),
)
