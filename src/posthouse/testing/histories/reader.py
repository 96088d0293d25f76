"""What a node shows, held against the model."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from posthouse.testing.histories.health import LOOKS_AGAIN_MS, PAUSE_MS_MAX, SLOWEST_MS, SWEEP_MS
from posthouse.testing.histories.life import Life
from posthouse.testing.histories.lists import books, compare, listed, page_of
from posthouse.testing.histories.model import CONFLICT, UNKNOWN, Model, Told
from posthouse.testing.histories.things import Delivery, Endpoint, View, read_time, shown_time
from posthouse.testing.histories.traffic import waits_of
from posthouse.testing.histories.wire import Answer

ENVIRONMENTS: Final = ("live", "test")
STATUSES: Final = ("waiting", "retrying", "delivered", "exhausted", "discarded")
_PAGE: Final = 500


class Reader:
    """Asks a node, and raises AssertionError if it shows what the model does not expect.

    Attributes:
        model: what is expected; its first two API keys are the admins of live and of test.
        life: the node.
        seen: how endpoints were.
    """

    model: Model
    life: Life
    seen: set[str]

    def ask(
        self,
        method: str,
        path: str,
        *,
        by: int,
        body: object = None,
        query: Mapping[str, object] | None = None,
        key: str | None = None,
    ) -> Answer | None:
        """Ask with the API key that has the place ``by`` in the model."""
        text = str(self.model.keys[by].text)
        return self.life.ask(method, path, key=text, body=body, query=query, idempotency_key=key)

    def read(self, path: str, environment: str, **query: object) -> View:
        """What is shown there."""
        answer = self.ask("GET", path, by=ENVIRONMENTS.index(environment), query=query)
        assert answer is not None
        assert answer.status == 200, answer  # noqa: PLR2004 - an answer that shows something
        shown: View = answer.json()
        return shown

    def look(self, *environments: str) -> None:
        """Compare everything that these environments show."""
        for environment in environments:
            for name in ("deliveries", "events", "endpoints", "keys", "tenants"):
                self.compare_list(name, environment)
            for tenant in (None, "acme"):
                query = {} if tenant is None else {"tenant": tenant}
                assert self.read("/v1/audit", environment, **query) == books(self.model, environment, tenant)

    def compare_list(self, name: str, environment: str, *, limit: int = _PAGE) -> None:
        """Compare a whole list, page by page."""
        shown = {environment: {name: self.walk(name, environment, limit)}}
        compare_lists(self.model, shown, name)

    def page(
        self,
        name: str,
        environment: str,
        filters: Mapping[str, Any],
        *,
        limit: int,
        after: tuple[Any, ...] | None,
        cursor: str | None,
    ) -> tuple[tuple[Any, ...], str] | None:
        """Compare one page of a list; where the next one goes on, and its cursor."""
        query = {n: shown_time(v) if n in ("since", "until") else v for n, v in filters.items()}
        shown = self.read(
            f"/v1/{name}", environment, **query, limit=limit, **({} if cursor is None else {"cursor": cursor})
        )
        things = listed(self.model, name, environment, filters)
        expected = page_of(things, after, limit + 1, falls=name in ("events", "deliveries"))
        for thing, view in zip(expected[:limit], shown["data"], strict=True):
            compare(thing, view)
        assert (shown["next_cursor"] is not None) == (len(expected) > limit)
        if shown["next_cursor"] is None:
            return None
        last = expected[limit - 1]
        return next(place for place, thing in things if thing is last), shown["next_cursor"]

    def filters(self, environment: str, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """``wanted`` with things that there are in place of numbers; what there is none of is left out."""
        tenant = wanted.get("tenant")
        events = [e for e in self.model.events if e.environment == environment]
        ids = [e.id for e in events if tenant in (None, e.tenant)]
        things: dict[str, list[Any]] = {
            "endpoint": [e.id for e in self.model.endpoints if e.environment == environment],
            "event": [i for i in ids if ids.count(i) == 1],
            "since": [e.accepted_at for e in events],
            "until": [e.accepted_at for e in events],
        }
        filters = dict(wanted)
        for name in filters.keys() & things.keys():
            if things[name]:
                filters[name] = things[name][wanted[name] % len(things[name])]
            else:
                del filters[name]
        return filters

    def show_event(self, order: int, *, names_tenant: bool) -> None:
        """Compare one event with its data and the counts of its deliveries."""
        event = self.model.events[order]
        same = [e for e in self.model.events if (e.environment, e.id) == (event.environment, event.id)]
        query = {"tenant": event.tenant} if names_tenant else None
        answer = self.ask("GET", f"/v1/events/{event.id}", by=ENVIRONMENTS.index(event.environment), query=query)
        assert answer is not None
        if len(same) > 1 and not names_tenant:
            check(answer, CONFLICT)
            return
        shown = answer.json()
        owed = [d.status for d in self.model.deliveries.values() if d.event is event]
        assert shown.pop("delivery_counts") == {status: owed.count(status) for status in STATUSES}
        assert shown.pop("origin") is None
        del shown["data"]
        assert event.data is None or answer.body.endswith(b',"data":' + event.data + b"}")
        compare(event, shown)

    def look_across(self, environment: str, kind: str, place: int) -> None:
        """A thing of the other environment is unknown here, unless one of the same name is here too."""
        things: dict[str, list[tuple[str, str | None]]] = {
            "endpoints": [(e.environment, e.id) for e in self.model.endpoints],
            "events": [(e.environment, e.id) for e in self.model.events],
            "deliveries": [(d.event.environment, d.id) for d in self.model.deliveries.values()],
        }
        here = {identity for at, identity in things[kind] if at == environment}
        elsewhere = [identity for at, identity in things[kind] if at != environment and identity not in here]
        if elsewhere:
            answer = self.ask(
                "GET", f"/v1/{kind}/{elsewhere[place % len(elsewhere)]}", by=ENVIRONMENTS.index(environment)
            )
            assert answer is not None
            check(answer, UNKNOWN)

    def show_delivery(self, place: tuple[int, int]) -> None:
        """Compare one delivery with its attempts and what it waits for."""
        delivery: Delivery = self.model.deliveries[place]
        shown = self.read(f"/v1/deliveries/{self.id_of(place)}", delivery.event.environment)
        waits_for, attempts = shown.pop("waits_for"), shown.pop("attempts")
        compare(delivery, shown)
        assert (waits_for is not None) is delivery.is_open
        assert waits_for is None or waits_for["code"] in waits_of(self.model, delivery)
        assert [(a["number"], a["started_at"], a["outcome"], a["response_status"]) for a in attempts] == [
            (number, shown_time(a.started_at), a.outcome, a.status) for number, a in enumerate(delivery.attempts, 1)
        ]

    def learn_health(self, endpoint: Endpoint, *, is_certain: bool) -> None:
        """A life begins, and no answer has come: what of the one before it does it know of an endpoint?

        ``is_certain``: what was known then was written down.
        """
        health = endpoint.health
        shown = self.read(f"/v1/endpoints/{endpoint.id}", endpoint.environment)["health"]
        has_recovered = (health.state, shown["state"]) == ("recovering", "ok")  # unseen, before the life ended
        is_possible = not is_certain or has_recovered or shown["state"] == health.shown
        assert is_possible, f"{shown} at the start, and it was {health}"
        health.adopt(shown["state"], read_time(shown["failing_since"]), self.model.tickets + 1)

    def look_after(self, endpoint: Endpoint, *, may_be_disabled: bool) -> None:
        """Compare how an endpoint is; ``may_be_disabled``: it failed for as long as its rule allows."""
        now, health = self.model.now, endpoint.health
        view = self.read(f"/v1/endpoints/{endpoint.id}", endpoint.environment)
        shown = view["health"]
        self.seen.add(shown["state"])
        if may_be_disabled and view["state_reason"] == "failing":
            endpoint.disable(now, "failing")
            return
        assert not health.is_overdue(now, SWEEP_MS), f"it fails since {health.failing_since} and is {view['state']}"
        owed = [d for d in self.model.deliveries.values() if d.endpoint is endpoint and d.is_open]
        if (health.state, shown["state"]) == ("recovering", "ok"):
            late = [d.event.id for d in owed if d.sent < health.recovers_from and d.ticket is None]
            assert not late, f"{late} were not pulled forward before {endpoint.url} had recovered"
            health.forgive()
        assert shown["state"] == health.shown, f"shown {shown}, known {health}"
        assert shown["failing_since"] == shown_time(health.failing_since)
        is_busy = len(self.model.flights) >= self.model.in_all or now - self.model.woke_at < LOOKS_AGAIN_MS
        if health.state == "down" and owed and health.probe is None and not is_busy:
            at = read_time(shown["next_probe_at"])
            assert at is not None, f"nothing is to show whether {endpoint.url} is up again"
            assert at > now, f"no probe went to {endpoint.url} at {at}"

    def check_why(self, delivery: Delivery) -> None:
        """What is due and was not sent although there is room waits for a pause of its endpoint, which ends."""
        if delivery.endpoint.health.state == "down":
            return  # a probe looks after it
        waits_for = self.read(
            f"/v1/deliveries/{self.id_of((delivery.event.order, delivery.endpoint.order))}", delivery.event.environment
        )["waits_for"]
        told = f"{delivery.event.id} is due and was not sent: {waits_for}"
        assert waits_for["code"] in waits_of(self.model, delivery) & {"recovering", "throttled"}, told
        assert 0 < (read_time(waits_for["until"]) or 0) - self.model.now <= PAUSE_MS_MAX + SLOWEST_MS, told

    def id_of(self, place: tuple[int, int]) -> str:
        """The id of a delivery: learnt from the list if it was not seen yet."""
        delivery = self.model.deliveries[place]
        if delivery.id is None:
            self.compare_list("deliveries", delivery.event.environment)
        assert delivery.id is not None
        return delivery.id

    def walk(self, name: str, environment: str, limit: int = _PAGE) -> list[View]:
        """All pages of a list."""
        items: list[View] = []
        query: dict[str, object] = {"limit": limit}
        while True:
            page = self.read(f"/v1/{name}", environment, **query)
            items += page["data"]
            if page["next_cursor"] is None:
                return items
            query["cursor"] = page["next_cursor"]


def check(answer: Answer, told: Told) -> None:
    """Raise AssertionError unless this is the answer that was expected; learn what was not known of it."""
    shown = answer.json()
    assert answer.status == told.status, f"{answer.status} {shown}, expected {told}"
    kind = "application/json" if answer.status < 400 else "application/problem+json"  # noqa: PLR2004 - a refusal
    assert answer.headers["content-type"] == kind
    for name, value in told.fields.items():
        assert shown[name] == value, f"{name} is {shown[name]!r}, expected {value!r}"
    told.learn(shown)


def compare_lists(model: Model, shown: Mapping[str, Mapping[str, Sequence[View]]], *names: str) -> None:
    """Raise AssertionError unless these lists, by environment, are what is expected; learn what was not known."""
    for environment, lists in shown.items():
        for name in names:
            expected = [thing for _, thing in listed(model, name, environment, {})]
            assert len(lists[name]) == len(expected), f"{len(lists[name])} {name} are shown, {len(expected)} exist"
            for thing, view in zip(expected, lists[name], strict=True):
                compare(thing, view, may_be_past=True)
