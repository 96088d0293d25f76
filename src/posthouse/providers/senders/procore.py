"""Procore: building sites."""

from typing import Final

import msgspec

from posthouse.providers.preset import Answers, Preset, Reading, SenderRules
from posthouse.providers.reading import Field, Reader, decode
from posthouse.providers.received import Received
from posthouse.providers.schemes import Token

_HOUR_SECONDS: Final = 3_600
_DOUBLINGS: Final = 12
_AT_MOST: Final = 10  #: retries at the longest distance, until the queue is thrown away

#: Version 4 says ``resource_type`` and ``reason`` where those before say ``resource_name`` and ``event_type``; its id
#: is the ULID, which those before say beside an id, or not at all.
_EVENT: Final = Reader(
    type=(Field(("resource_name",)), Field(("event_type",))),
    identity=Field(("ulid",)),
    occurred_at=Field(("timestamp",)),
)
_EVENT_V4: Final = msgspec.structs.replace(_EVENT, type=(Field(("resource_type",)), Field(("reason",))))


def _read(received: Received, content: bytes) -> Reading:
    """One event, of any version of the payload."""
    event = decode(content)

    def find(key: str) -> str | None:
        return Field((key,)).find(received, event)

    is_v4 = find("resource_name") is None
    kind, number = find("resource_type" if is_v4 else "resource_name"), find("resource_id")
    item = (_EVENT_V4 if is_v4 else _EVENT).item(received, content, event)
    key = None if kind is None or number is None else f"{kind}:{number}"
    return Reading((msgspec.structs.replace(item, identity=item.identity or find("id"), ordering_key=key),))


PRESET: Final = Preset(
    name="procore",
    title="Procore",
    docs="https://procore.github.io/documentation/webhooks",
    secret_help=(
        'What stands behind "Bearer " in the Authorization of the hook\'s destination_headers: a long random text of '
        "your choice."
    ),
    scheme=Token(header="Authorization", prefix="Bearer "),
    read=_read,
    answers=Answers(retry_after_s=None),
    sender=SenderRules(
        deadline_ms=5_000,
        delays_s=(*(2**count for count in range(_DOUBLINGS)), *[_HOUR_SECONDS] * _AT_MOST),
        drops_s=12 * _HOUR_SECONDS,
        known="1 s to 1 h within 12 h is documented, that each delay is twice the one before is assumed",
    ),
)
