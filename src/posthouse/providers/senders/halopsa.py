"""HaloPSA, HaloITSM and HaloCRM: tickets."""

import re
from typing import Final

import msgspec

from posthouse.providers.preset import BODY_WINDOW_SECONDS, Answers, Preset, Reading, SenderRules
from posthouse.providers.reading import Field, Reader, decode, list_below
from posthouse.providers.received import Received
from posthouse.providers.schemes import Basic

_LISTS: Final = b"["
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

_EVENT: Final = Reader(
    type=(Field(("event",)),),
    identity=Field(("id",)),
    occurred_at=Field(("timestamp",)),
    ordering_key=Field(("object_id",)),
)


def _read(received: Received, content: bytes) -> Reading:
    """One event, or a list of them where the webhook batches.

    A payload may be written by the user, who may put the number of a ticket where the id of the event stands: only
    what looks like one is taken for one.
    """
    parts = list_below(content, ()) if content.lstrip()[:1] == _LISTS else [content]
    items = []
    for data in parts:
        item = _EVENT.item(received, data, decode(data))
        is_id = item.identity is not None and _UUID.fullmatch(item.identity) is not None
        items.append(msgspec.structs.replace(item, identity=item.identity if is_id else None))
    return Reading(tuple(items))


PRESET: Final = Preset(
    name="halopsa",
    title="HaloPSA",
    docs="https://www.usehalo.com/guides/838",
    secret_help=(
        "The name and the password of the webhook's Basic Authentication in Halo, written as name:password; both are "
        "of your choice."
    ),
    scheme=Basic(),
    read=_read,
    answers=Answers(retry_after_s=None),
    sender=SenderRules(known="nothing of it is published: that it retries at all, and its deadline, are assumed"),
    # A payload that the user wrote may have no id, and then its content stands for it.
    window_seconds=BODY_WINDOW_SECONDS,
)
