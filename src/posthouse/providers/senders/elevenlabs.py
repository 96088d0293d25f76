"""ElevenLabs: what became of calls, and of shared voices."""

from typing import Final

from posthouse.providers.preset import DAY_SECONDS, Again, Item, Preset, Reading, SenderRules
from posthouse.providers.reading import Field, Reader, decode, dig
from posthouse.providers.received import Received
from posthouse.providers.schemes import Hmac, Unit

_RETRIED: Final = frozenset({408, 429, *range(500, 600)})
_READER: Final = Reader(type=(Field(("type",)),), occurred_at=Field(("event_timestamp",)), unit=Unit.SECONDS)


def _read(received: Received, content: bytes) -> Reading:
    event = decode(content)
    item = _READER.item(received, content, event)
    return Reading((_with_identity(item, dig(event, ("data", "conversation_id"))),))


def _with_identity(item: Item, conversation: object) -> Item:
    """With the call, the kind and the time as its identity: one call has several events, and none has an id."""
    if not isinstance(conversation, str) or item.occurred_at is None:
        return item
    identity = f"{item.type}:{conversation}:{item.occurred_at}"
    return Item(type=item.type, data=item.data, identity=identity, occurred_at=item.occurred_at)


PRESET: Final = Preset(
    name="elevenlabs",
    title="ElevenLabs",
    docs="https://elevenlabs.io/docs/eleven-api/resources/webhooks",
    secret_help=("The secret that is shown once when the webhook is made in the workspace's settings (wsec_…)."),
    scheme=Hmac(
        header="ElevenLabs-Signature",
        signature_key="v0",
        timestamp_key="t",
        signed="{ts}.{body}",
        tolerance_s=1_800,
    ),
    read=_read,
    # It disables a webhook that failed ten times in a row when the last success is more than seven days ago.
    sender=SenderRules(
        again=Again.LISTED,
        listed=_RETRIED,
        delays_s=(30, 120, 480, 1_800),
        gives_up_after=10,
        gives_up_after_s=7 * DAY_SECONDS,
        known="documented; retries must be switched on, and are only of post_call_transcription",
    ),
)
