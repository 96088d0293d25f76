"""The hot routes: ``POST /v1/events`` and ``POST /v1/events/batch``, on plain ASGI.

No framework, no model, no log line per event: a look at the head, the body, the publisher, an answer.
"""

from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import msgspec
from starlette.types import Message, Receive, Scope, Send

from posthouse.core.errors import PosthouseError
from posthouse.core.limits import BATCH_BODY_BYTES_MAX, EVENT_BODY_BYTES_MAX
from posthouse.core.model import Environment
from posthouse.gateway.principal import Authenticator, Permission
from posthouse.serving.bodies import (
    AUTHORIZATION,
    IDEMPOTENCY_KEY,
    Bodies,
    Disconnected,
    check_length,
    check_media_type,
    fields_of,
    text_of,
    too_large,
)
from posthouse.serving.problems import send_problem
from posthouse.serving.protocol import ANSWER_AT_ONCE
from posthouse.store.protocol import Accepted
from posthouse.telemetry import Log, log

_encode: Final = msgspec.json.Encoder().encode
_HEADERS: Final = ((b"content-type", b"application/json"), (b"cache-control", b"no-store"))
_HEAD: Final = b"content-type: application/json\r\ncache-control: no-store\r\ncontent-length: %d\r\n"

#: Publishes what is in a body and returns the answer's body.
Handle = Callable[[Environment, bytes, str | None], Awaitable[bytes]]


class Publishing(Protocol):
    """What publishes events (``gateway.publish.Publisher``)."""

    async def publish(self, environment: Environment, body: bytes, idempotency_key: str | None) -> Accepted:
        """Publish the one event in ``body``."""
        ...

    async def publish_batch(
        self, environment: Environment, body: bytes, idempotency_key: str | None
    ) -> tuple[Accepted, ...]:
        """Publish all events in ``body``, or none."""
        ...


class _Published(msgspec.Struct, gc=False):
    id: str
    deliveries: int
    duplicate: bool


def publish_one(publisher: Publishing) -> Handle:
    """Handles the body of ``POST /v1/events``."""

    async def handle(environment: Environment, body: bytes, idempotency_key: str | None) -> bytes:
        accepted = await publisher.publish(environment, body, idempotency_key)
        return _encode(_Published(accepted.id, accepted.owed, accepted.duplicate))

    return handle


def publish_batch(publisher: Publishing) -> Handle:
    """Handles the body of ``POST /v1/events/batch``."""

    async def handle(environment: Environment, body: bytes, idempotency_key: str | None) -> bytes:
        accepted = await publisher.publish_batch(environment, body, idempotency_key)
        return b'{"events":' + _encode([_Published(one.id, one.owed, one.duplicate) for one in accepted]) + b"}"

    return handle


class PublishRoute:
    """One hot route, as an ASGI application."""

    def __init__(self, authenticator: Authenticator, bodies: Bodies, handle: Handle, *, bytes_max: int) -> None:
        self._authenticate = authenticator.authenticate
        self._bodies = bodies
        self._handle = handle
        self._bytes_max = bytes_max

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 202 after the commit, or a problem."""
        try:
            fields = fields_of(scope)
            principal = self._authenticate(text_of(fields.get(AUTHORIZATION)))
            principal.require(Permission.PUBLISH)
            check_media_type(fields)
            check_length(fields, self._bytes_max)
            key = text_of(fields.get(IDEMPOTENCY_KEY))
            message = await receive()
            if message["type"] == "http.request" and not message.get("more_body", False):
                body = message.get("body", b"")
                if len(body) > self._bytes_max:
                    raise too_large(self._bytes_max)  # noqa: TRY301 - all refusals leave by one door
                answer = await self._handle(principal.environment, body, key)
            else:
                answer = await self._handle_large(principal.environment, message, receive, key)
        except PosthouseError as error:
            await send_problem(send, error, scope["path"])
        except Disconnected:
            return
        except Exception as fault:  # noqa: BLE001 - a bug becomes a log line and a 500
            log(Log.REQUEST_FAILED, exc_info=fault, method=scope["method"], path=scope["path"])
            await send_problem(send, PosthouseError(), scope["path"])
        else:
            await _send_accepted(scope, send, answer)

    async def _handle_large(
        self, environment: Environment, first: Message, receive: Receive, idempotency_key: str | None
    ) -> bytes:
        async with self._bodies.collect(first, receive, bytes_max=self._bytes_max) as body:
            return await self._handle(environment, body, idempotency_key)


async def _send_accepted(scope: Scope, send: Send, body: bytes) -> None:
    """Answer 202: in one call where the server can, else in the two messages of ASGI."""
    extension = scope["extensions"].get(ANSWER_AT_ONCE) if "extensions" in scope else None
    if extension is not None:
        await extension["answer"](202, _HEAD % len(body), body)
        return
    length = b"%d" % len(body)
    await send({"type": "http.response.start", "status": 202, "headers": [*_HEADERS, (b"content-length", length)]})
    await send({"type": "http.response.body", "body": body})


def publish_routes(authenticator: Authenticator, bodies: Bodies, publisher: Publishing) -> dict[str, PublishRoute]:
    """The hot routes by path; both take POST only."""
    return {
        "/v1/events": PublishRoute(authenticator, bodies, publish_one(publisher), bytes_max=EVENT_BODY_BYTES_MAX),
        "/v1/events/batch": PublishRoute(
            authenticator, bodies, publish_batch(publisher), bytes_max=BATCH_BODY_BYTES_MAX
        ),
    }
