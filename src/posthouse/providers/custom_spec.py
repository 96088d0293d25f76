"""What a user may declare of a sender that nobody has written a preset for.

Where something is found is said by a text: ``header:X-Name``, or ``field:a.b.0.c`` for what stands in the JSON of the
event below these keys, where a number counts in a list (from its end if it is negative).
"""

import re
from typing import Final, Literal

import msgspec

from posthouse.core.errors import InvalidInput
from posthouse.providers.schemes import Encoding, Unit

TEXT_CHARS_MAX: Final = 512  #: of each text of a declaration

_AT: Final = re.compile(r" - at `(?:key in )?\$\.?(?P<path>.*)`$", re.DOTALL)
_NAMED: Final = re.compile(r"(?:unknown|required) field `(?P<field>.*?)`", re.DOTALL)


class _Declared(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """A scheme, told apart from the others by its ``kind``."""


class HmacSpec(_Declared, frozen=True, kw_only=True, tag="hmac"):
    """See :class:`posthouse.providers.schemes.Hmac`."""

    header: str
    prefix: str = ""
    signature_key: str | None = None
    timestamp_key: str | None = None
    separator: str = ","
    signed: str = "{body}"
    algorithm: Literal["sha1", "sha256", "sha384", "sha512"] = "sha256"
    encoding: Encoding = Encoding.HEX
    secret: Encoding = Encoding.UTF8
    timestamp_header: str | None = None
    unit: Unit = Unit.SECONDS
    tolerance_s: int | None = None
    id_header: str | None = None


class TokenSpec(_Declared, frozen=True, kw_only=True, tag="token"):
    """See :class:`posthouse.providers.schemes.Token`."""

    header: str
    prefix: str = ""


class BasicSpec(_Declared, frozen=True, kw_only=True, tag="basic"):
    """See :class:`posthouse.providers.schemes.Basic`."""


class Ed25519Spec(_Declared, frozen=True, kw_only=True, tag="ed25519"):
    """See :class:`posthouse.providers.schemes.Ed25519`."""

    header: str
    timestamp_header: str
    separator: str = ""
    encoding: Encoding = Encoding.HEX
    key: Encoding = Encoding.HEX
    tolerance_s: int = 300


class StandardWebhooksSpec(_Declared, frozen=True, kw_only=True, tag="standard-webhooks"):
    """See :class:`posthouse.providers.schemes.StandardWebhooks`."""

    prefix: str = "webhook"
    tolerance_s: int = 300


class NoneSpec(_Declared, frozen=True, kw_only=True, tag="none"):
    """The sender proves nothing."""


SchemeSpec = HmacSpec | TokenSpec | BasicSpec | Ed25519Spec | StandardWebhooksSpec | NoneSpec


class AnswersSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """See :class:`posthouse.providers.preset.Answers`."""

    accepted: int = 200
    bad_signature: int = 401
    overload: int | None = None  #: None: 503, or one that this sender retries
    too_large: int = 413
    retry_after_s: int | None = 30
    body: str = ""


class SenderSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """See :class:`posthouse.providers.preset.SenderRules`."""

    deadline_ms: int = 10_000
    connect_ms: int | None = None
    retried: tuple[int, ...] | None = None  #: None: everything but 2xx
    retries_timeouts: bool = True
    delays_s: tuple[int, ...] = ()
    follows_redirects: bool = False
    gives_up_after: int | None = None
    gives_up_after_s: int | None = None
    drops_s: int | None = None


class CustomSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a user says of a sender."""

    scheme: SchemeSpec
    name: str = "custom"
    title: str = "Custom"
    docs: str = ""
    secret_help: str = "The secret that you agreed on with the sender."  # noqa: S105 - a help text
    type: str | tuple[str, ...] = "field:type"  #: joined by full stops
    fallback: str = "event"  #: the type of an event in which none of them is found
    identity: str | None = None
    occurred_at: str | None = None
    unit: Unit = Unit.RFC3339  #: of ``occurred_at``
    sequence: str | None = None
    stream: str | None = None
    ordering_key: str | None = None
    delivery: str | None = None  #: in the whole request, not in each event
    items: str | None = None  #: keys of the list of events, as in ``a.b``; "": the body is it; None: it is one event
    heartbeat_when_empty: bool = False
    answers: AnswersSpec = AnswersSpec()
    sender: SenderSpec = SenderSpec()
    window_seconds: int | None = None  #: None: long if events have an identity, short if their content stands for it


_decoder: Final = msgspec.json.Decoder(CustomSpec)


def custom_spec(document: bytes) -> CustomSpec:
    """The declaration in a JSON document. Raises InvalidInput."""
    try:
        return _decoder.decode(document)
    except msgspec.ValidationError as error:
        raise _misshapen(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        hint = "Write one JSON object, encoded as UTF-8."
        raise InvalidInput.at("", "malformed_json", "The declaration is not JSON.", hint=hint) from error


def _misshapen(said: str) -> InvalidInput:
    """The error for what msgspec says: its path begins at the declaration, and ends with the field that is meant."""
    at, named = _AT.search(said), _NAMED.search(said)
    path = [at["path"]] if at is not None and at["path"] else []
    if named is not None:
        path.append(named["field"][:TEXT_CHARS_MAX])
    message = f"{said[: at.start()] if at is not None else said}."
    return InvalidInput.at(
        ".".join(path), "invalid", message[:TEXT_CHARS_MAX], hint="See the fields of a custom preset and their types."
    )
