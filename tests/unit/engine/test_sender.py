"""One request: shaped by the endpoint's rules, signed for now, and what its answer means for each of its deliveries."""

import asyncio
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.core.batch import batch_id
from posthouse.core.delivery import State
from posthouse.core.errors import SignatureInvalid
from posthouse.core.limits import (
    BATCH_OUT_BYTES_MAX,
    EVENT_BODY_BYTES_MAX,
    RESPONSE_KEPT_BYTES_MAX,
    RESPONSE_KEPT_IN_BATCH_BYTES_MAX,
    RESPONSE_READ_BYTES_MAX,
)
from posthouse.core.model import Endpoint, Environment, Event, Lane, Obligation, Secret
from posthouse.core.retry import NOT_TAKEN
from posthouse.core.rules import Batch, Payload, Rules
from posthouse.core.signature import NO_MATCH, generate_secret, verify
from posthouse.engine.sender import Outcome, Sender
from posthouse.engine.tenants import TenantDesk
from posthouse.engine.windows import Desk
from posthouse.store.protocol import Work
from posthouse.telemetry import Metrics
from posthouse.testing.manual_clock import ManualClock
from posthouse.testing.scripted_transport import ScriptedTransport, answer, broken
from posthouse.transport.protocol import Exchange, Failure, Request

HOUR_MS = 3_600_000
OLD, NEW = (generate_secret(bytes([n]) * 24) for n in (1, 2))
BATCHED = Rules(batch=Batch(250))


class Bench:
    """A sender and one endpoint."""

    def __init__(self, rules: Rules | None = None, *answers: Exchange) -> None:
        self.clock = ManualClock()
        self.answers = list(answers)
        self.transport = ScriptedTransport(lambda _: self.answers.pop(0) if self.answers else answer())
        entropy: Any = SimpleNamespace(random=lambda: 0.0)
        self.metrics = Metrics()
        self.sender = Sender(self.transport, self.clock, entropy, self.metrics)
        self.now = self.clock.now_ms()
        endpoint = Endpoint(
            key=1,
            environment=Environment.LIVE,
            tenant="default",
            url="http://127.0.0.1/",
            secrets=(Secret(NEW, self.now), Secret(OLD, self.now - 1, self.now + HOUR_MS)),
            retry="custom:10s,1m",
            rules=rules or Rules(),
        )
        self.desk = Desk(endpoint, TenantDesk((Environment.LIVE, "default")), cap=8, now=self.clock.monotonic())

    def work(self, key: int = 5, *, attempts: int = 0, due_in: int = 0, data: bytes = b"1") -> Work:
        """One delivery; its event has the id ``e`` and its key."""
        event = Event(
            key=key,
            id=f"e{key}",
            environment=Environment.LIVE,
            tenant="default",
            type="t",
            accepted_at=self.now,
            data=data,
        )
        lane = Lane.RETRY if attempts else Lane.LIVE
        return Work(Obligation(key, 1, lane, self.now + due_in, self.now, attempts, 1, attempts), event)

    async def attempt(self, *works: Work, probe: bool = False) -> Outcome:
        """Make one attempt."""
        return await self.sender.attempt(self.desk, works or [self.work()], 1, probe=probe)

    async def request(self, *works: Work) -> Request:
        """Make one attempt; what was sent."""
        await self.attempt(*works)
        return self.transport.requests[-1]

    def signatures(self, request: Request) -> list[str]:
        """Those of the valid secrets that signed it, by what a receiver finds out."""
        signed = []
        for name, secret in (("old", OLD), ("new", NEW)):
            try:
                verify([secret], request.headers, request.body, now_s=self.clock.now_ms() // 1_000)
            except SignatureInvalid as error:
                if error.reason != NO_MATCH:
                    raise
            else:
                signed.append(name)
        return signed


def states(outcome: Outcome) -> list[tuple[int, State]]:
    return [(s.obligation.event_key, s.state) for s in outcome.settlements]


def keys(parts: list[list[Work]]) -> list[list[int]]:
    return [[work.obligation.event_key for work in part] for part in parts]


# -- signing --------------------------------------------------------------------------------


async def test_each_attempt_is_signed_for_the_time_at_which_it_is_made() -> None:
    """A receiver refuses an old timestamp: one of the first attempt would make every late retry fail."""
    bench = Bench()
    first = await bench.request()
    bench.clock.advance(HOUR_MS // 2)
    second = await bench.request()
    verify([NEW], second.headers, second.body, now_s=bench.clock.now_ms() // 1_000)
    assert second.headers["webhook-id"] == first.headers["webhook-id"] == "e5", "it is the same event"


async def test_while_a_secret_is_replaced_both_sign_and_the_expired_one_no_longer() -> None:
    bench = Bench()
    assert bench.signatures(await bench.request()) == ["old", "new"]
    bench.clock.advance(HOUR_MS - 1)
    assert bench.signatures(await bench.request()) == ["old", "new"]
    bench.clock.advance(1)
    assert bench.signatures(await bench.request()) == ["new"]


# -- one event, one request -----------------------------------------------------------------


async def test_an_ordinary_event_goes_as_its_publisher_wrote_it() -> None:
    bench = Bench()
    request = await bench.request(bench.work(data=b'{"n": 1.0}'))
    assert request.body.endswith(b'"data":{"n": 1.0}}')
    assert request.kept_bytes == RESPONSE_KEPT_BYTES_MAX


async def test_a_thin_payload_holds_the_id_alone() -> None:
    bench = Bench(Rules(payload=Payload.THIN))
    request = await bench.request(bench.work(data=b'{"secret": 1}'))
    assert json.loads(request.body)["data"] == {"id": "e5"}
    assert json.loads(request.body)["type"] == "t"


async def test_a_success_is_settled_and_counted_once() -> None:
    bench = Bench()
    outcome = await bench.attempt()
    (settlement,) = outcome.settlements
    assert (settlement.state, settlement.spent, outcome.disable, outcome.again) == (State.DELIVERED, True, False, [])
    assert settlement.attempt is not None
    assert (settlement.attempt.number, settlement.attempt.outcome) == (1, "success")
    assert bench.metrics.attempts == {"success": 1}
    assert sum(bench.metrics.accept_to_first_attempt_ms.counts) == 1


async def test_a_later_attempt_is_none_of_the_first_ones() -> None:
    bench = Bench()
    await bench.attempt(bench.work(attempts=1))
    assert sum(bench.metrics.accept_to_first_attempt_ms.counts) == 0


async def test_410_asks_for_the_endpoint_to_be_disabled() -> None:
    outcome = await Bench(None, answer(410)).attempt()
    assert outcome.disable
    assert states(outcome) == [(5, State.RETRYING)]


# -- what counts as success -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "state", "outcome"),
    [
        (200, State.DELIVERED, "success"),
        (409, State.DELIVERED, "success"),
        (202, State.RETRYING, "status"),
        (404, State.RETRYING, "status"),
        (500, State.RETRYING, "status"),
    ],
)
async def test_the_endpoint_says_which_statuses_are_success(status: int, state: State, outcome: str) -> None:
    bench = Bench(Rules(success="200,409"), answer(status))
    result = await bench.attempt()
    (settlement,) = result.settlements
    assert settlement.attempt is not None
    assert (settlement.state, settlement.attempt.outcome) == (state, outcome)
    assert result.exchange is not None
    assert (result.exchange.failure is None) == (state is State.DELIVERED)


async def test_a_2xx_that_is_no_success_says_why() -> None:
    (settlement,) = (await Bench(Rules(success="200,409"), answer(202)).attempt()).settlements
    assert settlement.attempt is not None
    assert settlement.attempt.error == "The endpoint answered 202, and 200,409 count as success."


async def test_an_exchange_that_broke_is_no_success_whatever_its_status() -> None:
    broke = Exchange(failure=Failure.PROTOCOL, timings=answer().timings, status=200, error="It broke off.")
    assert states(await Bench(Rules(success="200-299,409"), broke).attempt()) == [(5, State.RETRYING)]


# -- probes ---------------------------------------------------------------------------------


async def test_a_failed_probe_spends_nothing_of_a_delivery_that_is_not_due() -> None:
    bench = Bench(None, answer(500))
    work = bench.work(attempts=1, due_in=HOUR_MS)
    (settlement,) = (await bench.attempt(work, probe=True)).settlements
    assert (settlement.state, settlement.spent) == (State.RETRYING, False)
    assert (settlement.due_at, settlement.lane) == (work.obligation.due_at, Lane.RETRY)
    assert settlement.attempt is not None
    assert settlement.attempt.number == 2, "it was made, and people see it"


async def test_the_last_attempt_of_a_delivery_is_not_spent_by_a_probe() -> None:
    bench = Bench(None, answer(500), answer(500))
    assert states(await bench.attempt(bench.work(attempts=2, due_in=1), probe=True)) == [(5, State.RETRYING)]
    assert states(await bench.attempt(bench.work(attempts=2), probe=True)) == [(5, State.EXHAUSTED)]


async def test_a_probe_of_a_delivery_that_is_due_is_an_attempt() -> None:
    bench = Bench(None, answer(500))
    (settlement,) = (await bench.attempt(bench.work(), probe=True)).settlements
    assert (settlement.spent, settlement.due_at) == (True, bench.now + 10_000)


async def test_a_probe_that_succeeds_delivers() -> None:
    bench = Bench()
    (settlement,) = (await bench.attempt(bench.work(attempts=1, due_in=HOUR_MS), probe=True)).settlements
    assert (settlement.state, settlement.spent) == (State.DELIVERED, True)


async def test_a_probe_hears_410_too() -> None:
    bench = Bench(None, answer(410))
    outcome = await bench.attempt(bench.work(attempts=1, due_in=1), probe=True)
    assert outcome.disable


# -- batches --------------------------------------------------------------------------------


async def test_a_batch_is_one_signed_request_with_a_row_for_each_event() -> None:
    bench = Bench(BATCHED)
    works = [bench.work(key) for key in (5, 6, 7)]
    outcome = await bench.attempt(*works)
    (request,) = bench.transport.requests
    verify([NEW], request.headers, request.body, now_s=bench.clock.now_ms() // 1_000)
    assert request.headers["webhook-id"] == batch_id(["e5", "e6", "e7"])
    assert [item["id"] for item in json.loads(request.body)["data"]] == ["e5", "e6", "e7"]
    assert states(outcome) == [(key, State.DELIVERED) for key in (5, 6, 7)]
    assert all(s.attempt is not None and s.attempt.number == 1 for s in outcome.settlements)
    assert bench.metrics.attempts == {"success": 3}
    assert sum(bench.metrics.accept_to_first_attempt_ms.counts) == 3
    assert sum(bench.metrics.attempt_total_ms.counts) == 1


async def test_a_single_event_looks_the_same_to_who_takes_batches() -> None:
    bench = Bench(Rules(batch=Batch(2), payload=Payload.THIN))
    body = json.loads((await bench.request()).body)
    assert (body["type"], [item["data"] for item in body["data"]]) == ("batch", [{"id": "e5"}])


async def test_an_event_that_the_answer_names_has_failed_and_no_other() -> None:
    body = b'{"failed": [{"id": "e6", "error": "no such sku"}, {"id": "unknown"}]}'
    bench = Bench(BATCHED, answer(200, body=body))
    outcome = await bench.attempt(*(bench.work(key) for key in (5, 6, 7)))
    assert states(outcome) == [(5, State.DELIVERED), (6, State.RETRYING), (7, State.DELIVERED)]
    attempt = outcome.settlements[1].attempt
    assert attempt is not None
    assert (attempt.outcome, attempt.status) == (NOT_TAKEN, 200)
    assert attempt.error == "The endpoint did not take this event of the batch: no such sku"
    assert outcome.exchange is not None
    assert outcome.exchange.failure is None, "the endpoint is well"
    assert bench.metrics.attempts == {"success": 2, NOT_TAKEN: 1}


async def test_an_event_that_is_named_each_time_is_given_up_by_its_schedule() -> None:
    bench = Bench(BATCHED, answer(200, body=b'{"failed": [{"id": "e5"}]}'))
    outcome = await bench.attempt(bench.work(5, attempts=2), bench.work(6))
    assert states(outcome) == [(5, State.EXHAUSTED), (6, State.DELIVERED)]
    assert outcome.settlements[0].reason == "attempts_spent"


async def test_an_answer_that_may_name_events_and_cannot_be_read_is_no_success() -> None:
    """An event that failed must not count as delivered because its name was cut off."""
    bench = Bench(BATCHED, answer(200, body=b'{"failed": [{"id": "e5"}, {"id":'))
    outcome = await bench.attempt(bench.work(5), bench.work(6))
    assert states(outcome) == [(5, State.RETRYING), (6, State.RETRYING)]
    assert outcome.exchange is not None
    assert outcome.exchange.failure is Failure.PROTOCOL


async def test_more_is_read_of_the_answer_to_a_batch_and_little_kept_with_each_event() -> None:
    bench = Bench(BATCHED, answer(500, body=b"x" * 10_000), answer(500, body=b"x" * 10_000))
    outcome = await bench.attempt(bench.work(5), bench.work(6))
    assert bench.transport.requests[0].kept_bytes == RESPONSE_READ_BYTES_MAX
    attempts = [settlement.attempt for settlement in outcome.settlements]
    assert [len(a.response_body) for a in attempts if a is not None] == [RESPONSE_KEPT_IN_BATCH_BYTES_MAX] * 2
    (alone,) = (await bench.attempt(bench.work(5))).settlements
    assert alone.attempt is not None
    assert len(alone.attempt.response_body) == RESPONSE_KEPT_BYTES_MAX


@pytest.mark.parametrize("status", [400, 406, 413, 422, 499])
async def test_a_refusal_of_the_content_sends_the_batch_again_in_halves(status: int) -> None:
    bench = Bench(BATCHED, answer(status))
    outcome = await bench.attempt(*(bench.work(key) for key in (5, 6, 7)))
    assert keys(outcome.again) == [[5, 6], [7]]
    assert (outcome.settlements, outcome.disable) == ([], False)
    assert outcome.exchange is not None
    assert bench.metrics.attempts == {}, "no event had its attempt yet"
    assert sum(bench.metrics.accept_to_first_attempt_ms.counts) == 0


@pytest.mark.parametrize("status", [401, 403, 404, 408, 425, 429, 500, 503, 302])
async def test_a_refusal_of_something_else_concerns_all_of_the_batch(status: int) -> None:
    bench = Bench(BATCHED, answer(status, retry_after="7200"))
    outcome = await bench.attempt(bench.work(5), bench.work(6, attempts=2))
    assert outcome.again == []
    assert states(outcome) == [(5, State.RETRYING), (6, State.EXHAUSTED)]
    asked = status in {429, 503}
    assert outcome.settlements[0].due_at == bench.now + (2 * HOUR_MS if asked else 10_000)


async def test_a_status_that_counts_as_success_is_not_taken_apart() -> None:
    bench = Bench(Rules(batch=Batch(250), success="200-299,409"), answer(409))
    outcome = await bench.attempt(bench.work(5), bench.work(6))
    assert (outcome.again, states(outcome)) == ([], [(5, State.DELIVERED), (6, State.DELIVERED)])


async def test_a_network_failure_concerns_all_of_the_batch() -> None:
    bench = Bench(BATCHED, broken(Failure.REFUSED))
    outcome = await bench.attempt(bench.work(5), bench.work(6))
    assert states(outcome) == [(5, State.RETRYING), (6, State.RETRYING)]


async def settle_all(bench: Bench, works: list[Work]) -> dict[int, State]:
    """Attempt all parts until each event has its outcome."""
    parts = [works]
    found: dict[int, State] = {}
    while parts:
        outcome = await bench.attempt(*parts.pop())
        parts += outcome.again
        found.update(states(outcome))
    return found


@pytest.mark.parametrize("bad", [{5}, {254}, {100, 101}, set(range(5, 255)), set()])
async def test_of_250_events_the_bad_ones_are_settled_alone(bad: set[int]) -> None:
    """One bad event costs at most twice eight more requests, and no other event an attempt."""
    bench = Bench(BATCHED)
    names = {f"e{key}" for key in bad}
    bench.transport.script = refusing(names)
    found = await settle_all(bench, [bench.work(key) for key in range(5, 255)])
    assert {key for key, state in found.items() if state is State.RETRYING} == bad
    assert len(found) == 250
    assert len(bench.transport.requests) <= 1 + 16 * max(1, len(bad))
    assert bench.metrics.attempts["success"] == 250 - len(bad)
    assert bench.metrics.attempts["status"] == len(bad)


def refusing(names: set[str]) -> Callable[[Request], Exchange]:
    """An endpoint that refuses a batch with one of these events in it."""

    def script(request: Request) -> Exchange:
        sent = {item["id"] for item in json.loads(request.body)["data"]}
        return answer(422 if sent & names else 200)

    return script


async def test_a_fault_of_the_program_concerns_one_event_of_a_batch() -> None:
    """The others are delivered; the one that breaks the program raises, when it is alone."""
    bench = Bench(BATCHED)

    def script(request: Request) -> Exchange:
        if b'"e7"' in request.body:
            raise ZeroDivisionError
        return answer()

    bench.transport.script = script
    outcome = await bench.attempt(*(bench.work(key) for key in (5, 6, 7, 8)))
    assert (keys(outcome.again), outcome.settlements, outcome.exchange) == ([[5, 6], [7, 8]], [], None)
    with pytest.raises(ZeroDivisionError):
        await bench.attempt(bench.work(7))


async def test_a_failed_probe_of_a_batch_spends_the_attempts_of_those_that_are_due() -> None:
    bench = Bench(BATCHED, answer(503))
    outcome = await bench.attempt(bench.work(5), bench.work(6, attempts=1, due_in=HOUR_MS), probe=True)
    assert [settlement.spent for settlement in outcome.settlements] == [True, False]


# -- filters and transformations ------------------------------------------------------------


async def test_a_transformation_makes_the_data() -> None:
    bench = Bench(Rules(transform='{"sum":"data.a + data.b","of":{"type":"type"}}'))
    request = await bench.request(bench.work(data=b'{"a": 1, "b": 2}'))
    body = json.loads(request.body)
    assert (body["type"], body["data"]) == ("t", {"sum": 3, "of": {"type": "t"}})
    assert request.headers["webhook-id"] == "e5"


@pytest.mark.parametrize(
    ("rules", "data", "state", "reason"),
    [
        (Rules(filter="data.n > 1"), b'{"n": 1}', State.DISCARDED, "filtered"),
        (Rules(filter="data.n > 1"), b'{"m": 1}', State.EXHAUSTED, "filter_error"),
        (Rules(transform='{"n":"data.n"}'), b"[]", State.EXHAUSTED, "transform_error"),
        (Rules(filter="data.n > 1", payload=Payload.THIN), b'{"n": 1}', State.DISCARDED, "filtered"),
        (Rules(filter="data.n > 1", batch=Batch(2)), b'{"n": 1}', State.DISCARDED, "filtered"),
    ],
)
async def test_what_a_rule_withholds_is_settled_without_a_request(
    rules: Rules, data: bytes, state: State, reason: str
) -> None:
    bench = Bench(rules)
    outcome = await bench.attempt(bench.work(data=data))
    (settlement,) = outcome.settlements
    assert (settlement.state, settlement.reason, settlement.attempt) == (state, reason, None)
    assert (outcome.exchange, outcome.again, outcome.disable) == (None, [], False)
    assert bench.transport.requests == []
    assert bench.metrics.attempts == {}


async def test_what_the_filter_wants_is_sent() -> None:
    bench = Bench(Rules(filter="data.n > 1"))
    assert states(await bench.attempt(bench.work(data=b'{"n": 2}'))) == [(5, State.DELIVERED)]


async def test_a_test_event_passes_every_filter() -> None:
    """Somebody asked for it, whatever the endpoint wants otherwise."""
    bench = Bench(Rules(filter="false"))
    work = bench.work()
    test = msgspec.structs.replace(work, event=msgspec.structs.replace(work.event, type="posthouse.test"))
    assert states(await bench.attempt(test)) == [(5, State.DELIVERED)]


async def test_a_batch_leaves_out_what_its_rules_withhold() -> None:
    bench = Bench(Rules(batch=Batch(9), filter="data.n > 1", transform='{"x":"data.x"}'))
    works = [bench.work(key, data=data) for key, data in enumerate([b'{"n":1}', b'{"n":2,"x":3}', b'{"n":2}', b"[]"])]
    outcome = await bench.attempt(*works)
    assert {key: (s.state, s.reason) for s in outcome.settlements for key in [s.obligation.event_key]} == {
        0: (State.DISCARDED, "filtered"),
        1: (State.DELIVERED, None),
        2: (State.EXHAUSTED, "transform_error"),
        3: (State.EXHAUSTED, "filter_error"),
    }
    (request,) = bench.transport.requests
    assert [(item["id"], item["data"]) for item in json.loads(request.body)["data"]] == [("e1", {"x": 3})]
    assert request.headers["webhook-id"] == batch_id(["e1"])


async def test_a_part_of_a_batch_keeps_what_was_settled_without_it() -> None:
    bench = Bench(Rules(batch=Batch(9), filter="data.n > 1"), answer(422))
    outcome = await bench.attempt(*(bench.work(key, data=b'{"n":%d}' % key) for key in (1, 2, 3, 4)))
    assert states(outcome) == [(1, State.DISCARDED)]
    assert keys(outcome.again) == [[2, 3], [4]]


async def test_a_request_has_a_bound_in_bytes_too() -> None:
    """What has no room goes out at once, in a request of its own; what is withheld takes none."""
    bench = Bench(Rules(batch=Batch(250), filter="type == 't'"))
    large = b'"%b"' % (b"x" * (EVENT_BODY_BYTES_MAX - 2))
    works = [bench.work(key, data=large) for key in range(6)]
    works[1] = msgspec.structs.replace(works[1], event=msgspec.structs.replace(works[1].event, type="u"))
    outcome = await bench.attempt(*works)
    room = BATCH_OUT_BYTES_MAX // EVENT_BODY_BYTES_MAX
    assert [key for key, _ in states(outcome)] == [1, *[key for key in range(6) if key != 1][:room]]
    assert keys(outcome.again) == [[key for key in range(6) if key != 1][room:]]
    assert len(bench.transport.requests[0].body) < BATCH_OUT_BYTES_MAX + 1_000
    bench.answers = [answer(400)]
    assert keys((await bench.attempt(*works)).again) == [[0, 2], [3, 4], [5]]


async def test_what_was_chosen_for_a_batch_goes_one_by_one_when_the_endpoint_takes_none_any_more() -> None:
    bench = Bench()
    outcome = await bench.attempt(bench.work(5), bench.work(6))
    assert (keys(outcome.again), outcome.settlements, bench.transport.requests) == ([[5], [6]], [], [])


async def test_shaping_a_large_batch_leaves_the_loop_to_others() -> None:
    """Expressions run on the loop; however many a batch needs, others get their turn in between."""
    bench = Bench(Rules(batch=Batch(250), filter="true"))
    ticks = iter(range(10_000))
    bench.clock.monotonic = lambda: float(next(ticks))  # type: ignore[method-assign]  # every evaluation takes long
    turns = 0

    async def other() -> None:
        nonlocal turns
        while not bench.transport.requests:
            turns += 1
            await asyncio.sleep(0)

    await asyncio.gather(bench.attempt(*(bench.work(key) for key in range(50))), other())
    assert turns >= 50


@given(st.lists(st.sampled_from(["good", "bad", "named", "filtered", "broken", "fault"]), min_size=1, max_size=40))
async def test_every_event_of_a_batch_gets_the_one_outcome_that_is_its_own(kinds: list[str]) -> None:
    """Whatever else is in its batch, and however that is taken apart."""
    bench = Bench(Rules(batch=Batch(250), filter="data.kind != 'filtered'", transform='{"kind":"data.kind"}'))
    works = [
        bench.work(key, data=b"[]" if kind == "broken" else json.dumps({"kind": kind}).encode())
        for key, kind in enumerate(kinds)
    ]

    def script(request: Request) -> Exchange:
        sent = {item["id"]: item["data"]["kind"] for item in json.loads(request.body)["data"]}
        if "fault" in sent.values():
            raise ZeroDivisionError
        if "bad" in sent.values():
            return answer(400)
        named = [{"id": name} for name, kind in sent.items() if kind == "named"]
        return answer(200, body=json.dumps({"failed": named}).encode())

    bench.transport.script = script
    found: dict[int, str | None] = {}
    parts = [works]
    while parts:
        part = parts.pop()
        try:
            outcome = await bench.attempt(*part)
        except ZeroDivisionError:
            (work,) = part
            assert found.setdefault(work.obligation.event_key, "fault") == "fault"
            continue
        parts += outcome.again
        for settlement in outcome.settlements:
            key = settlement.obligation.event_key
            assert key not in found
            found[key] = settlement.reason if settlement.attempt is None else settlement.attempt.outcome
    expected = {"good": "success", "bad": "status", "named": NOT_TAKEN, "broken": "filter_error"}
    assert found == {key: expected.get(kind, kind) for key, kind in enumerate(kinds)}


# -- changes --------------------------------------------------------------------------------


async def test_a_changed_endpoint_gets_the_new_shape() -> None:
    bench = Bench()
    await bench.attempt()
    endpoint = bench.desk.endpoint
    bench.desk.use(
        Endpoint(
            key=1,
            environment=endpoint.environment,
            tenant=endpoint.tenant,
            url=endpoint.url,
            secrets=endpoint.secrets,
            rules=Rules(payload=Payload.THIN),
        ),
        cap=8,
        now=bench.clock.monotonic(),
    )
    assert json.loads((await bench.request()).body)["data"] == {"id": "e5"}
