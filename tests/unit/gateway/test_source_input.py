"""What a source may look like: every fault is named, and no secret is in what is said about it."""

from typing import Any

import pytest

from posthouse.core import limits
from posthouse.core.errors import InvalidInput
from posthouse.core.inbound import DEFAULT_SOURCE_RULES, Source, SourceRules, WhilePaused
from posthouse.core.model import Environment
from posthouse.gateway.presets import preset_of
from posthouse.gateway.requests import masked
from posthouse.gateway.source_input import (
    SourceChange,
    SourceSpec,
    check_new_secret,
    check_source,
    check_source_change,
    rules_of,
)
from posthouse.providers.index import PRESETS

DECLARATION = '{"scheme":{"kind":"hmac","header":"X-Signature"}}'
UNPROVEN = '{"scheme":{"kind":"none"}}'


def spec(**fields: Any) -> SourceSpec:
    return SourceSpec(**{"name": "payments", "provider": "gocardless", **fields})


def faults(error: InvalidInput) -> list[tuple[object, object]]:
    return [(fault["path"], fault["code"]) for fault in error.errors]


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_preset_makes_a_source(name: str) -> None:
    check_source(spec(provider=name))


def test_everything_may_be_said_at_once() -> None:
    full = spec(
        provider="connectwise",
        tenant="acme",
        secrets=tuple(f"company{number}" for number in range(limits.SECRETS_VALID_MAX)),
        description="tickets",
        fresh_seconds=limits.FRESH_SECONDS_MAX,
        heartbeat_seconds=0,
        body_bytes_max=limits.SOURCE_BODY_BYTES_MAX,
        while_paused=WhilePaused.REFUSE,
        key_hosts=("keys.example.com", "*.example.com", "api-*.eu.example.com", "a*b.x.example.co.uk"),
    )
    check_source(full)
    assert rules_of(full) == SourceRules(
        fresh_seconds=limits.FRESH_SECONDS_MAX,
        heartbeat_seconds=0,
        body_bytes_max=limits.SOURCE_BODY_BYTES_MAX,
        while_paused=WhilePaused.REFUSE,
        key_hosts=full.key_hosts,
    )
    assert rules_of(spec()) == DEFAULT_SOURCE_RULES


@pytest.mark.parametrize(
    ("fields", "path", "code"),
    [
        ({"name": ""}, "name", "invalid"),
        ({"name": "a\nb"}, "name", "invalid"),
        ({"tenant": ""}, "tenant", "tenant_id"),
        ({"description": "x" * 1_025}, "description", "description"),
        ({"provider": "nobody"}, "provider", "provider"),
        ({"provider": "custom"}, "custom", "missing"),
        ({"declaration": DECLARATION}, "custom", "not_custom"),
        ({"provider": "custom", "declaration": "{"}, "custom", "malformed_json"),
        ({"provider": "custom", "declaration": "{}"}, "custom.scheme", "invalid"),
        (
            {"provider": "custom", "declaration": '{"scheme":{"kind":"hmac","header":"X Y"}}'},
            "custom.scheme.header",
            "format",
        ),
        ({"fresh_seconds": 0}, "fresh_seconds", "out_of_range"),
        ({"heartbeat_seconds": -1}, "heartbeat_seconds", "out_of_range"),
        ({"heartbeat_seconds": limits.HEARTBEAT_SECONDS_MAX + 1}, "heartbeat_seconds", "out_of_range"),
        ({"body_bytes_max": 0}, "body_bytes_max", "out_of_range"),
        ({"body_bytes_max": limits.SOURCE_BODY_BYTES_MAX + 1}, "body_bytes_max", "out_of_range"),
        ({"key_hosts": ("keys.example.com",)}, "key_hosts", "without_keys"),
        ({"secrets": ("",)}, "secrets[0]", "secret"),
        ({"secrets": ("a", "b" * (limits.SOURCE_SECRETS_CHARS_MAX + 1))}, "secrets[1]", "secret"),
        ({"secrets": ("a\0b",)}, "secrets[0]", "secret"),
        ({"secrets": ("a", "a")}, "secrets", "repeated"),
        ({"secrets": tuple("abcde")}, "secrets", "count"),
        ({"provider": "discord", "secrets": ("not hexadecimal",)}, "secrets[0]", "secret"),
        ({"provider": "custom", "declaration": UNPROVEN, "secrets": ("a",)}, "secrets", "without_secret"),
    ],
)
def test_what_is_wrong_is_named(fields: dict[str, Any], path: str, code: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        check_source(spec(**fields))
    assert faults(refused.value) == [(path, code)]
    assert refused.value.advice


def test_all_faults_are_named_at_once() -> None:
    with pytest.raises(InvalidInput) as refused:
        check_source(spec(name="", provider="nobody", body_bytes_max=0, key_hosts=("*",), secrets=("",)))
    assert {path for path, _ in faults(refused.value)} == {
        "name",
        "provider",
        "body_bytes_max",
        "key_hosts[0]",
        "secrets[0]",
    }


@pytest.mark.parametrize(
    "pattern",
    [
        *("*", "*.*", "*.com", "com", "local", "", ".example.com", "example.com.", "a..example.com"),
        *("Keys.example.com", "https://keys.example.com", "keys.example.com/x", "ex ample.com", "a@b.example.com"),
        *("keys.example.com:", "keys.example.com:0", "keys.example.com:08443", "keys.example.com:65536"),
        *("keys.example.com:*", "keys.example.com:x", "keys.example.com:1:2", ":443", "*:443", "*.com:443", "com:443"),
        *("Localhost", "localhost.", "*localhost", "local*", "localhost:*", "a.localhost.", "192.0.2.1:443"),
        *("192.0.2.1", "192.0.2.*", "*.0.2.1", "[2001:db8::1]", "2001:db8::1", "-a.example.com", "a-.example.com"),
        *("bücher.example.com", "a" * 64 + ".example.com", "x.ex*mple.com", "a." * 130 + "example.com"),
    ],
)
def test_a_host_of_keys_is_a_name_within_one_domain(pattern: str) -> None:
    """Whoever holds such a host can sign for the sender: a pattern never means hosts of everybody."""
    with pytest.raises(InvalidInput) as refused:
        check_source(spec(provider="connectwise", key_hosts=("keys.example.com", pattern)))
    assert faults(refused.value) == [("key_hosts[1]", "host")]


@pytest.mark.parametrize(
    "pattern",
    [
        *("psa.acme.example:8443", "*.example.com:443", "keys.example.com:65535", "keys.example.com:1"),
        *("localhost", "localhost:8443", "a" * 63 + ".example.com:8443"),
    ],
)
def test_a_host_of_keys_may_have_a_port_and_may_be_this_machine(pattern: str) -> None:
    """What is at this machine the network's own rules keep from being called, unless an operator allows it."""
    check_source(spec(provider="connectwise", key_hosts=(pattern,)))


def test_a_source_adds_few_hosts() -> None:
    hosts = tuple(f"k{number}.example.com" for number in range(limits.KEY_HOSTS_MAX + 1))
    check_source(spec(provider="connectwise", key_hosts=hosts[1:]))
    with pytest.raises(InvalidInput) as refused:
        check_source(spec(provider="connectwise", key_hosts=hosts))
    assert faults(refused.value) == [("key_hosts", "count")]


def test_a_secret_is_in_no_message() -> None:
    with pytest.raises(InvalidInput) as refused:
        check_source(spec(provider="discord", secrets=("hush-hush",)))
    error: BaseException | None = refused.value
    while error is not None:
        assert "hush" not in f"{error} {getattr(error, 'errors', '')} {getattr(error, 'advice', '')}"
        error = error.__cause__


def test_a_change_is_checked_with_what_stays() -> None:
    custom = SourceRules(declaration=DECLARATION)
    changed = check_source_change(SourceChange(fresh_seconds=5), provider="custom", rules=custom)
    assert changed == SourceRules(declaration=DECLARATION, fresh_seconds=5)
    assert check_source_change(SourceChange(fresh_seconds=None), provider="custom", rules=changed) == custom
    for change, provider, path in (
        (SourceChange(declaration=None), "custom", "custom"),
        (SourceChange(declaration=DECLARATION), "stripe", "custom"),
        (SourceChange(key_hosts=("*",)), "connectwise", "key_hosts[0]"),
        (SourceChange(name=""), "stripe", "name"),
    ):
        rules = custom if provider == "custom" else DEFAULT_SOURCE_RULES
        with pytest.raises(InvalidInput) as refused:
            check_source_change(change, provider=provider, rules=rules)
        assert [fault for fault, _ in faults(refused.value)] == [path]


def test_a_new_secret_has_the_form_that_its_scheme_needs() -> None:
    check_new_secret("00" * 32, PRESETS["discord"])
    check_new_secret("any text", PRESETS["github"])
    for secret, name in (("", "github"), ("xyz", "discord"), ("whsec_no-base64!", "standard-webhooks")):
        with pytest.raises(InvalidInput) as refused:
            check_new_secret(secret, PRESETS[name])
        assert faults(refused.value) == [("secret", "secret")]


def test_the_hosts_of_a_source_join_those_of_its_preset() -> None:
    """What is checked here is what the preset is given."""
    rules = SourceRules(key_hosts=("keys.example.com",))
    source = Source(
        key=1, environment=Environment.LIVE, tenant="t", name="n", provider="connectwise", token="x", rules=rules
    )
    assert preset_of(source).scheme.hosts[-1] == "keys.example.com"  # type: ignore[attr-defined]  # of this scheme


# -- what is shown of a request -------------------------------------------------------------------


def test_credentials_in_headers_are_hidden() -> None:
    """By their names, and wherever a secret of the source stands."""
    headers = (
        ("Authorization", "Basic YTpi"),
        ("PROXY-AUTHORIZATION", "x"),
        ("Cookie", "a=b"),
        ("x-api-key", "k"),
        ("X-Gitlab-Token", "unknown"),
        ("X-Signature", "v1=abc"),
        ("X-Odd", "before hush behind"),
        ("Content-Type", "application/json"),
    )
    shown = dict(masked(headers, ["hush", "other"]))
    assert [name for name, value in shown.items() if value != "***"] == ["X-Signature", "Content-Type"]
    assert shown["X-Signature"] == "v1=abc"
    assert dict(masked(headers, []))["X-Odd"] == "before hush behind"
