"""A history in the making: every step goes to the node and to the model, then the two are compared."""

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from posthouse.testing.histories.life import Death, Life
from posthouse.testing.histories.model import Model, Told, refused
from posthouse.testing.histories.reader import ENVIRONMENTS, Reader, check, compare_lists
from posthouse.testing.histories.receivers import Receivers, Reply, World
from posthouse.testing.histories.things import ApiKey, Item
from posthouse.testing.histories.traffic import follow, lose_memory, rest
from posthouse.testing.histories.wire import Answer
from posthouse.testing.manual_clock import ManualClock
from posthouse.testing.quiet_house import SeededEntropy

ALLOWED: Final = {"admin": ("publish", "read", "manage"), "publish": ("publish",), "read": ("read",)}
PER_ENDPOINT: Final = 2
IN_ALL: Final = 5
SLEEP_MS: Final = 8_000  #: after less than this the lease of a node still holds

#: What a step does to the world, and what that does to the model. Effects name things by their places in
#: the model, because after a sudden end they are tried on copies of it.
Act = Callable[[], Answer | None]
Effect = Callable[[Model], Told | None]


class _WithoutJitter(SeededEntropy):
    """Retries come exactly when their schedule says, so that it is known which request came before its time."""

    def random(self) -> float:
        """Always 0."""
        return 0.0


class Run(Reader):
    """A node, the world around it and the model of it.

    Attributes:
        clock: the world's.
        world: the receivers.
        ends: how lives ended so far.
        seen: how endpoints were so far, as the API showed it.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lives = 0
        self._entropy = _WithoutJitter()
        self.ends: set[str] = set()
        self.seen: set[str] = set()
        self.clock = ManualClock()
        self.world = World(self.clock)
        self.model = Model(self.clock.now_ms(), per_endpoint=PER_ENDPOINT, in_all=IN_ALL)
        self._home = self._image()
        self._begin()
        text = self.life.first_key
        assert text is not None
        self.model.keys.append(ApiKey(0, "live", "admin", "first key", self.model.now, text=text))
        self.create_key(0, {"name": "test", "scope": "admin"}, None, environment="test")
        self.look(*ENVIRONMENTS)

    # -- steps ------------------------------------------------------------------------------------

    def play(self, act: Act, effect: Effect, *, dies_behind: int | None = None) -> None:
        """One step.

        Args:
            act: asks the node, or lets the world do something.
            effect: what that does to the model, and what the answer is.
            dies_behind: the node ends behind so many boundaries, if the step comes that far.
        """
        before = copy.deepcopy(self.model) if dies_behind is not None else self.model
        if dies_behind is not None:
            self.life.death.wait(self._image(), dies_behind)
        answer = act()
        if self.life.death.has_come:
            self._rise(before, effect, answer)
            return
        self.life.death.spare()
        if self.clock.now_ms() - self.model.now >= SLEEP_MS:
            self.model.woke_at = self.clock.now_ms()
        self.model.now = self.clock.now_ms()
        told = effect(self.model)
        if told is not None:
            assert answer is not None
            check(answer, told)
        self._follow()

    def publish(
        self, environment: str, items: Sequence[Item], key: str | None, *, batch: bool, dies_behind: int | None = None
    ) -> None:
        """Publish one event or several."""
        path, body = "/v1/events", items[0].body()
        if batch:
            path, body = "/v1/events/batch", b'{"events":[' + b",".join(item.body() for item in items) + b"]}"
        self.play(
            lambda: self.ask("POST", path, by=ENVIRONMENTS.index(environment), body=body, key=key),
            lambda model: model.publish(environment, items, key, batch=batch),
            dies_behind=dies_behind,
        )

    def create_key(
        self, by: int, fields: Mapping[str, Any], key: str | None, *, environment: str | None = None
    ) -> None:
        """Create an API key."""
        body = dict(fields) if environment is None else {**fields, "environment": environment}
        self.play(
            lambda: self.ask("POST", "/v1/keys", by=by, body=body, key=key),
            lambda model: model.create_key(model.keys[by], fields, key, environment=environment),
        )

    def revoke_key(self, environment: str, place: int) -> None:
        """Revoke an API key; the first one, which every step needs, only when that must be refused."""
        others = [k for k in self.model.keys[1:] if (k.environment, k.scope, k.is_revoked) == ("live", "admin", False)]
        if place != 0 or not others:
            path = f"/v1/keys/{self.model.keys[place].id}"
            self.play(
                lambda: self.ask("DELETE", path, by=ENVIRONMENTS.index(environment)),
                lambda model: model.revoke_key(environment, model.keys[place]),
            )

    def try_key(self, by: int, permission: str, method: str, path: str, body: bytes | None) -> None:
        """Ask with an API key for what takes ``permission``; a body is one that is refused after that."""

        def effect(model: Model) -> Told:
            if model.keys[by].is_revoked:
                return refused(401, "unauthorized")
            if permission not in ALLOWED[model.keys[by].scope]:
                return refused(403, "forbidden")
            return Told(200) if body is None else refused(400, "malformed_json")

        self.play(lambda: self.ask(method, path, by=by, body=body), effect)

    def step_in(
        self, environment: str, place: tuple[int, int], action: str, *, key: str | None, dies_behind: int | None = None
    ) -> None:
        """Retry or cancel a delivery."""
        path = f"/v1/deliveries/{self.id_of(place)}/{action}"

        def effect(model: Model) -> Told:
            delivery = model.deliveries[place]
            if action == "retry":
                return model.retry(environment, delivery, key)
            return model.cancel(environment, delivery)

        self.play(
            lambda: self.ask("POST", path, by=ENVIRONMENTS.index(environment), key=key),
            effect,
            dies_behind=dies_behind,
        )

    def pass_time(self, ms: int, *, dies_behind: int | None = None) -> None:
        """Let time pass, all of it at once, as for a machine that slept."""

        def act() -> None:
            self.clock.advance(ms)
            self.life.settle()

        self.play(act, lambda _: None, dies_behind=dies_behind)

    def let_go(self, order: int, reply: Reply, *, dies_behind: int | None = None) -> None:
        """Receivers answer what hangs at an endpoint."""
        tickets = [t for t, flight in self.model.flights.items() if flight.delivery.endpoint.order == order]

        def act() -> None:
            for ticket in tickets:
                self._receivers.let_go(ticket, reply)
            self.life.settle()

        self.play(act, lambda _: None, dies_behind=dies_behind)

    # -- restarts ---------------------------------------------------------------------------------

    def stop_and_start(self, *, drains: Reply | None) -> None:
        """End the node as a signal does, then start it again. ``drains``: how receivers answer meanwhile."""

        def answer_all() -> None:
            for ticket in self.model.flights:
                self._receivers.let_go(ticket, drains or Reply())

        self.ends.add("stopped")
        if drains is None:
            self.life.stop()
        else:
            self.life.stop(drain_seconds=30, meanwhile=answer_all)
        follow(self.model, self.world.log)
        self.world.log.clear()
        lose_memory(self.model)
        self.world.holds_all = True
        self._begin()
        self._go_on(is_certain=drains is None)

    def kill(self, dies_again_behind: int | None) -> None:
        """End the node in a quiet moment, without a word; and again behind so many boundaries of its start."""
        before = copy.deepcopy(self.model)
        self.life.death.come(self._image())
        self._rise(before, lambda _: None, None, dies_again_behind=dies_again_behind)

    def close(self) -> None:
        """End it all."""
        self.life.stop()

    def _rise(
        self, before: Model, effect: Effect, answer: Answer | None, *, dies_again_behind: int | None = None
    ) -> None:
        """Start again on what the dead node left, and find out which of its possible pasts is the true one.

        What it has answered has taken place; what it was still busy with may have.
        """
        old_log, self.world.log = self.world.log, []
        died_at = self.life.death.at
        self.ends.add("killed" if died_at is None else "died at a boundary")
        self.life.stop()
        self._home = self._home.with_name(f"{self._lives}")
        self.world.holds_all = True
        self._begin(dies_behind=dies_again_behind)
        if self.life.death.has_come:
            self.world.log.clear()
            self.life.stop()
            self._home = self._home.with_name(f"{self._lives}")
            self._begin()
        self.life.death.spare()
        shown = {
            at: {name: self.walk(name, at) for name in ("events", "endpoints", "deliveries")} for at in ENVIRONMENTS
        }
        faults: list[str] = []
        for took_place in (True, False) if answer is None else (True,):
            model = copy.deepcopy(before)
            model.now = self.clock.now_ms()
            try:
                told = effect(model) if took_place else None
                if told is not None and answer is not None:
                    check(answer, told)
                compare_lists(model, shown, "events")
                follow(model, old_log)
                lose_memory(model)
                compare_lists(model, shown, "endpoints", "deliveries")
            except AssertionError as fault:
                faults.append(str(fault))
                continue
            self.model = model
            break
        else:
            raise AssertionError(f"The node died at {died_at} and shows no possible past: {faults}")
        self._go_on(is_certain=died_at is None)

    def _go_on(self, *, is_certain: bool) -> None:
        """Find out what the new life knows of endpoints, then let it hear answers.

        ``is_certain``: the one before had written down all that it knew.
        """
        for endpoint in self.model.endpoints:
            if endpoint.state != "deleted" and endpoint.id is not None:
                self.learn_health(endpoint, is_certain=is_certain)
        self._receivers.resume()
        self.life.settle()
        self._follow()

    def _begin(self, *, dies_behind: int | None = None) -> None:
        death = Death(self._home)
        if dies_behind is not None:
            death.wait(self._image(), dies_behind)
        self._receivers = Receivers(self.world, lambda: death.has_come)
        self.life = Life(
            self._home,
            clock=self.clock,
            entropy=self._entropy,
            transport=self._receivers,
            death=death,
            in_flight_max=IN_ALL,
            in_flight_per_endpoint=PER_ENDPOINT,
        )

    def _image(self) -> Path:
        """A directory for the next life."""
        self._lives += 1
        return self._directory / f"{self._lives}"

    def _follow(self) -> None:
        log, self.world.log = self.world.log, []
        overdue = [e for e in self.model.endpoints if e.state == "active" and e.health.is_overdue(self.model.now)]
        follow(self.model, log)
        behind = rest(self.model)
        for endpoint in self.model.endpoints:
            if endpoint.state == "active" and not endpoint.health.is_well:
                self.look_after(endpoint, may_be_disabled=endpoint in overdue)
        for delivery in behind:
            if delivery.endpoint.state == "active":  # It may have been disabled since.
                self.check_why(delivery)
