"""What a publisher may say of an event: the same rules on every way in."""

import re
from collections.abc import Callable
from hashlib import blake2b
from typing import Final, TypeVar

import msgspec

from posthouse.core import limits
from posthouse.core.envelope import check_json, parse_rfc3339
from posthouse.core.errors import InvalidInput, MalformedJson, TooLarge
from posthouse.core.ids import EVENT, parse_id
from posthouse.core.routing import validate_event_type

_T = TypeVar("_T")

DEFAULT_TENANT: Final = "default"

_EVENT_ID: Final = re.compile(rf"[A-Za-z0-9_:/@+=~-]{{1,{limits.EVENT_ID_CHARS_MAX}}}")
_TENANT_ID: Final = re.compile(rf"[A-Za-z0-9][A-Za-z0-9_.:@/+=~-]{{0,{limits.TENANT_CHARS_MAX - 1}}}")


class EventIn(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """One event as a publisher writes it; nothing of it is checked but its shape."""

    type: str
    data: msgspec.Raw
    tenant: str | None = None
    id: str | None = None
    occurred_at: str | None = None
    ordering_key: str | None = None


class Said(msgspec.Struct, frozen=True, gc=False):
    """One event as it was said, and checked."""

    type: str
    data: bytes  #: JSON, byte for byte
    tenant: str
    id: str | None  #: the publisher's own
    occurred_at: int | None  #: Unix ms
    ordering_key: str | None


_decode_event: Final = msgspec.json.Decoder(EventIn).decode


def read_event(body: bytes) -> EventIn:
    """The one event in ``body``.

    Raises:
        InvalidInput: Its shape is another one.
        MalformedJson: It is not JSON, or not UTF-8.
        TooLarge: It has more than ``EVENT_BODY_BYTES_MAX``.
    """
    if len(body) > limits.EVENT_BODY_BYTES_MAX:
        raise TooLarge(f"An event takes at most {limits.EVENT_BODY_BYTES_MAX} bytes.")
    item = decode(_decode_event, body)
    check_json(body)
    return item


def read_item(raw: msgspec.Raw) -> EventIn:
    """One event of a batch whose size and JSON are checked as a whole. Raises InvalidInput."""
    return decode(_decode_event, bytes(raw))


def check_event(item: EventIn) -> Said:
    """The event, if every field of it may be so.

    Raises:
        InvalidInput: A field may not; the error names it.
        TooLarge: Its data has more than ``EVENT_BODY_BYTES_MAX``.
    """
    occurred_at = None if item.occurred_at is None else _field("occurred_at", parse_rfc3339, item.occurred_at)
    tenant = DEFAULT_TENANT if item.tenant is None else item.tenant
    said = Said(item.type, bytes(item.data), tenant, item.id, occurred_at, item.ordering_key)
    check_said(said)
    return said


def check_said(said: Said) -> None:
    """Raise what :func:`check_event` raises, of all but the time and the syntax of the data."""
    validate_event_type(said.type)
    if len(said.data) > limits.EVENT_BODY_BYTES_MAX:
        raise TooLarge(f"The data of an event takes at most {limits.EVENT_BODY_BYTES_MAX} bytes.")
    check_tenant_id(said.tenant)
    if said.ordering_key is not None:
        _check_ordering_key(said.ordering_key)
    if said.id is not None:
        _check_event_id(said.id)


def check_tenant_id(text: str) -> str:
    """``text`` if it may be a tenant's id; raises InvalidInput."""
    if not _TENANT_ID.fullmatch(text):
        message = f"A tenant id holds 1 to {limits.TENANT_CHARS_MAX} of A-Z a-z 0-9 _ . : @ / + = ~ -"
        raise InvalidInput.at("tenant", "tenant_id", message)
    return text


def fingerprint(said: Said) -> bytes:
    """Of all that the publisher said: under one Idempotency-Key, an event with another id is another event."""
    digest = blake2b(digest_size=16)
    for part in (said.type, said.tenant, str(said.occurred_at), said.ordering_key or "", said.id or ""):
        digest.update(part.encode())
        digest.update(b"\0")
    digest.update(said.data)
    return digest.digest()


def decode(decoder: Callable[[bytes], _T], body: bytes) -> _T:
    """What ``decoder`` makes of ``body``; every way in which that fails is one of our errors."""
    try:
        return decoder(body)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at ")
        field = path.strip("`").removeprefix("$.") or "body"
        raise InvalidInput.at(field, "invalid", f"{message}.") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedJson(f"The body is not valid JSON: {error}.") from error
    except RecursionError as error:
        message = f"JSON may nest at most {limits.JSON_DEPTH_MAX} levels."
        raise InvalidInput.at("body", "nested_too_deep", message) from error


def _check_event_id(text: str) -> None:
    if not _EVENT_ID.fullmatch(text):
        # A dot would make the signed content "id.timestamp.body" ambiguous.
        message = f"An event id holds 1 to {limits.EVENT_ID_CHARS_MAX} of A-Z a-z 0-9 _ : / @ + = ~ -, and no dot."
        raise InvalidInput.at("id", "event_id", message)
    if parse_id(EVENT, text) is not None:
        raise InvalidInput.at("id", "reserved_id", "Ids of this form are made by Posthouse only.")


def _check_ordering_key(text: str) -> None:
    if not 1 <= len(text) <= limits.ORDERING_KEY_CHARS_MAX or not text.isprintable():
        message = f"An ordering key holds 1 to {limits.ORDERING_KEY_CHARS_MAX} printable characters."
        raise InvalidInput.at("ordering_key", "ordering_key", message)


def _field(name: str, parse: Callable[[str], _T], text: str) -> _T:
    try:
        return parse(text)
    except InvalidInput as error:
        raise InvalidInput.at(name, "invalid", error.message) from error
