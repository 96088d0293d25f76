"""What a source may look like: every field checked, every fault named at once."""

import re
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from posthouse.core import limits
from posthouse.core.errors import InvalidInput, SignatureInvalid
from posthouse.core.inbound import SourceRules, WhilePaused
from posthouse.core.publishing import DEFAULT_TENANT, check_tenant_id
from posthouse.core.signature import validate_verifier
from posthouse.gateway.endpoint_input import check_description
from posthouse.gateway.faults import Faults, between
from posthouse.gateway.presets import CUSTOM, takes_key_hosts
from posthouse.gateway.tenants import check_name
from posthouse.providers.custom import custom_preset, custom_spec
from posthouse.providers.index import preset_named
from posthouse.providers.preset import Preset, Scheme
from posthouse.providers.schemes import Ed25519, Hmac, StandardWebhooks, secret_bytes

_RULES: Final = SourceRules.__struct_fields__
_LABEL: Final = r"[a-z0-9*](?:[a-z0-9*-]{0,61}[a-z0-9*])?"
_PLAIN_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_PORT: Final = r"(?!0)[0-9]{1,5}"
#: Labels with ``*``, then a domain without: no pattern may mean hosts of everybody, and none an IP address. This
#: machine has one name, which the network's own rules guard.
_HOST_PATTERN: Final = re.compile(
    rf"(?=[^:]{{1,253}}(?::|$))(?:localhost|(?:{_LABEL}\.)*{_PLAIN_LABEL}\.(?=[a-z]){_PLAIN_LABEL})(?::(?P<port>{_PORT}))?"
)
_PORT_MAX: Final = 65_535
_SECRET: Final = re.compile(r"[^\x00]+")


class SourceSpec(SourceRules, frozen=True, kw_only=True):
    """A source as its creator describes it, its rules among the rest."""

    name: str
    provider: str  #: of a preset, or ``custom``; then ``declaration`` says what it does
    tenant: str = DEFAULT_TENANT
    secrets: tuple[str, ...] = ()  #: newest first; none: many senders show theirs only when they know the URL
    description: str = ""


class SourceChange(msgspec.Struct, frozen=True, kw_only=True):
    """What is to change about a source, its rules among the rest; unset fields stay."""

    name: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    fresh_seconds: int | UnsetType | None = UNSET
    heartbeat_seconds: int | UnsetType | None = UNSET
    body_bytes_max: int | UnsetType = UNSET
    while_paused: WhilePaused | UnsetType = UNSET
    key_hosts: tuple[str, ...] | UnsetType = UNSET
    declaration: str | UnsetType | None = UNSET


def check_source(spec: SourceSpec) -> None:
    """Raise InvalidInput unless every field of ``spec`` is valid."""
    faults = Faults()
    faults.check("name", check_name, spec.name)
    faults.check("tenant", check_tenant_id, spec.tenant)
    faults.check("description", check_description, spec.description)
    preset = _check_provider(faults, spec.provider, spec)
    _check_rules(faults, spec, preset)
    faults.check("secrets", lambda secrets: _check_secrets(secrets, preset), spec.secrets)
    faults.raise_if_any()


def check_source_change(change: SourceChange, *, provider: str, rules: SourceRules) -> SourceRules:
    """The rules after a valid ``change`` of a source that has these now. Raises InvalidInput."""
    faults = Faults()
    faults.check("name", check_name, change.name)
    faults.check("description", check_description, change.description)
    wanted = {name: getattr(change, name) for name in _RULES if getattr(change, name) is not UNSET}
    changed = msgspec.structs.replace(rules, **wanted)
    preset = _check_provider(faults, provider, changed)
    _check_rules(faults, changed, preset)
    faults.raise_if_any()
    return changed


def check_new_secret(secret: str, preset: Preset) -> None:
    """Raise InvalidInput unless ``secret`` may be one of a source with this preset; its text is in no message."""
    faults = Faults()
    faults.check("secret", lambda text: _check_secret(text, preset.scheme), secret)
    if not preset.scheme.has_secret:
        faults.check("secret", _needs_none, preset)
    faults.raise_if_any()


def rules_of(spec: SourceSpec) -> SourceRules:
    """The rules of a valid ``spec``, as they are stored."""
    return SourceRules(**{name: getattr(spec, name) for name in _RULES})


def _check_provider(faults: Faults, provider: str, rules: SourceRules) -> Preset | None:
    """The preset that is meant, if there is one."""
    found: list[Preset] = []
    if provider == CUSTOM:
        faults.check("custom", lambda text: found.append(_declared(text)), rules.declaration)
    else:
        faults.check("provider", lambda name: found.append(preset_named(name)), provider)
        if rules.declaration is not None:
            faults.add(
                "custom",
                "not_custom",
                "Only a source of the provider 'custom' is declared.",
                hint="Leave custom out, or set provider to 'custom'.",
            )
    return found[0] if found else None


def _declared(declaration: str | None) -> Preset:
    if declaration is None:
        raise InvalidInput.at(
            "",
            "missing",
            "A source of the provider 'custom' needs a declaration of what its sender does.",
            hint="Declare its scheme and where type and identity stand, or use one of 'posthouse providers'.",
        )
    try:
        return custom_preset(custom_spec(declaration.encode()))
    except InvalidInput as error:
        inner = [{**fault, "path": f".{fault['path']}" if fault.get("path") else ""} for fault in error.errors]
        raise InvalidInput(error.message, hint=error.advice, errors=inner) from error


def _check_rules(faults: Faults, rules: SourceRules, preset: Preset | None) -> None:
    if rules.fresh_seconds is not None:
        faults.check("fresh_seconds", between(1, limits.FRESH_SECONDS_MAX, "seconds"), rules.fresh_seconds)
    if rules.heartbeat_seconds is not None:
        faults.check("heartbeat_seconds", between(0, limits.HEARTBEAT_SECONDS_MAX, "seconds"), rules.heartbeat_seconds)
    faults.check("body_bytes_max", between(1, limits.SOURCE_BODY_BYTES_MAX, "bytes"), rules.body_bytes_max)
    faults.check("key_hosts", _check_key_hosts, rules.key_hosts)
    if rules.key_hosts and preset is not None and not takes_key_hosts(preset):
        faults.add(
            "key_hosts",
            "without_keys",
            f"{preset.title} does not sign with keys that are fetched.",
            hint="Leave key_hosts out.",
        )


def _check_key_hosts(patterns: tuple[str, ...]) -> None:
    if len(patterns) > limits.KEY_HOSTS_MAX:
        raise InvalidInput.at(
            "", "count", f"A source adds at most {limits.KEY_HOSTS_MAX} hosts.", hint="Use one * for several hosts."
        )
    faults = Faults()
    for position, pattern in enumerate(patterns):
        if not _is_host_pattern(pattern):
            faults.add(
                f"[{position}]",
                "host",
                "It is no lower-case host name that ends in a domain of its own.",
                hint=(
                    "Use a name such as 'keys.example.com', '*.example.com' or 'keys.example.com:8443'; addresses and "
                    "a bare * are not taken."
                ),
            )
    faults.raise_if_any()


def _is_host_pattern(pattern: str) -> bool:
    found = _HOST_PATTERN.fullmatch(pattern)
    return found is not None and int(found["port"] or 0) <= _PORT_MAX


def _check_secrets(secrets: tuple[str, ...], preset: Preset | None) -> None:
    if len(secrets) > limits.SECRETS_VALID_MAX:
        raise InvalidInput.at(
            "",
            "count",
            f"A source has at most {limits.SECRETS_VALID_MAX} secrets.",
            hint="Leave out those that are not in use any more.",
        )
    if len(set(secrets)) != len(secrets):
        raise InvalidInput.at("", "repeated", "A secret is there twice.", hint="Name each secret once.")
    if secrets and preset is not None and not preset.scheme.has_secret:
        _needs_none(preset)
    faults = Faults()
    for position, secret in enumerate(secrets):
        faults.check(
            f"[{position}]", lambda text: _check_secret(text, None if preset is None else preset.scheme), secret
        )
    faults.raise_if_any()


def _check_secret(secret: str, scheme: Scheme | None) -> None:
    """A secret has a length, and the form that its scheme needs, as far as that is known before a request comes."""
    if not 1 <= len(secret) <= limits.SOURCE_SECRETS_CHARS_MAX or _SECRET.fullmatch(secret) is None:
        raise _secret_refused(f"A secret has 1 to {limits.SOURCE_SECRETS_CHARS_MAX:,} characters.")
    try:
        match scheme:
            case Hmac():
                secret_bytes(secret, scheme.secret)
            case Ed25519():
                secret_bytes(secret, scheme.key)
            case StandardWebhooks():
                validate_verifier(secret)
    except (SignatureInvalid, InvalidInput) as error:
        raise _secret_refused(error.message) from None  # what was tried must be in no traceback


def _secret_refused(message: str) -> InvalidInput:
    hint = "Copy it as the provider shows it; 'posthouse providers' says where."
    return InvalidInput.at("", "secret", message, hint=hint)


def _needs_none(preset: Preset) -> None:
    raise InvalidInput.at(
        "",
        "without_secret",
        f"{preset.title} proves nothing, so no secret would ever be looked at.",
        hint="Leave secrets out, and keep the URL of the source to yourselves.",
    )
