"""Calendly: appointments."""

from typing import Final

from posthouse.providers.preset import DAY_SECONDS, Preset, SenderRules
from posthouse.providers.reading import Field, Reader
from posthouse.providers.schemes import Hmac

PRESET: Final = Preset(
    name="calendly",
    title="Calendly",
    docs="https://developer.calendly.com/api-docs/overview/webhooks/webhook-signatures",
    secret_help="The signing_key that you gave with the subscription, or the webhook signing key of your OAuth app.",
    scheme=Hmac(
        header="Calendly-Webhook-Signature",
        signature_key="v1",
        timestamp_key="t",
        signed="{ts}.{body}",
        tolerance_s=180,
    ),
    read=Reader(
        type=(Field(("event",)),),
        occurred_at=Field(("created_at",)),
        ordering_key=Field(("payload", "uri")),
    ),
    sender=SenderRules(
        deadline_ms=15_000,
        connect_ms=10_000,
        drops_s=DAY_SECONDS,
        gives_up_after_s=DAY_SECONDS,
        known="documented but for the steps; that a retry has the same body is assumed",
    ),
    # Calendly has no ids, but the body holds the time of the event, and retries go on for a day.
    window_seconds=2 * DAY_SECONDS,
)
