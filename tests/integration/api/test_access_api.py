"""Who may do what, and that two environments share nothing."""

from typing import Any

import httpx2
import pytest

from posthouse.api.application import create_management
from posthouse.api.openapi import describe
from posthouse.core.model import Environment, Scope
from posthouse.testing.quiet_house import QuietHouse

URL = "https://example.com/hooks"

#: Every operation that needs a key: method, path, body, and which permission it takes.
OPERATIONS: list[tuple[str, str, Any, str]] = [
    ("POST", "/v1/events", {"type": "a", "data": 1}, "publish"),
    ("POST", "/v1/events/batch", {"events": [{"type": "a", "data": 1}]}, "publish"),
    ("GET", "/v1/events", None, "read"),
    ("GET", "/v1/events/{event_id}", None, "read"),
    ("POST", "/v1/endpoints", {"url": URL}, "manage"),
    ("GET", "/v1/endpoints", None, "read"),
    ("GET", "/v1/endpoints/{endpoint_id}", None, "read"),
    ("PATCH", "/v1/endpoints/{endpoint_id}", {}, "manage"),
    ("POST", "/v1/endpoints/{endpoint_id}/pause", None, "manage"),
    ("POST", "/v1/endpoints/{endpoint_id}/resume", None, "manage"),
    ("POST", "/v1/endpoints/{endpoint_id}/rotate-secret", None, "manage"),
    ("POST", "/v1/endpoints/{endpoint_id}/test", None, "manage"),
    ("GET", "/v1/deliveries", None, "read"),
    ("GET", "/v1/deliveries/{delivery_id}", None, "read"),
    ("POST", "/v1/deliveries/{delivery_id}/retry", None, "manage"),
    ("POST", "/v1/deliveries/{delivery_id}/cancel", None, "manage"),
    ("DELETE", "/v1/endpoints/{endpoint_id}", None, "manage"),
    ("GET", "/v1/audit", None, "read"),
    ("POST", "/v1/keys", {"name": "n"}, "manage"),
    ("GET", "/v1/keys", None, "read"),
    ("DELETE", "/v1/keys/{key_id}", None, "manage"),
    ("POST", "/v1/tenants", {"id": "t"}, "manage"),
    ("GET", "/v1/tenants", None, "read"),
    ("GET", "/v1/tenants/{tenant_id}", None, "read"),
    ("PATCH", "/v1/tenants/{tenant_id}", {"weight": 2}, "manage"),
    ("POST", "/v1/jobs", {"kind": "park", "all": True}, "manage"),
    ("GET", "/v1/jobs", None, "read"),
    ("GET", "/v1/jobs/{job_id}", None, "read"),
    ("PATCH", "/v1/jobs/{job_id}", {"rate": "1/s"}, "manage"),
    ("POST", "/v1/jobs/{job_id}/pause", None, "manage"),
    ("POST", "/v1/jobs/{job_id}/resume", None, "manage"),
    ("POST", "/v1/jobs/{job_id}/cancel", None, "manage"),
    ("GET", "/v1/backlog", None, "read"),
    ("POST", "/v1/filters/test", {"filter": "true"}, "manage"),
    ("POST", "/v1/sources", {"name": "n", "provider": "stripe"}, "manage"),
    ("GET", "/v1/sources", None, "read"),
    ("GET", "/v1/sources/{source_id}", None, "read"),
    ("PATCH", "/v1/sources/{source_id}", {"name": "m"}, "manage"),
    ("POST", "/v1/sources/{source_id}/pause", None, "manage"),
    ("POST", "/v1/sources/{source_id}/resume", None, "manage"),
    ("POST", "/v1/sources/{source_id}/rotate-secret", {"secret": "s"}, "manage"),
    ("POST", "/v1/sources/{source_id}/reverify", None, "manage"),
    ("DELETE", "/v1/sources/{source_id}", None, "manage"),
    ("GET", "/v1/providers", None, "read"),
    ("GET", "/v1/requests", None, "read"),
    ("GET", "/v1/requests/{request_id}", None, "read"),
    ("GET", "/v1/quarantine", None, "read"),
    ("GET", "/v1/quarantine/{entry_id}", None, "read"),
    ("POST", "/v1/quarantine/release", {"objections": ["no_secret"], "limit": 1}, "manage"),
    ("POST", "/v1/quarantine/discard", {"objections": ["no_secret"], "limit": 1}, "manage"),
    ("GET", "/v1/incidents", None, "read"),
    ("GET", "/v1/outbox", None, "read"),
    ("GET", "/v1/nodes", None, "read"),
    ("GET", "/v1/feed", None, "read"),
    ("GET", "/v1/feed/consumers", None, "read"),
]
#: A consumer is whatever its reader calls it, so none is unknown; test_feed_api.py has them.
NAMED = {(method, "/v1/feed/consumers/{consumer}") for method in ("GET", "PUT", "DELETE")}

OF_SOURCES = ("source_id", "request_id", "entry_id")
ALLOWED = {"admin": {"publish", "read", "manage"}, "publish": {"publish"}, "read": {"read"}}


async def things(client: httpx2.AsyncClient) -> dict[str, str]:
    """One of everything, by the names of the paths' parameters."""
    endpoint = (await client.post("/v1/endpoints", json={"url": URL, "tenant": "acme"})).json()["id"]
    event = (await client.post("/v1/events", json={"type": "a", "data": 1, "tenant": "acme"})).json()["id"]
    delivery = (await client.get("/v1/deliveries")).json()["data"][0]["id"]
    key = (await client.post("/v1/keys", json={"name": "n", "scope": "read"})).json()["id"]
    job = (await client.post("/v1/jobs", json={"kind": "park", "all": True})).json()["id"]
    source = (await client.post("/v1/sources", json={"name": "n", "provider": "gocardless"})).json()
    await client.post(source["url"], content=b"{}")
    entry = (await client.get("/v1/quarantine")).json()["data"][0]
    return {
        "source_id": source["id"],
        "request_id": entry["request"],
        "entry_id": entry["id"],
        "endpoint_id": endpoint,
        "event_id": event,
        "delivery_id": delivery,
        "key_id": key,
        "tenant_id": "acme",
        "job_id": job,
    }


@pytest.mark.parametrize("environment", list(Environment))
@pytest.mark.parametrize("scope", list(Scope))
async def test_a_scope_allows_what_it_says_and_no_more(
    client: httpx2.AsyncClient, house: QuietHouse, environment: Environment, scope: Scope
) -> None:
    admin_key = await house.create_key(environment, Scope.ADMIN)
    async with house.client(admin_key) as admin, house.client(await house.create_key(environment, scope)) as caller:
        ids = await things(admin)
        for method, path, body, permission in OPERATIONS:
            answer = await caller.request(method, path.format(**ids), json=body)
            if permission in ALLOWED[scope]:
                assert answer.is_success, f"{method} {path}: {answer.text}"
            else:
                assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), f"{method} {path}"


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer nobody",
        "Basic dXNlcjpwYXNz",
        "Bearer " + "x" * 10_000,
        "Bearer ph_live_\xff",
    ],
)
async def test_without_a_key_nothing_is_shown(house: QuietHouse, header: str | None) -> None:
    headers = [] if header is None else [(b"Authorization", header.encode("latin-1"))]
    async with house.client() as nobody:
        for method, path, body, _ in OPERATIONS:
            answer = await nobody.request(method, path, json=body, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized"), f"{method} {path}"
            assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_the_scheme_is_read_in_any_case(house: QuietHouse) -> None:
    async with house.client() as client:
        answer = await client.get("/v1/events", headers={"Authorization": f"bEaReR {house.admin_key}"})
    assert answer.status_code == 200


async def test_an_id_of_the_other_environment_is_unknown(client: httpx2.AsyncClient, house: QuietHouse) -> None:
    """Every operation that takes an id answers as if the thing were not there, and changes nothing."""
    ids = await things(client)
    async with house.client(await house.create_key(Environment.TEST, Scope.ADMIN)) as stranger:
        before = await house.store.catalogue.load()
        for method, path, body, _ in OPERATIONS:
            if "{" in path:
                answer = await stranger.request(method, path.format(**ids), json=body)
                assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), f"{method} {path}"
        for query in (f"endpoint={ids['endpoint_id']}", f"event={ids['event_id']}"):
            assert (await stranger.get(f"/v1/deliveries?{query}")).status_code == 404
        for name in ("requests", "quarantine", "incidents"):
            assert (await stranger.get(f"/v1/{name}?source={ids['source_id']}")).status_code == 404
        for verb in ("release", "discard"):
            answer = await stranger.post(f"/v1/quarantine/{verb}", json={"ids": [ids["entry_id"]]})
            assert answer.json() == {"examined": 1, "changed": 0, "next_cursor": None}
            answer = await stranger.post(f"/v1/quarantine/{verb}", json={"source": ids["source_id"]})
            assert answer.status_code == 404
        assert await house.store.catalogue.load() == before
        names = ("events", "endpoints", "deliveries", "tenants", "sources", "requests", "quarantine", "incidents")
        for path in (f"/v1/{name}" for name in names):
            assert (await stranger.get(path)).json()["data"] == []
        assert (await stranger.get("/v1/audit")).json()["owed"] == 0
    assert (await client.get(f"/v1/deliveries/{ids['delivery_id']}")).json()["status"] == "waiting"


async def test_an_event_reaches_endpoints_of_its_environment_only(
    client: httpx2.AsyncClient, house: QuietHouse
) -> None:
    await client.post("/v1/endpoints", json={"url": URL})
    async with house.client(await house.create_key(Environment.TEST, Scope.ADMIN)) as stranger:
        assert (await stranger.post("/v1/events", json={"type": "a", "data": 1})).json()["deliveries"] == 0
    assert (await client.post("/v1/events", json={"type": "a", "data": 1})).json()["deliveries"] == 1


@pytest.mark.parametrize(
    "unknown", ["ep_0000000000000", "dlv_x", "key_!", "evt_", "%00", "..", "ep_0000000000000%2f", "ep_zzzzzzzzzzzzz"]
)
async def test_ids_that_are_none_are_unknown(client: httpx2.AsyncClient, unknown: str) -> None:
    for method, path, body, _ in OPERATIONS:
        if "{" in path:
            names = (*("endpoint_id", "event_id", "delivery_id", "key_id", "tenant_id", "job_id"), *OF_SOURCES)
            place = path.format(**dict.fromkeys(names, unknown))
            answer = await client.request(method, place, json=body)
            assert 400 <= answer.status_code < 500, f"{method} {place}: {answer.text}"
            assert answer.json()["code"] in {"not_found", "invalid_input", "method_not_allowed"}


def test_the_matrix_is_complete(house: QuietHouse) -> None:
    """Every operation of the API is in the table above."""
    document = describe(create_management(house.gateway))
    described = {
        (method.upper(), path)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if operation.get("security") != []
    }
    assert described == {(method, path) for method, path, _, _ in OPERATIONS} | NAMED
