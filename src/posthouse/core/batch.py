"""Several events in one request: how it is named and written, and what an answer says about each of them."""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Final, TypeVar

import msgspec

from posthouse.core.envelope import rfc3339
from posthouse.core.limits import BATCH_ERROR_CHARS_MAX
from posthouse.core.model import Event

T = TypeVar("T")

BATCH_TYPE: Final = "batch"
BATCH_PREFIX: Final = "batch_"

_ID_BYTES: Final = 16
_CONTENT_REFUSALS: Final = range(400, 500)
#: 4xx that concern who asks, where, how often or when, and not what was sent.
_NOT_THE_CONTENT: Final = frozenset({401, 403, 404, 408, 410, 425, 429})

_encode: Final = msgspec.json.Encoder().encode


def batch_id(event_ids: Iterable[str]) -> str:
    """The id of the batch of these events, in this order: the same for the same ones."""
    return BATCH_PREFIX + blake2b("\n".join(event_ids).encode(), digest_size=_ID_BYTES).hexdigest()


def batch_body(items: Iterable[tuple[Event, bytes]], *, now: int) -> bytes:
    """The body ``{"type":"batch","timestamp":…,"data":[…]}`` of a batch that is made at ``now`` (Unix ms).

    Each item is an event with the data (JSON) to send, and becomes ``{"id":…,"type":…,"timestamp":…,"data":…}``.
    """
    return b'{"type":"%b","timestamp":"%b","data":[%b]}' % (
        BATCH_TYPE.encode(),
        rfc3339(now).encode(),
        b",".join(_item(event, data) for event, data in items),
    )


def not_taken(answer: bytes) -> Mapping[str, str] | None:
    """The events that a good answer to a batch names as failed, with what it says about each, fit to be shown.

    The form is ``{"failed": [{"id": "<event id>", "error": "…"}]}``; ``error`` may be left out. Any other answer
    names none. None: the answer may name some, but it cannot be read: it is not whole, or not valid JSON.
    """
    if b'"failed"' not in answer or not answer.lstrip().startswith(b"{"):
        return {}
    try:
        document = msgspec.json.decode(answer)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    failed = document.get("failed")
    if not isinstance(failed, list):
        return {}
    named = (entry for entry in failed if isinstance(entry, dict) and isinstance(entry.get("id"), str))
    return {entry["id"]: _line(entry.get("error")) for entry in named}


def concerns_content(status: int) -> bool:
    """Whether an answer with this status refuses what was sent, so that another content may be taken."""
    return status in _CONTENT_REFUSALS and status not in _NOT_THE_CONTENT


def halves(items: Sequence[T]) -> list[list[T]]:
    """``items`` (two at least) in two parts, in their order; the first is no shorter."""
    middle = (len(items) + 1) // 2
    return [list(items[:middle]), list(items[middle:])]


def _item(event: Event, data: bytes) -> bytes:
    when = event.accepted_at if event.occurred_at is None else event.occurred_at
    return b'{"id":%b,"type":%b,"timestamp":"%b","data":%b}' % (
        _encode(event.id),
        _encode(event.type),
        rfc3339(when).encode(),
        data,
    )


def _line(text: object) -> str:
    """What an endpoint says, as one bounded line without control characters; empty if it says nothing."""
    if not isinstance(text, str):
        return ""
    line = " ".join("".join(char if char.isprintable() else " " for char in text[: 2 * BATCH_ERROR_CHARS_MAX]).split())
    return line if len(line) <= BATCH_ERROR_CHARS_MAX else line[: BATCH_ERROR_CHARS_MAX - 1] + "…"
