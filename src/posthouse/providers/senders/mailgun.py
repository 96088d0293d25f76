"""Mailgun: what became of mails."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from posthouse.core import signature
from posthouse.core.errors import SignatureInvalid
from posthouse.providers.preset import Again, Answers, Item, Preset, Reading, SenderRules
from posthouse.providers.reading import decode, dig, type_of
from posthouse.providers.received import Received, Unreadable, content
from posthouse.providers.schemes import Alone, Unit, check_digests, check_time

_DELAYS_S: Final = (300, 600, 900, 3_600, 7_200, 14_400)
_RETRIES_S: Final = 8 * 3_600
_S_MAX: Final = 253_402_300_800  # the year 10000
_raw_object: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


class MailgunSignature(Alone, frozen=True):
    """An HMAC in the body over a time and a token. It does not cover the event: who reads one can make others."""

    #: Requests come late with an old time (known of its routes), so it is as long as it retries, and an hour.
    tolerance_s: int = _RETRIES_S + 3_600

    def verify(self, received: Received, secrets: Sequence[str], *, now_s: int, fetched: bytes | None = None) -> None:
        """See :meth:`posthouse.providers.preset.Scheme.verify`."""
        del fetched
        try:
            signed = dig(decode(content(received)), ("signature",))
        except Unreadable as error:
            raise SignatureInvalid(signature.MALFORMED_HEADER, str(error)) from error
        timestamp, token, given = (dig(signed, (name,)) for name in ("timestamp", "token", "signature"))
        if isinstance(timestamp, int) and not isinstance(timestamp, bool):
            timestamp = str(timestamp)
        if not isinstance(timestamp, str) or not isinstance(token, str) or not isinstance(given, str):
            raise SignatureInvalid(
                signature.MISSING_HEADER, "The body has no signature with a timestamp, a token and a signature."
            )
        check_time(timestamp, Unit.SECONDS, now_s=now_s, tolerance_s=self.tolerance_s)
        # Of an event of a subaccount there is also the signature of the account above it.
        parent = dig(signed, ("parent-signature",))
        check_digests([given, parent] if isinstance(parent, str) else [given], secrets, (timestamp + token).encode())


def read(_: Received, body: bytes) -> Reading:
    """The one event of a request. Raises Unreadable."""
    whole = decode(body)
    event = dig(whole, ("event-data",))
    if not isinstance(event, dict):
        raise Unreadable("The body has no event-data.")
    named, at = _text(event.get("id")), event.get("timestamp")
    at = at if isinstance(at, int | float) and not isinstance(at, bool) and 0 <= at < _S_MAX else None
    item = Item(
        # A failure is for good or for now, and both are called failed.
        type=type_of(_text(event.get("event")), _text(event.get("severity")), fallback="event"),
        data=bytes(_raw_object.decode(body)["event-data"]),
        # Its ids are unique within one day only.
        identity=None if named is None or at is None else f"{named}:{at}",
        occurred_at=None if at is None else round(at * 1_000),
        ordering_key=_text(dig(event, ("message", "headers", "message-id"))),
    )
    return Reading((item,), delivery=_text(dig(whole, ("signature", "token"))))


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


PRESET: Final = Preset(
    name="mailgun",
    title="Mailgun",
    docs="https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/securing-webhooks",
    secret_help=("The HTTP webhook signing key on the dashboard's page on API security; it is no API key."),
    # It names none, and retries for eight hours; the signature does not cover the event.
    scheme=MailgunSignature(),
    read=read,
    # 406 is the one answer that it does not repeat a request after: what is too large will be so again.
    answers=Answers(retry_after_s=None, too_large=406),
    sender=SenderRules(
        again=Again.UNLESS_LISTED,
        listed=frozenset({200, 406}),
        delays_s=_DELAYS_S,
        drops_s=_RETRIES_S,
        known="documented, also that it never repeats a delivered event; the deadline is assumed",
    ),
)
