"""CloudEvents 1.0 over HTTP: in headers, as one JSON object, or as a list of them. Signed as Standard Webhooks says.

An event's id, type and time are its own, its tenant is the source, and its ordering key the subject.
"""

from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import quote

import msgspec

from posthouse.core.batch import batch_id
from posthouse.core.model import Event
from posthouse.core.rules import Batch
from posthouse.core.signature import Signer
from posthouse.core.time_format import rfc3339
from posthouse.formats.form import Form, Item, Made

VERSION: Final = "1.0"
#: What the HTTP binding leaves as it is in a header: printable ASCII but for the space, the double quote and ``%``.
_PLAIN: Final = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')
_MS: Final = 1_000
_encode: Final = msgspec.json.Encoder().encode


def binary(items: Sequence[Item], secrets: Sequence[str], now: int) -> Made:
    """The data alone is the body."""
    ((event, data),) = items
    headers = {f"ce-{name}": quote(value, safe=_PLAIN) for name, value in _attributes(event).items()}
    return Made({"Content-Type": "application/json", **headers, **_signed(event.id, data, secrets, now)}, data)


def structured(items: Sequence[Item], secrets: Sequence[str], now: int) -> Made:
    """The event is one JSON object."""
    ((event, data),) = items
    body = _object(event, data)
    signed = _signed(event.id, body, secrets, now)
    return Made({"Content-Type": "application/cloudevents+json", **signed}, body)


def batch(items: Sequence[Item], secrets: Sequence[str], now: int) -> Made:
    """The events are a list of JSON objects."""
    body = b"[%b]" % b",".join(_object(event, data) for event, data in items)
    signed = _signed(batch_id(event.id for event, _ in items), body, secrets, now)
    return Made({"Content-Type": "application/cloudevents-batch+json", **signed}, body)


def _attributes(event: Event) -> dict[str, str]:
    found = {
        "specversion": VERSION,
        "id": event.id,
        "source": f"/{event.environment}/{quote(event.tenant, safe='')}",
        "type": event.type,
        "time": rfc3339(event.accepted_at if event.occurred_at is None else event.occurred_at),
    }
    return found if not event.ordering_key else {**found, "subject": event.ordering_key}


def _object(event: Event, data: bytes) -> bytes:
    attributes: dict[str, Any] = {**_attributes(event), "datacontenttype": "application/json"}
    return b'%b,"data":%b}' % (_encode(attributes)[:-1], data)


def _signed(message_id: str, body: bytes, secrets: Sequence[str], now: int) -> dict[str, str]:
    return Signer(secrets).headers(message_id, now // _MS, body)


BINARY: Final = Form(make=binary)
STRUCTURED: Final = Form(make=structured)
BATCH: Final = Form(make=batch, is_list=True, batch=Batch(max_events=100))
