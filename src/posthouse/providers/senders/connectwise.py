"""ConnectWise PSA (formerly Manage): tickets and all else of a service provider."""

import hashlib
import re
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from posthouse.core import signature
from posthouse.core.errors import SignatureInvalid
from posthouse.providers.preset import (
    BODY_WINDOW_SECONDS,
    DAY_SECONDS,
    Again,
    Answers,
    Fetch,
    Item,
    Preset,
    Reading,
    SenderRules,
)
from posthouse.providers.reading import decode, dig, time_ms, type_of
from posthouse.providers.received import Received, Unreadable, content
from posthouse.providers.schemes import Encoding, Unit, any_host, check_digests, decoded, no_match, required

_HEADER: Final = "x-content-signature"
_SIGNATURE_BYTES: Final = 32
_BODY_BYTES_MAX: Final = 1 << 20  #: the key's address is looked for before the request is answered
_HOSTS: Final = (
    "na.myconnectwise.net",
    "eu.myconnectwise.net",
    "au.myconnectwise.net",
    "api-*.myconnectwise.net",
    "sandbox-*.myconnectwise.net",
)
_URL: Final = re.compile(r"[!-\[\]^-~]{1,2048}")  #: visible ASCII without a backslash
_TICKETS: Final = frozenset({"serviceticket", "projectticket", "projectissue"})


# -- is it genuine? -----------------------------------------------------------------------------


class Callback(msgspec.Struct, frozen=True):
    """HMAC-SHA256 over the body, with the digest of a key that ConnectWise shows at an address in the body.

    That key proves no more than that somebody's ConnectWise sent the request. Whose it is says the body, so what takes
    the place of a secret is the company id (or the product instance id) of one's own.
    """

    hosts: tuple[str, ...] = _HOSTS  #: where keys may stand; whoever runs a server of its own adds that

    @property
    def has_secret(self) -> bool:
        """The company that must have sent it stands for one."""
        return True

    def needs(self, received: Received) -> Fetch:
        """The document with the key; only for a request that has a signature."""
        self._signature(received)
        url = dig(_body(received), ("Metadata", "key_url"))
        if not isinstance(url, str) or not _is_trusted(url, self.hosts):
            said = "The address of the key is missing, or is none of ConnectWise."
            raise SignatureInvalid(signature.MALFORMED_HEADER, said)
        return Fetch(url, self.hosts)

    def verify(self, received: Received, secrets: Sequence[str], *, now_s: int, fetched: bytes | None = None) -> None:
        """See :meth:`posthouse.providers.preset.Scheme.verify`."""
        del now_s
        self.needs(received)
        key = hashlib.sha256(_key(fetched).encode()).hexdigest()
        given = self._signature(received)
        check_digests([given], [key], received.body, encoding=Encoding.BASE64, secret_encoding=Encoding.HEX)
        body = _body(received)
        names = [dig(body, (key,)) for key in ("CompanyId", "ProductInstanceId")]
        senders = {name.casefold() for name in names if isinstance(name, str) and name}
        if senders.isdisjoint(secret.casefold() for secret in secrets):
            raise SignatureInvalid(signature.NO_MATCH, "The request is of another company's ConnectWise.")

    def _signature(self, received: Received) -> str:
        given = required(received, _HEADER)
        digest = decoded(given, Encoding.BASE64)
        if digest is None or len(digest) != _SIGNATURE_BYTES:
            raise SignatureInvalid(signature.MALFORMED_HEADER, f"The header {_HEADER} is malformed.")
        return given


def _body(received: Received) -> Any:
    try:
        return decode(content(received, bytes_max=_BODY_BYTES_MAX))
    except Unreadable as error:
        raise SignatureInvalid(signature.MALFORMED_HEADER, str(error)) from error


def _is_trusted(text: str, hosts: tuple[str, ...]) -> bool:
    if _URL.fullmatch(text) is None:
        return False
    try:
        url = urlsplit(text)
    except ValueError:
        return False
    # All of the netloc is compared, so there is no room for a user's name, or for a port that nobody allowed.
    return url.scheme == "https" and "#" not in text and any_host(hosts).fullmatch(url.netloc.lower()) is not None


def _key(fetched: bytes | None) -> str:
    if fetched is None:
        raise no_match()
    try:
        key = dig(decode(fetched), ("signing_key",))
    except Unreadable:
        key = None
    if not isinstance(key, str) or not key:
        raise SignatureInvalid(signature.MALFORMED_SECRET, "The document with the key holds no key.")
    return key


# -- what does it hold? -------------------------------------------------------------------------


def _read(_: Received, body: bytes) -> Reading:
    """One event; its ``Entity`` is JSON within a string."""
    event = decode(body)
    kind, action, number = (_text(event, key) for key in ("Type", "Action", "ID"))
    entity = _entity(event)
    changed = _text(dig(entity, ("_info",)), "lastUpdated")
    item = Item(
        type=type_of(kind, action, fallback="event"),
        data=body,
        occurred_at=None if changed is None else time_ms(changed, Unit.RFC3339),
        ordering_key=None if kind is None or number is None else f"{kind}/{number}",
        contradiction=_contradiction(kind, _text(entity, "recordType")),
    )
    return Reading((item,))


def _contradiction(kind: str | None, record: str | None) -> str | None:
    """Whether the entity is a ticket, and the envelope says something else; other entities do not say what they are."""
    if record is not None and kind is not None and record.lower() in _TICKETS and kind.lower() != "ticket":
        return f"The Type is {kind}, and the entity is a {record}."
    return None


def _entity(event: Any) -> Any:
    text = dig(event, ("Entity",))
    if not isinstance(text, str):
        return text
    try:
        return decode(text.encode(errors="replace"))
    except Unreadable:
        return None


def _text(data: Any, key: str) -> str | None:
    found = dig(data, (key,))
    return str(found) if isinstance(found, str | int) and not isinstance(found, bool) else None


PRESET: Final = Preset(
    name="connectwise",
    title="ConnectWise PSA",
    docs="https://developer.connectwise.com/Products/Manage/Developer_Guide",
    secret_help=(
        "The company id with which you log in to ConnectWise: its keys change with every callback and are fetched, but "
        "only your company may send here."
    ),
    scheme=Callback(),
    read=_read,
    # It takes only four answers as a reason to send again: a 503 would lose the event.
    answers=Answers(overload=429, retry_after_s=None),
    sender=SenderRules(
        deadline_ms=5_000,
        again=Again.LISTED,
        listed=frozenset({404, 409, 419, 429}),
        retries_timeouts=False,
        delays_s=(2, 4),
        gives_up_after_s=3 * DAY_SECONDS,
        known="documented, except that it does not retry after a timeout: that is assumed",
    ),
    window_seconds=BODY_WINDOW_SECONDS,
)
