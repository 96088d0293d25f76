"""What the rules of an endpoint may be, each for itself and together."""

import msgspec
import pytest

from posthouse.core import limits
from posthouse.core.errors import InvalidInput
from posthouse.core.model import Endpoint, Environment, Secret
from posthouse.core.rules import DEFAULT_RULES, Batch, Order, Payload, Rules
from posthouse.core.signature import generate_secret
from posthouse.gateway.endpoint_input import EndpointChange, EndpointSpec, check_change, check_spec, check_stored
from posthouse.gateway.rules_input import canonical_rules, changed_rules

ALL = Rules(
    rate="100/s",
    in_flight_max=4,
    order=Order.FIFO,
    block_seconds=600,
    payload=Payload.FULL,
    batch=Batch(250, 0),
    success="200-299,409",
    filter="data.n > 1",
    transform='{"n":"data.n"}',
    disable_after_days=1,
)


def faults(rules: Rules, *, retry: str = "three-weeks") -> list[tuple[object, object]]:
    """Path and code of each fault of a new endpoint with these rules."""
    spec = EndpointSpec(url="https://example.com/", retry=retry, **msgspec.structs.asdict(rules))
    try:
        check_spec(spec)
    except InvalidInput as error:
        return [(fault["path"], fault["code"]) for fault in error.errors]
    return []


def stored(rules: Rules) -> Endpoint:
    return Endpoint(key=1, environment=Environment.LIVE, tenant="default", url="https://example.com/", rules=rules)


def test_all_rules_together_are_valid() -> None:
    assert faults(DEFAULT_RULES) == []
    assert faults(ALL) == []
    assert canonical_rules(ALL) == ALL
    check_stored(stored(ALL))


@pytest.mark.parametrize(
    ("rules", "path", "code"),
    [
        (Rules(rate="100"), "rate", "rate"),
        (Rules(rate="0/s"), "rate", "rate"),
        (Rules(rate=""), "rate", "rate"),
        (Rules(in_flight_max=0), "in_flight_max", "out_of_range"),
        (Rules(in_flight_max=limits.WINDOW_ITEMS_MAX + 1), "in_flight_max", "out_of_range"),
        (Rules(order=Order.FIFO, block_seconds=0), "block_seconds", "out_of_range"),
        (Rules(order=Order.FIFO, block_seconds=90 * 86_400 + 1), "block_seconds", "out_of_range"),
        (Rules(block_seconds=600), "block_seconds", "without_order"),
        (Rules(order=Order.LATEST, block_seconds=600), "block_seconds", "without_order"),
        (Rules(batch=Batch(1)), "batch.max_events", "out_of_range"),
        (Rules(batch=Batch(251)), "batch.max_events", "out_of_range"),
        (Rules(batch=Batch(2, -1)), "batch.max_wait_ms", "out_of_range"),
        (Rules(batch=Batch(2, 60_001)), "batch.max_wait_ms", "out_of_range"),
        (Rules(success="200,410"), "success", "success"),
        (Rules(success="x"), "success", "success"),
        (Rules(filter="data."), "filter", "expression"),
        (Rules(filter=""), "filter", "expression"),
        (Rules(transform='{"n": "data."}'), "transform", "expression"),
        (Rules(transform="[]"), "transform", "expression"),
        (Rules(transform='{"n":"data.n"}', payload=Payload.THIN), "transform", "unseen"),
        (Rules(disable_after_days=0), "disable_after_days", "out_of_range"),
        (Rules(disable_after_days=366), "disable_after_days", "out_of_range"),
    ],
)
def test_a_rule_that_makes_no_sense_is_named(rules: Rules, path: str, code: str) -> None:
    assert (path, code) in faults(rules)
    with pytest.raises(InvalidInput):
        check_stored(stored(rules))


@pytest.mark.parametrize(
    ("rules", "retry"),
    [
        (Rules(order=Order.FIFO, block_seconds=90 * 86_400), "three-weeks"),
        (Rules(order=Order.FIFO, block_seconds=15), "three-weeks"),
        (Rules(order=Order.FIFO, block_seconds=1), "none"),
        (Rules(order=Order.FIFO), "custom:1h"),
        (Rules(in_flight_max=1), "three-weeks"),
        (Rules(in_flight_max=limits.WINDOW_ITEMS_MAX), "three-weeks"),
        (Rules(batch=Batch(2, 60_000), payload=Payload.THIN, order=Order.LATEST), "three-weeks"),
        (Rules(disable_after_days=None), "three-weeks"),
        (Rules(disable_after_days=365), "three-weeks"),
        (Rules(filter="true", payload=Payload.THIN), "three-weeks"),
    ],
)
def test_a_rule_at_its_bound_is_valid(rules: Rules, retry: str) -> None:
    assert faults(rules, retry=retry) == []


@pytest.mark.parametrize(
    ("block_seconds", "retry"), [(14, "three-weeks"), (3_600, "custom:61m"), (3_600, "custom:1d,1s")]
)
def test_an_event_that_blocks_others_is_attempted_again_at_least_once(block_seconds: int, retry: str) -> None:
    """Else the first failure parks it, which nobody means who sets a schedule of retries."""
    rules = Rules(order=Order.FIFO, block_seconds=block_seconds)
    assert faults(rules, retry=retry) == [("block_seconds", "before_first_retry")]


def test_a_schedule_that_is_none_is_one_fault_only() -> None:
    assert [path for path, _ in faults(Rules(order=Order.FIFO), retry="whenever")] == ["retry"]


def test_the_hint_says_what_to_do() -> None:
    spec = EndpointSpec(url="https://example.com/", payload=Payload.THIN, transform='{"n":"data.n"}')
    with pytest.raises(InvalidInput) as refusal:
        check_spec(spec)
    assert refusal.value.advice == "Leave the transformation out, or set payload to 'full'."


# -- changes --------------------------------------------------------------------------------


def check(change: EndpointChange, rules: Rules = DEFAULT_RULES, retry: str = "three-weeks") -> None:
    check_change(change, connect_timeout_ms=5_000, timeout_ms=60_000, rules=rules, retry=retry)


def test_what_is_not_named_stays() -> None:
    assert changed_rules(ALL, EndpointChange()) == ALL
    changed = changed_rules(ALL, EndpointChange(rate=None, disable_after_days=None))
    assert changed == msgspec.structs.replace(ALL, rate=None, disable_after_days=None)


def test_the_time_to_block_goes_with_the_order_that_it_is_for() -> None:
    changed = changed_rules(ALL, EndpointChange(order=Order.NONE))
    assert changed.block_seconds == DEFAULT_RULES.block_seconds
    check(EndpointChange(order=Order.NONE), ALL)
    with pytest.raises(InvalidInput):
        check(EndpointChange(order=Order.NONE, block_seconds=600), ALL)


@pytest.mark.parametrize(
    ("rules", "change"),
    [
        (Rules(payload=Payload.THIN), EndpointChange(transform='{"n":"data.n"}')),
        (Rules(transform='{"n":"data.n"}'), EndpointChange(payload=Payload.THIN)),
        (Rules(), EndpointChange(block_seconds=600)),
        (Rules(order=Order.FIFO, block_seconds=20), EndpointChange(retry="custom:30s")),
    ],
)
def test_a_change_must_fit_what_is_there(rules: Rules, change: EndpointChange) -> None:
    with pytest.raises(InvalidInput):
        check(change, rules)


def test_a_stored_rule_that_is_invalid_keeps_no_other_change_back() -> None:
    broken = Rules(rate="")
    check(EndpointChange(description="x"), broken)
    check(EndpointChange(rate=None), broken)
    with pytest.raises(InvalidInput):
        check(EndpointChange(in_flight_max=2), broken)


def test_texts_are_kept_in_one_form() -> None:
    rules = Rules(rate="010/s", success="200-250, 251-299", transform='{ "b": "1",\n "a": {"c": "2"} }')
    assert canonical_rules(rules) == Rules(rate="10/s", transform='{"b":"1","a":{"c":"2"}}')
    assert canonical_rules(Rules(success="409,200-299")).success == "200-299,409"


# -- what is stored -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"url": "gopher://example.com/"}, "url"),
        ({"events": ()}, "events"),
        ({"headers": (("Host", "x"),)}, "headers.Host"),
        ({"retry": "whenever"}, "retry"),
        ({"timeout_ms": 1}, "timeout_ms"),
        ({"rules": Rules(filter="data.")}, "filter"),
    ],
)
def test_what_is_stored_is_held_against_the_same_rules(fields: dict[str, object], path: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        check_stored(msgspec.structs.replace(stored(DEFAULT_RULES), **fields))
    assert path in [fault["path"] for fault in refusal.value.errors]


def test_a_stored_secret_is_looked_at_and_not_shown() -> None:
    endpoint = stored(DEFAULT_RULES)

    check_stored(msgspec.structs.replace(endpoint, secrets=(Secret(generate_secret(b"1" * 24), 0),)))
    with pytest.raises(InvalidInput) as refusal:
        check_stored(msgspec.structs.replace(endpoint, secrets=(Secret("hunter2", 0),)))
    assert "hunter2" not in str(refusal.value.errors)
