"""``/v1/tenants``: the rules of a tenant."""

from typing import Any

import httpx2
import pytest

from posthouse.core.rules import TenantRules
from posthouse.testing.quiet_house import QuietHouse

RULES: dict[str, Any] = {"weight": 10, "rate": "200/s", "in_flight_max": 64, "fresh_seconds": 60}
NO_RULES: dict[str, Any] = {"weight": 1, "rate": None, "in_flight_max": None, "fresh_seconds": None}


def rules_of(tenant: dict[str, Any]) -> dict[str, Any]:
    return {name: tenant[name] for name in RULES}


async def test_a_tenant_is_made_with_rules_and_without(client: httpx2.AsyncClient, house: QuietHouse) -> None:
    made = await client.post("/v1/tenants", json={"id": "a", **RULES, "rate": "0200/s"})
    assert (made.status_code, rules_of(made.json())) == (201, RULES)
    plain = (await client.post("/v1/tenants", json={"id": "b"})).json()
    assert rules_of(plain) == NO_RULES
    assert [tenant.rules for tenant in house.hints.tenants][-2:] == [TenantRules(**RULES), TenantRules()]
    listed = (await client.get("/v1/tenants")).json()["data"]
    assert [rules_of(tenant) for tenant in listed if tenant["id"] in "ab"] == [RULES, NO_RULES]


async def test_a_repeat_with_other_rules_is_a_conflict(client: httpx2.AsyncClient) -> None:
    await client.post("/v1/tenants", json={"id": "a", **RULES})
    assert (await client.post("/v1/tenants", json={"id": "a", **RULES})).status_code == 201
    assert (await client.post("/v1/tenants", json={"id": "a"})).status_code == 201
    answer = await client.post("/v1/tenants", json={"id": "a", "weight": 3})
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")


async def test_rules_change_one_by_one_and_null_takes_them_away(client: httpx2.AsyncClient, house: QuietHouse) -> None:
    await client.post("/v1/events", json={"type": "a", "data": 1, "tenant": "by/an.event"})
    place = "/v1/tenants/by/an.event"
    known = dict(NO_RULES)
    for name, value in [*RULES.items(), *dict.fromkeys(RULES).items()]:
        answer = await client.patch(place, json={name: value})
        known[name] = NO_RULES[name] if value is None else value
        assert (answer.status_code, rules_of(answer.json())) == (200, known)
        assert house.hints.tenants[-1].rules == TenantRules(**known)
    told = len(house.hints.tenants)
    assert (await client.patch(place, json={"weight": 1})).status_code == 200
    assert len(house.hints.tenants) == told, "nothing changed, so nobody is told"
    assert (await client.patch(place, json={"name": "An event's"})).json()["name"] == "An event's"
    assert (await client.get(place)).json()["name"] == "An event's"


async def test_rules_outlive_the_node_and_are_known_to_the_others(
    client: httpx2.AsyncClient, house: QuietHouse
) -> None:
    await client.post("/v1/tenants", json={"id": "a", **RULES})
    stored = {tenant.id: tenant.rules for tenant in (await house.store.catalogue.load()).tenants}
    assert stored["a"] == TenantRules(**RULES)


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"weight": 0}, "weight"),
        ({"weight": 1_001}, "weight"),
        ({"weight": "2"}, "weight"),
        ({"rate": "fast"}, "rate"),
        ({"rate": "0/s"}, "rate"),
        ({"in_flight_max": 0}, "in_flight_max"),
        ({"in_flight_max": 16_385}, "in_flight_max"),
        ({"fresh_seconds": 0}, "fresh_seconds"),
        ({"fresh_seconds": 2_592_001}, "fresh_seconds"),
        ({"name": ""}, "name"),
        ({"name": None}, "name"),
        ({"speed": 1}, "speed"),
    ],
)
async def test_a_rule_beyond_its_bounds_is_refused_by_name(
    client: httpx2.AsyncClient, body: dict[str, Any], path: str
) -> None:
    await client.post("/v1/tenants", json={"id": "a"})
    answers = [await client.patch("/v1/tenants/a", json=body)]
    if path != "name":
        answers.append(await client.post("/v1/tenants", json={"id": "b", **body}))
    for answer in answers:
        assert answer.status_code == 422, answer.text
        assert [error["path"] for error in answer.json()["errors"]] == [path]


async def test_all_faults_are_named_at_once(client: httpx2.AsyncClient) -> None:
    await client.post("/v1/tenants", json={"id": "a"})
    answer = await client.patch("/v1/tenants/a", json={"weight": 0, "rate": "x"})
    assert sorted(error["path"] for error in answer.json()["errors"]) == ["rate", "weight"]


async def test_an_unknown_tenant_is_not_made_by_a_change(client: httpx2.AsyncClient) -> None:
    assert (await client.patch("/v1/tenants/nobody", json={"weight": 2})).status_code == 404
