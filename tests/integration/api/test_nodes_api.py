"""The register of nodes over the API."""

import httpx2

from posthouse.testing.quiet_house import QuietHouse
from posthouse.testing.seizing import joining, seize


async def test_the_register_is_listed_by_name(client: httpx2.AsyncClient, house: QuietHouse) -> None:
    ownership = house.store.ownership
    assert (await client.get("/v1/nodes")).json()["data"] == []
    await seize(ownership, "a", now=house.clock.now_ms())
    await ownership.join(joining("b", joined_at=house.clock.now_ms()))
    one, other = (await client.get("/v1/nodes")).json()["data"]
    assert [(node["name"], node["slots"], node["role"]) for node in (one, other)] == [
        ("a", 256, "all"),
        ("b", 0, "all"),
    ]
    assert (one["state"], one["last_beat_seconds"], one["is_this"]) == ("unknown", None, False)
