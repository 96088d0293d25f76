"""Meta: Facebook pages, Instagram, Messenger and WhatsApp.

An app has two secrets. The app secret signs. The verify token is a text of the user's own, which Meta sends back in the
query when a URL is entered: it passes through logs, so it must never be a key that signs. Among the secrets of a source
it is the one that begins with ``verify:``, and that one checks no signature.
"""

import hmac
from collections.abc import Mapping, Sequence
from typing import Any, Final

from posthouse.providers.preset import DAY_SECONDS, Handshake, Item, Preset, Reading, Reply, SenderRules
from posthouse.providers.reading import decode, dig, list_below, time_ms, type_of
from posthouse.providers.received import Received
from posthouse.providers.schemes import Alone, Hmac, Unit, as_bytes, no_match

_VERIFY: Final = "verify:"
_SECONDS_MAX: Final = 100_000_000_000  # a whole number from here on counts milliseconds, as Messenger does
_SIGNED: Final = Hmac(header="X-Hub-Signature-256", prefix="sha256=")


class _AppSecret(Alone, frozen=True):
    """A signature with the app secret."""

    def verify(self, received: Received, secrets: Sequence[str], *, now_s: int, fetched: bytes | None = None) -> None:
        """See :meth:`posthouse.providers.preset.Scheme.verify`."""
        keys = [secret for secret in secrets if not secret.startswith(_VERIFY)]
        _SIGNED.verify(received, keys, now_s=now_s, fetched=fetched)


def _handshake(received: Received, secrets: Sequence[str]) -> Handshake | None:
    """The challenge to a URL that was entered in the app's dashboard."""
    challenge = received.parameter("hub.challenge")
    if received.method != "GET" or received.parameter("hub.mode") != "subscribe" or challenge is None:
        return None
    given = (received.parameter("hub.verify_token") or "").encode(errors="replace")
    tokens = [as_bytes(secret.removeprefix(_VERIFY)) for secret in secrets if secret.startswith(_VERIFY)]
    if not any([hmac.compare_digest(given, token) for token in tokens]):  # noqa: C419 - each is compared
        raise no_match()
    headers = (("content-type", "text/plain; charset=utf-8"), ("x-content-type-options", "nosniff"))
    return Handshake(Reply(200, headers, challenge.encode(errors="replace")))


def _read(_: Received, content: bytes) -> Reading:
    whole = decode(content)
    about = dig(whole, ("object",))
    about = about if isinstance(about, str) else None
    if not isinstance(dig(whole, ("entry",)), list):
        return Reading((Item(type=type_of(about, fallback="event"), data=content),))
    return Reading(tuple(_item(about, part) for part in list_below(content, ("entry",))))


def _item(about: str | None, data: bytes) -> Item:
    """One entry. It is not divided further: its changes do not say which account they are of."""
    entry = decode(data)
    names = _names(entry)
    name = names.pop() if len(names) == 1 else None
    return Item(type=type_of(about, name, fallback="event"), data=data, occurred_at=_occurred_at(entry))


def _names(entry: Any) -> set[str]:
    """What changed, or by which way messages came."""
    changes = dig(entry, ("changes",))
    fields = [dig(change, ("field",)) for change in changes] if isinstance(changes, list) else []
    ways = [way for way in ("messaging", "standby") if isinstance(entry, Mapping) and way in entry]
    return {field for field in fields if isinstance(field, str)} | set(ways)


def _occurred_at(entry: Any) -> int | None:
    value: tuple[str | int, ...] = ("changes", 0, "value")
    found = dig(entry, ("time",)), dig(entry, (*value, "messages", 0, "timestamp"))
    for at in (*found, dig(entry, (*value, "statuses", 0, "timestamp"))):
        if isinstance(at, int) and not isinstance(at, bool):
            return time_ms(str(at), Unit.SECONDS if at < _SECONDS_MAX else Unit.MILLISECONDS)
        if isinstance(at, str):  # WhatsApp: seconds, in a text
            return time_ms(at, Unit.SECONDS)
    return None


PRESET: Final = Preset(
    name="meta",
    title="Meta (Facebook, Instagram, WhatsApp)",
    docs="https://developers.facebook.com/docs/graph-api/webhooks/getting-started",
    secret_help=(
        "The app secret under App settings, Basic (32 hexadecimal digits); and as a second one verify: followed "
        "by the verify token that you enter with the URL."
    ),
    scheme=_AppSecret(),
    read=_read,
    handshake=_handshake,
    # An entry has no id, but it has the time of a change or the ids of its messages: while Meta retries, equal content
    # is the same entry again.
    window_seconds=8 * DAY_SECONDS,
    sender=SenderRules(
        deadline_ms=5_000,
        drops_s=36 * 3_600,
        known="assumed: 5 seconds as for Messenger, retries for 36 hours (WhatsApp: 7 days) in unpublished steps",
    ),
)
