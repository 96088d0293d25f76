"""What an endpoint may look like: every field checked, every fault named at once."""

import re
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from posthouse.core import limits
from posthouse.core.errors import InvalidInput
from posthouse.core.retry import parse_schedule
from posthouse.core.routing import validate_pattern
from posthouse.core.signature import validate_secret
from posthouse.core.url import parse_target
from posthouse.gateway.publish import DEFAULT_TENANT, check_tenant_id

T = TypeVar("T")

#: Header names that an endpoint may not set: they frame the request, or Posthouse sets them itself.
RESERVED_HEADERS: Final = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "http2-settings",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
    }
)
RESERVED_HEADER_PREFIXES: Final = ("webhook-", "proxy-")

_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE: Final = re.compile(r"[\t\x20-\x7e]*")
_DESCRIPTION: Final = re.compile(r"[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*")
_DESCRIPTION_CHARS_MAX: Final = 1_024


class EndpointSpec(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint as its creator describes it."""

    url: str
    events: tuple[str, ...] = ("*",)
    active: bool = True
    tenant: str = DEFAULT_TENANT
    description: str = ""
    secret: str | None = None  #: None: one is made
    headers: tuple[tuple[str, str], ...] = ()
    retry: str = "three-weeks"
    connect_timeout_ms: int = limits.CONNECT_TIMEOUT_MS_MAX
    timeout_ms: int = limits.EXCHANGE_TIMEOUT_MS_MAX


class EndpointChange(msgspec.Struct, frozen=True, kw_only=True):
    """What is to change about an endpoint; unset fields stay."""

    url: str | UnsetType = UNSET
    events: tuple[str, ...] | UnsetType = UNSET
    active: bool | UnsetType = UNSET
    description: str | UnsetType = UNSET
    headers: tuple[tuple[str, str], ...] | UnsetType = UNSET
    retry: str | UnsetType = UNSET
    connect_timeout_ms: int | UnsetType = UNSET
    timeout_ms: int | UnsetType = UNSET


class Faults:
    """Gathers what is wrong with the fields of one request."""

    def __init__(self) -> None:
        self._found: list[InvalidInput] = []
        self._errors: list[dict[str, object]] = []

    def check(self, path: str, rule: Callable[[T], object], value: T | UnsetType) -> None:
        """Apply ``rule`` to a field that is set; what it raises is kept under ``path``."""
        if isinstance(value, UnsetType):
            return
        try:
            rule(value)
        except InvalidInput as error:
            self._found.append(error)
            inner = error.errors or ({"code": error.code, "message": error.message},)
            self._errors += [{**problem, "path": _join(path, problem.get("path"), error)} for problem in inner]

    def raise_if_any(self) -> None:
        """Raise one InvalidInput that names everything that was found."""
        if not self._errors:
            return
        if len(self._found) == 1:
            raise InvalidInput(self._found[0].message, hint=self._found[0].advice, errors=self._errors)
        raise InvalidInput(f"{len(self._found)} fields are not valid.", errors=self._errors)


def check_spec(spec: EndpointSpec) -> None:
    """Raise InvalidInput unless every field of ``spec`` is valid. Says nothing about where the URL leads."""
    faults = Faults()
    faults.check("tenant", check_tenant_id, spec.tenant)
    if spec.secret is not None:
        faults.check("secret", validate_secret, spec.secret)
    _check_shared(faults, spec)
    _check_timeouts(faults, spec.connect_timeout_ms, spec.timeout_ms)
    faults.raise_if_any()


def check_change(change: EndpointChange, *, connect_timeout_ms: int, timeout_ms: int) -> None:
    """Raise InvalidInput unless ``change`` is valid for an endpoint that has these timeouts now."""
    faults = Faults()
    _check_shared(faults, change)
    connect = connect_timeout_ms if isinstance(change.connect_timeout_ms, UnsetType) else change.connect_timeout_ms
    total = timeout_ms if isinstance(change.timeout_ms, UnsetType) else change.timeout_ms
    _check_timeouts(faults, connect, total)
    faults.raise_if_any()


def _check_shared(faults: Faults, fields: EndpointSpec | EndpointChange) -> None:
    faults.check("url", parse_target, fields.url)
    faults.check("events", _check_patterns, fields.events)
    faults.check("description", _check_description, fields.description)
    faults.check("headers", _check_headers, fields.headers)
    faults.check("retry", parse_schedule, fields.retry)


def _check_timeouts(faults: Faults, connect_timeout_ms: int, timeout_ms: int) -> None:
    low, high = limits.EXCHANGE_TIMEOUT_MS_MIN, limits.EXCHANGE_TIMEOUT_MS_MAX
    faults.check("timeout_ms", _between(low, high), timeout_ms)
    faults.check("connect_timeout_ms", _between(low, limits.CONNECT_TIMEOUT_MS_MAX), connect_timeout_ms)


def _check_patterns(patterns: tuple[str, ...]) -> None:
    if not 1 <= len(patterns) <= limits.PATTERNS_MAX:
        raise InvalidInput.at(
            "",
            "count",
            f"An endpoint has 1 to {limits.PATTERNS_MAX} event patterns.",
            hint="Use ['*'] for every event.",
        )
    if len(set(patterns)) != len(patterns):
        raise InvalidInput.at("", "repeated", "An event pattern is there twice.", hint="Name each pattern once.")
    faults = Faults()
    for position, pattern in enumerate(patterns):
        faults.check(f"[{position}]", validate_pattern, pattern)
    faults.raise_if_any()


def _check_headers(headers: Sequence[tuple[str, str]]) -> None:
    if len(headers) > limits.ENDPOINT_HEADERS_MAX:
        raise _header("", "count", f"An endpoint sets at most {limits.ENDPOINT_HEADERS_MAX} headers.")
    seen: set[str] = set()
    for name, value in headers:
        lower = name.lower()
        if not _HEADER_NAME.fullmatch(name):
            raise _header(".name", "name", "A header name holds letters, digits and !#$%&'*+.^_`|~- only.")
        if lower in RESERVED_HEADERS or lower.startswith(RESERVED_HEADER_PREFIXES):
            raise _header(f".{name}", "reserved", f"Posthouse sets the header {name} itself, or nobody may.")
        if lower in seen:
            raise _header(f".{name}", "repeated", f"The header {name} is there twice.")
        if not _HEADER_VALUE.fullmatch(value) or value != value.strip():
            raise _header(
                f".{name}", "value", "A header value holds printable ASCII characters, and none at its ends is a space."
            )
        if len(name) + len(value) > limits.ENDPOINT_HEADER_BYTES_MAX:
            raise _header(f".{name}", "too_long", f"A header takes at most {limits.ENDPOINT_HEADER_BYTES_MAX} bytes.")
        seen.add(lower)


def _check_description(text: str) -> None:
    if len(text) > _DESCRIPTION_CHARS_MAX or not _DESCRIPTION.fullmatch(text):
        raise InvalidInput.at(
            "",
            "description",
            f"A description has at most {_DESCRIPTION_CHARS_MAX} characters and no control characters.",
            hint="Shorten the description.",
        )


def _between(low: int, high: int) -> Callable[[int], None]:
    def check(value: int) -> None:
        if not low <= value <= high:
            raise InvalidInput.at(
                "", "out_of_range", f"It is {low} to {high} milliseconds.", hint="Use a value in that range."
            )

    return check


def _header(path: str, code: str, message: str) -> InvalidInput:
    return InvalidInput.at(path, code, message, hint="Change or remove the header.")


def _join(path: str, inner: object, error: InvalidInput) -> str:
    """The path of a fault inside a field: rules that know parts of it start theirs with ``[`` or ``.``."""
    part = str(inner or "")
    return path + part if error.errors and part.startswith(("[", ".")) else path
