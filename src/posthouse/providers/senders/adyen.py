"""Adyen: payments (Standard webhooks, each event signed for itself) and platforms (one signature in a header)."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from posthouse.core import signature
from posthouse.core.errors import SignatureInvalid
from posthouse.providers.preset import DAY_SECONDS, Answers, Item, Preset, Reading, SenderRules
from posthouse.providers.reading import Field, Reader, decode, dig, list_below
from posthouse.providers.received import Received, Unreadable, content
from posthouse.providers.schemes import Alone, Encoding, check_digests, required

_LIST: Final = "notificationItems"
_ITEM: Final = "NotificationRequestItem"
#: What of an event is signed, in this order, with a colon between each two.
_SIGNED: Final = (
    ("pspReference",),
    ("originalReference",),
    ("merchantAccountCode",),
    ("merchantReference",),
    ("amount", "value"),
    ("amount", "currency"),
    ("eventCode",),
    ("success",),
)
_raw_object: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


class AdyenSignature(Alone, frozen=True):
    """An HMAC over eight fields of every event, or, of a body without a list of events, over the body."""

    def verify(self, received: Received, secrets: Sequence[str], *, now_s: int, fetched: bytes | None = None) -> None:
        """See :meth:`posthouse.providers.preset.Scheme.verify`."""
        del now_s, fetched
        try:
            parts = _parts(content(received))
        except Unreadable as error:
            raise SignatureInvalid(signature.MALFORMED_HEADER, str(error)) from error
        if parts is None:
            _check(required(received, "HmacSignature"), secrets, received.body)
            return
        if not parts:
            raise SignatureInvalid(signature.MISSING_HEADER, "The body has no event, so nothing of it is signed.")
        for part in parts:
            event = decode(part)
            given = dig(event, ("additionalData", "hmacSignature"))
            if not isinstance(given, str):
                raise SignatureInvalid(signature.MISSING_HEADER, "An event has no additionalData.hmacSignature.")
            _check(given, secrets, ":".join(_text(dig(event, path)) for path in _SIGNED).encode())


def _check(given: str, secrets: Sequence[str], message: bytes) -> None:
    check_digests([given], secrets, message, encoding=Encoding.BASE64, secret_encoding=Encoding.HEX)


def _text(value: Any) -> str:
    """A value as it is signed: what is not there is empty."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, str | int) else ""


def _parts(body: bytes) -> list[bytes] | None:
    """The events of a Standard webhook, byte for byte; None: it is of another kind. Raises Unreadable."""
    whole = decode(body)
    if not isinstance(whole, Mapping) or _LIST not in whole:
        return None
    try:
        return [bytes(_raw_object.decode(part)[_ITEM]) for part in list_below(body, (_LIST,))]
    except (msgspec.DecodeError, KeyError) as error:
        raise Unreadable(f"An element of {_LIST} holds no {_ITEM}.") from error


# -- what it holds ------------------------------------------------------------------------------


_PAYMENT: Final = Reader(
    type=(Field(("eventCode",)),), occurred_at=Field(("eventDate",)), ordering_key=Field(("pspReference",))
)
_PLATFORM: Final = Reader(
    type=(Field(("type",)),), occurred_at=Field(("timestamp",)), ordering_key=Field(("data", "id"))
)


def read(received: Received, body: bytes) -> Reading:
    """The events of a Standard webhook, or the one event that the body is. Raises Unreadable."""
    parts = _parts(body)
    if parts is None:
        return _PLATFORM(received, body)
    return Reading(tuple(_payment(received, part) for part in parts))


def _payment(received: Received, data: bytes) -> Item:
    """One event. Adyen gives it no id, but says by which fields a repeated one is known.

    Whether it succeeded counts as well: a payment that was refused may be authorised later, with the same reference.
    """
    event = decode(data)
    known_by = [_text(dig(event, (name,))) for name in ("pspReference", "eventCode", "success")]
    identity = ":".join(known_by) if all(known_by[:2]) else None
    return msgspec.structs.replace(_PAYMENT.item(received, data, event), identity=identity)


PRESET: Final = Preset(
    name="adyen",
    title="Adyen",
    docs="https://docs.adyen.com/development-resources/webhooks/secure-webhooks/verify-hmac-signatures",
    secret_help=("The webhook's HMAC key (64 hex digits) in the Customer Area, under Developers, Webhooks, Security."),
    scheme=AdyenSignature(),
    read=read,
    # The text is what older accounts still ask for; a status of 2xx is enough for the others.
    answers=Answers(retry_after_s=None, body=b"[accepted]"),
    sender=SenderRules(
        deadline_ms=10_000,
        delays_s=(120, 300, 600, 900, 1_800, 3_600, 7_200, 14_400, 28_800),
        drops_s=30 * DAY_SECONDS,
        known="documented: then every 8 hours; it sends the oldest again first, and the others when that was taken",
    ),
)
