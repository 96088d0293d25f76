"""The API as one ASGI application: a dispatcher in front, hot routes beside it, management behind it."""

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from http import HTTPStatus
from typing import Any, Final, cast

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from posthouse.api.gate import Gate
from posthouse.api.health import health_routes
from posthouse.api.openapi import Description
from posthouse.api.publishing import publish_routes
from posthouse.api.routes.administration import audit_routes, key_routes, outbox_routes, tenant_routes
from posthouse.api.routes.backlog import backlog_routes
from posthouse.api.routes.deliveries import delivery_routes
from posthouse.api.routes.endpoints import endpoint_routes
from posthouse.api.routes.events import event_routes
from posthouse.api.routes.filters import filter_routes
from posthouse.api.routes.inbound import incident_routes, request_routes
from posthouse.api.routes.jobs import job_routes
from posthouse.api.routes.nodes import node_routes
from posthouse.api.routes.quarantine import quarantine_routes
from posthouse.api.routes.sources import provider_routes, source_routes
from posthouse.core.errors import InvalidInput, PosthouseError
from posthouse.gateway.gateway import Gateway
from posthouse.serving.bodies import Bodies
from posthouse.serving.plain import PlainResource
from posthouse.serving.problems import encode_problem, error_for_status

OPENAPI_PATH: Final = "/openapi.json"
INBOUND_PREFIX: Final = "/in/"  #: everything below it is for senders
VALIDATION_ERRORS_MAX: Final = 100


class Dispatcher:
    """Sends each request to its application by its path, before anything else looks at it."""

    def __init__(self, posts: dict[str, ASGIApp], always: dict[str, ASGIApp], inbound: ASGIApp, rest: ASGIApp) -> None:
        self._posts = posts
        self._always = always
        self._inbound = inbound
        self._rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on. Only HTTP is spoken here."""
        if scope["type"] != "http":
            raise NotImplementedError(f"The API does not speak {scope['type']}.")
        path = scope["path"]
        if path.startswith(INBOUND_PREFIX):
            await self._inbound(scope, receive, send)
            return
        if scope["method"] == "POST":
            route = self._posts.get(path)
            if route is not None:
                await route(scope, receive, send)
                return
        await self._always.get(path, self._rest)(scope, receive, send)


def create_app(
    gateway: Gateway,
    *,
    inbound: ASGIApp,
    readiness: Callable[[], Awaitable[bytes]],
    metrics: Callable[[], bytes],
    public_url: str | None = None,
) -> ASGIApp:
    """The whole API over ``gateway``.

    Args:
        gateway: the use-cases.
        inbound: answers what senders post to sources.
        readiness: answers ``/readyz`` (``health.Readiness``).
        metrics: the Prometheus text exposition.
        public_url: by which senders reach this node; None: as each request names it.
    """
    bodies = Bodies()
    posts = cast("dict[str, ASGIApp]", publish_routes(gateway.authenticator, bodies, gateway.publisher))
    always = cast("dict[str, ASGIApp]", health_routes(readiness, metrics))
    management = create_management(gateway, also_post=frozenset(posts), public_url=public_url)
    always[OPENAPI_PATH] = PlainResource(Description(management))
    return Dispatcher(posts, always, inbound, Gate(management, gateway.authenticator, bodies))


def create_management(
    gateway: Gateway, *, also_post: frozenset[str] = frozenset(), public_url: str | None = None
) -> FastAPI:
    """The management routes on FastAPI. ``also_post``: paths whose POST is served elsewhere."""
    routers = (
        endpoint_routes(gateway.endpoints),
        event_routes(gateway.events),
        delivery_routes(gateway.deliveries),
        job_routes(gateway.jobs),
        backlog_routes(gateway.backlog),
        audit_routes(gateway.books),
        outbox_routes(gateway.outbox),
        node_routes(gateway.nodes),
        filter_routes(gateway.filter_test),
        source_routes(gateway.sources, public_url),
        provider_routes(),
        request_routes(gateway.requests),
        quarantine_routes(gateway.quarantine),
        incident_routes(gateway.incidents),
        key_routes(gateway.keys),
        tenant_routes(gateway.tenants),
    )
    methods = _Methods(routers, also_post)
    app = FastAPI(
        title="Posthouse",
        version="1",
        openapi_url=None,  # served by the dispatcher, with the hot routes in it
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
        exception_handlers={
            PosthouseError: _refused,
            RequestValidationError: _not_valid,
            Exception: _failed,
            HTTPException: _refused_by_framework(methods),
        },
    )
    for router in routers:
        app.include_router(router)
    return app


class _Methods:
    """Which methods a path takes; the framework only knows those of the first route that matches."""

    def __init__(self, routers: Sequence[APIRouter], also_post: frozenset[str]) -> None:
        self._routes = [route for router in routers for route in router.routes if isinstance(route, APIRoute)]
        self._also_post = also_post

    def of(self, path: str) -> str:
        """The value of the Allow header for ``path``."""
        found = {"POST"} if path in self._also_post else set()
        for route in self._routes:
            if route.path_regex.match(path):
                found |= route.methods or set()
        return ", ".join(sorted(found))


def _answer(request: Request, error: PosthouseError, *, allow: str | None = None) -> Response:
    body, headers = encode_problem(error, request.url.path, allow=allow)
    response = Response(body, status_code=error.status)
    # The gate adds cache-control to everything that passes it.
    response.raw_headers = [(name, value) for name, value in headers if name != b"cache-control"]
    return response


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, PosthouseError)
    return _answer(request, error)


async def _failed(request: Request, error: Exception) -> Response:
    del error  # the framework raises it again behind this answer; the gate writes it to the log
    return _answer(request, PosthouseError())


async def _not_valid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    found = error.errors()[:VALIDATION_ERRORS_MAX]
    entries = [{"path": _path(fault["loc"]), "code": fault["type"], "message": fault["msg"] + "."} for fault in found]
    return _answer(request, InvalidInput(errors=entries))


def _refused_by_framework(methods: _Methods) -> Callable[[Request, Exception], Coroutine[Any, Any, Response]]:
    async def answer(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        allow = methods.of(request.scope["path"]) if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED else None
        return _answer(request, error_for_status(error.status_code), allow=allow)

    return answer


def _path(location: tuple[int | str, ...]) -> str:
    """Where a fault is, without saying in which part of the request: ``events[0]``, ``limit``."""
    path = ""
    for part in location[1:]:
        path += f"[{part}]" if isinstance(part, int) else f".{part}"
    return path.removeprefix(".") or str(location[0])
