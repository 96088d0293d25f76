"""Intercom: conversations with customers."""

from collections.abc import Sequence
from typing import Final

from posthouse.providers.preset import DAY_SECONDS, Answers, Handshake, Preset, Reading, Reply, SenderRules
from posthouse.providers.reading import Field, Reader, decode, dig
from posthouse.providers.received import Received
from posthouse.providers.schemes import Hmac, Unit

_EVENT: Final = Reader(
    type=(Field(("topic",)),),
    identity=Field(("id",)),
    occurred_at=Field(("created_at",)),
    unit=Unit.SECONDS,
    ordering_key=Field(("data", "item", "id")),
)


def _handshake(received: Received, _: Sequence[str]) -> Handshake | None:
    """Yes to a HEAD, by which Intercom tries a new URL: it is not signed, and the answer tells nothing."""
    return Handshake(Reply(200)) if received.method == "HEAD" else None


def _read(received: Received, content: bytes) -> Reading:
    if dig(decode(content), ("topic",)) == "ping":
        return Reading(is_heartbeat=True)
    return _EVENT(received, content)


PRESET: Final = Preset(
    name="intercom",
    title="Intercom",
    docs="https://developers.intercom.com/docs/webhooks/webhook-notifications",
    secret_help="The client secret of the app, on its page Basic Information in the Developer Hub.",
    scheme=Hmac(header="X-Hub-Signature", prefix="sha1=", algorithm="sha1"),
    read=_read,
    # By 429 Intercom slows down and tries for two hours; by any other failure it tries only once more.
    answers=Answers(overload=429),
    sender=SenderRules(
        deadline_ms=5_000,
        delays_s=(60,),
        gives_up_after_s=7 * DAY_SECONDS,
        known="documented; the deadline and the single retry after other failures than 429 are assumed",
    ),
    handshake=_handshake,
)
