"""WooCommerce: shops on WordPress."""

import re
from collections.abc import Sequence
from typing import Any, Final

from posthouse.providers.preset import (
    BODY_WINDOW_SECONDS,
    Again,
    Handshake,
    Item,
    Preset,
    Reading,
    Reply,
    SenderRules,
)
from posthouse.providers.reading import decode, dig, time_ms, type_of
from posthouse.providers.received import Received
from posthouse.providers.schemes import Encoding, Hmac, Unit

_SIGNATURE: Final = "X-WC-Webhook-Signature"
_PING: Final = re.compile(rb"webhook_id=[0-9]{1,20}")


def _handshake(received: Received, _: Sequence[str]) -> Handshake | None:
    """The ping of a new webhook: a form without a signature, to be answered with 200 and nothing else."""
    is_ping = received.method == "POST" and _PING.fullmatch(received.body) and not received.every(_SIGNATURE)
    return Handshake(Reply(200)) if is_ping else None


def _occurred_at(event: Any) -> int | None:
    """When what it is about was last changed, in UTC; the shop writes it without an offset."""
    at = dig(event, ("date_modified_gmt",))
    return time_ms(f"{at}Z", Unit.RFC3339) if isinstance(at, str) else None


def _read(received: Received, content: bytes) -> Reading:
    event = decode(content)
    item = Item(
        type=type_of(received.header("X-WC-Webhook-Topic"), fallback="event"),
        data=content,
        occurred_at=_occurred_at(event),
    )
    # The delivery's id is a digest of the webhook and the second: two orders of one second share it.
    return Reading((item,), delivery=received.header("X-WC-Webhook-Delivery-ID"))


PRESET: Final = Preset(
    name="woocommerce",
    title="WooCommerce",
    docs="https://woocommerce.com/document/webhooks/",
    secret_help=("The text in the field Secret of the webhook, under WooCommerce, Settings, Advanced, Webhooks."),
    scheme=Hmac(header=_SIGNATURE, encoding=Encoding.BASE64),
    read=_read,
    handshake=_handshake,
    window_seconds=BODY_WINDOW_SECONDS,
    # It never sends again, and after five failures in a row it disables the webhook (its code waits for the seventh).
    sender=SenderRules(deadline_ms=60_000, again=Again.LISTED, retries_timeouts=False, gives_up_after=5),
)
