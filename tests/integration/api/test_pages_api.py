"""Lists are walked with cursors: every item once, in order, whatever the size of a page."""

from typing import Any

import httpx2
import pytest

from posthouse.api.cursors import encode_keys
from posthouse.core.limits import PAGE_ITEMS_DEFAULT

URL = "https://example.com/hooks"
COUNT = 7
LISTS = ["events", "deliveries", "endpoints", "keys", "tenants"]


@pytest.fixture
async def full(client: httpx2.AsyncClient) -> httpx2.AsyncClient:
    """Seven of everything (and one more API key and tenant: those that were there)."""
    for number in range(COUNT):
        await client.post("/v1/endpoints", json={"url": URL, "tenant": f"t{number}"})
        await client.post("/v1/events", json={"type": "a", "data": number, "tenant": f"t{number}"})
        await client.post("/v1/keys", json={"name": f"k{number}"})
    return client


async def walk(client: httpx2.AsyncClient, path: str, limit: int) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        query: dict[str, str | int] = {"limit": limit}
        if cursor is not None:
            query["cursor"] = cursor
        page = (await client.get(path, params=query)).json()
        assert len(page["data"]) == limit or page["next_cursor"] is None
        items += page["data"]
        cursor = page["next_cursor"]
        if cursor is None:
            return items


@pytest.mark.parametrize("name", LISTS)
async def test_a_walk_sees_every_item_once_in_one_order(full: httpx2.AsyncClient, name: str) -> None:
    path = f"/v1/{name}"
    whole = (await full.get(path)).json()
    assert whole["next_cursor"] is None
    assert len(whole["data"]) >= COUNT
    ids = [item["id"] for item in whole["data"]]
    assert len(set(ids)) == len(ids)
    assert ids == sorted(ids, reverse=name in {"events", "deliveries"})
    for limit in (1, 2, 3, COUNT, PAGE_ITEMS_DEFAULT):
        assert await walk(full, path, limit) == whole["data"]


async def test_new_items_do_not_disturb_a_walk(full: httpx2.AsyncClient) -> None:
    """Newest first, from a cursor on: what comes later is not seen, what was there is seen once."""
    before = (await full.get("/v1/events")).json()["data"]
    first = (await full.get("/v1/events?limit=3")).json()
    await full.post("/v1/events", json={"type": "a", "data": 8})
    rest = (await full.get("/v1/events", params={"cursor": first["next_cursor"]})).json()
    assert first["data"] + rest["data"] == before


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize(
    "cursor",
    ["", "!", "abc", "x" * 300, "ZA", "é", "AAAAAAAAAAAAAAAAAAAAAAA", encode_keys("z", 1), encode_keys("e", 1) + "="],
)
async def test_a_foreign_cursor_is_refused(client: httpx2.AsyncClient, name: str, cursor: str) -> None:
    answer = await client.get(f"/v1/{name}", params={"cursor": cursor})
    assert (answer.status_code, answer.json()["errors"][0]["path"]) == (422, "cursor")


async def test_a_cursor_belongs_to_its_list(full: httpx2.AsyncClient) -> None:
    for name in LISTS:
        cursor = (await full.get(f"/v1/{name}?limit=1")).json()["next_cursor"]
        for other in LISTS:
            answer = await full.get(f"/v1/{other}", params={"cursor": cursor})
            assert answer.status_code == (200 if other == name else 422)
