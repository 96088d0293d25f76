"""Chargebee: subscriptions and invoices."""

from typing import Final

from posthouse.providers.preset import Preset, SenderRules
from posthouse.providers.reading import Field, Reader
from posthouse.providers.schemes import Basic, Unit

PRESET: Final = Preset(
    name="chargebee",
    title="Chargebee",
    docs="https://www.chargebee.com/docs/2.0/webhook_settings.html",
    secret_help=("The username and the password under basic authentication of the webhook, as name:password."),
    scheme=Basic(),
    read=Reader(
        type=(Field(("event_type",)),),
        identity=Field(("id",)),
        occurred_at=Field(("occurred_at",)),
        unit=Unit.SECONDS,
    ),
    sender=SenderRules(
        delays_s=(120, 360, 1_800, 3_600, 18_000, 86_400, 172_800),
        known="documented, but for its deadline",
    ),
)
