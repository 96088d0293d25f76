"""What an endpoint's rules make of an event, by another hand than the node's."""

import json
import re
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any

from posthouse.core.rules import Payload, Rules
from posthouse.testing.simulation.evidence import TEST_TYPE
from posthouse.testing.simulation.pressure import FILTERS, TRANSFORMS
from posthouse.testing.simulation.records import Received
from posthouse.testing.simulation.rows import EventRow

_BATCH = re.compile(rb'{"type":"batch","timestamp":"([0-9T:.-]{23}Z)","data":\[(.*)\]}', re.DOTALL)


def wants(rules: Rules, row: EventRow) -> bool | None:
    """Whether the filter lets an event through; None: it cannot be evaluated for it, and so it is owed."""
    return True if rules.filter is None else FILTERS[rules.filter](row.type, _number(row))


def data(rules: Rules, row: EventRow) -> bytes | None:
    """The data that an endpoint gets of an event; None: the transformation cannot be evaluated for it."""
    if rules.payload is Payload.THIN:
        return _compact({"id": row.id})
    if rules.transform is None:
        return row.data
    made = TRANSFORMS[rules.transform](row.type, _number(row))
    return None if made is None else _compact(made)


def withheld(rules: Rules, row: EventRow) -> str | None:
    """Why nothing is sent of an event that is owed; None: it is sent."""
    if row.type == TEST_TYPE:  # no filter keeps it back, and it has none of what the transformations look for
        return None if rules.transform is None else "transform_error"
    if wants(rules, row) is None:
        return "filter_error"
    return "transform_error" if data(rules, row) is None else None


def body(rules: Rules, row: EventRow) -> bytes:
    """What a request with this event alone looks like."""
    return b'{"type":%s,"timestamp":"%s","data":%s}' % (
        json.dumps(row.type).encode(),
        rfc3339(row),
        data(rules, row) or b"",
    )


def is_batch(rules: Rules, rows: list[EventRow], request: Received, now: str) -> bool:
    """Whether a request is the batch of these events, made within the second that ``now`` names."""
    items = (
        b'{"id":%s,"type":%s,"timestamp":"%s","data":%s}'
        % (json.dumps(row.id).encode(), json.dumps(row.type).encode(), rfc3339(row), data(rules, row) or b"")
        for row in rows
    )
    found = _BATCH.fullmatch(request.body)
    name = "batch_" + blake2b("\n".join(row.id for row in rows).encode(), digest_size=16).hexdigest()
    return (
        found is not None
        and found[1].decode().startswith(now)
        and found[2] == b",".join(items)
        and request.event_id == name
    )


def rfc3339(row: EventRow) -> bytes:
    """When an event occurred, or was accepted."""
    when = row.accepted_at if row.occurred_at is None else row.occurred_at
    stamp = datetime.fromtimestamp(when // 1_000, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{when % 1_000:03d}Z"
    return stamp.encode()


def _number(row: EventRow) -> int:
    number: int = json.loads(row.data)["n"]
    return number


def _compact(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()
