"""What an endpoint may look like: every field checked, every fault named at once."""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from posthouse.core import limits
from posthouse.core.errors import InvalidInput
from posthouse.core.model import Endpoint, EndpointState
from posthouse.core.publishing import DEFAULT_TENANT, check_tenant_id
from posthouse.core.retry import parse_schedule
from posthouse.core.routing import validate_pattern
from posthouse.core.rules import DEFAULT_RULES, Rules
from posthouse.core.signature import validate_secret
from posthouse.core.url import parse_target
from posthouse.gateway.faults import Faults, between
from posthouse.gateway.rules_input import RulesChange, canonical_rules, changed_rules, check_rules

REASON_PAUSED: Final = "paused_by_operator"

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

RETRY_DEFAULT: Final = "three-weeks"

_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE: Final = re.compile(r"[\t\x20-\x7e]*")
_DESCRIPTION: Final = re.compile(r"[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*")
_DESCRIPTION_CHARS_MAX: Final = 1_024
_SETTINGS_KEPT_MAX: Final = 1_024  # found to be right


class EndpointSpec(Rules, frozen=True, kw_only=True):
    """An endpoint as its creator describes it, its rules among the rest."""

    url: str
    events: tuple[str, ...] = ("*",)
    active: bool = True
    tenant: str = DEFAULT_TENANT
    description: str = ""
    secret: str | None = None  #: None: one is made
    headers: tuple[tuple[str, str], ...] = ()
    retry: str = RETRY_DEFAULT
    connect_timeout_ms: int = limits.CONNECT_TIMEOUT_MS_MAX
    timeout_ms: int = limits.EXCHANGE_TIMEOUT_MS_MAX


class EndpointChange(RulesChange, frozen=True, kw_only=True):
    """What is to change about an endpoint, its rules among the rest; unset fields stay."""

    url: str | UnsetType = UNSET
    events: tuple[str, ...] | UnsetType = UNSET
    active: bool | UnsetType = UNSET
    description: str | UnsetType = UNSET
    headers: tuple[tuple[str, str], ...] | UnsetType = UNSET
    retry: str | UnsetType = UNSET
    connect_timeout_ms: int | UnsetType = UNSET
    timeout_ms: int | UnsetType = UNSET


def check_spec(spec: EndpointSpec) -> None:
    """Raise InvalidInput unless every field of ``spec`` is valid. Says nothing about where the URL leads."""
    faults = Faults()
    faults.check("tenant", check_tenant_id, spec.tenant)
    if spec.secret is not None:
        faults.check("secret", validate_secret, spec.secret)
    _check_shared(faults, spec)
    _check_timeouts(faults, spec.connect_timeout_ms, spec.timeout_ms)
    check_rules(faults, spec, retry=spec.retry)
    faults.raise_if_any()


def check_change(
    change: EndpointChange,
    *,
    connect_timeout_ms: int,
    timeout_ms: int,
    rules: Rules = DEFAULT_RULES,
    retry: str = RETRY_DEFAULT,
) -> None:
    """Raise InvalidInput unless ``change`` is valid for an endpoint that has these timeouts, rules and schedule now."""
    faults = Faults()
    _check_shared(faults, change)
    connect = connect_timeout_ms if isinstance(change.connect_timeout_ms, UnsetType) else change.connect_timeout_ms
    total = timeout_ms if isinstance(change.timeout_ms, UnsetType) else change.timeout_ms
    _check_timeouts(faults, connect, total)
    wanted = changed_rules(rules, change)
    if wanted != rules or change.retry is not UNSET:
        check_rules(faults, wanted, retry=retry if isinstance(change.retry, UnsetType) else change.retry)
    faults.raise_if_any()


def check_stored(endpoint: Endpoint) -> None:
    """Raise InvalidInput unless everything that is stored of ``endpoint`` can be worked with.

    The error names all that is wrong with its URL and secrets, or else with its settings.
    """
    faults = Faults()
    faults.check("url", parse_target, endpoint.url)
    for secret in endpoint.secrets:
        faults.check("secret", validate_secret, secret.value)
    faults.raise_if_any()
    _check_settings(
        endpoint.events,
        endpoint.headers,
        endpoint.retry,
        endpoint.rules,
        connect_timeout_ms=endpoint.connect_timeout_ms,
        timeout_ms=endpoint.timeout_ms,
    )


@lru_cache(maxsize=_SETTINGS_KEPT_MAX)
def _check_settings(
    events: tuple[str, ...],
    headers: tuple[tuple[str, str], ...],
    retry: str,
    rules: Rules,
    *,
    connect_timeout_ms: int,
    timeout_ms: int,
) -> None:
    """What many endpoints have in common, and a node checks for each of them."""
    faults = Faults()
    _check_shared(faults, EndpointChange(events=events, headers=headers, retry=retry))
    _check_timeouts(faults, connect_timeout_ms, timeout_ms)
    check_rules(faults, rules, retry=retry)
    faults.raise_if_any()


def _check_shared(faults: Faults, fields: EndpointSpec | EndpointChange) -> None:
    faults.check("url", parse_target, fields.url)
    faults.check("events", _check_patterns, fields.events)
    faults.check("description", check_description, fields.description)
    faults.check("headers", _check_headers, fields.headers)
    faults.check("retry", parse_schedule, fields.retry)


def _check_timeouts(faults: Faults, connect_timeout_ms: int, timeout_ms: int) -> None:
    low, high = limits.EXCHANGE_TIMEOUT_MS_MIN, limits.EXCHANGE_TIMEOUT_MS_MAX
    faults.check("timeout_ms", between(low, high, "milliseconds"), timeout_ms)
    connect = between(low, limits.CONNECT_TIMEOUT_MS_MAX, "milliseconds")
    faults.check("connect_timeout_ms", connect, connect_timeout_ms)


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


def check_description(text: str) -> None:
    """Raise InvalidInput unless ``text`` may describe something to people."""
    if len(text) > _DESCRIPTION_CHARS_MAX or not _DESCRIPTION.fullmatch(text):
        raise InvalidInput.at(
            "",
            "description",
            f"A description has at most {_DESCRIPTION_CHARS_MAX} characters and no control characters.",
            hint="Shorten the description.",
        )


def _header(path: str, code: str, message: str) -> InvalidInput:
    return InvalidInput.at(path, code, message, hint="Change or remove the header.")


def changed_endpoint(endpoint: Endpoint, change: EndpointChange) -> Endpoint:
    """``endpoint`` with the valid ``change``, and no earlier limit of connecting than that of the whole exchange."""
    fields = {
        name: value
        for name, value in msgspec.structs.asdict(change).items()
        if value is not msgspec.UNSET and name not in RulesChange.__struct_fields__
    }
    active = fields.pop("active", None)
    if active is not None and active is not (endpoint.state is EndpointState.ACTIVE):
        fields["state"] = EndpointState.ACTIVE if active else EndpointState.PAUSED
        fields["state_reason"] = None if active else REASON_PAUSED
    if "timeout_ms" in fields or "connect_timeout_ms" in fields:
        total = fields.get("timeout_ms", endpoint.timeout_ms)
        fields["connect_timeout_ms"] = min(fields.get("connect_timeout_ms", endpoint.connect_timeout_ms), total)
    rules = changed_rules(endpoint.rules, change)
    if rules != endpoint.rules:
        fields["rules"] = canonical_rules(rules)
    return msgspec.structs.replace(endpoint, **fields)
