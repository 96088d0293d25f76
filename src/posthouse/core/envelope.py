"""What goes out: the publisher's bytes, untouched, in an envelope; and what those bytes may be."""

import re
from itertools import accumulate
from typing import Final

import msgspec

from posthouse.core.errors import InvalidInput, MalformedJson
from posthouse.core.limits import JSON_DEPTH_MAX
from posthouse.core.model import Event
from posthouse.core.time_format import parse_rfc3339, rfc3339

__all__ = ["body", "check_json", "parse_rfc3339", "rfc3339"]

_encode: Final = msgspec.json.Encoder().encode
_NULL_ESCAPE: Final = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_TO_STEPS: Final = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")  # one level down, or (as a signed byte) one up
_NO_BRACKET: Final = bytes(set(range(256)) - set(b"[]{}"))


def body(event: Event, data: bytes | None = None) -> bytes:
    """The outbound body ``{"type":…,"timestamp":…,"data":…}`` of an event, the same at every attempt.

    ``timestamp`` is when the event occurred, or was accepted if the publisher did not say. ``data`` (JSON)
    is copied byte for byte; None: the publisher's.
    """
    when = event.accepted_at if event.occurred_at is None else event.occurred_at
    if data is None:
        data = event.data
    return b"".join(
        (b'{"type":', _encode(event.type), b',"timestamp":"', rfc3339(when).encode(), b'","data":', data, b"}")
    )


def reference(event: Event) -> bytes:
    """The data of a thin payload: ``{"id":…}`` with the event's id."""
    return b'{"id":%b}' % _encode(event.id)


def check_json(raw: bytes) -> None:
    """Refuse JSON that some receiver could not read.

    Args:
        raw: bytes whose JSON syntax was already checked.

    Raises:
        MalformedJson: it is not UTF-8.
        InvalidInput: a string holds the character U+0000 (as the escape that JSON demands for it), which
            many databases cannot store; or it is nested more than ``JSON_DEPTH_MAX`` deep.
    """
    if not raw.isascii():
        try:
            raw.decode()
        except UnicodeDecodeError as error:
            raise MalformedJson(f"The body is not UTF-8: byte {error.start} is wrong.") from error
    if b"\\" in raw and b"\\u0000" in raw and _NULL_ESCAPE.search(raw) is not None:
        raise InvalidInput.at(
            "data", "null_character", "A string contains the character U+0000.", hint="Leave the character out."
        )
    if raw.count(b"[") + raw.count(b"{") > JSON_DEPTH_MAX and _depth(raw) > JSON_DEPTH_MAX:
        raise InvalidInput.at(
            "data",
            "nested_too_deep",
            f"Arrays and objects are nested more than {JSON_DEPTH_MAX} deep.",
            hint="Flatten the data, or send the inner part as a string.",
        )


def _depth(raw: bytes) -> int:
    """How deep arrays and objects nest in valid JSON; made of few passes that all run in C.

    Strings are taken out first: without escaped backslashes, then without escaped quotes, what lies
    between two quotes is a string. The brackets that remain are steps down and up; their running sum
    is the depth.
    """
    bare = raw.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in raw else raw
    steps = b"".join(bare.split(b'"')[::2]).translate(_TO_STEPS, _NO_BRACKET)
    return max(accumulate(memoryview(steps).cast("b")), default=0)
