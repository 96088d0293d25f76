"""The description of the API (OpenAPI 3.1): what FastAPI knows, the hot routes, the problems, the webhook."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from fastapi import FastAPI
from pydantic.json_schema import models_json_schema

from posthouse.api.requests import PublishBatchBody, PublishBody
from posthouse.api.views import PublishedBatchView, PublishedView
from posthouse.core import errors
from posthouse.core.errors import PosthouseError
from posthouse.serving.problems import MEDIA_TYPE, Problem, problem_of

Document = dict[str, Any]

_SCHEMAS: Final = "#/components/schemas/"
_WRITES: Final = frozenset({"post", "patch", "put"})
_ALWAYS: Final = (errors.Unauthorized, errors.Forbidden, errors.InvalidInput, errors.StoreUnavailable)
_WITH_ID: Final = (errors.NotFound,)
_OF_FEED: Final = (errors.CursorGone, errors.Overloaded)
_WITH_BODY: Final = (
    errors.MalformedJson,
    errors.Conflict,
    errors.TooLarge,
    errors.UnsupportedMediaType,
)
_HOT: Final = (
    errors.MalformedJson,
    errors.Unauthorized,
    errors.Forbidden,
    errors.IdempotencyConflict,
    errors.TooLarge,
    errors.UnsupportedMediaType,
    errors.InvalidInput,
    errors.Overloaded,
    errors.StoreUnavailable,
)
_DESCRIPTION: Final = """\
Publish events; every endpoint that subscribed gets them, signed (Standard Webhooks), retried, each attempt visible.

An API key (`Authorization: Bearer …`) belongs to one environment, `live` or `test`; the two share nothing. Every POST
takes an `Idempotency-Key`. Lists have cursors. Every refusal is a problem document with a stable `code` and a `hint`.
"""
#: Lists with a filter that names one thing, which may not exist.
_FILTERED_BY_ID: Final = frozenset(
    {
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
)
_FEED: Final = "/v1/feed"
_IDEMPOTENCY_KEY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
    "description": "Makes a repeat recognisable for events without an id of their own.",
}


class Description:
    """``/openapi.json``; made when it is first asked for, because few ever ask."""

    def __init__(self, management: FastAPI) -> None:
        self._management = management
        self._encoded: bytes | None = None

    async def __call__(self) -> bytes:
        """The document as JSON."""
        if self._encoded is None:
            self._encoded = msgspec.json.encode(describe(self._management))
        return self._encoded


def describe(management: FastAPI) -> Document:
    """The whole document."""
    document = management.openapi()
    document["info"]["description"] = _DESCRIPTION
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas.update(_more_schemas())
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            _describe_refusals(operation, _kinds(path, method))
    document["paths"].setdefault("/v1/events", {})["post"] = _publish_operation()
    document["paths"]["/v1/events/batch"] = {"post": _batch_operation()}
    document["paths"].update(_plain_paths())
    document["webhooks"] = {"event": {"post": _webhook_operation()}}
    document["components"]["securitySchemes"] = {"apiKey": {"type": "http", "scheme": "bearer"}}
    document["components"]["responses"] = {kind.__name__: _refusal(kind) for kind in _all_kinds()}
    document["security"] = [{"apiKey": []}]
    return document


def _more_schemas() -> Mapping[str, Any]:
    """Schemas of what FastAPI does not see."""
    _, components = msgspec.json.schema_components([Problem], ref_template=_SCHEMAS + "{name}")
    models = (PublishBody, PublishBatchBody, PublishedView, PublishedBatchView)
    _, definitions = models_json_schema([(model, "validation") for model in models], ref_template=_SCHEMAS + "{model}")
    return {**components, **definitions["$defs"]}


def _kinds(path: str, method: str) -> tuple[type[PosthouseError], ...]:
    kinds: tuple[type[PosthouseError], ...] = _ALWAYS
    if "{" in path or path in _FILTERED_BY_ID:
        kinds += _WITH_ID
    if path == _FEED:
        kinds += _OF_FEED
    if method == "put" and path.startswith(_FEED):
        kinds += (errors.CursorGone,)
    if method in _WRITES:
        kinds += _WITH_BODY
    return kinds


def _all_kinds() -> list[type[PosthouseError]]:
    return sorted({*_ALWAYS, *_WITH_ID, *_OF_FEED, *_WITH_BODY, *_HOT}, key=lambda kind: kind.__name__)


def _describe_refusals(operation: Document, kinds: tuple[type[PosthouseError], ...]) -> None:
    for kind in kinds:
        operation["responses"][str(kind.status)] = {"$ref": f"#/components/responses/{kind.__name__}"}


def _refusal(kind: type[PosthouseError]) -> Document:
    example = msgspec.to_builtins(problem_of(kind(), "/v1/events"))
    return {
        "description": example["title"],
        "content": {MEDIA_TYPE: {"schema": {"$ref": _SCHEMAS + "Problem"}, "example": example}},
    }


def _publish_operation() -> Document:
    return _hot_operation(
        "publish_event",
        "Publish an event",
        "202 comes after the commit: every endpoint that subscribed before it gets the event.",
        PublishBody.__name__,
        PublishedView.__name__,
    )


def _batch_operation() -> Document:
    return _hot_operation(
        "publish_events",
        "Publish up to 1,000 events in one transaction",
        "One bad event refuses all of them; `errors` names each.",
        PublishBatchBody.__name__,
        PublishedBatchView.__name__,
    )


def _hot_operation(name: str, summary: str, description: str, body: str, answer: str) -> Document:
    operation: Document = {
        "tags": ["events"],
        "operationId": name,
        "summary": summary,
        "description": description,
        "parameters": [_IDEMPOTENCY_KEY],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": _SCHEMAS + body}}},
        },
        "responses": {
            "202": {
                "description": "Durable.",
                "content": {"application/json": {"schema": {"$ref": _SCHEMAS + answer}}},
            }
        },
    }
    _describe_refusals(operation, _HOT)
    return operation


def _plain_paths() -> Document:
    status = {"application/json": {"schema": {"type": "object", "properties": {"status": {"type": "string"}}}}}
    text = {"text/plain": {"schema": {"type": "string"}}}
    return {
        "/healthz": {"get": _plain_operation("healthz", "Whether the node's loop turns", status)},
        "/readyz": {"get": _plain_operation("readyz", "Whether the node takes work", status, unready=True)},
        "/metrics": {"get": _plain_operation("metrics", "Metrics for Prometheus", text)},
    }


def _plain_operation(name: str, summary: str, content: Document, *, unready: bool = False) -> Document:
    operation: Document = {
        "tags": ["node"],
        "operationId": name,
        "summary": summary,
        "security": [],
        "responses": {"200": {"description": "Yes.", "content": content}},
    }
    if unready:
        _describe_refusals(operation, (errors.StoreUnavailable,))
    return operation


def _webhook_operation() -> Document:
    text = {"type": "string"}
    names = {
        "webhook-id": "Id of the event, the same at every attempt: drop what you have seen. Of a batch: `batch_…`.",
        "webhook-timestamp": "Unix seconds of this attempt.",
        "webhook-signature": "One `v1,…` or `v1a,…` per valid secret, over `{id}.{timestamp}.{body}`.",
    }
    return {
        "operationId": "receive_event",
        "summary": "What your endpoint gets",
        "description": "An endpoint that takes batches gets the type `batch`, and as data a list of objects with the "
        '`id`, `type`, `timestamp` and `data` of each event. It may answer `{"failed": [{"id": …, "error": …}]}`.',
        "security": [],
        "parameters": [
            {"name": name, "in": "header", "required": True, "schema": text, "description": description}
            for name, description in names.items()
        ],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {
                        "type": "object",
                        "required": ["type", "timestamp", "data"],
                        "properties": {"type": text, "timestamp": {**text, "format": "date-time"}, "data": {}},
                    }
                }
            },
        },
        "responses": {
            "2XX": {
                "description": "Taken. Anything else, redirects included, is a failure and is retried, unless the "
                "endpoint counts other statuses as `success`."
            },
            "410": {"description": "Never call again: the endpoint is disabled."},
        },
    }
