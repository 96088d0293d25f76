"""``/in/{token}``: where senders post, on plain ASGI.

Whatever happens, a sender is answered in the code that it understands: what is taken, what is forged, what is too
large, and above all what it is to send again.
"""

import asyncio
from functools import partial
from typing import Final

from starlette.types import Receive, Scope, Send

from posthouse.core.errors import MethodNotAllowed, NotAccepting, NotFound, PosthouseError, TooLarge
from posthouse.core.head import lines_of
from posthouse.core.ids import SOURCE, make_id
from posthouse.core.inbound import Source
from posthouse.core.ports import Clock
from posthouse.engine.seldom import SeldomLog
from posthouse.gateway.catalogue import Catalogue
from posthouse.gateway.receive import Admission, Receiver
from posthouse.providers.preset import Reply
from posthouse.providers.received import Received
from posthouse.serving.bodies import CONTENT_LENGTH, Bodies, Disconnected, too_large
from posthouse.serving.direct import Direct, Exchange
from posthouse.serving.problems import encode_problem, send_problem
from posthouse.telemetry import Log, Metrics, log

PREFIX: Final = "/in/"
METHODS: Final = ("POST", "PUT", "PATCH")  #: of requests that hold events; a handshake may come as a GET

_EMPTY: Final = Reply(200)
_UNKNOWN: Final = "There is no source at this URL."


class InboundEdge:
    """Everything below ``/in/``, as an ASGI application.

    Args:
        catalogue: knows the sources.
        receiver: judges requests and makes them durable.
        clock: when a request came.
        metrics: counts what is turned away.
        public_url: by which senders call, without a path; None: as each request names it.
        accepts: whether requests are taken; if not, each sender is told in its own code to come again.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        receiver: Receiver,
        clock: Clock,
        metrics: Metrics,
        *,
        public_url: str | None = None,
        accepts: bool = True,
    ) -> None:
        self._accepts = accepts
        self._catalogue = catalogue
        self._receiver = receiver
        self._clock = clock
        self._metrics = metrics
        self._public_url = public_url
        self._bodies = Bodies()
        self._tasks: set[asyncio.Task[Reply]] = set()
        self._turned_away = SeldomLog(Log.REQUEST_TURNED_AWAY, clock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; never raises for anything that the sender did."""
        source = self._find(scope["path"])
        if source is None:
            self._metrics.requests_turned_away["unknown_source"] += 1
            await send_problem(send, NotFound(_UNKNOWN), PREFIX)
            return
        try:
            reply = await self._receive(source, scope, receive)
        except Disconnected:
            return
        except Exception as error:  # noqa: BLE001 - whatever it is, the sender is answered
            reply = self._refuse(source, self._named(error, scope["method"], source))
        headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in reply.headers]
        body = b"" if scope["method"] == "HEAD" else reply.body
        if reply.status != _NO_CONTENT:
            headers.append((b"content-length", b"%d" % len(body)))
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    @property
    def direct(self) -> Direct:
        """For the server: requests that are answered without ASGI."""
        return Direct(PREFIX.encode(), self.take)

    # -- directly -------------------------------------------------------------------------------

    def take(self, exchange: Exchange) -> None:
        """Answer a short request at once when it is durable, with no task for it (``serving.direct``)."""
        path, _, query = exchange.target.partition("#")[0].partition("?")
        source = self._find(path)
        if source is None:
            self._metrics.requests_turned_away["unknown_source"] += 1
            _write_problem(exchange, NotFound(_UNKNOWN))
            return
        if exchange.method == "HEAD":
            _write(exchange, _EMPTY)
            return
        try:
            self._check(source, exchange.method, len(exchange.body))
            url = self._url(exchange.scheme, exchange.host, path, query)
            received = Received(exchange.method, url, exchange.head, exchange.body, self._clock.now_ms())
            admission = self._receiver.admit(source, received)
            if admission.secret is not None:
                self._slowly(source, admission, exchange)
            elif admission.arrival is None:
                _write(exchange, admission.reply)
            else:
                self._receiver.keep(admission.arrival, partial(self._kept, source, exchange, admission.reply))
        except Exception as error:  # noqa: BLE001 - whatever it is, the sender is answered
            _write(exchange, self._refuse(source, self._named(error, exchange.method, source)))

    def _kept(self, source: Source, exchange: Exchange, reply: Reply, error: PosthouseError | None) -> None:
        _write(exchange, reply if error is None else self._refuse(source, error))

    def _slowly(self, source: Source, admission: Admission, exchange: Exchange) -> None:
        """Something else must be durable before the answer."""
        task = asyncio.get_running_loop().create_task(self._receiver.finish(source, admission))
        self._tasks.add(task)

        def answer(task: "asyncio.Task[Reply]") -> None:
            self._tasks.discard(task)
            if task.cancelled():
                return
            error = task.exception()
            if error is None:
                _write(exchange, task.result())
            else:
                _write(exchange, self._refuse(source, self._named(error, exchange.method, source)))

        task.add_done_callback(answer)

    # -- through ASGI ---------------------------------------------------------------------------

    async def _receive(self, source: Source, scope: Scope, receive: Receive) -> Reply:
        method = scope["method"]
        fields = dict(scope["headers"])
        declared = fields.get(CONTENT_LENGTH)
        self._check(source, method, 0 if declared is None else int(declared))
        message = await receive()
        if method == "HEAD":
            return _EMPTY
        async with self._bodies.collect(message, receive, bytes_max=source.rules.body_bytes_max) as body:
            path, query = scope["raw_path"].decode("ascii"), scope["query_string"].decode("latin-1")
            url = self._url(scope["scheme"], fields.get(b"host", b"").decode("latin-1"), path, query)
            head = lines_of(scope["headers"]).decode("latin-1")
            received = Received(method, url, head, body, self._clock.now_ms())
            return await self._receiver.receive(source, received)

    # -- both -----------------------------------------------------------------------------------

    def _find(self, path: str) -> Source | None:
        """The source that a path names. Some senders put something behind the URL that they were given."""
        return self._catalogue.source_by_token(path[len(PREFIX) :].partition("/")[0])

    def _check(self, source: Source, method: str, size: int) -> None:
        if not self._accepts:
            raise NotAccepting
        if method not in METHODS and method != "HEAD" and not self._may_greet(source, method):
            raise MethodNotAllowed
        if size > source.rules.body_bytes_max:
            raise too_large(source.rules.body_bytes_max)

    def _may_greet(self, source: Source, method: str) -> bool:
        return method == "GET" and self._receiver.preset(source).handshake is not None

    def _url(self, scheme: str, host: str, path: str, query: str) -> str:
        """By which a sender called."""
        base = f"{scheme}://{host}" if self._public_url is None else self._public_url
        return f"{base}{path}?{query}" if query else base + path

    def _named(self, error: BaseException, method: str, source: Source) -> PosthouseError:
        """What a sender is told of an error; a bug becomes a log line, and the sender comes again."""
        if isinstance(error, PosthouseError):
            return error
        log(Log.REQUEST_FAILED, exc_info=error, method=method, path=PREFIX + make_id(SOURCE, source.key))
        return PosthouseError()

    def _refuse(self, source: Source, error: PosthouseError) -> Reply:
        """What this sender is told when its request is not kept. It is counted and logged: nobody else knows of it."""
        self._metrics.requests_turned_away[error.code] += 1
        self._turned_away(source=make_id(SOURCE, source.key), code=error.code, detail=error.message)
        answers = self._receiver.preset(source).answers
        body, headers = encode_problem(error, PREFIX)
        kept = [(name.decode(), value.decode()) for name, value in headers if name in _OF_PROBLEMS]
        if isinstance(error, MethodNotAllowed):
            return Reply(error.status, (*kept, ("allow", ", ".join(METHODS))), body)
        if isinstance(error, TooLarge):
            return Reply(answers.too_large, tuple(kept), body)
        if answers.retry_after_s is not None:
            kept.append(("retry-after", str(answers.retry_after_s)))
        return Reply(answers.overload, tuple(kept), body)


_OF_PROBLEMS: Final = frozenset({b"content-type", b"cache-control"})
_NO_CONTENT: Final = 204


#: What stands in front of most answers: those without headers and body.
_BARE: Final = {status: b"" if status == _NO_CONTENT else b"content-length: 0\r\n" for status in range(200, 600)}


def _write(exchange: Exchange, reply: Reply) -> None:
    if not (reply.body or reply.headers):
        exchange.answer(reply.status, _BARE[reply.status], b"")
        return
    lines = "".join([f"{name}: {value}\r\n" for name, value in reply.headers])
    length = "" if reply.status == _NO_CONTENT else f"content-length: {len(reply.body)}\r\n"
    exchange.answer(reply.status, (lines + length).encode("latin-1"), reply.body)


def _write_problem(exchange: Exchange, error: PosthouseError) -> None:
    body, headers = encode_problem(error, PREFIX)
    exchange.answer(error.status, lines_of(headers), body)
