"""The OpenAPI document is true: who knows nothing else meets no answer that the document does not describe."""

import json
from collections import Counter
from typing import Any

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from posthouse.app import API_KEY_FILE, NODE_FILE
from posthouse.core.limits import FEED_WAIT_SECONDS_MAX
from posthouse.sdk.client import Client

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
WAITS = range(2, FEED_WAIT_SECONDS_MAX + 1)  #: seconds that an answer of the feed may take
EXAMPLES = 40  #: for each operation
OPERATIONS_MIN = 22

#: No request made by chance alone can succeed: its URL would have to lead to an address that may be called.
NEVER_DONE = {"POST /v1/endpoints"}


def furnish(client: Client) -> dict[str, str]:
    """Make one of everything; by the name of the path's parameter."""
    endpoint = client.post("/v1/endpoints", {"url": "http://127.0.0.1:9/", "events": ["*"], "tenant": "acme"})["id"]
    event = client.post("/v1/events", {"type": "t", "data": 1, "tenant": "acme"})["id"]
    (delivery,) = client.get(f"/v1/deliveries?event={event}")["data"]
    key = client.post("/v1/keys", {"name": "another", "scope": "read"})["id"]
    for _ in range(3):
        client.post("/v1/events", {"type": "slow", "data": 1, "tenant": "acme"})
    job = client.post("/v1/jobs", {"kind": "cancel", "filter": {"types": ["slow"]}, "rate": "1/d"})["id"]
    source = client.post("/v1/sources", {"name": "n", "provider": "gocardless"})
    httpx2.post(source["url"], content=b"{}")
    (entry,) = client.get("/v1/quarantine")["data"]
    client.acknowledge("reader", "start")
    return {
        "endpoint_id": endpoint,
        "event_id": event,
        "delivery_id": delivery["id"],
        "key_id": key,
        "tenant_id": "acme",
        "job_id": job,
        "source_id": source["id"],
        "request_id": entry["request"],
        "entry_id": entry["id"],
        "consumer": "reader",
    }


def ask(operation: Any, known: dict[str, str], headers: dict[str, str]) -> Counter[int]:
    """Ask for an operation in many ways, about things that exist and others; how often each status was answered."""
    answers = Counter[int]()

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
    )
    @given(case=operation.as_strategy(), exists=st.booleans())
    def once(case: Any, *, exists: bool) -> None:
        if exists and case.path_parameters:
            case.path_parameters = {name: known[name] for name in case.path_parameters}
        if operation.path == "/v1/feed" and case.query.get("wait") in WAITS:
            case.query["wait"] = 1
        response = case.call(headers={**(case.headers or {}), **headers})
        answers[response.status_code] += 1
        case.validate_response(response, checks=CHECKS)

    once()
    return answers


#: What is asked for after everything else, in this sequence, because of what others could not do then: a job that goes
#: faster has soon ended, unless it is paused.
LAST = ("POST /v1/jobs/{job_id}/pause", "PATCH /v1/jobs/{job_id}", "POST /v1/jobs/{job_id}/cancel")


def _place(operation: Any) -> int:
    """Where it stands among the operations."""
    if operation.method == "delete":
        return 1 + len(LAST)
    return 1 + LAST.index(operation.label) if operation.label in LAST else 0


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the tool's own dependencies
def test_every_answer_is_one_that_the_document_describes(node: Any) -> None:
    url = json.loads((node.data / NODE_FILE).read_text())["url"]
    api_key = (node.data / API_KEY_FILE).read_text().strip()
    with Client(url, api_key) as client:
        known = furnish(client)
    authorized = {"Authorization": f"Bearer {api_key}"}
    described = schemathesis.openapi.from_url(f"{url}/openapi.json", headers=authorized)
    operations: list[Any] = [found.ok() for found in described.get_all_operations() if isinstance(found, Ok)]
    assert len(operations) >= OPERATIONS_MIN
    for operation in sorted(operations, key=_place):
        answers = ask(operation, known, authorized)
        done = any(200 <= status < 300 for status in answers)
        assert done or operation.label in NEVER_DONE, f"{operation.label} never succeeded: {answers}"
