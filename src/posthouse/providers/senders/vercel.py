"""Vercel: deployments, projects and integrations."""

from typing import Final

from posthouse.providers.preset import DAY_SECONDS, Preset, SenderRules
from posthouse.providers.reading import Field, Reader
from posthouse.providers.schemes import Hmac, Unit

PRESET: Final = Preset(
    name="vercel",
    title="Vercel",
    docs="https://vercel.com/docs/webhooks/webhooks-api",
    secret_help=("The secret that is shown once when the webhook is made; for an integration its client secret."),
    scheme=Hmac(header="x-vercel-signature", algorithm="sha1"),
    read=Reader(
        type=(Field(("type",)),),
        identity=Field(("id",)),
        occurred_at=Field(("createdAt",)),
        unit=Unit.MILLISECONDS,
    ),
    sender=SenderRules(
        deadline_ms=30_000,
        drops_s=DAY_SECONDS,
        known="assumed: 30 seconds, retries for 24 hours in unpublished steps, one id for all of them",
    ),
)
