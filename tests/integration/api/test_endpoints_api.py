"""Endpoints over the API: what is made, shown, changed, and what can never be made."""

import asyncio

import httpx2
import pytest

from posthouse.core.ids import ENDPOINT, parse_id
from posthouse.core.model import SLOTS, EndpointState, Environment, Lane
from posthouse.core.signature import validate_secret
from posthouse.testing.manual_clock import ManualClock
from posthouse.testing.quiet_house import QuietHouse

URL = "https://example.com/hooks"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo="
HOUR_MS = 3_600_000


async def create(client: httpx2.AsyncClient, **fields: object) -> dict[str, object]:
    answer = await client.post("/v1/endpoints", json={"url": URL, **fields})
    assert answer.status_code == 201, answer.text
    created: dict[str, object] = answer.json()
    return created


def key_of(endpoint: dict[str, object]) -> int:
    key = parse_id(ENDPOINT, str(endpoint["id"]))
    assert key is not None
    return key


async def test_an_endpoint_needs_a_url_only(client: httpx2.AsyncClient) -> None:
    endpoint = await create(client)
    validate_secret(str(endpoint["secret"]))
    assert endpoint["events"] == ["*"]
    assert endpoint["active"] is True
    assert (endpoint["tenant"], endpoint["state"], endpoint["retry"]) == ("default", "active", "three-weeks")
    assert (endpoint["connect_timeout_ms"], endpoint["timeout_ms"]) == (5_000, 60_000)


async def test_every_field_is_kept(client: httpx2.AsyncClient, house: QuietHouse) -> None:
    fields: dict[str, object] = {
        "events": ["order.*", "invoice.paid"],
        "active": False,
        "tenant": "acme",
        "description": "Orders\nfor the warehouse",
        "secret": SECRET,
        "headers": {"Authorization": "Bearer abc", "X-Shop": "1"},
        "retry": "custom:5s,1m",
        "connect_timeout_ms": 1_000,
        "timeout_ms": 9_000,
    }
    endpoint = await create(client, **fields)
    assert {name: endpoint[name] for name in fields} == fields
    assert (endpoint["state"], endpoint["state_reason"]) == ("paused", "paused_by_operator")
    stored = await house.store.catalogue.endpoint(key_of(endpoint))
    assert stored == house.gateway.catalogue.endpoint(key_of(endpoint))
    assert house.hints.endpoints == [stored]


async def test_the_secret_is_shown_once(client: httpx2.AsyncClient) -> None:
    endpoint = await create(client, secret=SECRET)
    shown = await client.get(f"/v1/endpoints/{endpoint['id']}")
    listed = await client.get("/v1/endpoints")
    assert endpoint["secret"] == SECRET
    assert SECRET not in shown.text + listed.text
    assert "secret" not in shown.json()


async def test_header_values_are_for_admins(client: httpx2.AsyncClient, house: QuietHouse) -> None:
    """They often are credentials of the receiver."""
    endpoint = await create(client, headers={"Authorization": "Bearer abc"})
    async with house.client(await house.create_key(Environment.LIVE, "read")) as reader:  # type: ignore[arg-type]  # a str enum
        shown = await reader.get(f"/v1/endpoints/{endpoint['id']}")
    assert shown.json()["headers"] == {"Authorization": "***"}
    assert (await client.get(f"/v1/endpoints/{endpoint['id']}")).json()["headers"] == {"Authorization": "Bearer abc"}


async def test_an_unknown_tenant_is_made_on_the_way(client: httpx2.AsyncClient) -> None:
    await create(client, tenant="new/one")
    assert (await client.get("/v1/tenants/new/one")).json()["name"] == "new/one"


@pytest.mark.parametrize(
    ("fields", "path", "code"),
    [
        ({"url": "ftp://example.com/"}, "url", "url_scheme"),
        ({"url": "https://user:pass@example.com/"}, "url", "url_credentials"),
        ({"url": "http://127.0.0.1/"}, "url", "loopback"),
        ({"url": "http://[::ffff:10.0.0.1]/"}, "url", "private"),
        ({"url": "http://169.254.169.254/latest"}, "url", "cloud_metadata"),
        ({"url": 1}, "url", "string_type"),
        ({"events": []}, "events", "count"),
        ({"events": ["*", "*"]}, "events", "repeated"),
        ({"events": ["ok", "*.bad"]}, "events[1]", "event_pattern"),
        ({"events": ["*"] * 101}, "events", "count"),
        ({"events": [1]}, "events[0]", "string_type"),
        ({"active": "yes"}, "active", "bool_type"),
        ({"tenant": " "}, "tenant", "tenant_id"),
        ({"description": "\x07"}, "description", "description"),
        ({"secret": "hunter2"}, "secret", "secret"),
        ({"secret": "whsec_AAAA"}, "secret", "secret"),
        ({"headers": {"Host": "evil"}}, "headers.Host", "reserved"),
        ({"headers": {"transfer-encoding": "chunked"}}, "headers.transfer-encoding", "reserved"),
        ({"headers": {"Webhook-Id": "1"}}, "headers.Webhook-Id", "reserved"),
        ({"headers": {"Proxy-Authorization": "1"}}, "headers.Proxy-Authorization", "reserved"),
        ({"headers": {"X-A": "1", "x-a": "2"}}, "headers.x-a", "repeated"),
        ({"headers": {"X A": "1"}}, "headers.name", "name"),
        ({"headers": {"X-A": "1\r\nHost: evil"}}, "headers.X-A", "value"),
        ({"headers": {"X-A": "ü"}}, "headers.X-A", "value"),
        ({"headers": {"X-A": "a" * 5_000}}, "headers.X-A", "too_long"),
        ({"headers": {f"X-{n}": "1" for n in range(33)}}, "headers", "count"),
        ({"retry": "whenever"}, "retry", None),
        ({"connect_timeout_ms": 5_001}, "connect_timeout_ms", "out_of_range"),
        ({"timeout_ms": 99}, "timeout_ms", "out_of_range"),
        ({"timeout_ms": 1.5}, "timeout_ms", "int_type"),
        ({"id": "ep_1"}, "id", "extra_forbidden"),
        ({"state": "active"}, "state", "extra_forbidden"),
    ],
)
async def test_a_bad_field_is_named_and_nothing_is_stored(
    client: httpx2.AsyncClient, house: QuietHouse, fields: dict[str, object], path: str, code: str | None
) -> None:
    before = await house.store.catalogue.load()
    answer = await client.post("/v1/endpoints", json={"url": URL, **fields})
    problem = answer.json()
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["code"] in {"invalid_input", "blocked_address"}
    assert path in [error["path"] for error in problem["errors"]]
    if code is not None:
        assert code in [error["code"] for error in problem["errors"]]
    assert await house.store.catalogue.load() == before


async def test_all_faults_are_named_at_once(client: httpx2.AsyncClient) -> None:
    answer = await client.post("/v1/endpoints", json={"url": "x", "events": [], "timeout_ms": 1, "secret": "s"})
    assert {error["path"] for error in answer.json()["errors"]} == {"url", "events", "timeout_ms", "secret"}


async def test_a_name_with_a_refused_address_is_refused(client: httpx2.AsyncClient, house: QuietHouse) -> None:
    """One bad address among good ones is enough: which one is dialled is chance."""
    house.names.addresses["inside.test"] = ["93.184.215.14", "10.1.2.3"]
    answer = await client.post("/v1/endpoints", json={"url": "https://inside.test/"})
    assert (answer.status_code, answer.json()["code"]) == (422, "blocked_address")
    endpoint = await create(client)
    answer = await client.patch(f"/v1/endpoints/{endpoint['id']}", json={"url": "https://inside.test/"})
    assert (answer.status_code, answer.json()["code"]) == (422, "blocked_address")
    assert (await client.get(f"/v1/endpoints/{endpoint['id']}")).json()["url"] == URL


async def test_a_name_without_an_address_is_taken(client: httpx2.AsyncClient, house: QuietHouse) -> None:
    """It may come to life later, and it is checked whenever it is dialled."""
    house.names.error = OSError("no such name")
    await create(client, url="https://later.test/")
    assert house.names.asked == ["later.test"]


async def test_a_change_touches_what_it_names_only(client: httpx2.AsyncClient, house: QuietHouse) -> None:
    endpoint = await create(client, description="old", headers={"X-A": "1"})
    assert isinstance(house.clock, ManualClock)
    house.clock.advance(5)
    answer = await client.patch(f"/v1/endpoints/{endpoint['id']}", json={"events": ["a.*"], "timeout_ms": 2_000})
    changed = answer.json()
    expected = {**endpoint, "events": ["a.*"], "timeout_ms": 2_000, "connect_timeout_ms": 2_000}
    del expected["secret"]
    assert {**changed, "updated_at": endpoint["updated_at"]} == expected
    assert changed["updated_at"] != endpoint["updated_at"]
    stored = await house.store.catalogue.endpoint(key_of(endpoint))
    assert stored == house.gateway.catalogue.endpoint(key_of(endpoint)) == house.hints.endpoints[-1]


async def test_changes_at_one_time_are_all_kept(client: httpx2.AsyncClient) -> None:
    """Each reads, changes and writes the whole endpoint: one at a time, or one change is lost."""
    endpoint = await create(client)
    place = f"/v1/endpoints/{endpoint['id']}"
    fields: dict[str, object] = {"description": "d", "retry": "none", "timeout_ms": 700, "headers": {"X-A": "1"}}
    await asyncio.gather(
        *(client.patch(place, json={name: value}) for name, value in fields.items()),
        client.post(f"{place}/pause"),
        client.post(f"{place}/rotate-secret"),
    )
    shown = (await client.get(place)).json()
    assert {name: shown[name] for name in fields} == fields
    assert (shown["state"], len(shown["secrets"])) == ("paused", 2)


@pytest.mark.parametrize("body", [{"tenant": "other"}, {"secret": SECRET}, {"url": None}, {"events": []}, {"bogus": 1}])
async def test_a_bad_change_changes_nothing(
    client: httpx2.AsyncClient, house: QuietHouse, body: dict[str, object]
) -> None:
    endpoint = await create(client)
    before = await house.store.catalogue.load()
    assert (await client.patch(f"/v1/endpoints/{endpoint['id']}", json=body)).status_code == 422
    assert await house.store.catalogue.load() == before


async def test_pause_and_resume_work_from_every_state_and_twice(client: httpx2.AsyncClient, house: QuietHouse) -> None:
    endpoint = await create(client)
    place = f"/v1/endpoints/{endpoint['id']}"
    for _ in range(2):
        assert (await client.post(f"{place}/pause")).json()["state"] == "paused"
    for _ in range(2):
        assert (await client.post(f"{place}/resume")).json()["state"] == "active"
    assert {lane for key, lane in house.hints.dues if key == key_of(endpoint)} == set(Lane) - {Lane.PARKED}
    await house.gateway.endpoints.disable(key_of(endpoint), "gone")
    assert (await client.get(place)).json()["state_reason"] == "gone"
    answer = (await client.patch(place, json={"active": True})).json()
    assert (answer["state"], answer["state_reason"], answer["active"]) == ("active", None, True)
    assert (await client.patch(place, json={"active": False})).json()["state"] == "paused"


async def test_a_rotated_secret_overlaps_with_the_one_before(client: httpx2.AsyncClient, house: QuietHouse) -> None:
    endpoint = await create(client, secret=SECRET)
    answer = await client.post(f"/v1/endpoints/{endpoint['id']}/rotate-secret", json={"overlap_ms": HOUR_MS})
    stored = await house.store.catalogue.endpoint(key_of(endpoint))
    assert stored is not None
    now = house.clock.now_ms()
    assert [(s.value, s.expires_at) for s in stored.secrets] == [
        (answer.json()["secret"], None),
        (SECRET, now + HOUR_MS),
    ]
    assert answer.json()["secret"] != SECRET
    again = await client.post(f"/v1/endpoints/{endpoint['id']}/rotate-secret", json={"secret": SECRET})
    assert (again.status_code, again.json()["code"]) == (409, "conflict")


@pytest.mark.parametrize("body", [{"overlap_ms": -1}, {"overlap_ms": 10**12}, {"secret": "x"}, {"overlap": 1}])
async def test_a_bad_rotation_rotates_nothing(client: httpx2.AsyncClient, body: dict[str, object]) -> None:
    endpoint = await create(client)
    place = f"/v1/endpoints/{endpoint['id']}"
    assert (await client.post(f"{place}/rotate-secret", json=body)).status_code == 422
    assert len((await client.get(place)).json()["secrets"]) == 1


async def test_a_test_event_is_owed_to_that_endpoint_only(client: httpx2.AsyncClient, house: QuietHouse) -> None:
    endpoint = await create(client, events=["order.paid"])
    await create(client)
    answer = (await client.post(f"/v1/endpoints/{endpoint['id']}/test")).json()
    assert (answer["deliveries"], answer["duplicate"]) == (1, False)
    (work,) = house.hints.work
    assert (work.obligation.endpoint_key, work.event.type) == (key_of(endpoint), "posthouse.test")
    delivery = (await client.get(f"/v1/deliveries/{answer['delivery']}")).json()
    assert (delivery["endpoint"], delivery["event"], delivery["status"]) == (endpoint["id"], answer["id"], "waiting")


async def test_deleting_discards_what_is_owed_and_ends_the_endpoint(
    client: httpx2.AsyncClient, house: QuietHouse
) -> None:
    endpoint = await create(client)
    place = f"/v1/endpoints/{endpoint['id']}"
    for number in range(3):
        await client.post("/v1/events", json={"type": "a", "data": number})
    assert (await client.delete(place)).json() == {"id": endpoint["id"], "discarded": 3}
    assert house.hints.endpoints[-1].state is EndpointState.DELETED
    assert (await client.get(place)).status_code == 404
    assert (await client.get("/v1/endpoints")).json()["data"] == []
    assert (await client.delete(place)).json()["discarded"] == 0
    assert (await client.post("/v1/events", json={"type": "a", "data": 4})).json()["deliveries"] == 0
    books = (await client.get("/v1/audit")).json()
    assert books["discarded_by_reason"] == {"endpoint_deleted": 3}
    assert books["imbalance"] == 0


async def test_an_interrupted_deletion_is_finished_at_the_start(client: httpx2.AsyncClient, house: QuietHouse) -> None:
    endpoint = await create(client)
    kept = await create(client)
    await client.post("/v1/events", json={"type": "a", "data": 1})
    key = key_of(endpoint)
    stored = await house.store.catalogue.endpoint(key)
    assert stored is not None
    now = house.clock.now_ms()
    await house.store.catalogue.set_endpoint_state(
        key, EndpointState.DELETED, seen=stored.revision, reason=None, now=now
    )
    await house.gateway.catalogue.refresh()
    assert await house.gateway.endpoints.finish_deletions() == 1
    left = await house.store.work.survey(range(SLOTS), limit=10)
    assert [backlog.endpoint_key for backlog in left] == [key_of(kept)]
