"""The description of the API is valid, complete, and its examples work."""

import re
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from posthouse.testing.quiet_house import QuietHouse

#: With a filter that names one thing.
LISTS_BY_ID = {
    "/v1/backlog",
    "/v1/deliveries",
    "/v1/events",
    "/v1/feed",
    "/v1/filters/test",
    "/v1/incidents",
    "/v1/jobs",
    "/v1/quarantine",
    "/v1/quarantine/discard",
    "/v1/quarantine/release",
    "/v1/requests",
}
IDS = {
    *("endpoint_id", "event_id", "delivery_id", "key_id", "tenant_id", "job_id", "consumer"),
    *("source_id", "request_id", "entry_id"),
}


@pytest.fixture
async def document(client: httpx2.AsyncClient) -> dict[str, Any]:
    found: dict[str, Any] = (await client.get("/openapi.json")).json()
    return found


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


def nodes(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    for child in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from nodes(child)


def resolve(document: dict[str, Any], reference: str) -> Any:
    found: Any = document
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return found


def test_it_is_openapi_3_1(document: dict[str, Any]) -> None:
    assert re.fullmatch(r"3\.1\.\d", document["openapi"])
    assert {"title", "version", "description"} <= document["info"].keys()
    assert document["security"] == [{"apiKey": []}]


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    references = [node["$ref"] for node in nodes(document) if "$ref" in node]
    assert references
    for reference in references:
        assert resolve(document, reference)


def test_every_schema_is_used(document: dict[str, Any]) -> None:
    used = {node["$ref"].rsplit("/", 1)[1] for node in nodes(document) if "$ref" in node}
    assert set(document["components"]["schemas"]) <= used


def test_every_operation_is_described(document: dict[str, Any]) -> None:
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(names) == len(set(names))
    for method, path, operation in operations(document):
        assert operation["summary"], path
        parameters = {p["name"] for p in operation.get("parameters", ()) if p["in"] == "path"}
        assert parameters == set(re.findall(r"{(\w+)}", path)) <= IDS, path
        answers = set(operation["responses"])
        assert any(status.startswith("2") for status in answers), path
        if operation.get("security") != []:
            assert {"401", "403", "422"} <= answers, path
            is_publishing = (method, path) == ("post", "/v1/events")  # names nothing that has to exist
            names_one = "{" in path or (path in LISTS_BY_ID and not is_publishing)
            assert ("404" in answers) == names_one, path
            headers = {p["name"] for p in operation.get("parameters", ()) if p["in"] == "header"}
            assert ("Idempotency-Key" in headers) == (method == "post"), path


def test_every_refusal_is_a_problem(document: dict[str, Any]) -> None:
    for _, path, operation in operations(document):
        for status, answer in operation["responses"].items():
            if not status.startswith("2"):
                resolved = resolve(document, answer["$ref"])
                assert list(resolved["content"]) == ["application/problem+json"], path
                example = resolved["content"]["application/problem+json"]["example"]
                assert str(example["status"]) == status


async def test_every_example_of_a_body_is_accepted(
    client: httpx2.AsyncClient, house: QuietHouse, document: dict[str, Any]
) -> None:
    """Examples are what people copy."""
    tried = 0
    for method, path, operation in operations(document):
        content = operation.get("requestBody", {}).get("content", {})
        if not content:
            continue
        schema = content["application/json"]["schema"]
        references = [node["$ref"] for node in nodes(schema) if "$ref" in node]
        for example in resolve(document, references[0])["examples"]:
            made = await client.post("/v1/endpoints", json={"url": "https://example.com/"})
            job = await client.post("/v1/jobs", json={"kind": "cancel", "all": True})
            source = await client.post("/v1/sources", json={"name": "n", "provider": "github"})
            ids = {
                **dict.fromkeys(IDS, made.json()["id"]),
                "job_id": job.json()["id"],
                "source_id": source.json()["id"],
                "tenant_id": "default",
            }
            place = path.format(**ids)
            answer = await client.request(method.upper(), place, json=example)
            assert answer.is_success, f"{method} {path} {example}: {answer.text}"
            tried += 1
    assert tried >= 10
