"""What reaches receivers, held against the model.

Which of several due deliveries goes first is not promised, so that is learnt. That none goes that must
not go, and that none stays behind while there is room, is checked.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Sequence

from posthouse.testing.histories.model import Flight, Model
from posthouse.testing.histories.receivers import Answered, Sent
from posthouse.testing.histories.things import Attempt, Delivery, Endpoint, shown_time

_GONE = 410


def follow(model: Model, log: Sequence[Sent | Answered]) -> None:
    """Take over requests and how they ended, in order. Raises AssertionError for what must not happen."""
    for entry in log:
        if isinstance(entry, Sent):
            _send(model, entry)
        else:
            _answer(model, entry)


def rest(model: Model) -> list[Delivery]:
    """Everything that could happen has happened: what is due and stays behind although there is room for it.

    Each of these must be held by how its endpoint is.
    """
    for endpoint in model.endpoints:
        if endpoint.gone:
            endpoint.gone = False
            endpoint.disable(model.now)
    behind = []
    for delivery in model.deliveries.values():
        delivery.past.clear()
        is_due = delivery.is_open and delivery.ticket is None and delivery.due[1] <= model.now
        if is_due and delivery.endpoint.state == "active" and not bounds_of(model, delivery.endpoint):
            behind.append(delivery)
    return behind


def bounds_of(model: Model, endpoint: Endpoint) -> set[str]:
    """The bounds on requests on their way that leave no room for another one to this endpoint, by their codes."""
    busy = [flight.delivery.endpoint for flight in model.flights.values()]
    unproven = sum(not each.health.proven for each in busy)
    found = set()
    if sum(each is endpoint for each in busy) >= model.per_endpoint:
        found.add("endpoint_cap")
    if len(busy) >= model.in_all or (not endpoint.health.proven and unproven >= model.in_all // 2):
        found.add("node_cap")
    return found


def waits_of(model: Model, delivery: Delivery) -> set[str]:
    """The codes that may be shown for what an open delivery waits for."""
    endpoint, health = delivery.endpoint, delivery.endpoint.health
    if delivery.ticket is not None:
        return {"in_flight"}
    if endpoint.state != "active":
        return {f"endpoint_{endpoint.state}"}
    if health.state == "down":
        return {"breaker_open"}
    codes = {"recovering"} if health.state == "recovering" else set()
    if delivery.due[1] > model.now:
        codes.add("due_at")
    if delivery.due[0] <= model.now:
        codes |= bounds_of(model, endpoint)
        if health.asked_for_less:
            codes.add("throttled")
    return codes


def lose_memory(model: Model) -> None:
    """The process ended: what was on its way is owed as before, keys of retries are forgotten."""
    model.flights.clear()
    model.retried.clear()
    for delivery in model.deliveries.values():
        delivery.ticket = None
    for endpoint in model.endpoints:
        endpoint.health.lose_memory()


def _send(model: Model, sent: Sent) -> None:
    here = [e for e in model.endpoints if e.url == sent.url and e.state != "deleted"]
    assert len(here) == 1, f"a request went to {sent.url}, where nobody is"
    (endpoint,) = here
    assert endpoint.state == "active", f"a request went to an endpoint that is {endpoint.state}"
    event_id = sent.headers["webhook-id"]
    owed = [d for d in model.deliveries.values() if d.endpoint is endpoint and d.event.id == event_id]
    assert len(owed) == 1, f"{event_id} was sent to {endpoint.url}, and that was not owed"
    (delivery,) = owed
    assert delivery.is_open, f"{event_id} was sent, and it was {delivery.status}"
    assert delivery.ticket is None, f"{event_id} was sent, and it was on its way"
    spends = _check_time(model, delivery, sent)
    _check_content(sent, delivery)
    model.flights[sent.ticket] = Flight(delivery, delivery.round, delivery.failures, sent.at, spends)
    model.tickets = delivery.ticket = delivery.sent = sent.ticket
    on_their_way = [flight for flight in model.flights.values() if flight.delivery.endpoint is endpoint]
    assert len(on_their_way) <= model.per_endpoint
    assert len(model.flights) <= model.in_all


def _check_time(model: Model, delivery: Delivery, sent: Sent) -> bool:
    """Nothing goes before it is due, but a probe and what is pulled forward; whether a failure of it counts.

    An endpoint that is down gets one request at a time. Those that were chosen when it went down may still follow.
    """
    health = delivery.endpoint.health
    is_early = sent.at < delivery.due[0]
    is_probe = health.state == "down" and sent.at != health.opened_at
    if is_probe:
        assert health.probe is None, f"{delivery.event.id} was sent to an endpoint that is down and being probed"
        others = [f for f in model.flights.values() if f.delivery.endpoint is delivery.endpoint]
        assert len(others) < model.per_endpoint
        health.probe = sent.ticket
    elif is_early:
        assert health.recovers_from, f"{delivery.event.id} was sent at {sent.at}, due at {delivery.due}"
        assert delivery.event.order not in health.pulled, f"{delivery.event.id} was pulled forward twice"
        health.pulled.add(delivery.event.order)
    return not (is_probe and is_early)


def _check_content(sent: Sent, delivery: Delivery) -> None:
    event = delivery.event
    occurred_at = event.accepted_at if event.occurred_at is None else event.occurred_at
    head = f'{{"type":"{event.type}","timestamp":"{shown_time(occurred_at)}","data":'.encode()
    if event.data is None:
        assert sent.body.startswith(head)
        assert json.loads(sent.body)["data"]["endpoint"] == delivery.endpoint.id
    else:
        assert sent.body == head + event.data + b"}"
    assert sent.headers["webhook-timestamp"] == str(sent.at // 1_000)
    signed = f"{event.id}.{sent.at // 1_000}.".encode() + sent.body
    valid = [str(s.value) for s in delivery.endpoint.secrets if s.is_valid(sent.at)]
    assert set(sent.headers["webhook-signature"].split(" ")) == {_signature(value, signed) for value in valid}
    for name, value in delivery.endpoint.headers.items():
        assert sent.headers[name] == value


def _answer(model: Model, answered: Answered) -> None:
    flight = model.flights.pop(answered.ticket)
    delivery, reply = flight.delivery, answered.reply
    delivery.ticket = None
    delivery.answered(
        Attempt(flight.started_at, reply.outcome, reply.status),
        is_current=delivery.is_open and (delivery.round, delivery.failures) == (flight.round, flight.failures),
        spends=flight.spends,
        now=answered.at,
        retry_after=reply.retry_after,
    )
    delivery.endpoint.health.answered(delivery.event.order, answered.ticket, reply, answered.at)
    if reply.status == _GONE and delivery.endpoint.state == "active":
        delivery.endpoint.gone = True


def _signature(secret: str, signed: bytes) -> str:
    key = base64.b64decode(secret.removeprefix("whsec_"))
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
