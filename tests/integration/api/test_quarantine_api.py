"""What comes in over the API: requests as they came, the quarantine and what people do with it."""

import hashlib
import hmac
from base64 import b64decode
from typing import Any

import httpx2
import pytest
import structlog

from posthouse.core.ids import INCIDENT, REQUEST, SOURCE, make_id, parse_id
from posthouse.core.inbound import (
    WHOLE,
    InboundRequest,
    Incident,
    IncidentKind,
    Objection,
    Verdict,
)
from posthouse.core.model import Environment, Event, Lane
from posthouse.store.protocol import (
    Arrival,
    Doubt,
    InboxItem,
    NewEvent,
    Origin,
    PassedOn,
    ReadEvent,
    ReadRequest,
    SourceBooks,
)
from posthouse.testing.manual_clock import ManualClock
from posthouse.testing.quiet_house import QuietHouse

RIGHT, WRONG = "the right secret", "a wrong secret"


class Sender:
    """Sends to one source as GitHub does."""

    def __init__(self, client: httpx2.AsyncClient, view: dict[str, Any]) -> None:
        self.client = client
        self.id = view["id"]
        self.url = view["url"]
        key = parse_id(SOURCE, self.id)
        assert key is not None
        self.key = key

    async def send(self, body: bytes = b'{"action":"opened"}', secret: str = WRONG) -> str:
        """Send a request; the id of it."""
        signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        headers = {"X-Hub-Signature-256": f"sha256={signature}", "X-GitHub-Event": "issues", "X-GitHub-Delivery": "d"}
        await self.client.post(self.url, content=body, headers=headers)
        newest = (await self.client.get(f"/v1/requests?limit=1&source={self.id}")).json()
        return str(newest["data"][0]["id"])


async def make_sender(client: httpx2.AsyncClient, **fields: object) -> Sender:
    body = {"name": "n", "provider": "github", "secrets": ["another"], **fields}
    answer = await client.post("/v1/sources", json=body)
    assert answer.status_code == 201, answer.text
    return Sender(client, answer.json())


@pytest.fixture
async def sender(client: httpx2.AsyncClient) -> Sender:
    return await make_sender(client)


async def entries(client: httpx2.AsyncClient, **query: object) -> list[dict[str, Any]]:
    """All entries of the quarantine that a query means, page by page."""
    found: list[dict[str, Any]] = []
    asked: dict[str, Any] = {"limit": 2, **query}
    while True:
        answer = await client.get("/v1/quarantine", params=asked)
        assert answer.status_code == 200, answer.text
        found += answer.json()["data"]
        if answer.json()["next_cursor"] is None:
            return found
        asked["cursor"] = answer.json()["next_cursor"]


async def step(client: httpx2.AsyncClient, path: str, **body: object) -> tuple[int, int]:
    """All steps of a call; how many entries were examined and changed."""
    examined = changed = 0
    while True:
        answer = await client.post(path, json=body)
        assert answer.status_code == 200, answer.text
        found = answer.json()
        examined, changed = examined + found["examined"], changed + found["changed"]
        if found["next_cursor"] is None:
            return examined, changed
        body["cursor"] = found["next_cursor"]


async def inbox(house: QuietHouse, source_key: int) -> list[InboxItem]:
    page = await house.store.inbound.fetch(source_key, now=house.clock.now_ms(), limit=100, bytes_max=1 << 20)
    return list(page.items)


# -- requests -----------------------------------------------------------------------------------


async def test_a_request_is_shown_as_it_came(client: httpx2.AsyncClient, sender: Sender) -> None:
    body = '{"name": "ñ",  "n":1.0}'.encode()
    request = await sender.send(body)
    shown = (await client.get(f"/v1/requests/{request}")).json()
    assert shown["body"].encode() == body
    assert shown["body_base64"] is None
    assert {"name": "x-github-event", "value": "issues"} in [
        {"name": header["name"].lower(), "value": header["value"]} for header in shown["headers"]
    ]
    (listed,) = (await client.get("/v1/requests")).json()["data"]
    assert listed == {name: shown[name] for name in listed}
    assert {name: listed[name] for name in ("source", "method", "url", "verdict", "status", "body_bytes")} == {
        "source": sender.id,
        "method": "POST",
        "url": sender.url,
        "verdict": "refused",
        "status": 401,
        "body_bytes": len(body),
    }
    assert (listed["waiting"], listed["read_at"], listed["quarantined"]) == (False, None, 1)


async def test_a_body_that_is_no_text_is_shown_too(client: httpx2.AsyncClient, sender: Sender) -> None:
    body = bytes(range(256))
    shown = (await client.get(f"/v1/requests/{await sender.send(body)}")).json()
    assert shown["body"] is None
    assert b64decode(shown["body_base64"]) == body


async def test_no_credential_of_a_request_is_shown(client: httpx2.AsyncClient) -> None:
    sender = await make_sender(client, provider="gitlab", secrets=["hush-hush"])
    headers = {"X-Gitlab-Token": "of somebody else", "Authorization": "Bearer x", "X-Odd": "it is hush-hush!"}
    await client.post(sender.url, content=b"{}", headers=headers)
    request = (await client.get("/v1/requests")).json()["data"][0]["id"]
    answer = await client.get(f"/v1/requests/{request}")
    shown = {header["name"].lower(): header["value"] for header in answer.json()["headers"]}
    assert {shown[name.lower()] for name in headers} == {"***"}
    assert "hush" not in answer.text
    assert shown["content-length"] == "2"


async def test_requests_are_listed_by_what_they_have_in_common(client: httpx2.AsyncClient, house: QuietHouse) -> None:
    assert isinstance(house.clock, ManualClock)
    one, two = await make_sender(client, secrets=[RIGHT]), await make_sender(client, tenant="acme")
    sent = []
    for sender, secret in ((one, RIGHT), (one, WRONG), (two, WRONG)):
        sent.append(await sender.send(secret=secret))
        house.clock.advance(1_000)
    noon = (await client.get(f"/v1/requests/{sent[1]}")).json()["received_at"]

    async def listed(**query: str) -> list[str]:
        return [one["id"] for one in (await client.get("/v1/requests", params=query)).json()["data"]]

    assert await listed() == sent[::-1]
    assert await listed(source=one.id) == sent[1::-1]
    assert await listed(tenant="acme") == sent[2:]
    assert await listed(verdict="genuine") == sent[:1]
    assert await listed(since=noon) == sent[:0:-1]
    assert await listed(until=noon) == sent[:1]
    assert (await client.get("/v1/requests?source=src_zzzzzzzzzzzzz")).status_code == 404
    assert (await client.get("/v1/requests?verdict=fine")).status_code == 422


# -- the list of the quarantine -------------------------------------------------------------------


async def test_what_is_refused_is_listed_with_its_reason(client: httpx2.AsyncClient, sender: Sender) -> None:
    request = await sender.send()
    (entry,) = await entries(client)
    assert entry == {
        **entry,
        "request": request,
        "position": None,
        "source": sender.id,
        "tenant": "default",
        "objection": "bad_signature",
        "type": None,
        "acknowledged": False,
        "resolution": None,
        "resolved_at": None,
    }
    assert entry["detail"]
    assert (await client.get(f"/v1/quarantine/{entry['id']}")).json() == entry


async def test_the_quarantine_is_listed_by_what_entries_have_in_common(client: httpx2.AsyncClient) -> None:
    one, two = await make_sender(client), await make_sender(client, tenant="acme", secrets=[])
    sent = [await one.send() for _ in range(3)] + [await two.send() for _ in range(2)]

    async def listed(**query: object) -> list[str]:
        return [entry["request"] for entry in await entries(client, **query)]

    assert await listed() == sent[::-1]
    assert await listed(source=one.id) == sent[2::-1]
    assert await listed(tenant="acme") == await listed(objection="no_secret") == sent[:2:-1]
    assert await listed(objection="unreadable") == await listed(resolved="true") == []
    for query, status in (({"source": "src_zzzzzzzzzzzzz"}, 404), ({"objection": "smell"}, 422)):
        assert (await client.get("/v1/quarantine", params=query)).status_code == status


# -- released and discarded -----------------------------------------------------------------------


@pytest.mark.parametrize(("verb", "resolution"), [("release", "released"), ("discard", "discarded")])
async def test_entries_are_named(
    client: httpx2.AsyncClient, house: QuietHouse, sender: Sender, verb: str, resolution: str
) -> None:
    sent = [await sender.send() for _ in range(3)]
    ids = [entry["id"] for entry in await entries(client)][:2]
    path = f"/v1/quarantine/{verb}"
    assert await step(client, path, ids=ids, dry_run=True) == (2, 2)
    assert len(await entries(client)) == 3
    assert await step(client, path, ids=[*ids, ids[0]]) == (2, 2)
    assert await step(client, path, ids=ids) == (2, 0)
    assert [entry["request"] for entry in await entries(client)] == sent[:1]
    left = await entries(client, resolved="true")
    assert {(entry["id"], entry["resolution"]) for entry in left} == {(one, resolution) for one in ids}
    assert (await client.get(f"/v1/quarantine/{ids[0]}")).json()["resolution"] == resolution
    items = await inbox(house, sender.key)
    if verb == "release":
        assert [make_id(REQUEST, item.request.key) for item in items] == sent[1:]
        assert {item.waived for item in items} == {Objection.BAD_SIGNATURE}
        assert house.inbox.returns == [sender.key]
    else:
        assert not items
        assert not house.inbox.returns


@pytest.mark.parametrize("verb", ["release", "discard"])
async def test_entries_are_meant_by_what_they_have_in_common(client: httpx2.AsyncClient, verb: str) -> None:
    one, two = await make_sender(client), await make_sender(client, secrets=[])
    for sender in (one, two, one, two, one):
        await sender.send()
    path = f"/v1/quarantine/{verb}"
    assert await step(client, path, source=one.id, dry_run=True, limit=1) == (3, 3)
    assert await step(client, path, source=one.id, objections=["no_secret"]) == (0, 0)
    assert len(await entries(client)) == 5
    assert await step(client, path, source=one.id, limit=2) == (3, 3)
    assert [entry["source"] for entry in await entries(client)] == [two.id, two.id]
    assert await step(client, path, objections=["no_secret", "bad_signature"], limit=1) == (2, 2)
    assert await entries(client) == []
    assert len(await entries(client, resolved="true")) == 5


async def test_an_event_in_quarantine_is_released_by_itself(
    client: httpx2.AsyncClient, house: QuietHouse, sender: Sender
) -> None:
    item = await arrive(house, sender)
    await pass_on(house, item, doubts=(Doubt(1, Objection.TYPE_CONTRADICTION, "It cannot be.", "issues.opened"),))
    (entry,) = await entries(client)
    assert (entry["position"], entry["type"], entry["acknowledged"]) == (1, "issues.opened", True)
    assert await step(client, "/v1/quarantine/release", ids=[entry["id"]]) == (1, 1)
    assert [(one.position, one.waived) for one in await inbox(house, sender.key)] == [(1, Objection.TYPE_CONTRADICTION)]


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, "source"),
        ({"dry_run": True}, "source"),
        ({"ids": []}, "ids"),
        ({"ids": ["evt_1"]}, "ids[0]"),
        ({"ids": ["qua_00000000000000000"] * 1_001}, "ids"),
        ({"ids": ["qua_00000000000000000"], "source": "src_1"}, "source"),
        ({"ids": ["qua_00000000000000000"], "objections": []}, "objections"),
        ({"objections": ["smell"]}, "objections[0]"),
        ({"objections": ["unreadable"], "limit": 1_001}, "limit"),
        ({"objections": ["unreadable"], "cursor": "x"}, "cursor"),
    ],
)
async def test_what_is_meant_is_said(client: httpx2.AsyncClient, sender: Sender, body: Any, path: str) -> None:
    """An empty filter would mean everything, and a mistake would release it."""
    await sender.send()
    for verb in ("release", "discard"):
        answer = await client.post(f"/v1/quarantine/{verb}", json=body)
        assert (answer.status_code, answer.json()["errors"][0]["path"]) == (422, path), answer.text
    assert len(await entries(client)) == 1


async def test_who_resolved_what_is_logged(client: httpx2.AsyncClient, sender: Sender) -> None:
    other = await make_sender(client)
    for one in (sender, other, sender):
        await one.send()
    with structlog.testing.capture_logs() as logs:
        await step(client, "/v1/quarantine/discard", objections=["bad_signature"], dry_run=True)
        await step(client, "/v1/quarantine/discard", objections=["bad_signature"])
    assert [(line["event"], line["source"], line["resolution"], line["count"]) for line in logs] == [
        ("quarantine_resolved", sender.id, "discarded", 2),
        ("quarantine_resolved", other.id, "discarded", 1),
    ]
    (key,) = (await client.get("/v1/keys")).json()["data"]
    assert {line["by"] for line in logs} == {key["id"]}


# -- looked at again ------------------------------------------------------------------------------


async def test_a_corrected_secret_brings_back_what_it_signed(
    client: httpx2.AsyncClient, house: QuietHouse, sender: Sender
) -> None:
    sent = [await sender.send(secret=secret) for secret in (RIGHT, WRONG, RIGHT, WRONG, RIGHT)]
    path = f"/v1/sources/{sender.id}/reverify"
    assert await step(client, path) == (5, 0)
    await client.post(f"/v1/sources/{sender.id}/rotate-secret", json={"secret": RIGHT})
    assert await step(client, path, dry_run=True, limit=2) == (5, 3)
    assert len(await entries(client)) == 5
    assert await step(client, path, limit=2) == (5, 3)
    assert [entry["request"] for entry in await entries(client)] == [sent[3], sent[1]]
    assert {entry["resolution"] for entry in await entries(client, resolved="true")} == {"reverified"}
    assert [make_id(REQUEST, item.request.key) for item in await inbox(house, sender.key)] == sent[::2]
    assert set(house.inbox.returns) == {sender.key}
    assert await step(client, path) == (2, 0)


async def test_a_time_that_is_signed_is_held_against_the_time_at_which_it_came(
    client: httpx2.AsyncClient, house: QuietHouse
) -> None:
    """Or nothing that is older than its sender's tolerance could ever be looked at again."""
    assert isinstance(house.clock, ManualClock)
    sender = await make_sender(client, provider="stripe", secrets=[])
    body = b'{"id":"evt_1","type":"charge.failed"}'
    stamp = house.clock.now_ms() // 1_000
    signature = hmac.new(b"whsec_x", b"%d.%b" % (stamp, body), hashlib.sha256).hexdigest()
    await client.post(sender.url, content=body, headers={"Stripe-Signature": f"t={stamp},v1={signature}"})
    (entry,) = await entries(client)
    assert entry["objection"] == "no_secret"
    house.clock.advance(3 * 86_400_000)
    await client.post(f"/v1/sources/{sender.id}/rotate-secret", json={"secret": "whsec_x"})
    assert await step(client, f"/v1/sources/{sender.id}/reverify") == (1, 1)


async def test_only_doubts_about_the_sender_are_looked_at_again(
    client: httpx2.AsyncClient, house: QuietHouse, sender: Sender
) -> None:
    item = await arrive(house, sender)
    await pass_on(house, item, doubts=(Doubt(WHOLE, Objection.UNREADABLE, "It is no JSON."),))
    assert await step(client, f"/v1/sources/{sender.id}/reverify") == (0, 0)


async def test_where_a_key_must_be_fetched_it_is_fetched_again(client: httpx2.AsyncClient, house: QuietHouse) -> None:
    """Nothing is fetched here: what goes back to the inbox is checked there once more, whatever was said against it."""
    sender = await make_sender(client, provider="aws-sns", secrets=["arn:aws:sns:eu-west-1:1:t"])
    body = b'{"Type":"Notification","SigningCertURL":"https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0.pem"}'
    for objection in (Objection.KEY_UNAVAILABLE, Objection.BAD_SIGNATURE):
        await arrive(house, sender, body=body, objection=objection)
    assert await step(client, f"/v1/sources/{sender.id}/reverify") == (2, 2)
    assert [item.waived for item in await inbox(house, sender.key)] == [None] * 2
    assert {entry["resolution"] for entry in await entries(client, resolved="true")} == {"rechecked"}


async def test_what_a_deleted_source_refused_can_still_be_decided(client: httpx2.AsyncClient, sender: Sender) -> None:
    for _ in range(2):
        await sender.send(secret=RIGHT)
    await client.post(f"/v1/sources/{sender.id}/rotate-secret", json={"secret": RIGHT})
    await client.delete(f"/v1/sources/{sender.id}")
    assert await step(client, f"/v1/sources/{sender.id}/reverify") == (2, 2)
    assert await step(client, "/v1/quarantine/release", source=sender.id) == (0, 0)


# -- events, books and incidents --------------------------------------------------------------------


async def arrive(
    house: QuietHouse, sender: Sender, *, body: bytes = b"{}", objection: Objection | None = None
) -> InboxItem:
    """Keep a request as the receiving edge does."""
    request = InboundRequest(
        key=house.gateway.sources._new_key(),
        source_key=sender.key,
        received_at=house.clock.now_ms(),
        method="POST",
        url=sender.url,
        head="",
        body=body,
        verdict=Verdict.GENUINE if objection is None else Verdict.REFUSED,
        status=200,
    )
    await house.store.inbound.take([Arrival(request, Environment.LIVE, "default", objection, "d")])
    return InboxItem(request, WHOLE, None, 0, request.received_at)


async def pass_on(house: QuietHouse, item: InboxItem, *events: ReadEvent, doubts: tuple[Doubt, ...] = ()) -> PassedOn:
    """Take an item out of the inbox as the pipeline does."""
    reading = ReadRequest(
        item=item,
        environment=Environment.LIVE,
        tenant="default",
        catalogue_version=house.gateway.catalogue.version,
        events=events,
        doubts=doubts,
        incident_keys=(house.gateway.sources._new_key(),),
    )
    (result,) = await house.store.inbound.pass_on([reading], now=house.clock.now_ms())
    assert isinstance(result, PassedOn)
    return result


def found(house: QuietHouse, position: int, digest: bytes) -> ReadEvent:
    key = house.gateway.sources._new_key()
    event = Event(
        key=key,
        id=make_id("evt_", key),
        environment=Environment.LIVE,
        tenant="default",
        type="issues.opened",
        accepted_at=house.clock.now_ms(),
        data=b'{"n":1}',
    )
    return ReadEvent(NewEvent(event, (), Lane.LIVE), position, digest.ljust(16), 60_000)


async def test_an_event_says_where_it_came_from(client: httpx2.AsyncClient, house: QuietHouse, sender: Sender) -> None:
    item = await arrive(house, sender)
    passed = await pass_on(house, item, found(house, 0, b"a"), found(house, 1, b"b"), found(house, 2, b"a"))
    request = make_id(REQUEST, item.request.key)
    shown = (await client.get(f"/v1/events/{passed.events[0].id}")).json()
    assert shown["origin"] == {
        "source": sender.id,
        "request": request,
        "position": 0,
        "repeats": 1,
        "possible_duplicate": None,
    }
    assert (await client.get(f"/v1/requests/{request}")).json()["found"] == [
        {"position": 0, "event": passed.events[0].id, "duplicate": False},
        {"position": 1, "event": passed.events[1].id, "duplicate": False},
        {"position": 2, "event": passed.events[0].id, "duplicate": True},
    ]
    published = (await client.post("/v1/events", json={"type": "a", "data": 1})).json()["id"]
    assert (await client.get(f"/v1/events/{published}")).json()["origin"] is None


async def test_an_event_that_was_not_checked_says_so(
    client: httpx2.AsyncClient, house: QuietHouse, sender: Sender
) -> None:
    item = await arrive(house, sender)
    passed = await pass_on(house, item, found(house, 0, b"a"))

    async def origin(_: int) -> Origin:
        return Origin(sender.key, item.request.key, 0, 0, True)

    house.store.inbound.origin = origin  # type: ignore[method-assign, assignment]  # this store is the test's own
    shown = (await client.get(f"/v1/events/{passed.events[0].id}")).json()
    assert shown["origin"]["possible_duplicate"] == "unchecked"


async def test_the_books_hold_what_came_in(client: httpx2.AsyncClient, house: QuietHouse, sender: Sender) -> None:
    await sender.send()
    await arrive(house, sender)
    await pass_on(house, await arrive(house, sender), found(house, 0, b"a"), found(house, 1, b"a"))
    books = (await client.get("/v1/audit")).json()
    assert books["sources"] == [
        {
            "source": sender.id,
            "tenant": "default",
            "received": 3,
            "waiting": 1,
            "read": 1,
            "quarantined": 1,
            "events": 1,
            "duplicates": 1,
            "doubted": 0,
            "imbalance": 0,
        }
    ]
    assert books["imbalance"] == 0
    assert (await client.get("/v1/audit?tenant=acme")).json()["sources"] == []


async def test_what_is_wrong_with_what_came_in_is_in_the_total(client: httpx2.AsyncClient, house: QuietHouse) -> None:
    def row(key: int, imbalance: int) -> SourceBooks:
        counts = dict.fromkeys(("received", "waiting", "read", "quarantined", "events", "duplicates", "doubted"), 0)
        return SourceBooks(source_key=key, environment=Environment.LIVE, tenant="t", imbalance=imbalance, **counts)

    async def audit(*_: object) -> list[SourceBooks]:
        return [row(2, -3), row(1, 2), row(3, 0)]

    house.store.inbound.audit = audit  # type: ignore[method-assign, assignment]  # this store is the test's own
    books = (await client.get("/v1/audit")).json()
    assert books["imbalance"] == 5
    assert [one["source"] for one in books["sources"]] == [make_id(SOURCE, key) for key in (1, 2, 3)]


async def test_incidents_are_listed(client: httpx2.AsyncClient, house: QuietHouse, sender: Sender) -> None:
    other = await make_sender(client, tenant="acme")
    for key, one, kind in ((1, sender, IncidentKind.SOURCE_SILENT), (2, other, IncidentKind.QUARANTINE_FULL)):
        await house.store.inbound.open_incident(
            Incident(
                key=key,
                environment=Environment.LIVE,
                tenant="default" if one is sender else "acme",
                kind=kind,
                source_key=one.key,
                opened_at=1_000 * key,
                detail="d",
            )
        )
    await house.store.inbound.close_incident(IncidentKind.QUARANTINE_FULL, other.key, now=9_000)

    async def listed(**query: str) -> list[str]:
        return [one["id"] for one in (await client.get("/v1/incidents", params=query)).json()["data"]]

    first, second = make_id(INCIDENT, 1), make_id(INCIDENT, 2)
    assert await listed() == [second, first]
    assert await listed(source=sender.id) == await listed(open="true") == await listed(kind="source_silent") == [first]
    assert await listed(tenant="acme") == await listed(open="false") == [second]
    answer = (await client.get("/v1/incidents?limit=1")).json()
    assert answer["data"] == [
        {
            "id": second,
            "kind": "quarantine_full",
            "source": other.id,
            "tenant": "acme",
            "opened_at": "1970-01-01T00:00:02.000Z",
            "closed_at": "1970-01-01T00:00:09.000Z",
            "detail": "d",
            **dict.fromkeys(("stream", "first", "last", "missing")),
        }
    ]
    assert await listed(cursor=answer["next_cursor"]) == [first]
    assert (await client.get("/v1/incidents?source=src_zzzzzzzzzzzzz")).status_code == 404
