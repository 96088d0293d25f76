"""Svix: the service by which Clerk, Resend, Brex and many others send.

Its requests carry ``svix-id``, ``svix-timestamp`` and ``svix-signature``, or the same three as Standard Webhooks names
them. Which of the two is taken hangs on the ids alone, so that no request is proved by one set and read by the other.
"""

from collections.abc import Sequence
from typing import Any, Final

from posthouse.providers.preset import DAY_SECONDS, Item, Preset, Reading, SenderRules
from posthouse.providers.reading import decode, dig, time_ms, type_of
from posthouse.providers.received import Received
from posthouse.providers.schemes import Alone, StandardWebhooks, Unit

_SECONDS_MAX: Final = 100_000_000_000  # a whole number from here on counts milliseconds
_OWN: Final = StandardWebhooks(prefix="svix")
_STANDARD: Final = StandardWebhooks()


def _prefix(received: Received) -> str:
    """How the three headers of this request begin."""
    return _STANDARD.prefix if received.every("webhook-id") and not received.every("svix-id") else _OWN.prefix


class _EitherName(Alone, frozen=True):
    """Standard Webhooks under both names of its headers."""

    def verify(self, received: Received, secrets: Sequence[str], *, now_s: int, fetched: bytes | None = None) -> None:
        """See :meth:`posthouse.providers.preset.Scheme.verify`."""
        scheme = _OWN if _prefix(received) == _OWN.prefix else _STANDARD
        scheme.verify(received, secrets, now_s=now_s, fetched=fetched)


def _occurred_at(event: Any) -> int | None:
    """The time that the event names: each of Svix's customers writes it in its own way, if at all."""
    for key in ("timestamp", "created_at"):
        found = dig(event, (key,))
        if isinstance(found, str):
            return time_ms(found, Unit.RFC3339)
        if isinstance(found, int) and not isinstance(found, bool):
            return time_ms(str(found), Unit.SECONDS if found < _SECONDS_MAX else Unit.MILLISECONDS)
    return None


def _read(received: Received, content: bytes) -> Reading:
    event = decode(content)
    kind = dig(event, ("type",))
    message_id = received.header(f"{_prefix(received)}-id")
    item = Item(
        type=type_of(kind if isinstance(kind, str) else None, fallback="event"),
        data=content,
        identity=message_id,
        occurred_at=_occurred_at(event),
    )
    return Reading((item,), delivery=message_id)


PRESET: Final = Preset(
    name="svix",
    title="Svix",
    docs="https://docs.svix.com/receiving/verifying-payloads/how",
    secret_help=("The signing secret of the endpoint in the sender's webhook portal: whsec_ and base64."),
    scheme=_EitherName(),
    read=_read,
    sender=SenderRules(
        deadline_ms=15_000,
        delays_s=(5, 300, 1_800, 7_200, 18_000, 36_000, 36_000),
        gives_up_after_s=5 * DAY_SECONDS,
    ),
)
