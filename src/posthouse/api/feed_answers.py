"""The feed as bytes: pages, and the lines of a stream. The publisher's JSON goes into both untouched."""

import re
from typing import Final

import msgspec

from posthouse.api.cursors import decode_keys, encode_keys
from posthouse.core.envelope import rfc3339
from posthouse.core.errors import ConsumerAhead, CursorGone
from posthouse.serving.problems import encode_problem
from posthouse.store.protocol import FeedBehind, FeedEvent, FeedGone, FeedPage, FeedPosition, Lost

STREAM: Final = "text/event-stream"
START: Final = "start"  #: the cursor ahead of all events that are kept
END: Final = "end"  #: the cursor behind all events that there are

_KIND: Final = "f"
_NUMBERS: Final = 3
_LINE: Final = re.compile(rb"\r\n|\r|\n")
_encode: Final = msgspec.json.Encoder().encode

_WHY: Final = {
    Lost.EXPIRED: "Events behind this cursor are not kept any more: those that were accepted from {} to {}.",
    Lost.UNKNOWN: "This cursor is not of this store, or of a time that a failover or a restore took back. What was "
    "accepted from {} on may differ; from {} on all of it is read again with the fresh cursor.",
}


def cursor_of(position: FeedPosition) -> str:
    """A position as its readers have it."""
    return encode_keys(_KIND, position.place, position.first_key, position.taken)


def position_of(cursor: str) -> FeedPosition:
    """The position in a cursor. Raises InvalidInput."""
    numbers = decode_keys(_KIND, _NUMBERS, cursor)
    assert numbers is not None, "there is a cursor"
    return FeedPosition(*numbers)


def refusal(gone: FeedGone) -> CursorGone:
    """The error for a position that cannot be read on from: with a fresh cursor, and what is missing."""
    since, until = rfc3339(gone.since), rfc3339(gone.until)
    message = _WHY[gone.reason].format(since, until)
    return CursorGone(
        message,
        errors=(
            {
                "path": "cursor",
                "code": gone.reason.value,
                "message": message,
                "cursor": cursor_of(gone.fresh),
                "from": since,
                "to": until,
            },
        ),
    )


def refusal_to_move(behind: FeedBehind) -> ConsumerAhead:
    """The error for an acknowledgement that would move a consumer back; it says where the consumer is."""
    error = ConsumerAhead()
    entry = {"path": "cursor", "code": error.code, "message": error.message, "cursor": cursor_of(behind.position)}
    return ConsumerAhead(errors=(entry,))


def page_of(page: FeedPage) -> bytes:
    """A page as JSON."""
    items = b",".join(map(_document, page.events))
    end = _encode({"next_cursor": cursor_of(page.position), "more": not page.is_end})
    return b'{"data":[' + items + b"]," + end[1:]


def lines_of(page: FeedPage) -> bytes:
    """A page as lines of a stream; an empty one is a sign of life, and says where the feed is by now."""
    if not page.events:
        return b": still here\nid: " + cursor_of(page.position).encode() + b"\n\n"
    return b"".join(map(_lines, page.events))


def last_lines_of(gone: FeedGone, path: str) -> bytes:
    """The end of a stream whose position is gone."""
    body, _headers = encode_problem(refusal(gone), path)
    return b"event: problem\ndata: " + body + b"\n\n"


def _lines(item: FeedEvent) -> bytes:
    data = b"\ndata: ".join(_LINE.split(_document(item)))
    return b"id: " + cursor_of(item.position).encode() + b"\ndata: " + data + b"\n\n"


def _document(item: FeedEvent) -> bytes:
    event = item.event
    head = _encode(
        {
            "id": event.id,
            "type": event.type,
            "tenant": event.tenant,
            "accepted_at": rfc3339(event.accepted_at),
            "occurred_at": None if event.occurred_at is None else rfc3339(event.occurred_at),
            "ordering_key": event.ordering_key,
            "cursor": cursor_of(item.position),
        }
    )
    return head[:-1] + b',"data":' + event.data + b"}"
