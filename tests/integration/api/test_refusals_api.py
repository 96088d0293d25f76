"""Every refusal is a problem document: the right status, a stable code, a hint, and nothing from inside."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx2
import pytest

from posthouse.core.errors import StoreUnavailable
from posthouse.core.limits import BATCH_BODY_BYTES_MAX, EVENT_BODY_BYTES_MAX, MANAGEMENT_BODY_BYTES_MAX
from posthouse.testing.quiet_house import QuietHouse

JSON = {"Content-Type": "application/json"}
POSTS = ["/v1/events", "/v1/events/batch", "/v1/endpoints", "/v1/keys", "/v1/tenants"]


def assert_problem(answer: httpx2.Response, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    problem: dict[str, Any] = answer.json()
    assert problem["code"] == code
    assert problem["status"] == status
    assert problem["type"] == f"urn:posthouse:problem:{code}"
    assert all(problem[member] for member in ("title", "detail", "hint", "instance"))
    return problem


@pytest.mark.parametrize("path", ["/", "/v2/events", "/v1", "/docs", "/in/github", "/v1/events?", "/favicon.ico"])
async def test_unknown_paths_are_not_found(house: QuietHouse, path: str) -> None:
    async with house.client(house.admin_key) as client:
        answer = await client.get(path.replace("?", "x"))
    assert_problem(answer, 404, "not_found")


@pytest.mark.parametrize("path", ["/v1/feeds", "/v1/nothing", "/v1/endpoints/"])
async def test_unknown_resources_are_not_found(client: httpx2.AsyncClient, path: str) -> None:
    assert_problem(await client.get(path), 404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "/v1/endpoints", {"GET", "POST"}),
        ("DELETE", "/v1/events", {"GET", "POST"}),
        ("PATCH", "/v1/deliveries/x", {"GET"}),
        ("PUT", "/v1/endpoints/x", {"GET", "PATCH", "DELETE"}),
        ("POST", "/v1/audit", {"GET"}),
        ("GET", "/v1/endpoints/x/pause", {"POST"}),
        ("POST", "/healthz", {"GET", "HEAD"}),
        ("DELETE", "/metrics", {"GET", "HEAD"}),
        ("OPTIONS", "/v1/endpoints", {"GET", "POST"}),
    ],
)
async def test_a_wrong_method_names_the_right_ones(
    client: httpx2.AsyncClient, method: str, path: str, allow: set[str]
) -> None:
    answer = await client.request(method, path)
    assert_problem(answer, 405, "method_not_allowed")
    assert set(answer.headers["allow"].split(", ")) == allow


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "application/json; charset=utf-16"},
        {"Content-Type": "application/jsonp"},
        {"Content-Type": ""},
        {},
        {**JSON, "Content-Encoding": "gzip"},
        {**JSON, "Content-Encoding": "identity, gzip"},
    ],
)
async def test_only_plain_json_is_read(client: httpx2.AsyncClient, path: str, headers: dict[str, str]) -> None:
    answer = await client.post(path, content=b"{}", headers=headers)
    assert_problem(answer, 415, "unsupported_media_type")


@pytest.mark.parametrize(
    "kind", ["application/json; charset=UTF-8", "APPLICATION/JSON", 'application/json;charset="utf-8"']
)
async def test_json_is_recognised_however_it_is_written(client: httpx2.AsyncClient, kind: str) -> None:
    answer = await client.post("/v1/events", content=b'{"type":"a","data":1}', headers={"Content-Type": kind})
    assert answer.status_code == 202


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize("body", [b"", b"{", b"nope", b"{'a': 1}", b'{"a": NaN}', b"\xef\xbb\xbf{}", b"[" * 100_000])
async def test_what_is_no_json_is_refused(client: httpx2.AsyncClient, path: str, body: bytes) -> None:
    answer = await client.post(path, content=body, headers=JSON)
    assert answer.status_code in {400, 422}
    assert_problem(answer, answer.status_code, answer.json()["code"])
    assert answer.json()["code"] in {"malformed_json", "invalid_input"}


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"name": "\xff"}', "malformed_json"),
        (b'{"name": "\\ud800"}', "malformed_json"),
        (b'{"name": "a\\u0000b"}', "invalid_input"),
        (b'{"a\\u0000b": 1}', "invalid_input"),
        (b'{"name": ' + b"[" * 65 + b"]" * 65 + b"}", "invalid_input"),
        (b"[]", "invalid_input"),
        (b"null", "invalid_input"),
        (b'"text"', "invalid_input"),
        (b"1e999", "invalid_input"),
    ],
)
async def test_json_that_some_could_not_read_is_refused(
    client: httpx2.AsyncClient, path: str, body: bytes, code: str
) -> None:
    answer = await client.post(path, content=body, headers=JSON)
    if answer.status_code == 422 and path.startswith("/v1/events"):
        code = "invalid_input"  # the unknown field stands before the fault
    assert_problem(answer, 400 if code == "malformed_json" else 422, code)


@pytest.mark.parametrize(
    ("path", "bytes_max"),
    [
        ("/v1/events", EVENT_BODY_BYTES_MAX),
        ("/v1/events/batch", BATCH_BODY_BYTES_MAX),
        ("/v1/endpoints", MANAGEMENT_BODY_BYTES_MAX),
    ],
)
async def test_a_body_beyond_its_bound_is_refused(client: httpx2.AsyncClient, path: str, bytes_max: int) -> None:
    answer = await client.post(path, content=b" " * (bytes_max + 1), headers=JSON)
    assert_problem(answer, 413, "too_large")


async def test_a_body_of_unknown_length_is_refused_once_it_is_too_long(house: QuietHouse) -> None:
    """It is not read to its end, which may never come."""
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 65_536
            yield b" " * 65_536

    parts = endless()
    answers: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": await anext(parts), "more_body": True}

    async def send(message: Any) -> None:
        answers.append(message)

    headers = [(b"authorization", f"Bearer {house.admin_key}".encode()), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/v1/events", "query_string": b"", "headers": headers}
    await house.app(scope, receive, send)
    assert answers[0]["status"] == 413
    assert sent <= EVENT_BODY_BYTES_MAX + 2 * 65_536


async def test_a_client_that_goes_away_gets_no_answer_and_stores_nothing(house: QuietHouse) -> None:
    for path in ("/v1/events", "/v1/endpoints"):
        messages: list[dict[str, Any]] = [
            {"type": "http.request", "body": b'{"type":"a",', "more_body": True},
            {"type": "http.disconnect"},
        ]
        answers: list[Any] = []

        async def receive(messages: list[dict[str, Any]] = messages) -> dict[str, Any]:
            return messages.pop(0)

        async def send(message: Any, answers: list[Any] = answers) -> None:
            answers.append(message)

        headers = [(b"authorization", f"Bearer {house.admin_key}".encode()), (b"content-type", b"application/json")]
        scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": headers}
        await house.app(scope, receive, send)
        assert not answers


async def test_a_fault_of_the_program_shows_nothing_of_it(
    client: httpx2.AsyncClient, house: QuietHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("the password is hunter2")

    monkeypatch.setattr(house.store.ledger, "events", broken)
    monkeypatch.setattr(house.store.intake, "accept", broken)
    monkeypatch.setattr(house.gateway.intake, "submit", broken)
    for answer in (
        await client.get("/v1/events"),
        await client.post("/v1/events", json={"type": "a", "data": 1}),
    ):
        assert_problem(answer, 500, "internal_error")
        assert "hunter2" not in answer.text


async def test_a_store_that_cannot_write_is_503(
    client: httpx2.AsyncClient, house: QuietHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unavailable(*_: object, **__: object) -> None:
        raise StoreUnavailable

    monkeypatch.setattr(house.gateway.intake, "submit", unavailable)
    monkeypatch.setattr(house.store.catalogue, "put_endpoint", unavailable)
    monkeypatch.setattr(house.store.admin, "probe", unavailable)
    for answer in (
        await client.post("/v1/events", json={"type": "a", "data": 1}),
        await client.post("/v1/endpoints", json={"url": "https://example.com/"}),
        await client.get("/readyz"),
    ):
        assert_problem(answer, 503, "store_unavailable")


async def test_health_is_told_to_everybody(house: QuietHouse) -> None:
    async with house.client() as nobody:
        for path in ("/healthz", "/readyz", "/metrics", "/openapi.json"):
            assert (await nobody.get(path)).status_code == 200
            assert (await nobody.head(path)).status_code == 200
        assert (await nobody.get("/readyz")).json() == {"status": "ready"}
        house.unready = "it is stopping"
        assert_problem(await nobody.get("/readyz"), 503, "shutting_down")
        assert (await nobody.get("/healthz")).status_code == 200


async def test_a_crowd_that_asks_for_readiness_shares_one_write(
    house: QuietHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes = 0
    probe = house.store.admin.probe

    async def counted(*, now: int) -> None:
        nonlocal writes
        writes += 1
        await probe(now=now)

    monkeypatch.setattr(house.store.admin, "probe", counted)
    async with house.client() as nobody:
        answers: Sequence[httpx2.Response] = await asyncio.gather(*(nobody.get("/readyz") for _ in range(20)))
    assert {answer.status_code for answer in answers} == {200}
    assert writes == 1
