"""Whatever is asked for, the answer is an answer: never a 500, and a refusal is a problem."""

from urllib.parse import quote

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from posthouse.testing.quiet_house import QuietHouse

many = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])

PATHS = [
    "/v1/events/{}",
    "/v1/deliveries/{}",
    "/v1/deliveries/{}/retry",
    "/v1/deliveries/{}/cancel",
    "/v1/endpoints/{}",
    "/v1/endpoints/{}/pause",
    "/v1/endpoints/{}/test",
    "/v1/keys/{}",
    "/v1/tenants/{}",
    "/{}",
    "/v1/{}",
]
LISTS = ["events", "deliveries", "endpoints", "keys", "tenants", "audit"]
NAMES = ["limit", "cursor", "tenant", "type", "since", "until", "status", "endpoint", "event", "bogus"]

ids = st.text(max_size=30) | st.sampled_from(
    ["ep_0000000000000", "ep_7zzzzzzzzzzzz", "ep_zzzzzzzzzzzzz", "dlv_" + "0" * 26, "dlv_" + "7" + "z" * 25, "../../x"]
)
values = (
    st.text(max_size=30)
    | st.integers().map(str)
    | st.datetimes().map(lambda at: f"{at.isoformat()}Z")
    | st.sampled_from(["waiting", "1970-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "\0", "ZQ", "-0", "1e3"])
)


def assert_answer(answer: httpx2.Response) -> None:
    assert answer.status_code < 500, answer.text
    if answer.is_error:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["hint"]


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "DELETE", "PUT", "HEAD", "BREW"])
@many
@given(path=st.sampled_from(PATHS), identity=ids)
async def test_any_method_on_any_path(client: httpx2.AsyncClient, method: str, path: str, identity: str) -> None:
    answer = await client.request(method, path.format(quote(identity, safe="/")))
    if method == "HEAD":
        assert answer.status_code < 500
    else:
        assert_answer(answer)


@pytest.mark.parametrize("name", LISTS)
@many
@given(query=st.dictionaries(st.sampled_from(NAMES), values, max_size=4))
async def test_any_query_of_a_list(client: httpx2.AsyncClient, name: str, query: dict[str, str]) -> None:
    assert_answer(await client.get(f"/v1/{name}", params=query))


@many
@given(
    header=st.sampled_from(["Authorization", "Idempotency-Key", "Content-Type", "Content-Encoding", "Accept"]),
    value=st.binary(max_size=40),
    path=st.sampled_from(["/v1/events", "/v1/events/batch", "/v1/endpoints", "/readyz"]),
)
async def test_any_header(house: QuietHouse, header: str, value: bytes, path: str) -> None:
    fields = {
        "Authorization": f"Bearer {house.admin_key}".encode(),
        "Content-Type": b"application/json",
        header: value,
    }
    async with house.client() as client:
        answer = await client.post(
            path, content=b'{"url":1,"type":1}', headers=[(n.encode(), v) for n, v in fields.items()]
        )
    assert_answer(answer)
