"""Paddle Billing: subscriptions and payments."""

from typing import Final

from posthouse.providers.preset import DAY_SECONDS, Again, Answers, Preset, SenderRules
from posthouse.providers.reading import Field, Reader
from posthouse.providers.schemes import Hmac

PRESET: Final = Preset(
    name="paddle",
    title="Paddle",
    docs="https://developer.paddle.com/webhooks/signature-verification",
    secret_help=("The notification destination's secret key (pdl_ntfset_…) under Developer tools, Notifications."),
    # Its libraries allow 5 seconds, which asks much of clocks and networks; ours is a minute.
    scheme=Hmac(
        header="Paddle-Signature",
        signature_key="h1",
        timestamp_key="ts",
        separator=";",
        signed="{ts}:{body}",
        tolerance_s=60,
    ),
    read=Reader(
        type=(Field(("event_type",)),),
        identity=Field(("event_id",)),
        occurred_at=Field(("occurred_at",)),
        ordering_key=Field(("data", "id")),
        delivery=Field(("notification_id",)),
    ),
    answers=Answers(retry_after_s=None),
    sender=SenderRules(
        deadline_ms=5_000,
        again=Again.UNLESS_LISTED,
        listed=frozenset({200}),
        drops_s=3 * DAY_SECONDS,
        known="60 retries in three days (sandbox: 3 in 15 minutes); the steps are not published",
    ),
)
