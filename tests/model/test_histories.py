"""Whatever is asked of a node, and whenever it dies, it does what its API promises."""

import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from posthouse.engine import ownership
from posthouse.testing.histories.lists import books
from posthouse.testing.histories.model import Model, Told, refused
from posthouse.testing.histories.reader import ENVIRONMENTS, STATUSES
from posthouse.testing.histories.receivers import HANG, Reply
from posthouse.testing.histories.run import Run
from posthouse.testing.histories.things import DELAYS_S, Endpoint, Item
from posthouse.transport.protocol import Failure

SECRETS = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=", "whsec_" + "QUJD" * 11]
DAY_MS = 86_400_000
FIXED = settings.get_current_profile_name() == "fixed"
#: Hypothesis makes variations of what it has seen once it has seen ten histories; the fixed ones are all new.
RUNS, EXAMPLES, STEPS = (3, 9, 50) if FIXED else (20, 500, 80)
#: A fixed run ends with the first history that fails, and prints its steps as they were. To make it smaller would take
#: hundreds of lives of a node: five minutes and more, for a history that every run makes again anyhow.
PHASES = (Phase.explicit, Phase.generate) if FIXED else tuple(Phase)
LIFE_STEPS = 6
#: How endpoints that are not well are shown.
CONDITIONS = ("failing", "down", "recovering")
MEMORY = Path("/dev/shm")  # noqa: S108 - where fsync costs nothing; what it is good for is proven elsewhere

environments = st.sampled_from(["live"] * 5 + ["test"])
#: Whether somebody asks with a key of the other environment.
strangers = st.sampled_from([False] * 9 + [True])
tenants = st.sampled_from(["default"] * 5 + ["acme"])
types = st.sampled_from(["order.paid", "order.sent", "user.new"])
patterns = st.sampled_from([["*"], ["*"], ["*"], ["order.*"], ["order.paid"], ["user.*", "order.sent"]])
schedules = st.sampled_from(sorted(DELAYS_S))
own_ids = st.sampled_from([None, None, None, "a", "b", "c/1"])
repeats = st.sampled_from([None, None, "k1", "k2"])
#: How long ago an event occurred, in milliseconds.
ages = st.sampled_from([None, None, 0, 4 * 60_000, 300_000, 300_001, DAY_MS, -DAY_MS])
answers = st.sampled_from(
    [
        Reply(200),
        Reply(204),
        Reply(500),
        Reply(302),
        Reply(410),
        Reply(429, retry_after="30"),
        Reply(503, retry_after="999999"),
        Reply(404, retry_after="999999"),
        Reply(None, failure=Failure.REFUSED),
        Reply(200, failure=Failure.READ_TIMEOUT),
    ]
)
replies = answers | st.just(HANG)
times = st.sampled_from([1, 999, 5_000, 5_500, 60_000, 66_000, 3_600_000, 3_960_000, DAY_MS, 91 * DAY_MS])
#: Whether the node dies in the middle of the step, if it comes to that.
deaths = st.sampled_from([False] * 6 + [True])
places = st.integers(0, 1_000)
#: A list and how it is filtered; numbers stand for things that there are when it comes to it.
FILTERS: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "deliveries": {
        "tenant": tenants,
        "status": st.sampled_from(STATUSES),
        **dict.fromkeys(["since", "until", "endpoint", "event"], places),
    },
    "events": {"tenant": tenants, "type": types, "since": places, "until": places},
    "endpoints": {"tenant": tenants},
    "keys": {},
    "tenants": {},
}


def filtered(name: str) -> st.SearchStrategy[tuple[str, dict[str, Any]]]:
    """Up to two filters of a list."""
    possible = [st.tuples(st.just(field), values) for field, values in FILTERS[name].items()]
    chosen = st.lists(st.one_of(possible), max_size=2).map(dict) if possible else st.just({})
    return st.tuples(st.just(name), chosen)


lists = st.sampled_from(["deliveries", "deliveries", *FILTERS]).flatmap(filtered)
items = st.tuples(
    st.builds(
        Item,
        type=types,
        data=st.sampled_from([b"1", b'{"n": 1}', b'{"n":1}', b'"\\u00e9"']),
        tenant=tenants,
        id=own_ids,
        ordering_key=st.none() | st.just("o"),
    ),
    ages,
)

#: Events that are refused.
BAD_EVENTS: list[tuple[bytes, Told]] = [
    (body, refused(422, "invalid_input"))
    for body in (
        b'{"type":"a b","data":1}',
        b'{"type":"a"}',
        b'{"type":"a","data":1,"id":"x.y"}',
        b'{"type":"a","data":1,"tenant":""}',
        b'{"type":"a","data":1,"occurred_at":"yesterday"}',
        b'{"type":"a","data":1,"more":1}',
        b'{"type":"a","data":"\\u0000"}',
        b'{"type":"a","data":' + b"[" * 70 + b"]" * 70 + b"}",
    )
]
NO_JSON = [(b'{"type":"a","data":1', refused(400, "malformed_json")), (b"", refused(400, "malformed_json"))]

#: What can be done to an endpoint: method, path behind the id, body, and what that does.
Action = tuple[str, str, object, Callable[[Model, str, Endpoint, str | None], Told]]


def changing(fields: dict[str, Any]) -> Action:
    return "PATCH", "", fields, lambda m, at, e, _: m.change_endpoint(at, e, fields)


def rotating(fields: dict[str, Any]) -> Action:
    return "POST", "/rotate-secret", fields, lambda m, at, e, key: m.rotate_secret(at, e, fields, key)


PAUSE: Action = ("POST", "/pause", None, lambda m, at, e, _: m.set_state(at, e, "paused"))
RESUME: Action = ("POST", "/resume", None, lambda m, at, e, _: m.set_state(at, e, "active"))
DELETE: Action = ("DELETE", "", None, lambda m, at, e, _: m.delete_endpoint(at, e))
TEST: Action = ("POST", "/test", None, lambda m, at, e, key: m.send_test(at, e, key))

changes = st.fixed_dictionaries(
    {},
    optional={
        "events": patterns,
        "active": st.booleans(),
        "description": st.just("d"),
        "headers": st.sampled_from([{}, {"x-a": "1"}]),
        "retry": schedules,
        "timeout_ms": st.sampled_from([10_000, 60_000]),
        "url": st.just(""),
    },
)
rotations = st.fixed_dictionaries(
    {}, optional={"secret": st.sampled_from(SECRETS), "overlap_ms": st.sampled_from([0, 1_000, 60_000, 7 * DAY_MS])}
)
#: Scope, environment and Idempotency-Key of a new API key.
NewKey = tuple[str, str | None, str | None]
keys: st.SearchStrategy[NewKey] = st.tuples(
    st.sampled_from(["admin", "publish", "read"]), st.sampled_from([None, "live", "test"]), repeats
)
#: What API keys are tried on: the permission that it takes, and the request.
TRIALS: list[tuple[str, str, str, bytes | None]] = [
    ("publish", "POST", "/v1/events", b"{"),
    ("read", "GET", "/v1/audit", None),
    ("manage", "POST", "/v1/endpoints", b"{"),
]


def seldom(name: str, steps: int) -> Callable[[Any], Any]:
    """For rules that would crowd the others out: so many steps lie between two of one name."""
    return precondition(lambda self: self.steps - self.latest.get(name, 0) >= steps)


class Histories(RuleBasedStateMachine):
    """Steps. Bundles hold the places of things in the model."""

    visited: ClassVar[set[str]]  #: what all histories of a run came to

    endpoints: Bundle[int] = Bundle("endpoints")
    requests: Bundle[Any] = Bundle("requests")
    walks: Bundle[Any] = Bundle("walks")

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None)
        self.run = Run(Path(self.directory.name))
        self.urls = (f"http://203.0.114.1/{number}" for number in count(1))
        self.steps = 0
        self.latest: dict[str, int] = {}

    @initialize(
        target=endpoints, retry=schedules, wanted=patterns, reply=replies, first=st.lists(items, min_size=1, max_size=3)
    )
    def begin(self, retry: str, wanted: list[str], reply: Reply | None, first: list[tuple[Item, int | None]]) -> Any:
        """API keys of all scopes, two endpoints, some events."""
        for by, environment in enumerate(ENVIRONMENTS):
            for scope in ("publish", "read"):
                self.run.create_key(by, {"name": f"{environment} {scope}", "scope": scope}, None)
        self.create("live", {"url": next(self.urls)}, Reply())
        self.create("live", {"url": next(self.urls), "retry": retry, "events": wanted}, reply)
        self.publish_items("live", [self.timed(*item) for item in first], None, batch=True, dies=False)
        return multiple(0, 1)

    # -- publishing -------------------------------------------------------------------------------

    @rule(
        target=requests,
        environment=environments,
        new=st.lists(items, min_size=1, max_size=4),
        batch=st.booleans(),
        key=repeats,
        dies=deaths,
    )
    def publish(
        self, environment: str, new: list[tuple[Item, int | None]], batch: bool, key: str | None, dies: bool
    ) -> Any:
        """One event; or several, all or none."""
        sent = [self.timed(*item) for item in (new if batch else new[:1])]
        return self.publish_items(environment, sent, key, batch=batch, dies=dies)

    @rule(
        request=requests,
        change=st.sampled_from([{}, {}, {}, {"data": b"2"}, {"id": "d"}, {"id": None}, {"tenant": "acme"}]),
        dies=deaths,
    )
    def publish_again(self, request: Any, change: dict[str, Any], dies: bool) -> None:
        """The same request, or the same but for something of the first event."""
        environment, (first, *rest), key, batch = request
        self.publish_items(environment, [replace(first, **change), *rest], key, batch=batch, dies=dies)

    def publish_items(self, environment: str, sent: list[Item], key: str | None, *, batch: bool, dies: bool) -> Any:
        self.run.publish(environment, sent, key, batch=batch, dies_behind=self.boundaries(dies))
        return environment, sent, key, batch

    # -- endpoints --------------------------------------------------------------------------------

    @rule(
        target=endpoints,
        environment=environments,
        fields=st.fixed_dictionaries(
            {"tenant": tenants, "events": patterns, "retry": schedules}, optional={"active": st.booleans()}
        ),
        reply=replies,
        secret=st.sampled_from(SECRETS),
        key=repeats,
        dies=deaths,
    )
    def create_endpoint(
        self,
        environment: str,
        fields: dict[str, Any],
        reply: Reply | None,
        secret: str,
        key: str | None,
        dies: bool,
    ) -> Any:
        """A new one; or, with a key, one that is created again now and then, by the same request or another."""
        if key is None:
            return self.create(environment, {**fields, "url": next(self.urls)}, reply)
        fields = {"url": f"http://203.0.114.2/{environment}/{key}", "secret": secret}
        return self.create(environment, fields, reply, key=key, dies=dies)

    def create(
        self,
        environment: str,
        fields: dict[str, Any],
        reply: Reply | None,
        *,
        key: str | None = None,
        dies: bool = False,
    ) -> Any:
        before = len(self.run.model.endpoints)
        by = ENVIRONMENTS.index(environment)
        self.run.world.replies[fields["url"]] = reply
        self.run.play(
            lambda: self.run.ask("POST", "/v1/endpoints", by=by, body=fields, key=key),
            lambda model: model.create_endpoint(environment, fields, key),
            dies_behind=self.boundaries(dies),
        )
        return multiple(*range(before, len(self.run.model.endpoints)))

    @rule(
        order=endpoints,
        action=st.sampled_from([PAUSE, RESUME, RESUME, DELETE, DELETE, TEST])
        | rotations.map(rotating)
        | changes.map(changing),
        key=repeats,
        stranger=strangers,
        dies=deaths,
    )
    def act_on_endpoint(self, order: int, action: Action, key: str | None, stranger: bool, dies: bool) -> None:
        """Pause, resume, delete, test, change it, rotate its secret."""
        method, place, body, effect = action
        if isinstance(body, dict) and "url" in body:  # a place of its own; what hangs at the old one stays there
            body = {**body, "url": next(self.urls)}
            self.run.world.replies[body["url"]] = self.run.world.replies.get(self.run.model.endpoints[order].url)
            method, place, body, effect = changing(body)
        endpoint = self.run.model.endpoints[order]
        environment = self.seen_from(endpoint.environment, stranger)
        path = f"/v1/endpoints/{endpoint.id}{place}"
        by = ENVIRONMENTS.index(environment)
        knows_all = place not in ("/test", "/rotate-secret")  # what these make could not be known after a death
        self.run.play(
            lambda: self.run.ask(method, path, by=by, body=body, key=key),
            lambda model: effect(model, environment, model.endpoints[order], key),
            dies_behind=self.boundaries(dies and knows_all),
        )

    # -- receivers and time -----------------------------------------------------------------------

    @seldom("down", 15)
    @rule(order=endpoints, ms=times, stays=strangers)
    def go_down(self, order: int, ms: int, stays: bool) -> None:
        """A receiver is down for some time, and comes back; or it does not for now."""
        self.latest["down"] = self.steps
        endpoint = self.run.model.endpoints[order]
        environment, path = endpoint.environment, f"/v1/endpoints/{endpoint.id}/test"
        self.run.world.replies[endpoint.url] = Reply(None, failure=Failure.REFUSED)
        for _ in range(5):
            self.run.play(
                lambda: self.run.ask("POST", path, by=ENVIRONMENTS.index(environment)),
                lambda model: model.send_test(environment, model.endpoints[order], None),
            )
        self.run.pass_time(ms)
        if not stays:
            self.run.world.replies[endpoint.url] = Reply()
            for _ in range(3):
                self.run.pass_time(33_000)

    @rule(
        order=endpoints,
        what=st.sampled_from(["replies", "lets go", "time", "until due", "until due"]),
        reply=replies,
        ms=times,
        place=places,
        dies=deaths,
    )
    def let_happen(self, order: int, what: str, reply: Reply | None, ms: int, place: int, dies: bool) -> None:
        """A receiver replies otherwise from now on, or answers what hangs; or time passes, all at once."""
        model = self.run.model
        dies_behind = self.boundaries(dies)
        if what == "replies":
            self.run.world.replies[model.endpoints[order].url] = reply
        elif what == "time":
            self.run.pass_time(ms, dies_behind=dies_behind)
        elif what == "lets go" and model.flights:
            hanging = [flight.delivery.endpoint.order for flight in model.flights.values()]
            self.run.let_go(hanging[place % len(hanging)], reply or Reply(), dies_behind=dies_behind)
        elif what == "until due":  # or a millisecond less
            dues = {d.due[0] for d in model.deliveries.values() if d.is_open}
            later = sorted(due for due in dues if due > self.run.clock.now_ms() + 1)
            if later:
                left = later[place // 2 % len(later)] - self.run.clock.now_ms() - place % 2
                self.run.pass_time(left, dies_behind=dies_behind)

    # -- deliveries -------------------------------------------------------------------------------

    @precondition(lambda self: self.run.model.deliveries)
    @rule(
        place=places,
        action=st.sampled_from(["retry", "retry", "cancel", "show"]),
        key=repeats,
        names_tenant=st.booleans(),
        stranger=strangers,
        dies=deaths,
    )
    def step_in(self, place: int, action: str, key: str | None, names_tenant: bool, stranger: bool, dies: bool) -> None:
        """Retry or cancel, from every state, but more often what is open; look at it and its event."""
        deliveries = self.run.model.deliveries
        still_open = [at for at, delivery in sorted(deliveries.items()) if delivery.is_open and place % 3]
        found = still_open or sorted(deliveries)
        at = found[place % len(found)]
        if action != "show":
            environment = self.seen_from(deliveries[at].event.environment, stranger)
            self.run.step_in(environment, at, action, key=key, dies_behind=self.boundaries(dies))
        self.run.show_delivery(at)
        self.run.show_event(at[0], names_tenant=names_tenant)

    # -- reading ----------------------------------------------------------------------------------

    @rule(
        target=walks,
        wanted=lists,
        environment=environments,
        limit=st.integers(1, 4),
        all_at_once=st.booleans(),
    )
    def begin_list(self, wanted: tuple[str, dict[str, Any]], environment: str, limit: int, all_at_once: bool) -> Any:
        """The first page of a list, filtered by whatever it can be filtered by, or all of its pages."""
        name, filters = wanted
        walk: Any = (name, environment, limit, self.run.filters(environment, filters), None, None)
        walk = self.turn_page(walk)
        while all_at_once and walk is not None:
            walk = self.turn_page(walk)
        return multiple() if walk is None else walk

    @rule(target=walks, walk=consumes(walks))
    def go_on_with_list(self, walk: Any) -> Any:
        """The next page, whatever happened since the page before."""
        walk = self.turn_page(walk)
        return multiple() if walk is None else walk

    def turn_page(self, walk: Any) -> Any:
        name, environment, limit, filters, after, cursor = walk
        more = self.run.page(name, environment, filters, limit=limit, after=after, cursor=cursor)
        return None if more is None else (name, environment, limit, filters, *more)

    # -- aside: what is refused, tenants, API keys, strangers -------------------------------------

    @seldom("aside", 3)
    @rule(
        what=st.sampled_from(["refused", "keys", "tenant"]),
        by=st.sampled_from([0, 0, 1]),
        good=st.lists(items, max_size=2),
        bad=st.sampled_from(BAD_EVENTS + NO_JSON),
        new_key=keys,
        tenant=st.sampled_from(["acme", "default", "globex"]),
        name=st.none() | st.sampled_from(["Acme Inc.", "acme"]),
        place=places,
    )
    def see_to_the_rest(
        self,
        what: str,
        by: int,
        good: list[tuple[Item, int | None]],
        bad: tuple[bytes, Told],
        new_key: NewKey,
        tenant: str,
        name: str | None,
        place: int,
    ) -> None:
        """Events that are refused, API keys, tenants, things of the other environment."""
        self.latest["aside"] = self.steps
        if what == "refused":
            self.publish_what_is_refused(by, [self.timed(*item).body() for item in good], bad, place)
        elif what == "keys":
            self.use_keys(by, new_key, place)
        else:
            self.run.play(
                lambda: self.run.ask("POST", "/v1/tenants", by=by, body={"id": tenant, "name": name}),
                lambda model: model.create_tenant(ENVIRONMENTS[by], tenant, name),
            )
            for kind in ("endpoints", "deliveries", "events"):
                self.run.look_across(ENVIRONMENTS[by], kind, place)

    def publish_what_is_refused(self, by: int, good: list[bytes], bad: tuple[bytes, Told], place: int) -> None:
        """It leaves nothing: no event, no identity."""
        body, told = bad
        path = "/v1/events"
        if good and bad in BAD_EVENTS:
            good.insert(place % (len(good) + 1), body)
            path, body = "/v1/events/batch", b'{"events":[' + b",".join(good) + b"]}"
        self.run.play(lambda: self.run.ask("POST", path, by=by, body=body, key="k1"), lambda _: told)

    def use_keys(self, by: int, new_key: NewKey, place: int) -> None:
        """Create one, revoke one, try some."""
        scope, environment, key = new_key
        self.run.create_key(by, {"name": "n", "scope": scope}, key, environment=environment)
        removable = [0, *range(6, len(self.run.model.keys))]
        revoked = removable[place % len(removable)]
        self.run.revoke_key(ENVIRONMENTS[by], revoked)
        for tried in (revoked, place % len(self.run.model.keys)):
            self.run.try_key(tried, *TRIALS[place % len(TRIALS)])

    # -- ends -------------------------------------------------------------------------------------

    @seldom("end", LIFE_STEPS)
    @rule(how=st.sampled_from(["stop", "drain", "kill", "kill"]), reply=answers, dies_again=deaths)
    def end_and_start(self, how: str, reply: Reply, dies_again: bool) -> None:
        """With a signal or without one; perhaps again while it starts."""
        self.latest["end"] = self.steps
        if how == "kill":
            self.run.kill(self.boundaries(dies_again))
        else:
            self.run.stop_and_start(drains=reply if how == "drain" else None)

    @invariant()
    def shows_what_is_known(self) -> None:
        """Deliveries and books; the rest is compared at the end."""
        self.steps += 1
        environment = ENVIRONMENTS[self.steps % 5 == 0]
        limit = max(2 + self.steps % 5, len(self.run.model.deliveries) // 2)
        self.run.compare_list("deliveries", environment, limit=limit)
        if self.steps % 3 == 0:
            assert self.run.read("/v1/audit", environment) == books(self.run.model, environment, None)

    def teardown(self) -> None:
        """Everything once more, if all went well so far."""
        try:
            if sys.exc_info()[0] is None:
                self.run.look(*ENVIRONMENTS)
            self.visited.update(self.run.ends, self.run.seen, (d.status for d in self.run.model.deliveries.values()))
        finally:
            self.run.close()
            self.directory.cleanup()

    def boundaries(self, dies: bool) -> int | None:
        """Behind how many boundaries the node dies: another number each time. A new life lasts a few steps."""
        if not dies or self.steps - self.latest.get("end", 0) < LIFE_STEPS:
            return None
        self.latest["end"] = self.steps
        return self.steps * 7 % 19

    def timed(self, item: Item, age: int | None) -> Item:
        at = None if age is None else self.run.clock.now_ms() - age
        return replace(item, occurred_at=at)

    @staticmethod
    def seen_from(environment: str, stranger: bool) -> str:
        return ENVIRONMENTS[1 - ENVIRONMENTS.index(environment)] if stranger else environment


@pytest.mark.timeout(180 if FIXED else 36_000)  # what fails is made smaller for minutes, unless it is fixed
@pytest.mark.parametrize("number", range(RUNS))
def test_a_node_keeps_its_promises(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # Hours pass in an instant, and the leases outlive them: how a node goes on that slept is what is simulated.
    monkeypatch.setattr(ownership, "LEASE_MS", 1 << 50)

    class Numbered(Histories):
        visited: ClassVar[set[str]] = set()

    machine = seed(number)(Numbered) if FIXED else Numbered
    run_state_machine_as_test(
        machine, settings=settings(max_examples=EXAMPLES, stateful_step_count=STEPS, phases=PHASES)
    )
    assert Numbered.visited >= {*STATUSES, *CONDITIONS, "stopped", "killed", "died at a boundary"}
