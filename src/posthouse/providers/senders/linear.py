"""Linear: issues and projects."""

from collections.abc import Sequence
from typing import Final

from posthouse.providers.preset import Preset, SenderRules
from posthouse.providers.reading import Field, Header, Reader, decode, dig
from posthouse.providers.received import Received, Unreadable, content
from posthouse.providers.schemes import Alone, Hmac, Unit, check_time

_HMAC: Final = Hmac(header="Linear-Signature")
_TOLERANCE_S: Final = 60


class TimedHmac(Alone, frozen=True):
    """An HMAC of the body, in which the time of sending stands."""

    def verify(self, received: Received, secrets: Sequence[str], *, now_s: int, fetched: bytes | None = None) -> None:
        """See :meth:`posthouse.providers.preset.Scheme.verify`."""
        _HMAC.verify(received, secrets, now_s=now_s, fetched=fetched)
        try:
            sent_at = dig(decode(content(received)), ("webhookTimestamp",))
        except Unreadable:
            return  # it is Linear's all the same; the reader will say what is wrong with it
        # Nobody but Linear can leave the time out: the body is signed. Its own library lets such a request pass, too.
        if sent_at is not None:
            text = str(sent_at) if isinstance(sent_at, int) else ""
            check_time(text, Unit.MILLISECONDS, now_s=now_s, tolerance_s=_TOLERANCE_S)


PRESET: Final = Preset(
    name="linear",
    title="Linear",
    docs="https://linear.app/developers/webhooks",
    secret_help="The signing secret on the page of the webhook, in the settings under API.",
    scheme=TimedHmac(),
    read=Reader(
        type=(Field(("type",)), Field(("action",))),
        identity=Header("Linear-Delivery"),
        occurred_at=Field(("createdAt",)),
        ordering_key=Field(("data", "id")),
        delivery=Header("Linear-Delivery"),
    ),
    sender=SenderRules(
        deadline_ms=5_000,
        delays_s=(60, 3_600, 21_600),
        known="deadline and steps are assumed, and that a retry keeps its Linear-Delivery and gets a new time",
    ),
)
