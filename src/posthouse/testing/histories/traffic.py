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
from posthouse.testing.histories.things import Attempt, Delivery, shown_time

_GONE = 410


def follow(model: Model, log: Sequence[Sent | Answered]) -> None:
    """Take over requests and how they ended, in order. Raises AssertionError for what must not happen."""
    for entry in log:
        if isinstance(entry, Sent):
            _send(model, entry)
        else:
            _answer(model, entry)


def rest(model: Model) -> None:
    """Everything that could happen has happened: raise AssertionError if due work stays behind while there is room."""
    for endpoint in model.endpoints:
        if endpoint.gone:
            endpoint.gone = False
            endpoint.disable(model.now)
    busy = [flight.delivery.endpoint.order for flight in model.flights.values()]
    for delivery in model.deliveries.values():
        delivery.past.clear()
        if delivery.is_open and delivery.ticket is None and delivery.endpoint.state == "active":
            has_room = busy.count(delivery.endpoint.order) < model.per_endpoint and len(busy) < model.in_all
            assert delivery.due[1] > model.now or not has_room, f"{delivery.event.id} is due and was not sent"


def lose_memory(model: Model) -> None:
    """The process ended: what was on its way is owed as before, keys of retries are forgotten."""
    model.flights.clear()
    model.retried.clear()
    for delivery in model.deliveries.values():
        delivery.ticket = None


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
    assert delivery.due[0] <= sent.at, f"{event_id} was sent at {sent.at}, due at {delivery.due}"
    _check_content(sent, delivery)
    model.flights[sent.ticket] = Flight(delivery, delivery.round, delivery.failures, sent.at)
    delivery.ticket = sent.ticket
    on_their_way = [flight for flight in model.flights.values() if flight.delivery.endpoint is endpoint]
    assert len(on_their_way) <= model.per_endpoint
    assert len(model.flights) <= model.in_all


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
        now=answered.at,
        retry_after=reply.retry_after,
    )
    if reply.status == _GONE and delivery.endpoint.state == "active":
        delivery.endpoint.gone = True


def _signature(secret: str, signed: bytes) -> str:
    key = base64.b64decode(secret.removeprefix("whsec_"))
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
