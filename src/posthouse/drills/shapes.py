"""Requests of unusual size and shape, signed as their senders sign them."""

import gzip
import hashlib
import hmac
import json
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from posthouse.drills.events import digest_of
from posthouse.drills.senders.wire import Request

_JSON: Final = ("Content-Type", "application/json")
_FILLER: Final = 1 << 20
GITHUB_TYPE: Final = "push"


class Shape(msgspec.Struct, frozen=True):
    """A request, and the events that stand in it: those that are to arrive, by their digests."""

    request: Request
    digests: tuple[bytes, ...] = ()


def large(url: str, secret: str, *, size: int, number: int) -> Shape:
    """A push on GitHub, of so many bytes."""
    head = b'{"commits":[],"filler":"'
    return _pushed(url, secret, head + b"x" * (size - len(head) - 2) + b'"}', number)


def doubtful(url: str, secret: str, *, number: int) -> Shape:
    """A push on GitHub that holds none of what every push holds."""
    return _pushed(url, secret, b'{"zen":"Speak like a human."}', number)


def _pushed(url: str, secret: str, body: bytes, number: int) -> Shape:
    headers = (
        _JSON,
        ("X-GitHub-Event", GITHUB_TYPE),
        ("X-GitHub-Delivery", f"delivery-{number}"),
        ("X-Hub-Signature-256", "sha256=" + _hex(secret, body)),
    )
    return Shape(Request(url, headers, body), (_digest(GITHUB_TYPE, body),))


def payment(number: int, **more: Any) -> bytes:
    """An event of GoCardless, perhaps with more in it."""
    said = {"id": f"EV{number:06}", "resource_type": "payments", "action": "confirmed", **more}
    return msgspec.json.encode(said)


def batch(url: str, secret: str, events: Sequence[bytes], *, bad: int | None = None, name: str = "WB1") -> Shape:
    """A webhook of GoCardless with these events, of which one may be bad: it is not to arrive."""
    body = b'{"events":[' + b",".join(events) + b'],"meta":{"webhook_id":"%s"}}' % name.encode()
    well = [event for place, event in enumerate(events) if place != bad]
    digests = tuple(_digest(_type(event), event) for event in well)
    return Shape(Request(url, (_JSON, ("Webhook-Signature", _hex(secret, body))), body), digests)


def building_sites(url: str, secret: str) -> Iterator[tuple[str, Shape]]:
    """The same kind of event as Procore wrote it, and as it writes it now; each with the type that it has to get."""
    before = {
        "id": 1_234,
        "ulid": "01J3ZK0W9P8Q7R6S5T4V3W2X1Y",
        "timestamp": "2027-01-15T08:00:00Z",
        "resource_name": "RFIs",
        "resource_id": 77,
        "event_type": "update",
        "project_id": 9,
    }
    now = {
        "id": "01J3ZK0W9P8Q7R6S5T4V3W2X1Z",
        "payload_version": "v4.0",
        "timestamp": "2027-01-15T08:00:01Z",
        "resource_type": "RFIs",
        "resource_id": "77",
        "reason": "update",
        "project_id": "9",
    }
    for said in (before, now):
        body = json.dumps(said).encode()
        shape = Shape(Request(url, (_JSON, ("Authorization", f"Bearer {secret}")), body))
        yield "RFIs.update", msgspec.structs.replace(shape, digests=(_digest("RFIs.update", body),))


def bombs(url: str, secret: str, *, size: int) -> list[Request]:
    """Small bodies that say of themselves that they are large ones, or something else than they are."""
    records = b'{"records":[' + b" " * 64
    bomb = _squeezed(zlib.compressobj(9, wbits=31), records, size)
    coded: list[tuple[str, bytes]] = [
        ("gzip", bomb),
        ("gzip, gzip", gzip.compress(bomb, mtime=0)),
        ("gzip, gzip, gzip", gzip.compress(gzip.compress(bomb, mtime=0), mtime=0)),
        ("deflate", _squeezed(zlib.compressobj(9), records, size)),
        ("gzip", bomb[: len(bomb) // 2]),
        ("gzip", b"this is no gzip"),
        ("gzip", gzip.compress(records) + b"and more"),
        ("br", bomb),
        ("gzip", gzip.compress(b"[" * 100_000 + b"]" * 100_000, mtime=0)),
    ]
    headers = (_JSON, ("x-api-key", secret))
    return [Request(url, (*headers, ("Content-Encoding", coding)), body) for coding, body in coded]


def _squeezed(stream: "zlib._Compress", begins: bytes, size: int) -> bytes:
    """So many blanks behind a beginning, made without ever holding them."""
    blanks = b" " * _FILLER
    parts = [stream.compress(begins), *(stream.compress(blanks) for _ in range(size // _FILLER)), stream.flush()]
    return b"".join(parts)


def _type(event: bytes) -> str:
    said = json.loads(event)
    return f"{said['resource_type']}.{said['action']}"


def _hex(secret: str, body: bytes) -> str:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def _digest(event_type: str, data: bytes) -> bytes:
    return digest_of(event_type.encode(), data)
