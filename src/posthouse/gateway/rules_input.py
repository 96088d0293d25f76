"""What the rules of an endpoint may be, each for itself and together."""

from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from posthouse.core import limits
from posthouse.core.errors import InvalidInput
from posthouse.core.model import Environment
from posthouse.core.rate import parse_rate
from posthouse.core.retry import parse_schedule
from posthouse.core.rules import DEFAULT_RULES, Batch, Format, Order, Payload, Rules
from posthouse.core.success import SUCCESS_DEFAULT, parse_success
from posthouse.expressions.filter import validate_filter
from posthouse.expressions.transform import validate_transform
from posthouse.formats.index import FORMS
from posthouse.gateway.catalogue import Catalogue
from posthouse.gateway.faults import Faults, between

_FIELDS: Final = Rules.__struct_fields__


class RulesChange(msgspec.Struct, frozen=True, kw_only=True):
    """What is to change about the rules of an endpoint; unset fields stay."""

    rate: str | UnsetType | None = UNSET
    in_flight_max: int | UnsetType | None = UNSET
    order: Order | UnsetType = UNSET
    block_seconds: int | UnsetType = UNSET
    payload: Payload | UnsetType = UNSET
    format: Format | UnsetType = UNSET
    batch: Batch | UnsetType | None = UNSET
    success: str | UnsetType = UNSET
    sources: tuple[int, ...] | UnsetType = UNSET
    filter: str | UnsetType | None = UNSET
    transform: str | UnsetType | None = UNSET
    disable_after_days: int | UnsetType | None = UNSET


_CHANGED: Final = RulesChange.__struct_fields__


def changed_rules(rules: Rules, change: RulesChange) -> Rules:
    """The rules after ``change``, unchecked. For how long an event blocks falls back with the order that it is for."""
    wanted = {name: value for name in _CHANGED if (value := getattr(change, name)) is not UNSET}
    if wanted.get("format", rules.format) is not rules.format:
        wanted["greeted"] = ""
    if wanted.get("order", rules.order) is not Order.FIFO:
        wanted.setdefault("block_seconds", DEFAULT_RULES.block_seconds)
    return msgspec.structs.replace(rules, **wanted)


def defaults_of(name: Format) -> dict[str, object]:
    """What an endpoint with this format has unless its creator says otherwise, in the fields of its spec."""
    form = FORMS.get(name)
    names = ("retry", "connect_timeout_ms", "timeout_ms", "batch", "success")
    return {} if form is None else {field: getattr(form, field) for field in names}


def canonical_rules(rules: Rules) -> Rules:
    """Valid rules as they are stored: each text in the one form that says the same."""
    success = parse_success(rules.success).text
    return Rules(
        **{
            **{name: getattr(rules, name) for name in _FIELDS},
            "rate": None if rules.rate is None else parse_rate(rules.rate).text,
            "success": "" if success == SUCCESS_DEFAULT else success,
            "sources": tuple(sorted(set(rules.sources))),
            "transform": None if rules.transform is None else _compact(rules.transform),
        }
    )


def check_rules(faults: Faults, rules: Rules, *, retry: str) -> None:
    """Add to ``faults`` what is wrong with ``rules`` for an endpoint with the schedule ``retry``."""
    if rules.rate is not None:
        faults.check("rate", parse_rate, rules.rate)
    if rules.in_flight_max is not None:
        faults.check("in_flight_max", between(1, limits.WINDOW_ITEMS_MAX, "requests"), rules.in_flight_max)
    faults.check("block_seconds", between(1, limits.FIFO_BLOCK_SECONDS_MAX, "seconds"), rules.block_seconds)
    if rules.batch is not None:
        _check_batch(faults, rules.batch)
    faults.check("success", parse_success, rules.success)
    if rules.filter is not None:
        faults.check("filter", validate_filter, rules.filter)
    if rules.transform is not None:
        faults.check("transform", validate_transform, rules.transform)
    if rules.disable_after_days is not None:
        days = between(1, limits.DISABLE_AFTER_DAYS_MAX, "days")
        faults.check("disable_after_days", days, rules.disable_after_days)
    _check_together(faults, rules, retry)


def check_sources(catalogue: Catalogue, environment: Environment, tenant: str, keys: Sequence[int]) -> None:
    """Raise InvalidInput unless each of ``keys`` is a source of this environment and tenant that is not deleted."""
    known = {source.key for source in catalogue.sources(environment, tenant)} if keys else set()
    faults = Faults()
    for position, key in enumerate(keys):
        if key not in known:
            faults.add(
                f"sources[{position}]",
                "unknown",
                "The endpoint's tenant has no such source.",
                hint="Name sources by their ids, src_…; see 'posthouse sources list'.",
            )
    faults.raise_if_any()


def _check_batch(faults: Faults, batch: Batch) -> None:
    events = between(limits.BATCH_EVENTS_OUT_MIN, limits.BATCH_EVENTS_OUT_MAX, "events")
    faults.check("batch.max_events", events, batch.max_events)
    faults.check("batch.max_wait_ms", between(0, limits.BATCH_WAIT_MS_MAX, "milliseconds"), batch.max_wait_ms)


def _check_together(faults: Faults, rules: Rules, retry: str) -> None:
    """What each field may say, but not all of them together."""
    if rules.payload is Payload.THIN and rules.transform is not None:
        faults.add(
            "transform",
            "unseen",
            "A thin payload holds the event's id alone, so nobody would see what the transformation makes.",
            hint="Leave the transformation out, or set payload to 'full'.",
        )
    form = FORMS.get(rules.format)
    if rules.batch is not None and form is not None and not form.is_list:
        faults.add(
            "batch",
            "without_list",
            f"A request in the format {rules.format} holds one event.",
            hint="Leave the batch out, or use a format that holds lists.",
        )
    if rules.order is not Order.FIFO:
        if rules.block_seconds != DEFAULT_RULES.block_seconds:
            faults.add(
                "block_seconds",
                "without_order",
                "Nothing blocks an ordering key unless the order is 'fifo'.",
                hint="Leave block_seconds out, or set order to 'fifo'.",
            )
        return
    first = _first_delay_seconds(retry)
    if first is not None and rules.block_seconds < first:
        faults.add(
            "block_seconds",
            "before_first_retry",
            f"The first retry comes after {first} seconds, so no event that fails would be attempted again.",
            hint=f"Set block_seconds to at least {first}, or retry to a schedule that starts earlier, or to 'none'.",
        )


def _first_delay_seconds(retry: str) -> int | None:
    """Of a schedule; None if it has no delay, or is no schedule, which another rule says."""
    try:
        delays = parse_schedule(retry).delays
    except InvalidInput:
        return None
    return delays[0] // 1_000 if delays else None


def _compact(document: str) -> str:
    return msgspec.json.encode(msgspec.json.decode(document)).decode()
