"""The API of a simulated GoCardless: what happened, and which requests were made of it."""

import asyncio
import hmac
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, Final

from posthouse.core.errors import InvalidInput
from posthouse.core.time_format import parse_rfc3339, rfc3339
from posthouse.drills.senders.gocardless import GoCardless
from posthouse.drills.senders.local_server import NOT_FOUND, Call, Said

LIMIT_DEFAULT: Final = 50
LIMIT_MAX: Final = 500


class GoCardlessApi:
    """Answers as GoCardless does; for a :class:`~posthouse.drills.senders.local_server.LocalServer`.

    Args:
        sender: whose events and webhooks these are.
        access_token: that a caller must know.
    """

    def __init__(self, sender: GoCardless, *, access_token: str) -> None:
        self._sender = sender
        self._authorization = f"Bearer {access_token}"
        self._retries: set[asyncio.Task[None]] = set()

    def __call__(self, call: Call) -> Said:
        """The answer to one call. A retry has only begun then."""
        if not hmac.compare_digest(call.headers.get("authorization", "").encode(), self._authorization.encode()):
            return _refused(HTTPStatus.UNAUTHORIZED, "invalid_api_usage", "access_token_not_found")
        parts = tuple(part for part in call.path.split("/") if part)
        if call.method == "GET":
            return self._get(parts, call.query)
        match parts:
            case "webhooks", key, "actions", "retry" if call.method == "POST" and key in self._sender.webhooks:
                return self._retry(key)
        return NOT_FOUND

    async def settle(self) -> None:
        """Return when every retry that was asked for has ended."""
        while self._retries:
            await asyncio.wait(self._retries)

    def _get(self, parts: tuple[str, ...], query: Mapping[str, str]) -> Said:
        events, webhooks = self._sender.events, self._sender.webhooks
        match parts:
            case ("events",):
                return _page(query, "events", list(events.values()))
            case "events", key if key in events:
                return Said({"events": events[key]})
            case ("webhooks",):
                return _page(query, "webhooks", [each.document() for each in webhooks.values()])
            case "webhooks", key if key in webhooks:
                return Said({"webhooks": webhooks[key].document()})
        return NOT_FOUND

    def _retry(self, key: str) -> Said:
        task = asyncio.get_running_loop().create_task(self._sender.retry(key))
        self._retries.add(task)
        task.add_done_callback(self._retries.discard)
        return Said({"webhooks": self._sender.webhooks[key].document()}, HTTPStatus.ACCEPTED)


def _page(query: Mapping[str, str], name: str, documents: list[dict[str, Any]]) -> Said:
    """One page of the list, newest first. ``after`` leads on to older ones, ``before`` back to newer ones."""
    try:
        limit = int(query.get("limit", LIMIT_DEFAULT))
        holds = [_filter(key, value) for key, value in query.items() if key not in {"after", "before", "limit"}]
    except (ValueError, InvalidInput):
        return _refused(HTTPStatus.BAD_REQUEST, "invalid_api_usage", "bad_request")
    if not 1 <= limit <= LIMIT_MAX:
        return _refused(HTTPStatus.UNPROCESSABLE_ENTITY, "validation_failed", "limit")
    found = [each for each in reversed(documents) if all(hold(each) for hold in holds)]
    place = {each["id"]: number for number, each in enumerate(found)}
    begin, end = 0, len(found)
    if "after" in query:
        begin = place.get(query["after"], end - 1) + 1
    if "before" in query:
        end = place.get(query["before"], 0)
        begin = max(end - limit, 0)
    page = found[begin : min(begin + limit, end)]
    more = begin + len(page) < len(found)
    cursors = {
        "before": page[0]["id"] if page and begin else None,
        "after": page[-1]["id"] if page and more else None,
    }
    return Said({name: page, "meta": {"cursors": cursors, "limit": limit}})


def _filter(key: str, value: str) -> Callable[[Mapping[str, Any]], bool]:
    """Whether a document is asked for. Raises ValueError or InvalidInput if the question makes no sense."""
    if not key.startswith("created_at["):
        return lambda document: str(document.get(key)).lower() == value.lower()
    # Times of one form and one zone compare as texts.
    at = rfc3339(parse_rfc3339(value))
    compare: dict[str, Callable[[str], bool]] = {
        "created_at[gt]": lambda text: text > at,
        "created_at[gte]": lambda text: text >= at,
        "created_at[lt]": lambda text: text < at,
        "created_at[lte]": lambda text: text <= at,
    }
    if key not in compare:
        raise ValueError(key)
    return lambda document: compare[key](document["created_at"])


def _refused(status: HTTPStatus, kind: str, reason: str) -> Said:
    error = {"type": kind, "code": int(status), "message": status.phrase, "errors": [{"reason": reason}]}
    return Said({"error": error}, status)
