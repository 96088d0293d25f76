"""Sources over the API: made, changed, paused, deleted; their secrets are taken and never shown."""

import asyncio
import re
from typing import Any

import httpx2
import pytest

from posthouse.api.application import create_app
from posthouse.core import limits
from posthouse.core.errors import StoreUnavailable
from posthouse.core.ids import SOURCE, parse_id
from posthouse.core.inbound import Source, SourceRules, SourceState, WhilePaused
from posthouse.core.model import Environment, Scope
from posthouse.providers.index import PRESETS
from posthouse.testing.manual_clock import ManualClock
from posthouse.testing.quiet_house import QuietHouse

DAY_MS = 86_400_000
HUSH = "hush-hush-0123456789"
CUSTOM = {"scheme": {"kind": "token", "header": "X-Token"}, "identity": "field:id"}
FULL: dict[str, Any] = {
    "name": "tickets",
    "provider": "connectwise",
    "tenant": "acme",
    "description": "Of the help desk",
    "fresh_seconds": 600,
    "heartbeat_seconds": 3_600,
    "body_bytes_max": 65_536,
    "while_paused": "refuse",
    "key_hosts": ["keys.example.com"],
}


async def create(client: httpx2.AsyncClient, **fields: object) -> dict[str, Any]:
    answer = await client.post("/v1/sources", json={"name": "n", "provider": "github", **fields})
    assert answer.status_code == 201, answer.text
    created: dict[str, Any] = answer.json()
    return created


async def stored(house: QuietHouse, source: dict[str, Any]) -> Source:
    """What the store, the catalogue and the inbox know of a source: the same."""
    key = parse_id(SOURCE, source["id"])
    found = next(one for one in (await house.store.catalogue.load()).sources if one.key == key)
    assert found == house.gateway.catalogue.source(found.key) == house.inbox.sources[-1]
    return found


async def test_without_a_word_a_source_has_no_rule(client: httpx2.AsyncClient, house: QuietHouse) -> None:
    made = await create(client)
    token = made["url"].removeprefix("http://house.test/in/")
    assert re.fullmatch("[a-z2-7]{32}", token)
    assert {name: made[name] for name in made if name not in {"id", "url", "created_at", "updated_at"}} == {
        "name": "n",
        "provider": "github",
        "tenant": "default",
        "state": "active",
        "description": "",
        "fresh_seconds": None,
        "heartbeat_seconds": None,
        "body_bytes_max": limits.SOURCE_BODY_BYTES_DEFAULT,
        "while_paused": "hold",
        "key_hosts": [],
        "custom": None,
        "secrets": [],
    }
    found = await stored(house, made)
    assert (found.token, found.rules) == (token, SourceRules())
    assert (await client.get(f"/v1/sources/{made['id']}")).json() == made


async def test_everything_that_is_said_is_kept(client: httpx2.AsyncClient, house: QuietHouse) -> None:
    made = await create(client, **FULL, secrets=["one", "two"])
    assert {name: made[name] for name in FULL} == FULL
    assert [secret["expires_at"] for secret in made["secrets"]] == [None, None]
    assert (await stored(house, made)).secrets_at(house.clock.now_ms()) == ("one", "two")
    assert (await client.get("/v1/tenants/acme")).status_code == 200
    custom = await create(client, provider="custom", custom=CUSTOM)
    assert custom["custom"] == CUSTOM


async def test_no_two_sources_share_a_url(client: httpx2.AsyncClient) -> None:
    made = [await create(client) for _ in range(3)]
    assert len({source["url"] for source in made}) == len({source["id"] for source in made}) == 3


async def test_a_url_is_the_public_one_if_there_is_one(client: httpx2.AsyncClient, house: QuietHouse) -> None:
    made = await create(client)
    path = made["url"].removeprefix("http://house.test")
    answer = await client.get(f"/v1/sources/{made['id']}", headers={"Host": "proxy.example:8443"})
    assert answer.json()["url"] == f"http://proxy.example:8443{path}"

    async def ready() -> bytes:
        return b""

    app = create_app(
        house.gateway,
        inbound=house.app,
        readiness=ready,
        metrics=lambda: b"",
        public_url="https://hooks.example.com",
    )
    authorized = {"Authorization": f"Bearer {house.admin_key}"}
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app), base_url="http://house.test", headers=authorized
    ) as public:
        answer = await public.get(f"/v1/sources/{made['id']}")
    assert answer.json()["url"] == f"https://hooks.example.com{path}"


@pytest.mark.parametrize(
    ("fields", "path", "code"),
    [
        ({"name": ""}, "name", "invalid"),
        ({"provider": "nobody"}, "provider", "provider"),
        ({"provider": "custom"}, "custom", "missing"),
        ({"provider": "custom", "custom": {"scheme": {"kind": "hmac"}}}, "custom.scheme.header", "invalid"),
        ({"custom": CUSTOM}, "custom", "not_custom"),
        ({"custom": "x"}, "custom", "dict_type"),
        ({"while_paused": "drop"}, "while_paused", "literal_error"),
        ({"secrets": "s"}, "secrets", "list_type"),
        ({"secrets": [""]}, "secrets[0]", "secret"),
        ({"key_hosts": ["*"]}, "key_hosts[0]", "host"),
        ({"token": "x"}, "token", "extra_forbidden"),
        ({"body_bytes_max": 0}, "body_bytes_max", "out_of_range"),
    ],
)
async def test_what_is_not_valid_is_named_and_nothing_is_stored(
    client: httpx2.AsyncClient, house: QuietHouse, fields: dict[str, object], path: str, code: str
) -> None:
    before = await house.store.catalogue.load()
    answer = await client.post("/v1/sources", json={"name": "n", "provider": "connectwise", **fields})
    assert answer.status_code == 422, answer.text
    assert (path, code) in [(fault["path"], fault["code"]) for fault in answer.json()["errors"]]
    assert await house.store.catalogue.load() == before


async def test_a_change_changes_what_it_names(client: httpx2.AsyncClient, house: QuietHouse) -> None:
    made = await create(client, provider="connectwise")
    place = f"/v1/sources/{made['id']}"
    now = dict(made)
    for name in FULL.keys() - {"provider", "tenant"}:
        answer = await client.patch(place, json={name: FULL[name]})
        assert answer.status_code == 200, answer.text
        now[name] = FULL[name]
        assert {**answer.json(), "updated_at": None} == {**now, "updated_at": None}
    rules = ("fresh_seconds", "heartbeat_seconds", "body_bytes_max", "key_hosts")
    answer = await client.patch(place, json=dict.fromkeys(rules))
    assert {name: answer.json()[name] for name in rules} == {name: made[name] for name in rules}
    assert (await stored(house, made)).rules == SourceRules(while_paused=WhilePaused.REFUSE)
    for name in ("provider", "tenant", "secrets", "state"):
        assert (await client.patch(place, json={name: "x"})).status_code == 422


async def test_a_declaration_can_be_mended(client: httpx2.AsyncClient) -> None:
    made = await create(client, provider="custom", custom=CUSTOM)
    mended = {**CUSTOM, "identity": "field:uuid"}
    answer = await client.patch(f"/v1/sources/{made['id']}", json={"custom": mended})
    assert answer.json()["custom"] == mended
    answer = await client.patch(f"/v1/sources/{made['id']}", json={"custom": None})
    assert answer.json()["errors"][0]["path"] == "custom"


async def test_a_change_that_changes_nothing_writes_nothing(client: httpx2.AsyncClient, house: QuietHouse) -> None:
    made = await create(client)
    before = await house.store.catalogue.load()
    assert (await client.patch(f"/v1/sources/{made['id']}", json={"name": "n"})).json() == made
    assert (await client.post(f"/v1/sources/{made['id']}/resume")).json() == made
    assert await house.store.catalogue.load() == before


async def test_pausing_holds_or_refuses(client: httpx2.AsyncClient, house: QuietHouse) -> None:
    made = await create(client)
    place = f"/v1/sources/{made['id']}"
    for body, wanted in ((None, "hold"), ({"while_paused": "refuse"}, "refuse"), ({}, "refuse")):
        answer = (await client.post(f"{place}/pause", json=body)).json()
        assert (answer["state"], answer["while_paused"]) == ("paused", wanted)
    assert (await stored(house, made)).state is SourceState.PAUSED
    assert (await client.post(f"{place}/resume")).json()["state"] == "active"
    assert (await stored(house, made)).state is SourceState.ACTIVE


async def test_a_deleted_source_is_unknown_and_its_url_too(client: httpx2.AsyncClient, house: QuietHouse) -> None:
    made, other = await create(client), await create(client)
    place = f"/v1/sources/{made['id']}"
    for _ in range(2):
        answer = await client.delete(place)
        assert (answer.status_code, answer.json()) == (200, {"id": made["id"]})
    assert (await client.get(place)).status_code == 404
    for method, path, body in (
        ("PATCH", place, {}),
        ("POST", f"{place}/pause", None),
        ("POST", f"{place}/rotate-secret", {"secret": "s"}),
    ):
        assert (await client.request(method, path, json=body)).status_code == 404
    assert [source["id"] for source in (await client.get("/v1/sources")).json()["data"]] == [other["id"]]
    assert (await client.post(made["url"], content=b"{}")).status_code == 404
    deleted = house.gateway.catalogue.source(parse_id(SOURCE, made["id"]) or 0)
    assert deleted is not None
    assert deleted.state is SourceState.DELETED
    assert (await client.get(f"/v1/requests?source={made['id']}")).json()["data"] == []


async def test_lists_have_pages_and_know_tenants(client: httpx2.AsyncClient) -> None:
    made = [await create(client, tenant=f"t{number % 2}") for number in range(5)]
    first = (await client.get("/v1/sources?limit=2")).json()
    second = (await client.get("/v1/sources", params={"limit": 3, "cursor": first["next_cursor"]})).json()
    assert first["data"] + second["data"] == made
    assert second["next_cursor"] is None
    assert (await client.get("/v1/sources?tenant=t1")).json()["data"] == made[1::2]


async def test_there_is_a_bound(client: httpx2.AsyncClient, house: QuietHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SOURCES_MAX", 2)
    made = [await create(client) for _ in range(2)]
    answer = await client.post("/v1/sources", json={"name": "n", "provider": "github"})
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    async with house.client(await house.create_key(Environment.TEST, Scope.ADMIN)) as stranger:
        await create(stranger)
    await client.delete(f"/v1/sources/{made[0]['id']}")
    await create(client)


async def test_nothing_is_there_if_the_store_cannot_keep_it(client: httpx2.AsyncClient, house: QuietHouse) -> None:
    async def broken(*_: object, **__: object) -> int:
        raise StoreUnavailable

    house.store.catalogue.put_source = broken  # type: ignore[method-assign]  # this store is the test's own
    answer = await client.post("/v1/sources", json={"name": "n", "provider": "github"})
    assert answer.status_code == 503
    assert (await client.get("/v1/sources")).json()["data"] == house.inbox.sources == []


# -- secrets ----------------------------------------------------------------------------------


async def rotate(client: httpx2.AsyncClient, source: dict[str, Any], secret: str, **more: object) -> dict[str, Any]:
    answer = await client.post(f"/v1/sources/{source['id']}/rotate-secret", json={"secret": secret, **more})
    assert answer.status_code == 200, answer.text
    rotated: dict[str, Any] = answer.json()
    return rotated


async def test_a_first_secret_and_the_next_ones(client: httpx2.AsyncClient, house: QuietHouse) -> None:
    assert isinstance(house.clock, ManualClock)
    made = await create(client)
    assert [secret["expires_at"] for secret in (await rotate(client, made, "a"))["secrets"]] == [None]
    both = await rotate(client, made, "b", overlap_ms=DAY_MS)
    assert [secret["expires_at"] is None for secret in both["secrets"]] == [True, False]
    source = await stored(house, made)
    now = house.clock.now_ms()
    assert source.secrets_at(now) == ("b", "a")
    assert source.secrets_at(now + DAY_MS) == ("b",)
    house.clock.advance(DAY_MS)
    assert len((await client.get(f"/v1/sources/{made['id']}")).json()["secrets"]) == 1


async def test_a_secret_that_leaked_ends_at_once(client: httpx2.AsyncClient, house: QuietHouse) -> None:
    made = await create(client, secrets=["a", "b"])
    await rotate(client, made, "c", overlap_ms=0)
    assert (await stored(house, made)).secrets_at(house.clock.now_ms()) == ("c",)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 422, "invalid_input"),
        ({"secret": ""}, 422, "invalid_input"),
        ({"secret": "a"}, 409, "conflict"),
        ({"secret": "b", "overlap_ms": -1}, 422, "invalid_input"),
        ({"secret": "b", "overlap_ms": limits.SECRET_OVERLAP_MS_MAX + 1}, 422, "invalid_input"),
    ],
)
async def test_a_bad_rotation_changes_nothing(
    client: httpx2.AsyncClient, house: QuietHouse, body: dict[str, object], status: int, code: str
) -> None:
    made = await create(client, secrets=["a"])
    before = await house.store.catalogue.load()
    answer = await client.post(f"/v1/sources/{made['id']}/rotate-secret", json=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert await house.store.catalogue.load() == before


async def test_no_answer_and_no_log_holds_a_secret(
    client: httpx2.AsyncClient, house: QuietHouse, capsys: pytest.CaptureFixture[str]
) -> None:
    made = await create(client, secrets=[HUSH])
    place = f"/v1/sources/{made['id']}"
    answers = [
        await client.get(place),
        await client.get("/v1/sources"),
        await client.patch(place, json={"name": "m"}),
        await client.post(f"{place}/rotate-secret", json={"secret": HUSH}),
        await client.post(f"{place}/rotate-secret", json={"secret": f"{HUSH}-2"}),
        await client.post(f"{place}/rotate-secret", json={"secret": HUSH + "x" * 10_000}),
        await client.post("/v1/sources", json={"name": "n", "provider": "discord", "secrets": [HUSH]}),
        await client.post("/v1/sources", json={"name": "n", "provider": "github", "secrets": [HUSH, HUSH]}),
        await client.post(f"{place}/pause"),
        await client.delete(place),
    ]
    assert not [answer.text for answer in answers if HUSH in answer.text]
    assert HUSH not in "".join(capsys.readouterr())


async def test_a_secret_that_a_sender_brings_along_is_kept_beside_the_others(
    client: httpx2.AsyncClient, house: QuietHouse
) -> None:
    made = await create(client, secrets=["a"])
    source = await stored(house, made)
    await asyncio.gather(*(house.gateway.sources.agree(source, "b") for _ in range(3)))
    assert (await stored(house, made)).secrets_at(house.clock.now_ms()) == ("b", "a")


# -- repeats ----------------------------------------------------------------------------------


async def test_a_repeat_makes_no_second_source(client: httpx2.AsyncClient) -> None:
    key = {"Idempotency-Key": "k"}
    body = {"name": "n", "provider": "github", "secrets": ["s"]}
    answers = await asyncio.gather(*(client.post("/v1/sources", json=body, headers=key) for _ in range(5)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.text for answer in answers}) == 1
    other = await client.post("/v1/sources", json={**body, "name": "m"}, headers=key)
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")
    await client.delete(f"/v1/sources/{answers[0].json()['id']}")
    gone = await client.post("/v1/sources", json=body, headers=key)
    assert (gone.status_code, gone.json()["code"]) == (409, "conflict")


async def test_a_repeated_rotation_rotates_once(client: httpx2.AsyncClient) -> None:
    made = await create(client, secrets=["a"])
    path, key = f"/v1/sources/{made['id']}/rotate-secret", {"Idempotency-Key": "k"}
    first = await client.post(path, json={"secret": "b"}, headers=key)
    assert (await client.post(path, json={"secret": "b"}, headers=key)).json() == first.json()
    other = await client.post(path, json={"secret": "c"}, headers=key)
    assert other.json()["code"] == "idempotency_conflict"


# -- what endpoints want ----------------------------------------------------------------------


async def test_an_endpoint_names_sources_of_its_tenant(client: httpx2.AsyncClient, house: QuietHouse) -> None:
    one, two, foreign = await create(client), await create(client), await create(client, tenant="acme")
    url = "https://example.com/hooks"
    made = await client.post("/v1/endpoints", json={"url": url, "sources": [two["id"], one["id"], two["id"]]})
    assert made.json()["sources"] == [one["id"], two["id"]]
    place = f"/v1/endpoints/{made.json()['id']}"
    for sources in ([foreign["id"]], [one["id"], "src_zzzzzzzzzzzzz"]):
        for answer in (
            await client.post("/v1/endpoints", json={"url": url, "sources": sources}),
            await client.patch(place, json={"sources": sources}),
        ):
            assert answer.status_code == 422
            fault = {"path": f"sources[{len(sources) - 1}]", "code": "unknown"}
            assert [{name: found[name] for name in fault} for found in answer.json()["errors"]] == [fault]
    assert (await client.patch(place, json={"sources": [two["id"]]})).json()["sources"] == [two["id"]]
    await client.delete(f"/v1/sources/{two['id']}")
    assert (await client.patch(place, json={"description": "d"})).json()["sources"] == [two["id"]]
    assert (await client.patch(place, json={"sources": [two["id"]]})).status_code == 422
    assert (await client.patch(place, json={"sources": None})).json()["sources"] == []
    async with house.client(await house.create_key(Environment.TEST, Scope.ADMIN)) as stranger:
        answer = await stranger.post("/v1/endpoints", json={"url": url, "sources": [one["id"]]})
        assert answer.status_code == 422


# -- providers --------------------------------------------------------------------------------


async def test_every_preset_is_listed_by_name(client: httpx2.AsyncClient) -> None:
    listed: list[dict[str, Any]] = []
    query: dict[str, Any] = {"limit": 7}
    while True:
        answer = (await client.get("/v1/providers", params=query)).json()
        listed += answer["data"]
        if answer["next_cursor"] is None:
            break
        query["cursor"] = answer["next_cursor"]
    assert [provider["name"] for provider in listed] == sorted(PRESETS)
    asana = next(provider for provider in listed if provider["name"] == "asana")
    preset = PRESETS["asana"]
    assert asana == {
        "name": "asana",
        "title": preset.title,
        "docs": preset.docs,
        "needs_secret": True,
        "secret_help": preset.secret_help,
        "heartbeat_seconds": preset.heartbeat_seconds,
    }
