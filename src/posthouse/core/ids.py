"""Identities: 63-bit time-ordered keys inside, a prefix and lowercase base32 outside.

A key holds 41 bits of milliseconds since 2025-01-01 UTC, 10 bits of node number and 12 bits of
sequence. Keys of one node only ever grow; two live nodes never share a number, so keys are unique
in a store without asking it. Ids of derived things are functions of their parts: a delivery is
one event owed to one endpoint, so its id is those two keys, and no second one can exist.
"""

from typing import Final

EPOCH_MS: Final = 1_735_689_600_000  #: 2025-01-01T00:00:00Z
NODE_BITS: Final = 10
SEQUENCE_BITS: Final = 12
NODES_MAX: Final = 1 << NODE_BITS
KEY_MAX: Final = (1 << 63) - 1

_SHIFT: Final = NODE_BITS + SEQUENCE_BITS
_SEQUENCE_MASK: Final = (1 << SEQUENCE_BITS) - 1
_NODE_MASK: Final = NODES_MAX - 1
_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford: no i, l, o, u
_VALUE: Final = {c: i for i, c in enumerate(_ALPHABET)}
_PAIR: Final = tuple(a + b for a in _ALPHABET for b in _ALPHABET)
KEY_CHARS: Final = 13
_POSITION_CHARS: Final = 4

EVENT: Final = "evt_"
ENDPOINT: Final = "ep_"
DELIVERY: Final = "dlv_"
ATTEMPT: Final = "att_"
API_KEY: Final = "key_"
JOB: Final = "job_"
SOURCE: Final = "src_"
REQUEST: Final = "req_"
QUARANTINED: Final = "qua_"
INCIDENT: Final = "inc_"


def next_key(last: int, now_ms: int, node: int) -> int:
    """The next key of ``node`` after ``last``: always greater, also when the clock steps back.

    More than 4,096 keys in a millisecond borrow from the next one. ``last`` may be a key of another
    node (the greatest one in the store); its sequence is not continued, since that number is not ours.
    """
    candidate = ((now_ms - EPOCH_MS) << _SHIFT) | (node << SEQUENCE_BITS)
    if candidate > last:
        return candidate
    if (last & _SEQUENCE_MASK) < _SEQUENCE_MASK and (last >> SEQUENCE_BITS & _NODE_MASK) == node:
        return last + 1
    return (((last >> _SHIFT) + 1) << _SHIFT) | (node << SEQUENCE_BITS)


def time_of(key: int) -> int:
    """The Unix time in ms at which ``key`` was made (by the clock of its node)."""
    return (key >> _SHIFT) + EPOCH_MS


def first_key_at(time_ms: int) -> int:
    """The smallest key that can have been made at ``time_ms``; 0 before the epoch, KEY_MAX when keys have run out."""
    return min(KEY_MAX, max(0, time_ms - EPOCH_MS) << _SHIFT)


def encode_key(key: int) -> str:
    """13 characters of base32 that sort like the key. ``key`` must be in 0..2^63-1."""
    p = _PAIR
    return (
        _ALPHABET[key >> 60]
        + p[key >> 50 & 1023]
        + p[key >> 40 & 1023]
        + p[key >> 30 & 1023]
        + p[key >> 20 & 1023]
        + p[key >> 10 & 1023]
        + p[key & 1023]
    )


def decode_key(text: str) -> int | None:
    """The key that :func:`encode_key` made ``text`` from, or None if there is none."""
    if len(text) != KEY_CHARS:
        return None
    key = 0
    for char in text:
        value = _VALUE.get(char)
        if value is None:
            return None
        key = key << 5 | value
    return key if key <= KEY_MAX else None


def make_id(prefix: str, key: int) -> str:
    """The public id of the thing with ``key``."""
    return prefix + encode_key(key)


def parse_id(prefix: str, text: str) -> int | None:
    """The key inside a public id, or None if ``text`` is not an id with this prefix."""
    return decode_key(text[len(prefix) :]) if text.startswith(prefix) else None


def delivery_id(event_key: int, endpoint_key: int) -> str:
    """The id of the delivery of one event to one endpoint."""
    return DELIVERY + encode_key(event_key) + encode_key(endpoint_key)


def parse_delivery_id(text: str) -> tuple[int, int] | None:
    """The event key and endpoint key inside a delivery id, or None."""
    body = text.removeprefix(DELIVERY)
    if body == text or len(body) != 2 * KEY_CHARS:
        return None
    event_key, endpoint_key = decode_key(body[:KEY_CHARS]), decode_key(body[KEY_CHARS:])
    if event_key is None or endpoint_key is None:
        return None
    return event_key, endpoint_key


def attempt_id(event_key: int, endpoint_key: int, number: int) -> str:
    """The id of the ``number``-th attempt (from 1) of a delivery."""
    return f"{ATTEMPT}{encode_key(event_key)}{encode_key(endpoint_key)}{number:04d}"


def quarantined_id(request_key: int, position: int) -> str:
    """The id of what is in quarantine: a request (position -1), or one event of it."""
    return f"{QUARANTINED}{encode_key(request_key)}{position + 1:04d}"


def parse_quarantined_id(text: str) -> tuple[int, int] | None:
    """The request key and position inside such an id, or None."""
    body = text.removeprefix(QUARANTINED)
    digits = body[KEY_CHARS:]
    if body == text or len(digits) != _POSITION_CHARS or not (digits.isascii() and digits.isdigit()):
        return None
    request_key = decode_key(body[:KEY_CHARS])
    return None if request_key is None else (request_key, int(digits) - 1)
