"""Standard Webhooks: every sender that keeps to the specification (OpenAI, Supabase and others)."""

from typing import Final

from posthouse.providers.preset import Preset, SenderRules
from posthouse.providers.reading import Field, Header, Reader
from posthouse.providers.schemes import StandardWebhooks

PRESET: Final = Preset(
    name="standard-webhooks",
    title="Standard Webhooks",
    docs="https://www.standardwebhooks.com",
    secret_help=(
        "The endpoint's signing secret (whsec_…, without v1, before it), or the sender's public key (whpk_…)."
    ),
    scheme=StandardWebhooks(),
    read=Reader(
        type=(Field(("type",)),),
        identity=Header("webhook-id"),
        occurred_at=Field(("timestamp",)),
        delivery=Header("webhook-id"),
    ),
    sender=SenderRules(
        deadline_ms=15_000,
        delays_s=(5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400),
        known="the specification's advice; each sender has rules of its own",
    ),
)
