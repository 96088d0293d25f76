"""What most requests hold, as data: where the type stands, where the identity, where the list of events.

The data of an event is cut out of the body byte for byte: nothing is written anew.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from posthouse.core.errors import InvalidInput
from posthouse.core.limits import EVENT_TYPE_CHARS_MAX, JSON_DEPTH_MAX
from posthouse.core.time_format import parse_rfc3339
from posthouse.providers.preset import Item, Reading
from posthouse.providers.received import Received, Unreadable
from posthouse.providers.schemes import Unit

ITEMS_MAX: Final = 1_000  #: events of one request; who sends more of them at once is not read

_DIGITS: Final = re.compile(r"[0-9]{1,18}")
_NOT_OF_A_TYPE: Final = re.compile(r"[^A-Za-z0-9_.:/-]+")
_S_MAX: Final = 253_402_300_800  # the year 10000, in seconds: what is greater is not one
_raw_object: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_raw_list: Final = msgspec.json.Decoder(list[msgspec.Raw])
_json: Final = msgspec.json.Decoder()


class Header(msgspec.Struct, frozen=True, tag="header"):
    """Found in a header of the request."""

    name: str

    def find(self, received: Received, _: Any) -> str | None:
        """Its value, if it is there once."""
        return received.header(self.name)


class Field(msgspec.Struct, frozen=True, tag="field"):
    """Found in the JSON of the event, below these keys; a number counts in a list."""

    path: tuple[str | int, ...]

    def find(self, _: Received, data: Any) -> str | None:
        """Its text, or its whole number as text."""
        found = dig(data, self.path)
        if isinstance(found, bool) or not isinstance(found, str | int):
            return None
        return str(found)


class Joined(msgspec.Struct, frozen=True, tag="joined"):
    """Made of several places, joined by slashes. Nothing, unless something is in the first and in the last of them."""

    parts: tuple[Header | Field, ...]

    def find(self, received: Received, data: Any) -> str | None:
        """Their texts; of what is not there an empty one."""
        found = [part.find(received, data) for part in self.parts]
        return None if found[0] is None or found[-1] is None else "/".join(text or "" for text in found)


Where = Header | Field | Joined


class Reader(msgspec.Struct, frozen=True, kw_only=True):
    """Reads a JSON body that is one event, or holds a list of them.

    ``type`` joins what it finds by full stops; of an event with none of it the type is ``fallback``.
    """

    type: tuple[Where, ...]
    fallback: str = "event"
    identity: Where | None = None
    occurred_at: Where | None = None
    unit: Unit = Unit.RFC3339
    sequence: Where | None = None
    stream: Where | None = None
    ordering_key: Where | None = None
    items: tuple[str, ...] | None = None  #: keys below which the list of events stands; None: the body is one event
    delivery: Where | None = None
    empty_is_heartbeat: bool = False

    def __call__(self, received: Received, content: bytes) -> Reading:
        """What the request holds. Raises Unreadable."""
        if self.items is None:
            whole = decode(content)
            delivery = None if self.delivery is None else self.delivery.find(received, whole)
            return Reading((self.item(received, content, whole),), delivery=delivery)
        parts = list_below(content, self.items)
        delivery = None if self.delivery is None else self._delivery(received, content)
        if not parts:
            return Reading(is_heartbeat=self.empty_is_heartbeat, delivery=delivery)
        items = each(parts, lambda data: self.item(received, data, decode(data)), fallback=self.fallback)
        return Reading(items, delivery=delivery)

    def _delivery(self, received: Received, content: bytes) -> str | None:
        """The sender's id of a request, if nothing in it keeps that from being made out."""
        assert self.delivery is not None
        try:
            return self.delivery.find(received, decode(content))
        except Unreadable:
            return None

    def item(self, received: Received, data: bytes, event: Any) -> Item:
        """One event, whose JSON is ``data`` and, decoded, ``event``."""

        def find(where: Where | None) -> str | None:
            return None if where is None else where.find(received, event)

        occurred_at, sequence = find(self.occurred_at), find(self.sequence)
        return Item(
            type=type_of(*(where.find(received, event) for where in self.type), fallback=self.fallback),
            data=data,
            identity=find(self.identity),
            occurred_at=None if occurred_at is None else time_ms(occurred_at, self.unit),
            sequence=None if sequence is None else whole_number(sequence),
            stream=find(self.stream),
            ordering_key=find(self.ordering_key),
        )


# -- parts of readers ---------------------------------------------------------------------------


def decode(content: bytes) -> Any:
    """The JSON in ``content``; a number that no float can hold becomes an infinite one. Raises Unreadable."""
    try:
        return _json.decode(content)
    except msgspec.ValidationError:  # so says msgspec of a number that no float can hold
        return _decode_widely(content)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Unreadable(f"The body is not JSON: {error}.") from error
    except RecursionError as error:
        raise Unreadable(f"The body is nested more than {JSON_DEPTH_MAX} levels deep.") from error


def _decode_widely(content: bytes) -> Any:
    try:
        found = json.loads(content, parse_constant=_refuse)
        json.dumps(found, ensure_ascii=False).encode()  # half a character is no text
    except (ValueError, RecursionError) as error:
        raise Unreadable("The body is not JSON that can be read.") from error
    return found


def _refuse(name: str) -> None:
    raise ValueError(name)  # NaN is no JSON


def list_below(content: bytes, path: tuple[str, ...]) -> list[bytes]:
    """The elements of the list below these keys, byte for byte. Raises Unreadable if it is not there, or too long."""
    where = ".".join(path) or "the body"
    try:
        for key in path:
            content = bytes(_raw_object.decode(content)[key])
        parts = [bytes(part) for part in _raw_list.decode(content)]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError) as error:
        raise Unreadable(f"There is no list of events in {where}.") from error
    if len(parts) > ITEMS_MAX:
        raise Unreadable(f"There are more than {ITEMS_MAX:,} events in {where}.")
    return parts


def each(parts: Sequence[bytes], read: Callable[[bytes], Item], *, fallback: str) -> tuple[Item, ...]:
    """The events of a list; one that cannot be read has the type ``fallback`` and says why, and concerns no other."""
    items = []
    for data in parts:
        try:
            items.append(read(data))
        except Unreadable as error:
            items.append(Item(type=fallback, data=data, unreadable=str(error)))
    return tuple(items)


def text_below(content: bytes, path: tuple[str, ...]) -> str | None:
    """The text below these keys, whatever else the JSON holds; None if there is none."""
    try:
        for key in path:
            content = bytes(_raw_object.decode(content)[key])
        found = _json.decode(content)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, KeyError):
        return None
    return found if isinstance(found, str) else None


def dig(data: Any, path: tuple[str | int, ...]) -> Any:
    """What stands below these keys; None if it is not there."""
    for key in path:
        if isinstance(data, Mapping) and isinstance(key, str):
            data = data.get(key)
        elif isinstance(data, list) and isinstance(key, int) and -len(data) <= key < len(data):
            data = data[key]
        else:
            return None
    return data


def type_of(*parts: str | None, fallback: str) -> str:
    """An event type out of what a sender calls it: each run of characters that a type cannot have becomes ``_``."""
    text = ".".join(part for part in parts if part)
    return _NOT_OF_A_TYPE.sub("_", text)[:EVENT_TYPE_CHARS_MAX] or fallback


def time_ms(text: str, unit: Unit) -> int | None:
    """The Unix ms that ``text`` says; None if it says none."""
    if unit is Unit.RFC3339:
        try:
            return parse_rfc3339(text)
        except InvalidInput:
            return None
    number = whole_number(text)
    if number is None:
        return None
    at = number * (1 if unit is Unit.MILLISECONDS else 1_000)
    return at if at < _S_MAX * 1_000 else None


def whole_number(text: str) -> int | None:
    """The number that ``text`` says, if it is of digits only, and not more than a store can hold."""
    return int(text) if _DIGITS.fullmatch(text) is not None else None


Read = Callable[[Received, bytes], Reading]
