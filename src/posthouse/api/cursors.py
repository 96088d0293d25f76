"""Cursors: where a list goes on, opaque to the caller and checked when they come back."""

import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from typing import Final

from posthouse.core.errors import InvalidInput
from posthouse.core.ids import KEY_MAX
from posthouse.core.limits import TENANT_CHARS_MAX

_KEY: Final = struct.Struct(">Q")
_CURSOR_CHARS_MAX: Final = 256


def encode_keys(kind: str, *keys: int) -> str:
    """A cursor behind the item with these keys in the list ``kind`` (one character)."""
    return _encode(kind, b"".join(_KEY.pack(key) for key in keys))


def decode_keys(kind: str, count: int, cursor: str | None) -> tuple[int, ...] | None:
    """The ``count`` keys in a cursor of the list ``kind``; None for no cursor. Raises InvalidInput."""
    if cursor is None:
        return None
    raw = _decode(kind, cursor)
    if len(raw) != count * _KEY.size:
        raise _foreign()
    keys = tuple(key for (key,) in _KEY.iter_unpack(raw))
    if max(keys) > KEY_MAX:
        raise _foreign()
    return keys


def decode_key(kind: str, cursor: str | None) -> int | None:
    """The one key in a cursor of the list ``kind``; None for no cursor. Raises InvalidInput."""
    keys = decode_keys(kind, 1, cursor)
    return None if keys is None else keys[0]


def encode_name(kind: str, name: str) -> str:
    """A cursor behind the item with this name in the list ``kind``."""
    return _encode(kind, name.encode())


def decode_name(kind: str, cursor: str | None) -> str | None:
    """The name in a cursor of the list ``kind``; None for no cursor. Raises InvalidInput."""
    if cursor is None:
        return None
    try:
        name = _decode(kind, cursor).decode()
    except UnicodeDecodeError as error:
        raise _foreign() from error
    if not 1 <= len(name) <= TENANT_CHARS_MAX:
        raise _foreign()
    return name


def _encode(kind: str, raw: bytes) -> str:
    return urlsafe_b64encode(kind.encode() + raw).decode().rstrip("=")


def _decode(kind: str, cursor: str) -> bytes:
    if not cursor.isascii() or len(cursor) > _CURSOR_CHARS_MAX:
        raise _foreign()
    try:
        raw = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    except (Base64Error, ValueError) as error:
        raise _foreign() from error
    if raw[:1] != kind.encode() or _encode(kind, raw[1:]) != cursor:
        raise _foreign()
    return raw[1:]


def _foreign() -> InvalidInput:
    return InvalidInput.at(
        "cursor",
        "cursor",
        "This is not a cursor of this list.",
        hint="Pass next_cursor of the page before, unchanged and with the same filters.",
    )
