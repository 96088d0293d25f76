"""One Idempotency-Key, one thing: whoever repeats a request gets the same answer, done once."""

import asyncio
from typing import Any

import httpx2
import pytest

from posthouse.testing.manual_clock import ManualClock
from posthouse.testing.quiet_house import QuietHouse

URL = "https://example.com/hooks"
KEY = {"Idempotency-Key": "k-1"}


async def post(client: httpx2.AsyncClient, path: str, body: Any = None, **headers: str) -> httpx2.Response:
    return await client.post(path, json=body, headers={**KEY, **headers})


async def test_a_repeated_creation_gives_the_same_endpoint_and_secret(client: httpx2.AsyncClient) -> None:
    first = await post(client, "/v1/endpoints", {"url": URL})
    second = await post(client, "/v1/endpoints", {"url": URL})
    assert first.status_code == second.status_code == 201
    assert first.json() == second.json()
    assert len((await client.get("/v1/endpoints")).json()["data"]) == 1


async def test_repeats_at_one_time_make_one_endpoint(client: httpx2.AsyncClient) -> None:
    answers = await asyncio.gather(*(post(client, "/v1/endpoints", {"url": URL}) for _ in range(8)))
    assert len({answer.json()["id"] for answer in answers}) == 1


async def test_another_body_under_the_same_key_is_refused(client: httpx2.AsyncClient) -> None:
    await post(client, "/v1/endpoints", {"url": URL})
    for body in ({"url": URL, "active": False}, {"url": f"{URL}/2"}):
        answer = await post(client, "/v1/endpoints", body)
        assert (answer.status_code, answer.json()["code"]) == (409, "idempotency_conflict")
    answer = await post(client, "/v1/keys", {"name": "n"})
    assert answer.json()["code"] == "idempotency_conflict"


async def test_the_repeat_of_a_deleted_endpoint_is_refused(client: httpx2.AsyncClient) -> None:
    """To make a new one in silence would surprise whoever deleted it."""
    created = await post(client, "/v1/endpoints", {"url": URL})
    await client.delete(f"/v1/endpoints/{created.json()['id']}")
    answer = await post(client, "/v1/endpoints", {"url": URL})
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")


async def test_a_repeated_rotation_rotates_once(client: httpx2.AsyncClient, house: QuietHouse) -> None:
    created = await client.post("/v1/endpoints", json={"url": URL})
    path = f"/v1/endpoints/{created.json()['id']}/rotate-secret"
    first, second = await post(client, path), await post(client, path)
    assert first.json()["secret"] == second.json()["secret"] != created.json()["secret"]
    assert len(second.json()["secrets"]) == 2
    assert (await post(client, path, {"overlap_ms": 1})).json()["code"] == "idempotency_conflict"
    # The repeat comes long after another rotation: that secret is no longer valid, and no other is given for it.
    await client.post(path, json={"overlap_ms": 1})
    assert isinstance(house.clock, ManualClock)
    house.clock.advance(10)
    assert (await post(client, path)).json()["secret"] is None


async def test_a_repeated_test_sends_one_event(client: httpx2.AsyncClient, house: QuietHouse) -> None:
    one, other = [(await client.post("/v1/endpoints", json={"url": URL})).json()["id"] for _ in range(2)]
    first, second = [(await post(client, f"/v1/endpoints/{one}/test")).json() for _ in range(2)]
    assert (first["id"], first["delivery"]) == (second["id"], second["delivery"])
    assert (first["duplicate"], second["duplicate"]) == (False, True)
    assert len(house.hints.work) == 1
    assert (await post(client, f"/v1/endpoints/{other}/test")).json()["code"] == "idempotency_conflict"


async def test_a_repeated_key_creation_makes_one_key_whose_text_is_gone(client: httpx2.AsyncClient) -> None:
    """Only the hash of the text is stored, so nobody can show it again."""
    first, second = [(await post(client, "/v1/keys", {"name": "n", "scope": "read"})).json() for _ in range(2)]
    assert first["secret"].startswith("ph_live_")
    assert second == {**first, "secret": None}
    await client.delete(f"/v1/keys/{first['id']}")
    answer = await post(client, "/v1/keys", {"name": "n", "scope": "read"})
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")


async def test_a_repeated_retry_opens_one_round(client: httpx2.AsyncClient, house: QuietHouse) -> None:
    await client.post("/v1/endpoints", json={"url": URL})
    await client.post("/v1/events", json={"type": "a", "data": 1})
    (delivery,) = (await client.get("/v1/deliveries")).json()["data"]
    path = f"/v1/deliveries/{delivery['id']}"
    await client.post(f"{path}/cancel")
    assert (await post(client, f"{path}/retry")).json()["round"] == 2
    await client.post(f"{path}/cancel")
    answer = (await post(client, f"{path}/retry")).json()
    assert (answer["round"], answer["status"]) == (2, "discarded")
    assert (await client.post(f"{path}/retry")).json()["round"] == 3


async def test_a_repeated_event_is_the_same_event(client: httpx2.AsyncClient) -> None:
    body = {"type": "a", "data": {"n": 1}}
    first, second = [(await post(client, "/v1/events", body)).json() for _ in range(2)]
    assert (first["duplicate"], second["duplicate"]) == (False, True)
    assert first["id"] == second["id"]
    assert (await post(client, "/v1/events", {**body, "data": {"n": 2}})).json()["code"] == "idempotency_conflict"


@pytest.mark.parametrize("key", ["", "x" * 256, "\x7f", "ü".encode("latin-1").decode("latin-1"), "a\tb"])
@pytest.mark.parametrize("path", ["/v1/events", "/v1/events/batch", "/v1/endpoints", "/v1/tenants"])
async def test_a_malformed_key_is_refused(client: httpx2.AsyncClient, path: str, key: str) -> None:
    bodies: dict[str, Any] = {
        "/v1/events": {"type": "a", "data": 1},
        "/v1/events/batch": {"events": [{"type": "a", "data": 1}]},
        "/v1/endpoints": {"url": URL},
        "/v1/tenants": {"id": "t"},
    }
    headers = [(b"Idempotency-Key", key.encode("latin-1"))]
    answer = await client.post(path, json=bodies[path], headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
    assert answer.json()["errors"][0]["path"] == "Idempotency-Key"
    assert (await client.get("/v1/events")).json()["data"] == []


async def test_two_keys_on_one_request_are_refused(client: httpx2.AsyncClient) -> None:
    headers = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    answer = await client.post("/v1/events", json={"type": "a", "data": 1}, headers=headers)
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, "repeated")
