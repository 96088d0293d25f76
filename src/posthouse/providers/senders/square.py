"""Square: payments, orders and catalogues."""

from typing import Final

from posthouse.providers.preset import DAY_SECONDS, Answers, Preset, SenderRules
from posthouse.providers.reading import Field, Reader
from posthouse.providers.schemes import Encoding, Hmac

PRESET: Final = Preset(
    name="square",
    title="Square",
    docs="https://developer.squareup.com/docs/webhooks/step3validate",
    secret_help=(
        "The signature key of the webhook subscription in the developer console; its URL must be exactly ours."
    ),
    scheme=Hmac(header="x-square-hmacsha256-signature", signed="{url}{body}", encoding=Encoding.BASE64),
    read=Reader(
        type=(Field(("type",)),),
        identity=Field(("event_id",)),
        occurred_at=Field(("created_at",)),
        ordering_key=Field(("data", "id")),
    ),
    answers=Answers(retry_after_s=None),
    sender=SenderRules(
        deadline_ms=10_000,
        delays_s=(60, 120, 240, 480, 960, 1_920, *[3_600] * 22),
        drops_s=DAY_SECONDS,
        known="it retries for a day; deadline and steps are of an older page, when it was three days",
    ),
)
