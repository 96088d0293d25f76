"""Lists as the model expects them, and the comparison of what is shown with what is known."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from posthouse.testing.histories.model import Model
from posthouse.testing.histories.things import ApiKey, Delivery, Endpoint, Event, Tenant, View, read_time, shown_time

Thing = Event | Delivery | Endpoint | ApiKey | Tenant
#: Where a thing stands in its list.
Place = tuple[Any, ...]
Filters = Mapping[str, Any]


def listed(model: Model, name: str, environment: str, filters: Filters) -> list[tuple[Place, Thing]]:
    """The things of a list in its order, each with its place; places fall or rise with the order."""
    if name == "tenants":
        here = [t for (at, _), t in model.tenants.items() if at == environment]
        return [((t.id,), t) for t in sorted(here, key=lambda t: t.id)]
    if name == "keys":
        return [((k.order,), k) for k in model.keys if k.environment == environment and not k.is_revoked]
    if name == "endpoints":
        return [
            ((e.order,), e)
            for e in model.endpoints
            if e.environment == environment and e.state != "deleted" and filters.get("tenant", e.tenant) == e.tenant
        ]
    if name == "events":
        events = [e for e in reversed(model.events) if _is_wanted(e, environment, filters)]
        return [((e.order,), e) for e in events if filters.get("type", e.type) == e.type]
    return [
        (place, d)
        for place, d in sorted(model.deliveries.items(), reverse=True)
        if _is_wanted(d.event, environment, filters)
        and filters.get("status", d.status) == d.status
        and filters.get("endpoint", d.endpoint.id) == d.endpoint.id
        and filters.get("event", d.event.id) == d.event.id
    ]


def _is_wanted(event: Event, environment: str, filters: Filters) -> bool:
    return (
        event.environment == environment
        and filters.get("tenant", event.tenant) == event.tenant
        and filters.get("since", 0) <= event.accepted_at < filters.get("until", 1 << 60)
    )


def page_of(things: Sequence[tuple[Place, Thing]], after: Place | None, limit: int, *, falls: bool) -> list[Thing]:
    """The page of a list behind a place, which need not be there any more."""
    rest = [thing for place, thing in things if after is None or (place < after if falls else place > after)]
    return rest[:limit]


def compare(thing: Thing, shown: View, *, may_be_past: bool = False) -> None:
    """Raise AssertionError unless ``shown`` is what is known; learn what was not known."""
    if isinstance(thing, Delivery):
        _compare_delivery(thing, shown, may_be_past=may_be_past)
        return
    if isinstance(thing, Endpoint) and thing.gone:
        assert may_be_past
        if shown["state"] == "disabled":  # else the node died before it came to that, and will be told again
            thing.disable(read_time(shown["updated_at"]) or 0)
        thing.gone = False
    if isinstance(thing, Endpoint):
        shown = {name: value for name, value in shown.items() if name != "health"}
    if isinstance(thing, Tenant):  # a request that the node died in may have made it before the one that is known to
        thing.created_at = min(thing.created_at, read_time(shown["created_at"]) or thing.created_at)
    expected = thing.view()
    if not isinstance(thing, Tenant) and thing.id is None:
        thing.id = expected["id"] = shown["id"]
    assert shown == expected, f"shown {shown}, known {expected}"


def _compare_delivery(delivery: Delivery, shown: View, *, may_be_past: bool) -> None:
    options = [delivery, *reversed(delivery.past)] if may_be_past else [delivery]
    fitting = [option for option in options if _fits(option, shown)]
    assert fitting, f"shown {shown}, known {delivery.view()}, due {delivery.due}"
    if fitting[0] is not delivery:
        for name in ("status", "lane", "failures", "attempts", "settled_at", "reason", "due"):
            setattr(delivery, name, getattr(fitting[0], name))
    delivery.id = shown["id"]
    if delivery.is_open:
        delivery.due = (read_time(shown["next_attempt_at"]) or 0,) * 2


def _fits(delivery: Delivery, shown: View) -> bool:
    due = shown["next_attempt_at"]
    known = {**delivery.view(), "id": delivery.id or shown["id"], "next_attempt_at": due}
    if {name: shown.get(name) for name in known} != known:
        return False
    if not delivery.is_open:
        return due is None
    first, last = (str(shown_time(at)) for at in delivery.due)
    return due is not None and first <= due <= last


def books(model: Model, environment: str, tenant: str | None) -> View:
    """The audit of an environment, or of one tenant of it."""
    found = [
        d for d in model.deliveries.values() if d.event.environment == environment and tenant in (None, d.event.tenant)
    ]
    tenants = sorted({d.event.tenant for d in found})
    endpoints = sorted({(d.event.tenant, d.endpoint.order, str(d.endpoint.id)) for d in found})
    return {
        **_balance(found),
        "tenants": [{**_balance([d for d in found if d.event.tenant == name]), "tenant": name} for name in tenants],
        "endpoints": [
            {**_balance([d for d in found if d.endpoint.order == order]), "tenant": name, "endpoint": endpoint_id}
            for name, order, endpoint_id in endpoints
        ],
        "sources": [],
    }


def _balance(found: Sequence[Delivery]) -> View:
    counts = Counter(d.status for d in found)
    reasons = Counter(str(d.reason) for d in found if d.status == "discarded")
    return {
        "owed": len(found),
        **{status: counts[status] for status in ("delivered", "waiting", "retrying", "exhausted", "discarded")},
        "discarded_by_reason": dict(sorted(reasons.items())),
        "imbalance": 0,
    }
