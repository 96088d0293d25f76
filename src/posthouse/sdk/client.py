"""A small client of the Posthouse API.

Every call either returns what the node answered, or raises :class:`Problem` (the node refused) or
:class:`Unreachable` (there is no answer). Every POST carries an Idempotency-Key, so the client may
repeat it: a repeat never stores an event twice.
"""

import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote, urlsplit

import httpx2
import msgspec

__all__ = ["Client", "FeedEvent", "FeedPage", "NewEvent", "Problem", "Published", "Unreachable"]

RETRYABLE: Final = frozenset({429, 502, 503, 504})  #: statuses after which the same request may be repeated
PAUSE_SECONDS_MAX: Final = 30.0  #: the longest wait between two tries
FEED_GONE: Final = "feed_cursor_gone"  #: the code of a problem that has a fresh cursor
_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})


class Problem(Exception):
    """The node refused the request. All attributes come from its problem document (RFC 9457)."""

    def __init__(self, status: int, document: Mapping[str, Any], *, retry_after_s: float | None = None) -> None:
        self.status = status
        #: The whole document, for those who want to pass it on.
        self.document = dict(document)
        self.code = str(document.get("code", "unknown"))
        self.detail = str(document.get("detail") or document.get("title") or f"The node answered {status}.")
        self.hint = str(document.get("hint", ""))
        #: One entry per bad field or item: ``{"path": …, "code": …, "message": …}``.
        self.errors: tuple[Mapping[str, Any], ...] = tuple(document.get("errors") or ())
        self.retry_after_s = retry_after_s
        super().__init__(f"{self.detail} ({self.code})")


class Unreachable(Exception):
    """There is no answer, so the outcome is unknown. The message says what happened."""


class NewEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An event to publish. ``data`` as ``msgspec.Raw`` is sent byte for byte."""

    type: str
    data: Any
    tenant: str | None = None
    id: str | None = None  #: makes a repeat recognisable
    occurred_at: str | None = None  #: RFC 3339
    ordering_key: str | None = None


class Published(msgspec.Struct, frozen=True):
    """An event that is durable on the node."""

    id: str
    deliveries: int  #: how many endpoints it is owed to
    duplicate: bool  #: True: it was there before


class FeedEvent(msgspec.Struct, frozen=True):
    """An event on the feed."""

    id: str
    type: str
    tenant: str
    accepted_at: str  #: RFC 3339
    occurred_at: str | None
    ordering_key: str | None
    cursor: str  #: the position behind it
    data: msgspec.Raw  #: the publisher's JSON, byte for byte


class FeedPage(msgspec.Struct, frozen=True):
    """Events in the order of their commits."""

    data: list[FeedEvent]
    next_cursor: str  #: the position behind all that was looked at
    more: bool  #: there is more already


class _PublishedBatch(msgspec.Struct, frozen=True):
    events: list[Published]


class Client:
    """Speaks to one node with one API key. A context manager; may be shared by threads.

    Args:
        url: where the node is, such as ``http://127.0.0.1:8400``.
        api_key: ``None`` for the calls that need none (health).
        timeout_s: seconds that one try may take.
        tries: how often a request is sent in all, when there is no answer or the node asks for a repeat.
        transport: replaces the network, for tests.
        sleep: how the client waits between two tries, in seconds.
    """

    def __init__(
        self,
        url: str,
        api_key: str | None,
        *,
        timeout_s: float = 30.0,
        tries: int = 4,
        transport: httpx2.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"{url!r} is not an http or https URL.")
        self.url = url.rstrip("/")
        self._tries = tries
        self._sleep = sleep
        self._http = httpx2.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
            timeout=httpx2.Timeout(timeout_s, connect=min(timeout_s, 5.0)),
            transport=transport,
            # Trust roots take a while to load and a plain-text connection has no use for them.
            verify=parts.scheme == "https",
            trust_env=parts.hostname not in _LOOPBACK,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections. Idempotent."""
        self._http.close()

    # -- events -------------------------------------------------------------------------------

    def publish(self, event: NewEvent, *, idempotency_key: str | None = None) -> Published:
        """Publish one event; it is durable when this returns."""
        content = self._send("POST", "/v1/events", body=event, idempotency_key=idempotency_key).content
        return msgspec.json.decode(content, type=Published)

    def publish_batch(
        self, events: Sequence[NewEvent | msgspec.Raw], *, idempotency_key: str | None = None
    ) -> list[Published]:
        """Publish up to 1,000 events in one transaction: all of them are stored, or none."""
        answer = self._send("POST", "/v1/events/batch", body={"events": events}, idempotency_key=idempotency_key)
        return msgspec.json.decode(answer.content, type=_PublishedBatch).events

    # -- the feed -----------------------------------------------------------------------------

    def feed(self, **how: Any) -> Iterator[FeedEvent]:
        """All events in the order of their commits, one by one; the arguments are those of :meth:`feed_pages`."""
        for page in self.feed_pages(**how):
            yield from page.data

    def feed_pages(
        self,
        *,
        cursor: str | None = None,
        consumer: str | None = None,
        tenant: str | None = None,
        types: Sequence[str] = (),
        limit: int = 100,
        wait_s: int = 20,
        follow: bool = True,
        lost: Callable[[Problem], None] | None = None,
    ) -> Iterator[FeedPage]:
        """Pages of the feed, from a cursor or from where a consumer is on; without either from the first event kept.

        It goes on by itself when the node was away. Empty pages come too: their cursor may be acknowledged.

        Args:
            cursor: of an event or a page, ``start`` or ``end``.
            consumer: a name that :meth:`acknowledge` made.
            tenant: only its events.
            types: patterns as endpoints have them; none: all events.
            limit: events of one page.
            wait_s: how long the node waits for the next event.
            follow: False: end where there is nothing more.
            lost: hears of a cursor that cannot be read on from, with what is missing in ``errors``; then the pages go
                on from the fresh cursor. None: the problem is raised.
        """
        wait = wait_s if follow else 0
        query = {"tenant": tenant, "types": ",".join(types) or None, "limit": limit, "wait": wait}
        place: dict[str, str | None] = {"cursor": cursor, "consumer": consumer}
        while True:
            try:
                answer = self._send("GET", "/v1/feed", query={**query, **place})
            except Problem as problem:
                if problem.code == FEED_GONE and lost is not None:
                    lost(problem)
                    place = {"cursor": str(problem.errors[0]["cursor"])}
                elif problem.status not in RETRYABLE or not follow:
                    raise
                else:
                    self._sleep(PAUSE_SECONDS_MAX)
                continue
            except Unreachable:
                if not follow:
                    raise
                self._sleep(PAUSE_SECONDS_MAX)
                continue
            page = msgspec.json.decode(answer.content, type=FeedPage)
            yield page
            place = {"cursor": page.next_cursor}
            if not follow and not page.more:
                return

    def acknowledge(self, consumer: str, cursor: str, *, back: bool = False) -> None:
        """Everything up to a cursor is done. The first time, the consumer is made.

        ``back``: also if it acknowledged more already; otherwise that is refused (409).
        """
        self._send("PUT", f"/v1/feed/consumers/{segment(consumer)}", body={"cursor": cursor, "back": back})

    # -- everything else ----------------------------------------------------------------------

    def get(self, path: str, query: Mapping[str, object] | None = None) -> Any:
        """GET ``path``; the decoded document."""
        return self._document(self._send("GET", path, query=query))

    def post(self, path: str, body: object = None) -> Any:
        """POST ``body`` as JSON; the decoded answer, None if it is empty."""
        return self._document(self._send("POST", path, body=body))

    def patch(self, path: str, body: object) -> Any:
        """PATCH ``path`` with the members of ``body``; the decoded answer."""
        return self._document(self._send("PATCH", path, body=body))

    def delete(self, path: str) -> Any:
        """DELETE ``path``; the decoded answer, None if it is empty."""
        return self._document(self._send("DELETE", path))

    def fetch(self, path: str) -> httpx2.Response:
        """GET ``path``; the whole answer, for what is no JSON or where a header matters."""
        return self._send("GET", path)

    # -- inside -------------------------------------------------------------------------------

    def _send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, object] | None = None,
        body: object = None,
        idempotency_key: str | None = None,
    ) -> httpx2.Response:
        """Send until there is an answer that stands, at most ``tries`` times."""
        request = self._http.build_request(
            method,
            path,
            params={k: str(v) for k, v in (query or {}).items() if v is not None},
            content=None if body is None else msgspec.json.encode(body),
            headers=self._headers(method, has_body=body is not None, idempotency_key=idempotency_key),
        )
        for tried in range(1, self._tries + 1):
            pause_s = min(0.25 * 2.0**tried, PAUSE_SECONDS_MAX)
            try:
                response = self._http.send(request, follow_redirects=False)
            except httpx2.TransportError as error:
                if tried == self._tries:
                    raise Unreachable(f"{self.url} does not answer: {str(error) or type(error).__name__}.") from error
            else:
                if response.is_success:
                    return response
                problem = problem_of(response)
                if response.status_code not in RETRYABLE or tried == self._tries:
                    raise problem
                pause_s = min(problem.retry_after_s or pause_s, PAUSE_SECONDS_MAX)
            self._sleep(pause_s)
        raise AssertionError("The last try returns or raises.")

    @staticmethod
    def _headers(method: str, *, has_body: bool, idempotency_key: str | None) -> dict[str, str]:
        headers = {"Accept": "application/json"}
        if has_body:
            headers["Content-Type"] = "application/json"
        if method == "POST":
            headers["Idempotency-Key"] = idempotency_key or uuid.uuid4().hex
        return headers

    @staticmethod
    def _document(response: httpx2.Response) -> Any:
        if not response.content:
            return None
        try:
            return msgspec.json.decode(response.content)
        except msgspec.DecodeError as error:
            raise Unreachable(f"{response.url} does not answer like a Posthouse node: {error}.") from error


def problem_of(response: httpx2.Response) -> Problem:
    """The refusal in ``response``; one is made up if its body is no problem document."""
    try:
        document = msgspec.json.decode(response.content, type=dict[str, Any])
    except msgspec.DecodeError:
        document = {"code": "unknown", "title": f"The answer was {response.status_code} {response.reason_phrase}."}
    document.setdefault("status", response.status_code)
    return Problem(response.status_code, document, retry_after_s=_seconds(response.headers.get("retry-after")))


def segment(text: str) -> str:
    """``text`` as one segment of a path, whatever is in it."""
    return quote(text, safe="")


def _seconds(retry_after: str | None) -> float | None:
    return float(retry_after) if retry_after is not None and retry_after.isdecimal() else None
