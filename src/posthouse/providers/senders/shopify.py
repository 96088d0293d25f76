"""Shopify: shops and their apps.

One action of a merchant can set off several webhooks, which share ``X-Shopify-Event-Id``. ``X-Shopify-Webhook-Id`` is
of one of them, and stays the same when it is sent again.
"""

from typing import Final

from posthouse.providers.preset import Item, Preset, Reading, SenderRules
from posthouse.providers.reading import decode, time_ms, type_of
from posthouse.providers.received import Received
from posthouse.providers.schemes import Encoding, Hmac, Unit


def _read(received: Received, content: bytes) -> Reading:
    decode(content)
    kind, webhook_id, event_id, at = (
        received.header(f"X-Shopify-{name}") for name in ("Topic", "Webhook-Id", "Event-Id", "Triggered-At")
    )
    item = Item(
        type=type_of(kind, fallback="event"),
        data=content,
        identity=webhook_id or (f"{event_id}:{kind}" if event_id else None),
        occurred_at=None if at is None else time_ms(at, Unit.RFC3339),
    )
    return Reading((item,), delivery=webhook_id)


PRESET: Final = Preset(
    name="shopify",
    title="Shopify",
    docs="https://shopify.dev/docs/apps/build/webhooks",
    secret_help=("The app's client secret, or for webhooks made in the shop's admin the key shown below their list."),
    scheme=Hmac(header="X-Shopify-Hmac-SHA256", encoding=Encoding.BASE64),
    read=_read,
    # After eight failures in a row it deletes subscriptions that were made through its Admin API.
    sender=SenderRules(
        deadline_ms=5_000,
        connect_ms=1_000,
        gives_up_after=8,
        drops_s=4 * 3_600,
        known="documented, but for the steps of its eight retries in four hours",
    ),
)
