"""The preset that a user declares, checked: every field that is not valid is named at once."""

import re
from typing import Final

import msgspec

from posthouse.core.errors import InvalidInput
from posthouse.core.limits import EVENT_TYPE_CHARS_MAX
from posthouse.providers.custom_spec import (
    TEXT_CHARS_MAX,
    AnswersSpec,
    BasicSpec,
    CustomSpec,
    Ed25519Spec,
    HmacSpec,
    NoneSpec,
    SchemeSpec,
    SenderSpec,
    StandardWebhooksSpec,
    TokenSpec,
    custom_spec,
)
from posthouse.providers.preset import (
    BODY_WINDOW_SECONDS,
    DAY_SECONDS,
    ID_WINDOW_SECONDS,
    Again,
    Answers,
    Preset,
    Scheme,
    SenderRules,
)
from posthouse.providers.reading import Field, Header, Reader, Where
from posthouse.providers.schemes import (
    Basic,
    Ed25519,
    Encoding,
    Hmac,
    StandardWebhooks,
    Token,
    Unproven,
)

__all__ = ["CustomSpec", "custom_preset", "custom_spec"]

TYPE_PARTS_MAX: Final = 4  #: texts that make up a type
KEYS_MAX: Final = 16  #: keys of a path
TOLERANCE_SECONDS_MAX: Final = DAY_SECONDS
WINDOW_SECONDS_MAX: Final = 90 * DAY_SECONDS
RETRIES_MAX: Final = 1_000  #: delays that a sender can be said to have
SPAN_SECONDS_MAX: Final = 365 * DAY_SECONDS  #: of what a sender waits for, gives up after or drops after
DEADLINE_MS_MAX: Final = 600_000
FAILURES_MAX: Final = 1_000_000

_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?")
_HEADER: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
_TYPE: Final = re.compile(rf"[A-Za-z0-9_.:/-]{{1,{EVENT_TYPE_CHARS_MAX}}}")
_LINE: Final = re.compile(rf"[\x20-\x7e]{{0,{TEXT_CHARS_MAX}}}")
_SIGNED: Final = re.compile(rf"[\t\n\x20-\x7e]{{1,{TEXT_CHARS_MAX}}}")
_SEPARATOR: Final = re.compile(r"[\x20-\x3c\x3e-\x7e]{1,4}")
_PART: Final = re.compile(r"\{([^{}]*)\}")
_PARTS: Final = frozenset({"body", "ts", "id", "url", "method"})
_INDEX: Final = re.compile(r"-?[0-9]{1,4}")
_ERRORS: Final = 400  #: from here on a status refuses a request
_BUSY: Final = (503, 429)  #: the usual answers to who should come again, the better one first
_BINARY: Final = frozenset({Encoding.HEX, Encoding.BASE64})


# -- what is made of it -------------------------------------------------------------------------


class _Faults:
    """Gathers what is wrong with a declaration, to name it all at once."""

    def __init__(self) -> None:
        self._found: list[tuple[str, str, str, str]] = []

    def add(self, path: str, code: str, message: str, hint: str) -> None:
        """Keep one fault."""
        self._found.append((path, code, message, hint))

    def matches(self, path: str, pattern: re.Pattern[str], text: str | None, message: str, hint: str) -> None:
        """A text, if there is one, has this form."""
        if text is not None and pattern.fullmatch(text) is None:
            self.add(path, "format", message, hint)

    def between(self, path: str, low: int, high: int, *values: int | None) -> None:
        """Each number, if there is one, lies within these bounds."""
        if any(value is not None and not low <= value <= high for value in values):
            self.add(path, "out_of_range", f"It is {low:,} to {high:,}.", "Use a value in that range.")

    def raise_if_any(self) -> None:
        """Raise one InvalidInput that names everything that was found."""
        if not self._found:
            return
        errors = [{"path": path, "code": code, "message": message} for path, code, message, _ in self._found]
        if len(self._found) == 1:
            raise InvalidInput(self._found[0][2], hint=self._found[0][3], errors=errors)
        raise InvalidInput(f"{len(self._found)} fields are not valid.", errors=errors)


def custom_preset(spec: CustomSpec) -> Preset:
    """The preset that a declaration describes. Raises InvalidInput, which names every bad field."""
    faults = _Faults()
    faults.matches("name", _NAME, spec.name, "A name is 1 to 64 of a-z, 0-9 and -.", "Use a name such as 'acme'.")
    for path, text in (("title", spec.title), ("docs", spec.docs), ("secret_help", spec.secret_help)):
        if len(text) > TEXT_CHARS_MAX:
            faults.add(path, "too_long", f"It has at most {TEXT_CHARS_MAX} characters.", "Shorten it.")
    faults.between("window_seconds", 1, WINDOW_SECONDS_MAX, spec.window_seconds)
    scheme = _scheme(faults, spec.scheme)
    read = _reader(faults, spec)
    sender = _sender(faults, spec.sender)
    answers = _answers(faults, spec.answers, sender)
    faults.raise_if_any()
    window = BODY_WINDOW_SECONDS if spec.identity is None else ID_WINDOW_SECONDS
    return Preset(
        name=spec.name,
        title=spec.title,
        docs=spec.docs,
        secret_help=spec.secret_help,
        scheme=scheme,
        read=read,
        answers=answers,
        sender=sender,
        window_seconds=window if spec.window_seconds is None else spec.window_seconds,
    )


def _scheme(faults: _Faults, spec: SchemeSpec) -> Scheme:
    match spec:
        case HmacSpec():
            _check_hmac(faults, spec)
            return Hmac(**msgspec.structs.asdict(spec))
        case TokenSpec():
            _header(faults, "scheme.header", spec.header)
            _line(faults, "scheme.prefix", spec.prefix)
            return Token(header=spec.header, prefix=spec.prefix)
        case BasicSpec():
            return Basic()
        case Ed25519Spec():
            _header(faults, "scheme.header", spec.header)
            _header(faults, "scheme.timestamp_header", spec.timestamp_header)
            _line(faults, "scheme.separator", spec.separator)
            _binary(faults, "scheme.encoding", spec.encoding)
            _binary(faults, "scheme.key", spec.key)
            faults.between("scheme.tolerance_s", 1, TOLERANCE_SECONDS_MAX, spec.tolerance_s)
            return Ed25519(**msgspec.structs.asdict(spec))
        case StandardWebhooksSpec():
            _header(faults, "scheme.prefix", spec.prefix)
            faults.between("scheme.tolerance_s", 1, TOLERANCE_SECONDS_MAX, spec.tolerance_s)
            return StandardWebhooks(prefix=spec.prefix, tolerance_s=spec.tolerance_s)
        case NoneSpec():
            return Unproven()


def _check_hmac(faults: _Faults, spec: HmacSpec) -> None:
    _header(faults, "scheme.header", spec.header)
    _header(faults, "scheme.timestamp_header", spec.timestamp_header)
    _header(faults, "scheme.id_header", spec.id_header)
    _line(faults, "scheme.prefix", spec.prefix)
    _binary(faults, "scheme.encoding", spec.encoding)
    faults.between("scheme.tolerance_s", 1, TOLERANCE_SECONDS_MAX, spec.tolerance_s)
    for path, key in (("scheme.signature_key", spec.signature_key), ("scheme.timestamp_key", spec.timestamp_key)):
        faults.matches(path, _HEADER, key, "It is the key of a pair such as t=…", "Use a key such as 'v1'.")
    faults.matches(
        "scheme.separator", _SEPARATOR, spec.separator, "It is 1 to 4 characters without =.", "Use one such as ','."
    )
    faults.matches(
        "scheme.signed",
        _SIGNED,
        spec.signed,
        f"It is 1 to {TEXT_CHARS_MAX} characters of ASCII.",
        "Use a text such as '{ts}.{body}'.",
    )
    _check_signed(faults, spec)


def _check_signed(faults: _Faults, spec: HmacSpec) -> None:
    """What is signed can be had, and covers the body and the time that is checked."""
    parts = set(_PART.findall(spec.signed))
    says_time = spec.timestamp_header is not None or spec.timestamp_key is not None

    def need(path: str, message: str, hint: str, *, ok: bool) -> None:
        if not ok:
            faults.add(path, "inconsistent", message, hint)

    names = ", ".join(f"{{{name}}}" for name in sorted(_PARTS))
    need("scheme.signed", f"Its parts are {names}.", "Leave other braces out.", ok=parts <= _PARTS)
    need("scheme.signed", "The body is not signed.", "Put {body} into it.", ok="body" in parts)
    need(
        "scheme.signed",
        "Nothing says where the time is found.",
        "Set timestamp_header or timestamp_key, or leave {ts} out.",
        ok=says_time or "ts" not in parts,
    )
    need(
        "scheme.signed",
        "Nothing says where the id is found.",
        "Set id_header, or leave {id} out.",
        ok=spec.id_header is not None or "id" not in parts,
    )
    need(
        "scheme.tolerance_s",
        "A time that is not signed proves nothing.",
        "Put {ts} into signed, or leave tolerance_s out.",
        ok=spec.tolerance_s is None or "ts" in parts,
    )
    need(
        "scheme.timestamp_key",
        "It is a key in the list of signatures.",
        "Set signature_key, or use timestamp_header.",
        ok=spec.timestamp_key is None or spec.signature_key is not None,
    )
    need(
        "scheme.timestamp_header",
        "The time stands in one place.",
        "Leave timestamp_header or timestamp_key out.",
        ok=spec.timestamp_header is None or spec.timestamp_key is None,
    )
    need(
        "scheme.prefix",
        "Signatures with a key have no prefix.",
        "Leave prefix or signature_key out.",
        ok=not spec.prefix or spec.signature_key is None,
    )


def _reader(faults: _Faults, spec: CustomSpec) -> Reader:
    types = (spec.type,) if isinstance(spec.type, str) else spec.type
    if not 1 <= len(types) <= TYPE_PARTS_MAX:
        faults.add("type", "out_of_range", f"A type has 1 to {TYPE_PARTS_MAX} parts.", "Join fewer of them.")
        types = types[:TYPE_PARTS_MAX]
    is_list = not isinstance(spec.type, str)
    parts = (_where(faults, f"type[{at}]" if is_list else "type", text) for at, text in enumerate(types))
    message = f"A type is 1 to {EVENT_TYPE_CHARS_MAX} of A-Z, a-z, 0-9 and _.:/-."
    faults.matches("fallback", _TYPE, spec.fallback, message, "Use a type such as 'event'.")
    items = None if spec.items is None else tuple(spec.items.split(".")) if spec.items else ()
    if items is not None and (len(items) > KEYS_MAX or "" in items or len(spec.items or "") > TEXT_CHARS_MAX):
        hint = "Use keys such as 'data.events', or '' where the body is the list."
        faults.add("items", "format", f"It is at most {KEYS_MAX} keys, joined by full stops.", hint)
    if spec.heartbeat_when_empty and items is None:
        message, hint = "Only a list can be empty.", "Set items, or leave heartbeat_when_empty out."
        faults.add("heartbeat_when_empty", "inconsistent", message, hint)
    return Reader(
        type=tuple(part for part in parts if part is not None),
        fallback=spec.fallback,
        identity=_where(faults, "identity", spec.identity),
        occurred_at=_where(faults, "occurred_at", spec.occurred_at),
        unit=spec.unit,
        sequence=_where(faults, "sequence", spec.sequence),
        stream=_where(faults, "stream", spec.stream),
        ordering_key=_where(faults, "ordering_key", spec.ordering_key),
        items=items,
        delivery=_where(faults, "delivery", spec.delivery),
        empty_is_heartbeat=spec.heartbeat_when_empty,
    )


def _where(faults: _Faults, path: str, text: str | None) -> Where | None:
    """Where a text says that something is found; None if it says nothing, or nothing that can be understood."""
    if text is None:
        return None
    kind, _, rest = text.partition(":")
    if kind == "header" and _HEADER.fullmatch(rest) is not None:
        return Header(rest)
    keys = rest.split(".")
    if kind == "field" and len(rest) <= TEXT_CHARS_MAX and len(keys) <= KEYS_MAX and "" not in keys:
        return Field(tuple(int(key) if _INDEX.fullmatch(key) else key for key in keys))
    hint = f"Use at most {KEYS_MAX} keys; an empty one cannot be named."
    faults.add(path, "format", "It is 'header:X-Name' or 'field:a.b.0.c'.", hint)
    return None


def _answers(faults: _Faults, spec: AnswersSpec, sender: SenderRules) -> Answers:
    overload = _overload(faults, spec.overload, sender)
    faults.between("answers.accepted", 200, 299, spec.accepted)
    for name, status in (
        ("bad_signature", spec.bad_signature),
        ("overload", overload),
        ("too_large", spec.too_large),
    ):
        faults.between(f"answers.{name}", 400, 599, status)
    faults.between("answers.retry_after_s", 1, DAY_SECONDS, spec.retry_after_s)
    _line(faults, "answers.body", spec.body)
    if spec.body and spec.accepted in {204, 205}:
        hint = "Leave the body out, or accept with 200."
        faults.add("answers.body", "inconsistent", f"An answer {spec.accepted} has no body.", hint)
    return Answers(
        accepted=spec.accepted,
        bad_signature=spec.bad_signature,
        overload=overload,
        too_large=spec.too_large,
        retry_after_s=spec.retry_after_s,
        body=spec.body.encode("ascii", "replace"),
    )


def _overload(faults: _Faults, wanted: int | None, sender: SenderRules) -> int:
    """The answer when no more can be taken: what is refused by it comes again, if this sender ever sends one again."""
    retried = sorted(status for status in sender.listed if status >= _ERRORS)
    if wanted is None:
        return next((status for status in (*_BUSY, *retried) if sender.retries(status)), _BUSY[0])
    if retried and wanted not in retried:
        message = f"The sender does not retry {wanted}: what is refused in a rush would be lost."
        faults.add("answers.overload", "inconsistent", message, "Use one of sender.retried, or leave it out.")
    return wanted


def _sender(faults: _Faults, spec: SenderSpec) -> SenderRules:
    faults.between("sender.deadline_ms", 1, DEADLINE_MS_MAX, spec.deadline_ms)
    faults.between("sender.connect_ms", 1, DEADLINE_MS_MAX, spec.connect_ms)
    faults.between("sender.retried", 300, 599, *(spec.retried or ()))
    faults.between("sender.delays_s", 0, SPAN_SECONDS_MAX, *spec.delays_s)
    faults.between("sender.gives_up_after", 1, FAILURES_MAX, spec.gives_up_after)
    faults.between("sender.gives_up_after_s", 1, SPAN_SECONDS_MAX, spec.gives_up_after_s)
    faults.between("sender.drops_s", 1, SPAN_SECONDS_MAX, spec.drops_s)
    if len(spec.delays_s) > RETRIES_MAX:
        faults.add("sender.delays_s", "too_long", f"There are at most {RETRIES_MAX:,} delays.", "Name the first ones.")
    return SenderRules(
        deadline_ms=spec.deadline_ms,
        connect_ms=spec.connect_ms,
        again=Again.NOT_2XX if spec.retried is None else Again.LISTED,
        listed=frozenset(spec.retried or ()),
        retries_timeouts=spec.retries_timeouts,
        delays_s=spec.delays_s,
        follows_redirects=spec.follows_redirects,
        gives_up_after=spec.gives_up_after,
        gives_up_after_s=spec.gives_up_after_s,
        drops_s=spec.drops_s,
        known="as the user declared it",
    )


# -- forms --------------------------------------------------------------------------------------


def _header(faults: _Faults, path: str, name: str | None) -> None:
    faults.matches(path, _HEADER, name, "It is not the name of a header.", "Use a name such as 'X-Signature'.")


def _line(faults: _Faults, path: str, text: str) -> None:
    message = f"It is at most {TEXT_CHARS_MAX} visible characters of ASCII."
    faults.matches(path, _LINE, text, message, "Leave other characters out.")


def _binary(faults: _Faults, path: str, encoding: Encoding) -> None:
    if encoding not in _BINARY:
        faults.add(path, "format", "Signatures and keys are in hex or base64.", "Use 'hex' or 'base64'.")
