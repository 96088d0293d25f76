"""The events that a drill publishes, and what makes each of them recognisable when it arrives. Pure."""

import random
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from itertools import count
from typing import Final

import msgspec

from posthouse.drills.odd_json import odd_json

_DIGEST_BYTES: Final = 12
_BEFORE_TYPE: Final = b'{"type":"'
_BEFORE_DATA: Final = b'","data":'
_AFTER_TYPE: Final = b'","timestamp":"'


class Outgoing(msgspec.Struct, frozen=True, gc=False):
    """An event to publish."""

    id: str
    type: str
    data: bytes  #: JSON, which has to arrive byte for byte
    ordering_key: str | None = None

    @property
    def digest(self) -> bytes:
        """What tells its type and data from any other."""
        return digest_of(self.type.encode(), self.data)

    def body(self, tenant: str) -> bytes:
        """What ``POST /v1/events`` takes."""
        head = {"type": self.type, "id": self.id, "tenant": tenant}
        if self.ordering_key is not None:
            head["ordering_key"] = self.ordering_key
        return msgspec.json.encode(head)[:-1] + b',"data":' + self.data + b"}"


def outgoing(types: Sequence[str], *, seed: int, total: int | None = None, prefix: str = "drill") -> Iterator[Outgoing]:
    """Events of these types in turn, with odd data: ``total`` of them, or no end of them."""
    chance = random.Random(f"{seed}-events")  # noqa: S311 - the same events for the same seed
    for number in count() if total is None else range(total):
        event_type = types[number % len(types)]
        yield Outgoing(f"{prefix}-{number}", event_type, odd_json(chance).encode())


def keyed(endpoints: int, keys: int) -> Iterator[Outgoing]:
    """Events for so many endpoints with so many ordering keys each, in turn, without end: see ``place_of_keyed``."""
    for number in count(1):
        for endpoint in range(endpoints):
            for key in range(keys):
                name = f"k{endpoint}-{key}"
                yield Outgoing(f"{name}-{number}", f"drill.{endpoint}", b'{"n":%d}' % number, ordering_key=name)


def place_of_keyed(event: str) -> tuple[str, int]:
    """The ordering key of such an event, and which one of it this is, from 1."""
    key, _, number = event.rpartition("-")
    return key, int(number)


def digest_of(event_type: bytes, data: bytes) -> bytes:
    """What two deliveries of one event have in common."""
    return blake2b(event_type + b" " + data, digest_size=_DIGEST_BYTES).digest()


def digest_of_body(body: bytes) -> bytes:
    """The same of an outbound body as a receiver gets it. Raises ValueError if it is no envelope."""
    type_ends = body.index(_AFTER_TYPE)
    data_begins = body.index(_BEFORE_DATA, type_ends + len(_AFTER_TYPE)) + len(_BEFORE_DATA)
    if not body.startswith(_BEFORE_TYPE) or not body.endswith(b"}"):
        raise ValueError("The body is no envelope.")
    return digest_of(body[len(_BEFORE_TYPE) : type_ends], body[data_begins:-1])
