"""Events, deliveries, tenants, keys and books as the API shows them."""

from typing import Any

import httpx2
import pytest

from posthouse.core.delivery import State
from posthouse.core.ids import ENDPOINT, SOURCE, parse_delivery_id, parse_id
from posthouse.core.model import Attempt, Environment, Lane, Obligation, Scope, slot_of
from posthouse.core.waiting import Hold
from posthouse.gateway.hints import Holding
from posthouse.store.protocol import PassedOn, ReadRequest, Settlement
from posthouse.testing.conformance.values import Values, item
from posthouse.testing.manual_clock import ManualClock
from posthouse.testing.quiet_house import QuietHouse
from posthouse.testing.seizing import seize

URL = "https://example.com/hooks"
SECOND_MS = 1_000


async def create_endpoint(client: httpx2.AsyncClient, **fields: Any) -> str:
    return str((await client.post("/v1/endpoints", json={"url": URL, **fields})).json()["id"])


async def create_source(client: httpx2.AsyncClient) -> str:
    answer = await client.post("/v1/sources", json={"name": "Issues", "provider": "github", "secrets": ["s"]})
    return str(answer.json()["id"])


async def receive(house: QuietHouse, values: Values, source_id: str) -> str:
    """Let an event come in through a source, as the inbox would pass it on; its id."""
    source_key = parse_id(SOURCE, source_id)
    assert source_key is not None
    read = values.read_event(f"{values.key():x}")
    arrival = values.arrival(source_key)
    await house.store.inbound.take([arrival])
    reading = ReadRequest(
        item=item(arrival.request),
        environment=Environment.LIVE,
        tenant="default",
        catalogue_version=(await house.store.catalogue.load()).version,
        events=(read,),
    )
    (result,) = await house.store.inbound.pass_on([reading], now=house.clock.now_ms())
    assert isinstance(result, PassedOn)
    return read.new.event.id


async def publish(client: httpx2.AsyncClient, **fields: Any) -> dict[str, Any]:
    answer = await client.post("/v1/events", json={"type": "order.paid", "data": {"n": 1}, **fields})
    assert answer.status_code == 202, answer.text
    published: dict[str, Any] = answer.json()
    return published


async def only_delivery(client: httpx2.AsyncClient) -> dict[str, Any]:
    (delivery,) = (await client.get("/v1/deliveries")).json()["data"]
    found: dict[str, Any] = delivery
    return found


async def settle(house: QuietHouse, delivery_id: str, state: State, **attempt: Any) -> None:
    """Let an attempt of an open delivery end like this, as the engine would write it."""
    keys = parse_delivery_id(delivery_id)
    assert keys is not None
    event_key, endpoint_key = keys
    now = house.clock.now_ms()
    epochs = (await seize(house.store.ownership, "test", now=now)).epochs
    record = await house.store.ledger.delivery(event_key, endpoint_key)
    assert record is not None
    obligation = Obligation(
        event_key,
        endpoint_key,
        record.lane,
        record.due_at or 0,
        record.opened_at,
        attempts=record.attempts,
        round=record.round,
        last_number=record.attempts,
    )
    settled = await house.store.work.settle(
        [
            Settlement(
                obligation=obligation,
                epoch=epochs[slot_of(endpoint_key)],
                attempt=Attempt(number=record.attempts + 1, started_at=now, **attempt),
                state=state,
                settled_at=now,
                due_at=now + 60 * SECOND_MS if state is State.RETRYING else 0,
                lane=Lane.RETRY,
                reason="attempts_spent" if state is State.EXHAUSTED else None,
            )
        ]
    )
    assert not settled.fenced
    assert not settled.superseded


async def test_an_event_is_shown_with_its_data_byte_for_byte(client: httpx2.AsyncClient) -> None:
    data = b'{"b": 1.0, "a":[1e400000, 12345678901234567890123, "\\u00e9", {"dup":1,"dup":2}]  }'
    body = b'{"type":"a","data":' + data + b"}"
    answer = await client.post("/v1/events", content=body, headers={"Content-Type": "application/json"})
    shown = await client.get(f"/v1/events/{answer.json()['id']}")
    assert data in shown.content
    assert shown.json()["delivery_counts"] == dict.fromkeys(
        ["waiting", "retrying", "delivered", "exhausted", "discarded"], 0
    )


async def test_an_event_is_found_by_the_publishers_id(client: httpx2.AsyncClient) -> None:
    fields = {"id": "order/4711", "tenant": "acme", "occurred_at": "2026-01-01T00:00:00Z", "ordering_key": "o 1"}
    await publish(client, **fields)
    shown = (await client.get("/v1/events/order/4711")).json()
    assert {name: shown[name] for name in fields} == {**fields, "occurred_at": "2026-01-01T00:00:00.000Z"}
    assert (await client.get("/v1/deliveries?event=order/4711")).json()["data"] == []


async def test_an_id_that_two_tenants_use_asks_for_the_tenant(client: httpx2.AsyncClient) -> None:
    await publish(client, id="e-1", tenant="a")
    await publish(client, id="e-1", tenant="b")
    answer = await client.get("/v1/events/e-1")
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert (await client.get("/v1/events/e-1?tenant=b")).json()["tenant"] == "b"


async def test_events_are_filtered(client: httpx2.AsyncClient, house: QuietHouse) -> None:
    assert isinstance(house.clock, ManualClock)
    ids = []
    for number, tenant in enumerate(["a", "b", "a"]):
        ids.append((await publish(client, type=f"t.{number}", tenant=tenant))["id"])
        house.clock.advance(SECOND_MS)

    async def listed(query: str) -> list[int]:
        answer = await client.get(f"/v1/events?{query}")
        assert answer.status_code == 200, answer.text
        return [ids.index(event["id"]) for event in answer.json()["data"]]

    middle = (await client.get(f"/v1/events/{ids[1]}")).json()["accepted_at"]
    assert await listed("") == [2, 1, 0]
    assert await listed("tenant=a") == [2, 0]
    assert await listed("type=t.1") == [1]
    assert await listed(f"since={middle}") == [2, 1]
    assert await listed(f"until={middle}") == [0]
    assert await listed("tenant=nobody") == []


async def test_events_of_a_source_are_listed(client: httpx2.AsyncClient, house: QuietHouse) -> None:
    """With those that were published beside them, page by page, also after the source is deleted."""
    await publish(client)
    mine, theirs = [await create_source(client) for _ in range(2)]
    values = Values()
    values.key(house.clock.now_ms() + SECOND_MS)  # keys that the node does not make
    arrived = [await receive(house, values, source) for source in (mine, theirs, mine, mine)]
    await publish(client)
    expected = [arrived[3], arrived[2], arrived[0]]
    listed: list[str] = []
    query: dict[str, Any] = {"source": mine, "limit": 2}
    while query.get("cursor", "") is not None:
        answer = (await client.get("/v1/events", params=query)).json()
        listed += [event["id"] for event in answer["data"]]
        query["cursor"] = answer["next_cursor"]
    assert listed == expected
    assert (await client.get(f"/v1/events?source={theirs}&type=none")).json()["data"] == []
    await client.delete(f"/v1/sources/{mine}")
    assert [e["id"] for e in (await client.get(f"/v1/events?source={mine}")).json()["data"]] == expected
    assert len((await client.get("/v1/events")).json()["data"]) == 6


async def test_only_sources_of_the_environment_are_known(client: httpx2.AsyncClient, house: QuietHouse) -> None:
    """Alike for events and for jobs: a misspelt condition must not look like one that nothing meets."""
    source = await create_source(client)
    async with house.client(await house.create_key(Environment.TEST, Scope.ADMIN)) as foreign:
        for caller, wanted in ((client, "src_x"), (client, "ep_x"), (foreign, source)):
            for answer in (
                await caller.get(f"/v1/events?source={wanted}"),
                await caller.post("/v1/jobs", json={"kind": "retry", "filter": {"source": wanted}}),
            ):
                assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
                assert answer.json()["detail"] == "There is no source with this id."


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v1/events?since=yesterday", "since"),
        ("/v1/events?until=2026-01-01", "until"),
        ("/v1/events?limit=0", "limit"),
        ("/v1/events?limit=501", "limit"),
        ("/v1/events?limit=ten", "limit"),
        ("/v1/events?typ=x", "typ"),
        ("/v1/deliveries?status=failed", "status"),
        ("/v1/deliveries?since=1", "since"),
        ("/v1/endpoints?cursor=!", "cursor"),
        ("/v1/audit?tenants=x", "tenants"),
    ],
)
async def test_a_bad_query_is_refused_by_name(client: httpx2.AsyncClient, path: str, name: str) -> None:
    answer = await client.get(path)
    assert answer.status_code == 422
    assert [error["path"] for error in answer.json()["errors"]] == [name]


async def test_a_delivery_that_was_never_attempted_says_so(client: httpx2.AsyncClient) -> None:
    """Law 4: never attempted is never shown as failed, timed out or anything else that did not happen."""
    endpoint = await create_endpoint(client)
    event = await publish(client)
    delivery = await only_delivery(client)
    detail = (await client.get(f"/v1/deliveries/{delivery['id']}")).json()
    assert (detail["endpoint"], detail["event"], detail["event_type"]) == (endpoint, event["id"], "order.paid")
    assert (detail["status"], detail["attempt_count"], detail["attempts"]) == ("waiting", 0, [])
    assert (detail["last_outcome"], detail["last_response_status"], detail["settled_at"]) == (None, None, None)
    assert detail["waits_for"]["code"] == "queued"


async def test_attempts_are_shown_with_all_that_is_known(client: httpx2.AsyncClient, house: QuietHouse) -> None:
    await create_endpoint(client)
    await publish(client)
    delivery = await only_delivery(client)
    await settle(
        house,
        delivery["id"],
        State.RETRYING,
        outcome="status",
        status=503,
        error="The endpoint answered 503.",
        peer="192.0.2.1:443",
        dns_us=1,
        connect_us=2,
        tls_us=3,
        first_byte_us=4,
        total_us=5,
        response_headers="server: x",
        response_body=b"\xc3\xa9 \xe2\x82",  # cut in the middle of a character
    )
    detail = (await client.get(f"/v1/deliveries/{delivery['id']}")).json()
    (attempt,) = detail["attempts"]
    assert attempt["id"].startswith("att_")
    assert attempt["timings"] == {"dns_us": 1, "connect_us": 2, "tls_us": 3, "first_byte_us": 4, "total_us": 5}
    assert (attempt["response_body"], attempt["response_body_encoding"]) == ("é ", "utf-8")
    assert (attempt["outcome"], attempt["response_status"]) == ("status", 503)
    assert (detail["status"], detail["last_outcome"], detail["attempt_count"]) == ("retrying", "status", 1)
    assert detail["waits_for"]["code"] == "due_at"
    assert detail["next_attempt_at"] in detail["waits_for"]["message"]


async def test_a_binary_answer_is_shown_in_base64(client: httpx2.AsyncClient, house: QuietHouse) -> None:
    await create_endpoint(client)
    await publish(client)
    delivery = await only_delivery(client)
    await settle(house, delivery["id"], State.DELIVERED, outcome="success", status=200, response_body=b"\xff\x00")
    (attempt,) = (await client.get(f"/v1/deliveries/{delivery['id']}")).json()["attempts"]
    assert (attempt["response_body"], attempt["response_body_encoding"]) == ("/wA=", "base64")


async def test_a_wait_names_its_reason(client: httpx2.AsyncClient, house: QuietHouse) -> None:
    endpoint = await create_endpoint(client)
    await publish(client)
    place = f"/v1/deliveries/{(await only_delivery(client))['id']}"
    key = parse_id(ENDPOINT, endpoint)
    keys = parse_delivery_id(place.removeprefix("/v1/deliveries/"))
    assert key is not None
    assert keys is not None

    async def code() -> str:
        return str((await client.get(place)).json()["waits_for"]["code"])

    assert await code() == "queued"
    house.hints.holdings[keys] = Holding(Hold.STUCK)
    assert await code() == "stuck"
    house.hints.holdings[keys] = Holding(Hold.BREAKER_OPEN, house.clock.now_ms() + 5_000)
    assert (await client.get(place)).json()["waits_for"] == {
        "code": "breaker_open",
        "message": "The endpoint is down, and probes look whether it answers again; then everything goes on; the next "
        "probe goes out at 2027-01-15T08:00:05.000Z.",
        "until": "2027-01-15T08:00:05.000Z",
    }
    assert (await only_delivery(client))["waits_for"]["code"] == "breaker_open"
    await client.post(f"/v1/endpoints/{endpoint}/pause")
    assert await code() == "endpoint_paused"
    house.hints.holdings[keys] = Holding(Hold.IN_FLIGHT)
    assert await code() == "in_flight"
    house.hints.holdings.clear()
    await client.post(f"/v1/endpoints/{endpoint}/resume")
    await house.gateway.endpoints.disable(key, "gone")
    assert await code() == "endpoint_disabled"


@pytest.mark.parametrize("state", [State.DELIVERED, State.EXHAUSTED])
async def test_a_settled_delivery_is_retried_in_a_new_round(
    client: httpx2.AsyncClient, house: QuietHouse, state: State
) -> None:
    await create_endpoint(client)
    await publish(client)
    delivery = await only_delivery(client)
    place = f"/v1/deliveries/{delivery['id']}"
    await settle(house, delivery["id"], state, outcome="success", status=200)
    settled = (await client.get(place)).json()
    assert (settled["status"], settled["waits_for"], settled["next_attempt_at"]) == (state.value, None, None)
    answer = (await client.post(f"{place}/retry")).json()
    assert (answer["status"], answer["round"], answer["attempt_count"]) == ("waiting", 2, 1)
    assert len(answer["attempts"]) == 1
    assert house.hints.dues[-1] == (parse_id(ENDPOINT, delivery["endpoint"]), Lane.BACKLOG)


async def test_an_open_delivery_is_retried_now(client: httpx2.AsyncClient, house: QuietHouse) -> None:
    await create_endpoint(client)
    await publish(client)
    delivery = await only_delivery(client)
    await settle(house, delivery["id"], State.RETRYING, outcome="refused")
    answer = (await client.post(f"/v1/deliveries/{delivery['id']}/retry")).json()
    assert (answer["status"], answer["round"], answer["attempt_count"]) == ("retrying", 1, 1)
    assert answer["waits_for"]["code"] == "queued"


async def test_a_cancelled_delivery_can_be_taken_back(client: httpx2.AsyncClient, house: QuietHouse) -> None:
    await create_endpoint(client)
    await publish(client)
    delivery = await only_delivery(client)
    place = f"/v1/deliveries/{delivery['id']}"
    for _ in range(2):
        answer = (await client.post(f"{place}/cancel")).json()
        assert (answer["status"], answer["reason"]) == ("discarded", "cancelled")
    assert house.hints.withdrawals == [parse_delivery_id(delivery["id"])]
    assert (await client.post(f"{place}/retry")).json()["status"] == "waiting"
    await settle(house, delivery["id"], State.DELIVERED, outcome="success", status=200)
    answer = await client.post(f"{place}/cancel")
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")


async def test_a_delivery_of_a_deleted_endpoint_is_not_retried(client: httpx2.AsyncClient) -> None:
    """It would wait for ever: nobody owns its endpoint."""
    endpoint = await create_endpoint(client)
    await publish(client)
    delivery = await only_delivery(client)
    await client.delete(f"/v1/endpoints/{endpoint}")
    answer = await client.post(f"/v1/deliveries/{delivery['id']}/retry")
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert (await client.get(f"/v1/deliveries?endpoint={endpoint}")).json()["data"][0]["status"] == "discarded"


async def test_deliveries_are_filtered(client: httpx2.AsyncClient, house: QuietHouse) -> None:
    one, two = await create_endpoint(client), await create_endpoint(client, tenant="acme")
    first = await publish(client)
    second = await publish(client, tenant="acme")
    delivered = (await client.get(f"/v1/deliveries?endpoint={one}")).json()["data"][0]
    await settle(house, delivered["id"], State.DELIVERED, outcome="success", status=200)

    async def events(query: str) -> list[str]:
        return [delivery["event"] for delivery in (await client.get(f"/v1/deliveries?{query}")).json()["data"]]

    assert await events("") == [second["id"], first["id"]]
    assert await events("status=delivered") == [first["id"]]
    assert await events("status=waiting") == [second["id"]]
    assert await events(f"endpoint={two}") == [second["id"]]
    assert await events(f"event={first['id']}") == [first["id"]]
    assert await events("tenant=acme") == [second["id"]]
    assert await events("since=2100-01-01T00:00:00Z") == []


async def test_the_books_are_shown_in_all_and_in_parts(client: httpx2.AsyncClient, house: QuietHouse) -> None:
    one, two = await create_endpoint(client), await create_endpoint(client, tenant="acme")
    for tenant in ("default", "acme", "acme"):
        await publish(client, tenant=tenant)
    delivery = (await client.get(f"/v1/deliveries?endpoint={one}")).json()["data"][0]
    await settle(house, delivery["id"], State.DELIVERED, outcome="success", status=200)
    books = (await client.get("/v1/audit")).json()
    sums = {name: books[name] for name in ("owed", "delivered", "waiting", "retrying", "exhausted", "discarded")}
    assert sums == {"owed": 3, "delivered": 1, "waiting": 2, "retrying": 0, "exhausted": 0, "discarded": 0}
    assert books["imbalance"] == 0
    assert {part["tenant"]: part["owed"] for part in books["tenants"]} == {"acme": 2, "default": 1}
    assert {part["endpoint"]: part["owed"] for part in books["endpoints"]} == {one: 1, two: 2}
    assert (await client.get("/v1/audit?tenant=acme")).json()["owed"] == 2


async def test_a_tenant_is_its_own_idempotency_key(client: httpx2.AsyncClient) -> None:
    first = await client.post("/v1/tenants", json={"id": "acme", "name": "Acme Inc."})
    assert first.status_code == 201
    assert (await client.post("/v1/tenants", json={"id": "acme", "name": "Acme Inc."})).json() == first.json()
    assert (await client.post("/v1/tenants", json={"id": "acme"})).json() == first.json()
    answer = await client.post("/v1/tenants", json={"id": "acme", "name": "Other"})
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert (await client.post("/v1/tenants", json={"id": "plain"})).json()["name"] == "plain"
    for body in ({"id": ""}, {"id": "a b"}, {"id": "x", "name": ""}, {"id": "x", "name": "\x1b"}, {}):
        assert (await client.post("/v1/tenants", json=body)).status_code == 422


async def test_a_revoked_key_is_worthless_at_once(client: httpx2.AsyncClient, house: QuietHouse) -> None:
    made = (await client.post("/v1/keys", json={"name": "other", "scope": "read"})).json()
    async with house.client(made["secret"]) as other:
        assert (await other.get("/v1/events")).status_code == 200
        assert (await client.delete(f"/v1/keys/{made['id']}")).status_code == 200
        assert (await other.get("/v1/events")).status_code == 401
    assert made["secret"] not in (await client.get("/v1/keys")).text
    assert (await client.delete(f"/v1/keys/{made['id']}")).status_code == 404


async def test_the_last_admin_key_stays(client: httpx2.AsyncClient) -> None:
    (own,) = (await client.get("/v1/keys")).json()["data"]
    answer = await client.delete(f"/v1/keys/{own['id']}")
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    await client.post("/v1/keys", json={"name": "second"})
    assert (await client.delete(f"/v1/keys/{own['id']}")).status_code == 200


async def test_a_test_key_makes_no_live_key(client: httpx2.AsyncClient, house: QuietHouse) -> None:
    test_key = (await client.post("/v1/keys", json={"name": "t", "environment": "test"})).json()["secret"]
    assert test_key.startswith("ph_test_")
    async with house.client(test_key) as tester:
        answer = await tester.post("/v1/keys", json={"name": "l", "environment": "live"})
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
        assert (await tester.post("/v1/keys", json={"name": "t2"})).json()["environment"] == "test"
