"""``/v1/jobs``: what is refused, what is shown, who decided what. The engine's part is played by the test."""

import asyncio
from typing import Any

import httpx2
import pytest

from posthouse.core import limits
from posthouse.core.ids import JOB, parse_id
from posthouse.core.jobs import JobKind
from posthouse.core.model import Environment, Scope
from posthouse.gateway.job_input import JobSpec
from posthouse.gateway.principal import Principal
from posthouse.testing.manual_clock import ManualClock
from posthouse.testing.quiet_house import QuietHouse

URL = "https://example.com/hooks"


async def create(client: httpx2.AsyncClient, **body: Any) -> dict[str, Any]:
    answer = await client.post("/v1/jobs", json=body)
    assert answer.status_code == 201, answer.text
    job: dict[str, Any] = answer.json()
    return job


async def run(house: QuietHouse, job: dict[str, Any]) -> None:
    """Take every step of a job, as an engine would."""
    key = parse_id(JOB, job["id"])
    assert key is not None
    store = house.store.jobs
    while (await store.count(key, limit=10)) is not None:
        pass
    while True:
        step = await store.work(key, limit=10, now=house.clock.now_ms())
        assert step is not None
        if step.exhausted:
            return


async def test_a_job_is_made_shown_and_listed(client: httpx2.AsyncClient, house: QuietHouse) -> None:
    endpoint = (await client.post("/v1/endpoints", json={"url": URL, "tenant": "acme"})).json()
    source = (await client.post("/v1/sources", json={"name": "Issues", "provider": "github"})).json()
    event = (await client.post("/v1/events", json={"type": "a.b", "data": 1, "tenant": "acme"})).json()
    wanted = {
        "tenant": "acme",
        "endpoint": endpoint["id"],
        "source": source["id"],
        "event": event["id"],
        "types": ["a.*"],
        "states": ["exhausted", "waiting"],
        "reasons": ["attempts_spent"],
        "ordering_key": "k",
        "since": "2026-11-20T00:00:00Z",
        "until": "2026-11-21T00:00:00+01:00",
        "older_than": "3d",
    }
    job = await create(client, kind="retry", filter=wanted, mode="latest", dry_run=True, rate="0500/s")
    assert job["filter"] == {
        **wanted,
        "since": "2026-11-20T00:00:00.000Z",
        "until": "2026-11-20T23:00:00.000Z",
        "older_than": "2027-01-12T08:00:00.000Z",
    }
    del job["filter"], job["id"]
    assert job == {
        "kind": "retry",
        "state": "running",
        "mode": "latest",
        "dry_run": True,
        "rate": "500/s",
        "total": None,
        "counted": 0,
        "done": 0,
        "skipped": 0,
        "progress": {"phase": "counting", "processed": 0, "share": None, "per_second": None, "eta_seconds": None},
        "created_at": "2027-01-15T08:00:00.000Z",
        "started_at": None,
        "finished_at": None,
        "error": None,
        "trail": [{"at": "2027-01-15T08:00:00.000Z", "by": "live admin", "what": "created"}],
    }
    assert len(house.hints.jobs) == 1


async def test_jobs_are_listed_newest_first(client: httpx2.AsyncClient) -> None:
    ids = [(await create(client, kind="cancel", all=True))["id"] for _ in range(3)]
    first = (await client.get("/v1/jobs", params={"limit": 2})).json()
    rest = (await client.get("/v1/jobs", params={"limit": 2, "cursor": first["next_cursor"]})).json()
    assert [job["id"] for job in first["data"] + rest["data"]] == ids[::-1]
    assert rest["next_cursor"] is None
    await client.post(f"/v1/jobs/{ids[1]}/pause")
    for state, found in (("paused", [ids[1]]), ("running", [ids[2], ids[0]]), ("failed", [])):
        listed = (await client.get("/v1/jobs", params={"state": state})).json()
        assert [job["id"] for job in listed["data"]] == found


async def test_progress_counts_what_was_done(client: httpx2.AsyncClient, house: QuietHouse) -> None:
    await client.post("/v1/endpoints", json={"url": URL})
    for _ in range(4):
        await client.post("/v1/events", json={"type": "a", "data": 1})
    job = await create(client, kind="cancel", filter={"types": ["a"]})
    key = parse_id(JOB, job["id"])
    assert key is not None
    await house.store.jobs.count(key, limit=9)
    await house.store.jobs.work(key, limit=3, now=house.clock.now_ms())
    house.hints.paces[key] = 0.5
    shown = (await client.get(f"/v1/jobs/{job['id']}")).json()
    progress = {"phase": "working", "processed": 3, "share": 0.75, "per_second": 0.5, "eta_seconds": 2.0}
    assert (shown["total"], shown["done"], shown["progress"]) == (4, 3, progress)


async def test_a_replay_delivers_again_what_was_delivered_to_nobody_else(
    client: httpx2.AsyncClient, house: QuietHouse
) -> None:
    """A test key sees and touches nothing of the live environment."""
    await client.post("/v1/endpoints", json={"url": URL})
    await client.post("/v1/events", json={"type": "a", "data": 1})
    await run(house, await create(client, kind="cancel", all=True))
    async with house.client(await house.create_key(Environment.TEST, Scope.ADMIN)) as test:
        job = await create(test, kind="retry", all=True)
        await run(house, job)
        assert (await test.get(f"/v1/jobs/{job['id']}")).json()["total"] == 0
        assert (await client.get(f"/v1/jobs/{job['id']}")).status_code == 404
        assert (await client.post(f"/v1/jobs/{job['id']}/cancel")).status_code == 404
        assert len((await test.get("/v1/jobs")).json()["data"]) == 1
    await run(house, await create(client, kind="retry", all=True))
    assert (await client.get("/v1/audit")).json()["waiting"] == 1


async def test_people_decide_and_the_trail_says_who(client: httpx2.AsyncClient, house: QuietHouse) -> None:
    """What changes nothing leaves no line."""
    job = await create(client, kind="cancel", all=True)
    path = f"/v1/jobs/{job['id']}"
    assert isinstance(house.clock, ManualClock)
    house.clock.advance(1_000)
    steps: list[tuple[str, Any, str]] = [
        ("pause", None, "paused"),
        ("pause", None, "paused"),
        ("rate", "20/m", "paused"),
        ("rate", "020/m", "paused"),
        ("resume", None, "running"),
        ("resume", None, "running"),
        ("rate", None, "running"),
        ("cancel", None, "cancelled"),
        ("cancel", None, "cancelled"),
    ]
    for verb, value, state in steps:
        if verb == "rate":
            answer = await client.patch(path, json={"rate": value})
        else:
            answer = await client.post(f"{path}/{verb}")
        assert (answer.status_code, answer.json()["state"]) == (200, state)
    shown = answer.json()
    what = ["created", "pause", "rate 20/m", "resume", "no rate", "cancel"]
    assert [entry["what"] for entry in shown["trail"]] == what
    assert {entry["by"] for entry in shown["trail"]} == {"live admin"}
    assert shown["finished_at"] == "2027-01-15T08:00:01.000Z"
    assert shown["progress"]["phase"] == "ended"
    assert len(house.hints.jobs) == 6
    for call in (
        client.post(f"{path}/pause"),
        client.post(f"{path}/resume"),
        client.patch(path, json={"rate": "1/s"}),
    ):
        refused = await call
        assert (refused.status_code, refused.json()["code"]) == (409, "conflict")


async def test_decisions_at_one_time_are_all_kept(client: httpx2.AsyncClient) -> None:
    job = await create(client, kind="cancel", all=True)
    path = f"/v1/jobs/{job['id']}"
    await asyncio.gather(*(client.patch(path, json={"rate": f"{n}/s"}) for n in range(1, 9)))
    trail = (await client.get(path)).json()["trail"]
    assert sorted(entry["what"] for entry in trail) == ["created", *(f"rate {n}/s" for n in range(1, 9))]


async def test_a_repeated_creation_is_the_same_job(client: httpx2.AsyncClient, house: QuietHouse) -> None:
    """An age is the same age a minute later."""
    headers = {"Idempotency-Key": "k"}
    body = {"kind": "retry", "filter": {"older_than": "3d"}}
    first = (await client.post("/v1/jobs", json=body, headers=headers)).json()
    assert isinstance(house.clock, ManualClock)
    house.clock.advance(60_000)
    again = await client.post("/v1/jobs", json=body, headers=headers)
    assert again.json() == first
    other = await client.post("/v1/jobs", json={**body, "dry_run": True}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")
    assert len((await client.get("/v1/jobs")).json()["data"]) == 1


@pytest.mark.parametrize(
    ("body", "path", "code"),
    [
        ({"kind": "retry"}, "filter", "all"),
        ({"kind": "retry", "filter": {"states": []}}, "filter", "all"),
        ({"kind": "retry", "all": True, "filter": {"tenant": "t"}}, "all", "all"),
        ({"kind": "retry", "filter": {"states": ["delivered"]}}, "filter.states[0]", "state"),
        ({"kind": "cancel", "filter": {"states": ["waiting", "exhausted"]}}, "filter.states[1]", "state"),
        ({"kind": "park", "filter": {"reasons": ["x"]}}, "filter.reasons", "reasons"),
        ({"kind": "retry", "filter": {"reasons": [""]}}, "filter.reasons", "invalid"),
        ({"kind": "retry", "filter": {"types": ["a", "a*"]}}, "filter.types[1]", "event_pattern"),
        ({"kind": "retry", "filter": {"older_than": "3 days"}}, "filter.older_than", "older_than"),
        ({"kind": "retry", "filter": {"since": "yesterday"}}, "filter.since", "timestamp"),
        (
            {"kind": "retry", "filter": {"since": "2026-11-20T00:00:00Z", "until": "2026-11-20T00:00:00Z"}},
            "filter.until",
            "out_of_range",
        ),
        ({"kind": "retry", "all": True, "rate": "fast"}, "rate", "rate"),
        ({"kind": "park", "all": True, "mode": "latest"}, "mode", "mode"),
        ({"kind": "delete", "all": True}, "kind", "enum"),
        ({"kind": "retry", "all": True, "colour": 1}, "colour", "extra_forbidden"),
    ],
)
async def test_what_makes_no_sense_is_refused(
    client: httpx2.AsyncClient, body: dict[str, Any], path: str, code: str
) -> None:
    answer = await client.post("/v1/jobs", json=body)
    assert answer.status_code == 422
    assert [(error["path"], error["code"]) for error in answer.json()["errors"]] == [(path, code)]
    assert (await client.get("/v1/jobs")).json()["data"] == []


@pytest.mark.parametrize(
    "wanted", [{"tenant": "nobody"}, {"endpoint": "ep_x"}, {"source": "src_x"}, {"event": "evt_x"}]
)
async def test_what_is_not_there_selects_nothing_and_is_said(
    client: httpx2.AsyncClient, wanted: dict[str, str]
) -> None:
    """A misspelt condition must not look like a job that had nothing to do."""
    answer = await client.post("/v1/jobs", json={"kind": "retry", "filter": wanted})
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_unfinished_jobs_have_a_bound(client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "JOBS_UNFINISHED_MAX", 2)
    jobs = [await create(client, kind="cancel", all=True) for _ in range(2)]
    await client.post(f"/v1/jobs/{jobs[0]['id']}/pause")
    answer = await client.post("/v1/jobs", json={"kind": "cancel", "all": True})
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    await client.post(f"/v1/jobs/{jobs[0]['id']}/cancel")
    await create(client, kind="cancel", all=True)


async def test_a_trail_has_a_bound_and_cancelling_has_none(
    client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "JOB_TRAIL_MAX", 2)
    path = f"/v1/jobs/{(await create(client, kind='cancel', all=True))['id']}"
    assert (await client.post(f"{path}/pause")).status_code == 200
    assert (await client.post(f"{path}/resume")).json()["code"] == "conflict"
    assert (await client.post(f"{path}/cancel")).json()["state"] == "cancelled"


async def test_a_key_that_may_only_read_changes_nothing(client: httpx2.AsyncClient, house: QuietHouse) -> None:
    job = await create(client, kind="cancel", all=True)
    async with house.client(await house.create_key(Environment.LIVE, Scope.READ)) as reader:
        assert (await reader.get(f"/v1/jobs/{job['id']}")).status_code == 200
        assert (await reader.post("/v1/jobs", json={"kind": "cancel", "all": True})).status_code == 403
        assert (await reader.post(f"/v1/jobs/{job['id']}/pause")).status_code == 403
        assert (await reader.patch(f"/v1/jobs/{job['id']}", json={"rate": None})).status_code == 403


async def test_a_key_may_be_revoked_while_its_request_is_on_its_way(house: QuietHouse) -> None:
    """Then nobody knows its name any more, and the trail says so."""
    unknown = Principal(Environment.LIVE, Scope.ADMIN, 1)
    detail = await house.gateway.jobs.create(unknown, JobSpec(kind=JobKind.CANCEL, everything=True))
    assert detail.job.trail[0].by == "a revoked key"


async def test_what_waits_is_shown_by_endpoint_and_lane(client: httpx2.AsyncClient, house: QuietHouse) -> None:
    """Of this environment, and only where something waits."""
    made = [
        (await client.post("/v1/endpoints", json={"url": URL, "tenant": tenant, "events": events})).json()["id"]
        for tenant, events in (("acme", ["a"]), ("acme", ["none"]), ("globex", ["a"]), ("acme", ["*"]))
    ]
    for tenant in ("acme", "globex"):
        await client.post("/v1/events", json={"type": "a", "data": 1, "tenant": tenant})
    await run(house, await create(client, kind="park", filter={"endpoint": made[3]}))
    nothing = {"live": 0, "retry": 0, "backlog": 0, "parked": 0, "behind": 0, "state": "active"}
    first = {**nothing, "endpoint": made[0], "tenant": "acme", "live": 1}
    third = {**nothing, "endpoint": made[2], "tenant": "globex", "live": 1}
    last = {**nothing, "endpoint": made[3], "tenant": "acme", "parked": 1}

    async def shown(**query: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        cursor = None
        while True:
            params = {**query, **({} if cursor is None else {"cursor": cursor})}
            answer = (await client.get("/v1/backlog", params=params)).json()
            found += answer["data"]
            cursor = answer["next_cursor"]
            if cursor is None:
                return found

    assert await shown() == [first, third, last]
    assert await shown(limit="1") == [first, third, last]
    assert await shown(tenant="acme") == [first, last]
    assert await shown(endpoint=made[2]) == [third]
    assert await shown(endpoint=made[1]) == []
    assert (await client.get("/v1/backlog", params={"endpoint": "ep_x"})).status_code == 404
    async with house.client(await house.create_key(Environment.TEST, Scope.READ)) as test:
        assert (await test.get("/v1/backlog")).json()["data"] == []
        assert (await test.get("/v1/backlog", params={"endpoint": made[0]})).status_code == 404
