"""GoCardless: bank payments."""

from typing import Any, Final

import msgspec

from posthouse.providers.preset import Answers, Item, Preset, Reading, SenderRules
from posthouse.providers.reading import Field, Reader, decode, dig, each, list_below, text_below
from posthouse.providers.received import Received
from posthouse.providers.schemes import Hmac

_EVENT: Final = Reader(
    type=(Field(("resource_type",)), Field(("action",))),
    identity=Field(("id",)),
    occurred_at=Field(("created_at",)),
)


def _read(received: Received, content: bytes) -> Reading:
    """Up to 250 events, which need not have to do with each other."""

    def read(data: bytes) -> Item:
        event = decode(data)
        return msgspec.structs.replace(_EVENT.item(received, data, event), ordering_key=_subject(event))

    items = each(list_below(content, ("events",)), read, fallback=_EVENT.fallback)
    return Reading(items, delivery=text_below(content, ("meta", "webhook_id")))  # requests of 2018 have no meta


def _subject(event: Any) -> str | None:
    """The id of the resource: for ``resource_type: payments`` it is ``links.payment``."""
    kind = dig(event, ("resource_type",))
    found = dig(event, ("links", kind.removesuffix("s"))) if isinstance(kind, str) else None
    return found if isinstance(found, str) else None


PRESET: Final = Preset(
    name="gocardless",
    title="GoCardless",
    docs="https://developer.gocardless.com/api-reference/#appendix-webhooks",
    secret_help=("The secret of the webhook endpoint in the dashboard, under Developers, used as it is written."),
    scheme=Hmac(header="Webhook-Signature"),
    read=_read,
    # It wants a 204 for kinds of events that a receiver does not know, and takes it for those that it does know, too.
    answers=Answers(accepted=204, bad_signature=498, retry_after_s=None),
    sender=SenderRules(
        deadline_ms=10_000,
        delays_s=(60, 120, 600, 1_800, 3_600, 10_800, 28_800, 86_400),
        known="eight retries after 1, 2, 10 minutes and so on are documented, the steps from the fourth on assumed",
    ),
)
