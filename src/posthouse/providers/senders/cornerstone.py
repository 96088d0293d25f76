"""Cornerstone OnDemand (CSOD): learning."""

from typing import Any, Final

from posthouse.providers.preset import Again, Answers, Item, Preset, Reading, SenderRules
from posthouse.providers.reading import decode, dig, each, list_below, text_below, time_ms, type_of
from posthouse.providers.received import Received
from posthouse.providers.schemes import Token, Unit

_CASE: Final = "EventsCase"  #: ``lmsEventsCase`` says which of the fields beside it holds the event


def _read(_: Received, content: bytes) -> Reading:
    """Records of a log; none of them is the heartbeat."""
    records = list_below(content, ("records",))
    stream = text_below(content, ("subscriptionId",))
    return Reading(each(records, lambda data: _item(data, stream), fallback="record"), is_heartbeat=not records)


def _item(data: bytes, stream: str | None) -> Item:
    record = decode(data)
    value = dig(record, ("value",))
    name, event = _event(value)
    at, offset = dig(record, ("timestamp",)), dig(record, ("offset",))
    ids = (dig(value, ("headers", "messageId")), dig(event, ("data", "eventId")))
    return Item(
        type=type_of(name, fallback="record"),
        data=data,
        identity=next((found for found in ids if isinstance(found, str) and found), None),
        occurred_at=time_ms(at, Unit.RFC3339) if isinstance(at, str) else None,
        sequence=offset if isinstance(offset, int) and not isinstance(offset, bool) and offset >= 0 else None,
        stream=stream,
        contradiction=f"The record is said to be {name}, and holds none."
        if name is not None and event is None
        else None,
    )


def _event(value: Any) -> tuple[str | None, Any]:
    """What the record is said to be, and the field of that name."""
    if not isinstance(value, dict):
        return None, None
    name = next((text for key, text in value.items() if key.endswith(_CASE) and isinstance(text, str)), None)
    if name is None:
        return None, None
    return name, next((event for key, event in value.items() if key.lower() == name.lower()), None)


PRESET: Final = Preset(
    name="cornerstone",
    title="Cornerstone OnDemand",
    docs="https://csod.dev/guides/webhooks/security-features.html",
    secret_help=("The API key that Cornerstone made when the endpoint was added: 32 hexadecimal characters."),
    scheme=Token(header="x-api-key"),
    read=_read,
    # It does not send again after a 429.
    answers=Answers(overload=503, retry_after_s=None),
    sender=SenderRules(
        again=Again.LISTED,
        listed=frozenset({408, 500, 502, 503, 504}),
        delays_s=(30,),
        drops_s=72 * 3_600,
        known="the one retry of its smallest tier, larger ones retry 10 to 50 times; deadline and 72 hours are assumed",
    ),
    heartbeat_seconds=300,
)
