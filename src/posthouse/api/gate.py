"""What stands in front of the management API: who asks, may they, and is the body fit to be parsed."""

from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from posthouse.core.errors import InvalidInput, PosthouseError
from posthouse.core.limits import MANAGEMENT_BODY_BYTES_MAX
from posthouse.gateway.principal import Authenticator, Permission
from posthouse.gateway.publish import check_idempotency_key
from posthouse.serving.bodies import (
    AUTHORIZATION,
    IDEMPOTENCY_KEY,
    Bodies,
    Disconnected,
    check_body,
    check_length,
    check_media_type,
    fields_of,
    text_of,
)
from posthouse.serving.problems import send_problem
from posthouse.telemetry import Log, log

PRINCIPAL: Final = "posthouse.principal"  #: where routes find who asks, in the scope
PROTECTED: Final = "/v1/"

_READING: Final = frozenset({"GET", "HEAD"})


class Gate:
    """Lets checked requests through to ``inner``; answers everything else itself.

    ``inner`` gets the whole body at once, as JSON whose syntax, encoding, depth and characters were
    checked, and finds the :class:`Principal` in the scope.
    """

    def __init__(self, inner: ASGIApp, authenticator: Authenticator, bodies: Bodies) -> None:
        self._inner = inner
        self._authenticator = authenticator
        self._bodies = bodies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request; never raises for anything that the caller did."""
        answer = _Answer(send)
        try:
            await self._admit(scope, receive, answer)
        except PosthouseError as error:
            await send_problem(send, error, scope["path"])
        except Disconnected:
            return
        except Exception as fault:  # noqa: BLE001 - a bug becomes a log line and a 500
            log(Log.REQUEST_FAILED, exc_info=fault, method=scope["method"], path=scope["path"])
            if not answer.started:
                await send_problem(send, PosthouseError(), scope["path"])

    async def _admit(self, scope: Scope, receive: Receive, answer: "_Answer") -> None:
        fields = fields_of(scope)
        if scope["path"].startswith(PROTECTED):
            principal = self._authenticator.authenticate(text_of(fields.get(AUTHORIZATION)))
            principal.require(Permission.READ if scope["method"] in _READING else Permission.MANAGE)
            scope[PRINCIPAL] = principal
        if "\0" in scope["path"] or b"%00" in scope["query_string"]:
            raise InvalidInput.at("url", "null_character", "The URL contains the character U+0000.")
        key = text_of(fields.get(IDEMPOTENCY_KEY))
        if key is not None:
            check_idempotency_key(key)
        check_length(fields, MANAGEMENT_BODY_BYTES_MAX)
        async with self._bodies.collect(await receive(), receive, bytes_max=MANAGEMENT_BODY_BYTES_MAX) as body:
            if body:
                check_media_type(fields)
                check_body(body)
            await self._inner(scope, _Replay(body, receive), answer)


class _Answer:
    """Passes an answer on; answers are not for caches."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.started = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            message["headers"] = [*message.get("headers", ()), (b"cache-control", b"no-store")]
        await self._send(message)


class _Replay:
    """Hands out a body that was read already; then whatever still comes."""

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._body: bytes | None = body
        self._receive = receive

    async def __call__(self) -> Message:
        if self._body is None:
            return await self._receive()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}
