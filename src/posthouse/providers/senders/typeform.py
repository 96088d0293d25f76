"""Typeform: answers to forms."""

from typing import Final

from posthouse.providers.preset import Again, Preset, SenderRules
from posthouse.providers.reading import Field, Reader
from posthouse.providers.schemes import Encoding, Hmac

_DISABLING: Final = frozenset({404, 410})

PRESET: Final = Preset(
    name="typeform",
    title="Typeform",
    docs="https://www.typeform.com/developers/webhooks/",
    secret_help="The secret that you entered with the webhook, in the form under Connect > Webhooks.",
    scheme=Hmac(header="Typeform-Signature", prefix="sha256=", encoding=Encoding.BASE64),
    read=Reader(
        type=(Field(("event_type",)),),
        identity=Field(("event_id",)),
        occurred_at=Field(("form_response", "submitted_at")),
        ordering_key=Field(("form_response", "token")),
    ),
    sender=SenderRules(
        deadline_ms=30_000,
        again=Again.LISTED,
        listed=frozenset(range(300, 600)) - _DISABLING,  # by these two it disables the webhook at once
        delays_s=(150,) * 240,
        drops_s=36_000,
        known="documented; after other failures than 408, 423, 429 and 503 it retries only a few times",
    ),
)
