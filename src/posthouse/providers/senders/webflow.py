"""Webflow: sites, forms, shops and collections."""

from typing import Any, Final

from posthouse.providers.preset import BODY_WINDOW_SECONDS, Item, Preset, Reading, SenderRules
from posthouse.providers.reading import decode, dig, time_ms, type_of
from posthouse.providers.received import Received
from posthouse.providers.schemes import Hmac, Unit

#: Where the time stands; each kind of event has one of them that says when it happened.
_TIMES: Final = ("submittedAt", "publishedOn", "deletedOn", "lastUpdated", "createdOn")


def _occurred_at(event: Any) -> int | None:
    times = (dig(event, ("payload", key)) for key in _TIMES)
    return next((time_ms(at, Unit.RFC3339) for at in times if isinstance(at, str)), None)


def _read(_: Received, content: bytes) -> Reading:
    event = decode(content)
    kind, payload_id = dig(event, ("triggerType",)), dig(event, ("payload", "id"))
    kind = kind if isinstance(kind, str) else None
    # Only of a submission is the id that of the event; elsewhere it is that of an item, which changes many times.
    is_submission = kind == "form_submission" and isinstance(payload_id, str)
    item = Item(
        type=type_of(kind, fallback="event"),
        data=content,
        identity=f"{kind}:{payload_id}" if is_submission else None,
        occurred_at=_occurred_at(event),
    )
    return Reading((item,))


PRESET: Final = Preset(
    name="webflow",
    title="Webflow",
    docs="https://developers.webflow.com/data/docs/working-with-webhooks",
    secret_help=(
        "The secretKey that the API gives when it makes the webhook, or the client secret of the OAuth app "
        "that made it; webhooks made in the dashboard are not signed."
    ),
    scheme=Hmac(
        header="x-webflow-signature",
        timestamp_header="x-webflow-timestamp",
        signed="{ts}:{body}",
        unit=Unit.MILLISECONDS,
        tolerance_s=300,
    ),
    read=_read,
    window_seconds=BODY_WINDOW_SECONDS,
    sender=SenderRules(
        delays_s=(600, 600, 600),
        known="documented, but for its deadline; it is assumed that each retry is signed anew",
    ),
)
