"""Twilio: messages, calls, conversations, and the sinks of Event Streams."""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import parse_qsl, urlsplit

import msgspec

from posthouse.core import signature
from posthouse.core.errors import SignatureInvalid
from posthouse.providers.forms import form_fields, is_form
from posthouse.providers.preset import Again, Answers, Item, Preset, Reading, SenderRules
from posthouse.providers.reading import Field, Reader, decode, time_ms, type_of
from posthouse.providers.received import Received, Unreadable, content
from posthouse.providers.schemes import Alone, Encoding, Unit, decoded, no_match, required, secret_bytes

_SETTINGS: Final = "X-Twilio-Webhooks-Signature-Settings"
_ALGORITHMS: Final[Mapping[str, str]] = {"HMAC_SHA1": "sha1", "HMAC_SHA256": "sha256"}
#: By which field a form shows what it is about, how its type begins, and which fields say what happened.
_KINDS: Final = (
    ("ConferenceSid", "conference", ("StatusCallbackEvent",)),
    ("RecordingSid", "recording", ("RecordingStatus",)),
    ("MessageSid", "message", ("MessageStatus", "SmsStatus")),
    ("SmsSid", "message", ("MessageStatus", "SmsStatus")),
    ("CallSid", "call", ("CallStatus",)),
)


class TwilioSignature(Alone, frozen=True):
    """An HMAC over the URL and the sorted fields of the form; of other bodies the URL carries a digest."""

    def verify(self, received: Received, secrets: Sequence[str], *, now_s: int, fetched: bytes | None = None) -> None:
        """See :meth:`posthouse.providers.preset.Scheme.verify`."""
        del now_s, fetched
        given = decoded(required(received, "X-Twilio-Signature"), Encoding.BASE64) or b""
        algorithm, tail = _algorithm(received), _signed_tail(received)
        matches = False
        for secret in secrets:
            key = secret_bytes(secret, Encoding.UTF8)
            for url in _urls(received.url):
                matches |= hmac.compare_digest(
                    hmac.digest(key, (url + tail).encode(errors="surrogatepass"), algorithm), given
                )
        if not matches:
            raise no_match()


def _algorithm(received: Received) -> str:
    """The digest that the request names; without a name it is the one of the account's auth token."""
    if not received.every(_SETTINGS):
        return "sha1"
    pairs = dict(part.strip().split("=", 1) for part in required(received, _SETTINGS).split(",") if "=" in part)
    found = _ALGORITHMS.get(pairs.get("algorithm", "HMAC_SHA1").upper())
    if found is None:
        raise SignatureInvalid(signature.MALFORMED_HEADER, f"The header {_SETTINGS} names an unknown algorithm.")
    return found


def _signed_tail(received: Received) -> str:
    """What is signed behind the URL. Raises SignatureInvalid if the signature cannot cover the body."""
    try:
        body = content(received)
        if is_form(received):
            return "".join(name + value for name, value in sorted(set(form_fields(body))))
    except Unreadable as error:
        raise SignatureInvalid(signature.NO_MATCH, str(error)) from error
    query = parse_qsl(_query(received.url), keep_blank_values=True)
    digest = next((value for name, value in query if name == "bodySHA256"), None)
    if digest is None and body:
        raise SignatureInvalid(signature.MISSING_HEADER, "The URL has no bodySHA256, so the body is not signed.")
    if digest is not None and not hmac.compare_digest(
        hashlib.sha256(body).hexdigest().encode(), digest.encode(errors="surrogatepass")
    ):
        raise SignatureInvalid(signature.NO_MATCH, "The body is not the one that bodySHA256 in the URL is of.")
    return ""


def _urls(url: str) -> tuple[str, ...]:
    """The URL with and without its port: which of them Twilio signs is not the same for all of its products."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return (url,)
    netloc = parts.netloc
    other = netloc.rpartition(":")[0] if port is not None else f"{netloc}:{443 if parts.scheme == 'https' else 80}"
    return (url, url.replace(netloc, other, 1))


def _query(url: str) -> str:
    """What stands behind the question mark, of whatever text."""
    return url.partition("#")[0].partition("?")[2]


# -- what it holds ------------------------------------------------------------------------------


_CLOUD_EVENT: Final = Reader(
    type=(Field(("type",)),), identity=Field(("id",)), occurred_at=Field(("time",)), ordering_key=Field(("subject",))
)
_CLOUD_EVENTS: Final = msgspec.structs.replace(_CLOUD_EVENT, items=())


def read(received: Received, body: bytes) -> Reading:
    """A form (or, of a GET, the query) is one event; JSON is a CloudEvent or a list of them. Raises Unreadable."""
    if received.method == "GET":
        fields = form_fields(_query(received.url).encode(errors="surrogatepass"))
    elif is_form(received):
        fields = form_fields(body)
    else:
        return (_CLOUD_EVENTS if isinstance(decode(body), list) else _CLOUD_EVENT)(received, body)
    return Reading((_item(received, fields),))


def _item(received: Received, fields: list[tuple[str, str]]) -> Item:
    first = dict(reversed(fields))
    kind, about, said = next(((kind, first[key], said) for key, kind, said in _KINDS if key in first), ("", None, ()))
    happened = next((first[name] for name in said if first.get(name)), None)
    sequence = first.get("SequenceNumber", "")
    return Item(
        type=type_of(first.get("EventType") or type_of(kind, happened, fallback="event"), fallback="event"),
        data=_json_of(fields),
        identity=received.header("I-Twilio-Idempotency-Token"),
        occurred_at=_time(first),
        sequence=int(sequence) if sequence.isascii() and sequence.isdecimal() else None,
        stream=about,
        ordering_key=about or first.get("ConversationSid"),
    )


def _json_of(fields: list[tuple[str, str]]) -> bytes:
    """The fields as a JSON object; one that stands several times becomes a list."""
    found: dict[str, list[str]] = {}
    for name, value in fields:
        found.setdefault(name, []).append(value)
    return msgspec.json.encode({name: values if values[1:] else values[0] for name, values in found.items()})


def _time(fields: Mapping[str, str]) -> int | None:
    """Calls write ``Sun, 22 Nov 2026 14:00:00 +0000``, conversations RFC 3339."""
    if "DateCreated" in fields:
        return time_ms(fields["DateCreated"], Unit.RFC3339)
    try:
        at = parsedate_to_datetime(fields.get("Timestamp", ""))
    except ValueError:
        return None
    seconds = 0 if at.tzinfo is None else int(at.timestamp())
    return seconds * 1_000 if seconds > 0 else None


PRESET: Final = Preset(
    name="twilio",
    title="Twilio",
    docs="https://www.twilio.com/docs/usage/security",
    secret_help=("The auth token on the console's first page (32 hex digits), or the secret of a shared key."),
    scheme=TwilioSignature(),
    read=read,
    # Nothing in the body: a text would be sent as the answer to an incoming message.
    answers=Answers(retry_after_s=None),
    sender=SenderRules(
        deadline_ms=15_000,
        connect_ms=5_000,
        again=Again.LISTED,
        retries_timeouts=False,
        known="documented: one retry, only of a failed connection, unless the URL ends with #rc= and #rp=",
    ),
)
