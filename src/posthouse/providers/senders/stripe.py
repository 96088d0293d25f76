"""Stripe: payments.

Its events come whole (v1, with a time in seconds) or thin (v2, with a time in RFC 3339, and only the address of what
they are about).
"""

from typing import Final

from posthouse.providers.preset import DAY_SECONDS, Preset, Reading, SenderRules
from posthouse.providers.reading import Field, Reader, decode, dig
from posthouse.providers.received import Received
from posthouse.providers.schemes import Hmac, Unit

_READERS: Final = {
    unit: Reader(
        type=(Field(("type",)),), identity=Field(("id",)), occurred_at=Field(("created",)), unit=unit, fallback="event"
    )
    for unit in (Unit.SECONDS, Unit.RFC3339)
}


def _read(received: Received, content: bytes) -> Reading:
    is_thin = dig(decode(content), ("object",)) == "v2.core.event"
    return _READERS[Unit.RFC3339 if is_thin else Unit.SECONDS](received, content)


PRESET: Final = Preset(
    name="stripe",
    title="Stripe",
    docs="https://docs.stripe.com/webhooks",
    secret_help=("The endpoint's signing secret in the dashboard (whsec_…), used as it is written."),
    scheme=Hmac(
        header="Stripe-Signature",
        signature_key="v1",
        timestamp_key="t",
        signed="{ts}.{body}",
        tolerance_s=300,
    ),
    read=_read,
    sender=SenderRules(
        drops_s=3 * DAY_SECONDS,
        known="it retries for up to three days; its deadline and the steps are not published",
    ),
)
