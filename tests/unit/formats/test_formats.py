"""Each format, read by who knows that system: the presets of what comes in, and the rules of CloudEvents."""

import json
from typing import Any
from urllib.parse import unquote

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.core.model import Endpoint, Environment, Event, Secret
from posthouse.core.retry import parse_schedule
from posthouse.core.rules import Format, Rules
from posthouse.core.signature import verify
from posthouse.core.success import parse_success
from posthouse.formats.form import Made
from posthouse.formats.greeting import is_unmet, mark_of
from posthouse.formats.index import FORMS
from posthouse.providers.index import PRESETS
from posthouse.providers.received import Received

NOW = 1_800_000_000_000
SECRETS = ["whsec_" + "A" * 32, "whsec_" + "B" * 32]
PAYMENT = b'{"id": "EV1", "created_at":"2027-01-15T08:00:00Z","resource_type":"payments","action":"confirmed"}'
TASK = b'{"resource":{"gid":"1","resource_type":"task"}, "action":"changed","created_at":"2027-01-15T08:00:00Z"}'


def event(number: int = 1, data: bytes = b'{"n":1}', **fields: Any) -> Event:
    given_fields = {
        "key": number,
        "id": f"evt_{number}",
        "environment": Environment.LIVE,
        "tenant": "acme",
        "type": "order.created",
        "accepted_at": NOW,
        "data": data,
        **fields,
    }
    return Event(**given_fields)


def made(name: Format, *events: Event) -> Made:
    return FORMS[name].make([(each, each.data) for each in events], SECRETS, NOW)


def received(request: Made) -> Received:
    return Received.of("POST", "https://example.com/in", tuple(request.headers.items()), request.body, NOW)


def test_there_is_a_form_for_each_format_but_the_usual_one() -> None:
    assert set(FORMS) == set(Format) - {Format.STANDARD}
    for form in FORMS.values():
        parse_schedule(form.retry)
        parse_success(form.success)
        assert form.is_list or form.batch is None


@pytest.mark.parametrize(
    ("name", "data", "kind"),
    [
        (Format.GOCARDLESS, PAYMENT, "payments.confirmed"),
        (Format.ASANA, TASK, "task.changed"),
        (Format.BOLDPENGUIN, b'{"id":1}', "application_form:completed"),
    ],
)
def test_who_receives_from_that_system_takes_it_for_that_system(name: Format, data: bytes, kind: str) -> None:
    """It is signed with the current secret, as text; and the events are the publisher's bytes."""
    preset = PRESETS[name.value]
    request = received(made(name, event(data=data, type="application_form:completed")))
    preset.scheme.verify(request, SECRETS[:1], now_s=NOW // 1_000)
    (item,) = preset.read(request, request.body).items
    assert (item.type, item.data, item.contradiction) == (kind, data, None)


def test_a_handshake_of_asana_is_answered_by_its_secret_alone() -> None:
    """Who receives from Asana answers it so; and what comes back must be the very secret, once, with a good status."""
    handshake = FORMS[Format.ASANA].handshake
    assert handshake is not None
    sent = handshake.make(SECRETS, NOW)
    taken = PRESETS["asana"].handshake
    assert taken is not None
    answer = taken(received(sent), ())
    assert answer is not None
    assert answer.secret == SECRETS[0]
    assert handshake.is_answered(sent, answer.reply.status, answer.reply.headers)
    echo = ("x-hook-secret", SECRETS[0])
    assert handshake.is_answered(sent, 204, [("date", "today"), echo])
    for status, headers in [
        (200, []),
        (200, [("X-Hook-Secret", SECRETS[1])]),
        (200, [("X-Hook-Secret", SECRETS[0] + " ")]),
        (200, [echo, ("X-Hook-Secret", SECRETS[1])]),
        (201, [echo]),
        (None, [echo]),
    ]:
        assert not handshake.is_answered(sent, status, headers)


def test_a_heartbeat_of_asana_is_one_for_who_receives_from_asana() -> None:
    form = FORMS[Format.ASANA]
    assert form.heartbeat is not None
    assert form.heartbeat_seconds == PRESETS["asana"].heartbeat_seconds
    request = received(form.heartbeat(SECRETS, NOW))
    PRESETS["asana"].scheme.verify(request, SECRETS[:1], now_s=NOW // 1_000)
    reading = PRESETS["asana"].read(request, request.body)
    assert (reading.items, reading.is_heartbeat, request.body) == ((), True, b'{"events":[]}')


def test_what_a_receiver_agreed_to_says_nothing_of_another_one() -> None:
    endpoint = Endpoint(
        key=1, environment=Environment.LIVE, tenant="acme", url="https://a.example/", rules=Rules(format=Format.ASANA)
    )
    assert is_unmet(endpoint)
    greeted = msgspec.structs.replace(endpoint, rules=Rules(format=Format.ASANA, greeted=mark_of(endpoint)))
    assert not is_unmet(greeted)
    assert not is_unmet(msgspec.structs.replace(greeted, secrets=(Secret(SECRETS[1], NOW),)))
    assert is_unmet(msgspec.structs.replace(greeted, url="https://b.example/"))
    assert not is_unmet(msgspec.structs.replace(endpoint, rules=Rules())), "other formats ask for nothing"


def test_a_webhook_of_gocardless_keeps_its_id_while_it_holds_the_same_events() -> None:
    events = [event(n, PAYMENT) for n in range(250)]
    first, again = made(Format.GOCARDLESS, *events), made(Format.GOCARDLESS, *events)
    assert first == again
    reading = PRESETS["gocardless"].read(received(first), first.body)
    assert len(reading.items) == 250
    assert reading.delivery is not None
    assert reading.delivery.startswith("WB")
    assert made(Format.GOCARDLESS, *events[1:]).body.partition(b'"meta"')[2] != first.body.partition(b'"meta"')[2]


@pytest.mark.parametrize("name", [Format.RAW, Format.PROCORE])
def test_the_data_alone_is_the_body(name: Format) -> None:
    assert made(name, event(data=b' {"n" : 1.0}')).body == b' {"n" : 1.0}'


@pytest.mark.parametrize(
    "name", [Format.RAW, Format.CLOUDEVENTS_BINARY, Format.CLOUDEVENTS_STRUCTURED, Format.CLOUDEVENTS_BATCH]
)
def test_formats_without_a_signature_of_their_own_have_the_usual_one(name: Format) -> None:
    request = made(name, event())
    for secret in SECRETS:
        verify([secret], request.headers, request.body, now_s=NOW // 1_000)
    assert request.headers["webhook-id"] == "evt_1" or name is Format.CLOUDEVENTS_BATCH


@given(
    number=st.integers(1, 9),
    tenant=st.text(min_size=1, max_size=20),
    key=st.none() | st.text(min_size=1, max_size=20),
    occurred_at=st.none() | st.integers(0, NOW),
)
def test_a_cloudevent_says_the_same_in_each_of_its_modes(
    number: int, tenant: str, key: str | None, occurred_at: int | None
) -> None:
    one = event(number, tenant=tenant, ordering_key=key, occurred_at=occurred_at)
    whole = json.loads(made(Format.CLOUDEVENTS_STRUCTURED, one).body)
    assert json.loads(made(Format.CLOUDEVENTS_BATCH, one, one).body) == [whole, whole]
    binary = made(Format.CLOUDEVENTS_BINARY, one)
    assert binary.body == one.data
    found = {name[3:]: value for name, value in binary.headers.items() if name.startswith("ce-")}
    assert all(value.isascii() and value.isprintable() and " " not in value for value in found.values())
    found = {**{name: unquote(value) for name, value in found.items()}, "source": whole["source"]}
    assert {**found, "data": json.loads(one.data), "datacontenttype": "application/json"} == whole
    assert (whole["specversion"], whole["id"], whole["type"]) == ("1.0", one.id, one.type)
    assert whole.get("subject") == key
    assert unquote(whole["source"]) == f"/live/{tenant}"


def test_what_the_binding_of_cloudevents_does_not_allow_in_headers_is_escaped() -> None:
    """Its own example: Euro € 😀 in a header."""
    request = made(Format.CLOUDEVENTS_BINARY, event(ordering_key='Euro € 😀 100% "'))
    assert request.headers["ce-subject"] == "Euro%20%E2%82%AC%20%F0%9F%98%80%20100%25%20%22"
